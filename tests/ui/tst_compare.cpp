// The Compare page: paired findings in words, settings that differ, heat maps, tokens, answers,
// curves, weights; and the models behind it.
#include <QAbstractItemModelTester>
#include <QCheckBox>
#include <QComboBox>
#include <QLabel>
#include <QLineEdit>
#include <QListWidget>
#include <QPushButton>
#include <QSignalSpy>
#include <QTabWidget>
#include <QTableView>
#include <QtTest>
#include <cmath>

#include "tests/support/window_fixture.h"
#include "ui/charts/histogram_chart.h"
#include "ui/charts/layer_heat_map.h"
#include "ui/charts/token_strip.h"
#include "ui/models/compare_metrics_model.h"
#include "ui/models/recipe_diff_model.h"
#include "ui/models/text_divergence.h"
#include "ui/models/worst_tokens_model.h"
#include "ui/pages/compare_layers.h"
#include "ui/pages/compare_page.h"
#include "ui/pages/compare_picker.h"
#include "ui/pages/compare_tokens.h"
#include "ui/pages/compare_weights.h"

using namespace fettle;
using namespace fettle::ui;

namespace {

using Tester = QAbstractItemModelTester;
constexpr auto kQtTest = Tester::FailureReportingMode::QtTest;

Measurement measured(const std::string& name, double value, double half = 0) {
    Measurement m;
    m.name = name;
    m.value = value;
    m.unit = findMetric(name) ? findMetric(name)->unit : "";
    m.protocol = "ppl windows=256 first-unscored";
    if (half > 0) {
        m.low = value - half;
        m.high = value + half;
    }
    return m;
}

/// Losses of 64 windows; `extra` nats per token above the original's.
EvaluationTrace traceWith(double extra, bool baseline) {
    EvaluationTrace trace;
    trace.protocol = "ppl windows=256 first-unscored";
    trace.hasBaseline = baseline;
    for (int b = 0; b < 64; ++b) {
        const double difficulty = 500 + 40 * std::sin(b * 1.7);
        const double wobble = extra == 0 ? 0.2 * std::cos(b * 2.3) : 2 * std::cos(b * 2.3);
        trace.blocks.push_back(
            {255, difficulty + 255 * extra + wobble, 255 * extra, 230.0 - b % 3});
    }
    const char* words[] = {"Once", " upon", " a",     " time", " there",
                           " was", " a",    " small", " cat",  ".\n"};
    for (int i = 0; i < 400; ++i) {
        TraceToken token;
        token.text = words[i % 10];
        token.scored = i % 100 != 0;
        token.baselineNll = 1 + 0.5 * std::sin(i);
        token.nll = token.baselineNll + extra * (1 + std::cos(i));
        token.kl = extra * (1 + std::cos(i)) * 0.5;
        trace.tokens.push_back(token);
    }
    if (baseline) {
        trace.worst = {{7, "Once upon a time there was a", " small", 2.5, 0.0004, 0.62, " big",
                        0.71, " small", 0.62},
                       {41, "time there was", " a", 1.5, 0.11, 0.83, " the", 0.52, " a", 0.83}};
    }
    for (int task = 0; task < 100; ++task) {
        trace.tasksProtocol = "tasks";
        trace.tasksCorrect.push_back(task % 10 < (extra > 0.01 ? 5 : 8));
    }
    return trace;
}

ExperimentDetail detailOf(qint64 id, const std::string& name, const std::string& scheme) {
    ExperimentDetail detail;
    ExperimentRecord& record = detail.record;
    record.id = id;
    record.name = name;
    record.modelName = record.modelPath = "demo";
    record.device = "Test processor";
    record.status = ExperimentStatus::Finished;
    record.metrics["perplexity"] = measured("perplexity", 7.4, 0.2);
    record.metrics["task_accuracy"] = measured("task_accuracy", 80, 4);
    detail.samples = {{"The cat", " sat on the mat and slept."}};
    if (!scheme.empty()) {
        record.recipe.steps = {{"ptq", {{"scheme", scheme}, {"method", "gptq"}}}};
        record.artifactPath = "/artifacts/" + std::to_string(id);
        record.metrics["weight_bytes"] = measured("weight_bytes", 2.1e6);
        for (int layer = 0; layer < 12; ++layer) {
            for (const char* kind : {"attn.q", "attn.k", "ffn.up", "ffn.down"}) {
                const std::string tensor =
                    "layers." + std::to_string(layer) + "." + kind + ".weight";
                detail.layerMetrics.push_back(
                    {layer, tensor, "sqnr_db", 30.0 + layer - (scheme == "int4-g32" ? 8 : 0)});
                detail.layerMetrics.push_back({layer, tensor, "relative_output_error",
                                               0.01 * (1 + layer) * (scheme == "int8" ? 1 : 4)});
            }
        }
        detail.layerMetrics.push_back({-1, "lm_head.weight", "sqnr_db", 22});
    }
    return detail;
}

struct Fixture : test::WindowFixture {
    Fixture() {
        service.details[1] = detailOf(1, "baseline", "");
        service.details[2] = detailOf(2, "careful", "int8");
        service.details[3] = detailOf(3, "small", "int4-g32");
        service.details[3].record.metrics["perplexity"] = measured("perplexity", 7.9, 0.2);
        service.details[3].record.metrics["task_accuracy"] = measured("task_accuracy", 50, 5);
        service.details[3].samples[0].text = " sat on the roof and slept.";
        for (int step = 0; step < 50; ++step) {
            service.details[3].series.push_back({"train_loss", double(step), 3.0 / (1 + step)});
        }
        service.traces[1] = traceWith(0, false);
        service.traces[2] = traceWith(0.0001, true);
        service.traces[3] = traceWith(0.06, true);
        for (const auto& [id, detail] : service.details) {
            service.records.push_back(detail.record);
        }
        show();
        window->compare({2, 3, 1});
        page = window->comparePage();
    }
    ComparePage* page = nullptr;
};

QStringList column(const QAbstractItemModel& model, int at) {
    QStringList texts;
    for (int row = 0; row < model.rowCount(); ++row) {
        texts << model.index(row, at).data().toString();
    }
    return texts;
}

}  // namespace

class CompareTest : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { test::prepareGuiTest(); }

    void anEmptyPageSaysWhatToDo() {
        test::WindowFixture fixture;
        fixture.show();
        fixture.window->showPage(MainWindow::Page::Compare);
        ComparePage* page = fixture.window->comparePage();
        const auto buttons = page->findChildren<QPushButton*>();
        const auto choose =
            std::find_if(buttons.begin(), buttons.end(), [](const QPushButton* button) {
                return button->isVisible() && button->text().contains(QStringLiteral("Choose"));
            });
        QVERIFY(choose != buttons.end());
        QTest::mouseClick(*choose, Qt::LeftButton);
        auto* picker = page->findChild<ComparePicker*>();
        QVERIFY(picker && picker->isVisible());
        picker->reject();
    }

    void theBaselineIsTheReference() {
        Fixture fixture;
        QCOMPARE(fixture.page->ids(), (std::vector<qint64>{1, 2, 3}));
        fixture.page->makeReference(3);
        QCOMPARE(fixture.page->ids(), (std::vector<qint64>{3, 1, 2}));
        fixture.page->removeExperiment(2);
        QCOMPARE(fixture.page->ids(), (std::vector<qint64>{3, 1}));
    }

    void differencesAreSaidInWords() {
        Fixture fixture;
        const QString text = fixture.page->findingsText();
        QVERIFY2(text.contains(QStringLiteral("The loss is real")), qPrintable(text));
        QVERIFY2(text.contains(QStringLiteral("Not distinguishable")), qPrintable(text));
        QVERIFY2(text.contains(QStringLiteral("16,320 tokens in 64 windows")), qPrintable(text));
        QVERIFY2(text.contains(QStringLiteral("McNemar")), qPrintable(text));
        CompareMetricsModel* metrics = fixture.page->metrics();
        QCOMPARE(metrics->columnCount(), 6);
        const int row = static_cast<int>(column(*metrics, 0).indexOf("Perplexity"));
        QVERIFY(row >= 0);
        // Columns: metric, A, B, B against A, C, C against A.
        QVERIFY(metrics->index(row, 3).data().toString().contains("not distinguishable"));
        QVERIFY(metrics->index(row, 5).data().toString().contains("real loss"));
        QCOMPARE(metrics->index(row, 5).data(CompareMetricsModel::GoodnessRole).toInt(), -1);
        QVERIFY(metrics->index(row, 5).data(Qt::ToolTipRole).toString().contains("95% interval"));
        QVERIFY(metrics->toText().startsWith(QStringLiteral("Metric\tA · baseline")));
    }

    void withoutValuesPerTokenNothingIsClaimed() {
        Fixture fixture;
        fixture.service.traces.erase(3);
        fixture.page->compare({1, 3});
        QVERIFY2(fixture.page->findingsText().contains(QStringLiteral("Not tested")),
                 qPrintable(fixture.page->findingsText()));
        CompareMetricsModel* metrics = fixture.page->metrics();
        const int row = static_cast<int>(column(*metrics, 0).indexOf("Perplexity"));
        QVERIFY(!metrics->index(row, 3).data().toString().contains("real"));
    }

    void equalSettingsAreHidden() {
        Fixture fixture;
        fixture.page->compare({2, 3});
        RecipeDiffModel* recipes = fixture.page->recipes();
        Tester tester(recipes, kQtTest);
        QCOMPARE(column(*recipes, 0), QStringList{QStringLiteral("Step 1 · scheme")});
        QCOMPARE(recipes->index(0, 1).data().toString(), QStringLiteral("int8"));
        QCOMPARE(recipes->index(0, 2).data().toString(), QStringLiteral("int4-g32"));
        QCheckBox* box = nullptr;
        for (QCheckBox* each : fixture.page->findChildren<QCheckBox*>()) {
            box = each->text().remove(QLatin1Char('&')).contains(QStringLiteral("equal settings"))
                      ? each
                      : box;
        }
        QVERIFY(box);
        box->setChecked(true);
        QVERIFY(column(*recipes, 0).contains(QStringLiteral("Step 1 · method")));
        QCOMPARE(recipes->rowCount(), recipes->equalCount() + 1);
        // A step that only one has.
        fixture.page->compare({1, 3});
        const int row = static_cast<int>(column(*recipes, 0).indexOf("Step 1 · scheme"));
        QVERIFY(row >= 0);
        QCOMPARE(recipes->index(row, 1).data().toString(), QStringLiteral("–"));
    }

    void heatMapsShareOneScale() {
        Fixture fixture;
        fixture.page->tabs()->setCurrentWidget(fixture.page->layers());
        const auto& maps = fixture.page->layers()->maps();
        QCOMPARE(maps.size(), std::size_t(2));  // the baseline has none
        QCOMPARE(fixture.page->layers()->metricChoice()->currentData().toString(),
                 QStringLiteral("relative_output_error"));
        LayerHeatMap* map = maps[1];
        QCOMPARE(map->grid().layers.size(), std::size_t(12));
        QCOMPARE(map->grid().rows.size(), 4);
        // Keyboard: second tensor of the third layer.
        map->setFocus();
        QTest::keyClick(map, Qt::Key_Home);
        QTest::keyClick(map, Qt::Key_Down);
        QTest::keyClick(map, Qt::Key_Right);
        QTest::keyClick(map, Qt::Key_Right);
        QVERIFY2(map->hoverText().contains("layers.2.attn.k.weight"), qPrintable(map->hoverText()));
        QVERIFY2(map->hoverText().contains("0.12"), qPrintable(map->hoverText()));
        QTest::keyClick(map, Qt::Key_Return);
        QCOMPARE(fixture.page->tabs()->currentWidget(),
                 static_cast<QWidget*>(fixture.page->weights()));
        // What lies outside the layers has a column of its own.
        auto* choice = fixture.page->layers()->metricChoice();
        choice->setCurrentIndex(choice->findData("sqnr_db"));
        QCOMPARE(map->grid().layers.back(), -1);
    }

    void tokensTellTheirProbabilities() {
        Fixture fixture;
        CompareTokens* tokens = fixture.page->tokens();
        fixture.page->tabs()->setCurrentWidget(tokens);
        QVERIFY(QTest::qWaitForWindowExposed(fixture.window.get()));
        tokens->experimentChoice()->setCurrentIndex(2);
        TokenStrip* strip = tokens->strip();
        QCOMPARE(strip->count(), 400);
        // Four of the 400 are context only; the whole text has 64 windows of 255.
        QVERIFY2(tokens->note()->text().contains(QStringLiteral("first 396 of 16320")),
                 qPrintable(tokens->note()->text()));
        QCOMPARE(tokens->worst()->model()->rowCount(), 2);
        QVERIFY(tokens->worst()->isVisible());
        // The second of the list is the 42nd scored token: number 42, as number 0 is not scored.
        tokens->worst()->selectRow(1);
        QCOMPARE(strip->current(), 42);
        QVERIFY2(strip->hoverText().contains("In the original"), qPrintable(strip->hoverText()));
        QTest::keyClick(strip, Qt::Key_Home);
        QVERIFY(strip->hoverText().contains("not scored"));
        QTest::keyClick(strip, Qt::Key_Right);
        QCOMPARE(strip->current(), 1);
        QTest::keyClick(strip, Qt::Key_Down);
        QVERIFY(strip->tokenRect(strip->current()).top() > strip->tokenRect(1).top());
        // Every token has its place, left to right and down.
        for (int i = 1; i < strip->count(); ++i) {
            const QRect before = strip->tokenRect(i - 1);
            const QRect here = strip->tokenRect(i);
            QVERIFY(here.top() > before.top() || here.left() >= before.right());
        }
        QVERIFY(tokens->valueChoice()->findText(QStringLiteral("Extra loss against A")) >= 0);
        tokens->experimentChoice()->setCurrentIndex(0);
        QVERIFY(!tokens->worst()->isVisible());
        QCOMPARE(tokens->valueChoice()->count(), 1);
    }

    void theWorstTokensSort() {
        WorstTokensModel model;
        Tester tester(&model, kQtTest);
        model.setTokens(traceWith(0.05, true).worst);
        QCOMPARE(model.index(0, WorstTokensModel::Token).data().toString(),
                 QStringLiteral("␣small"));
        QCOMPARE(model.index(0, WorstTokensModel::After).data().toString(),
                 QStringLiteral("<0.1%"));
        QCOMPARE(model.index(0, WorstTokensModel::Before).data().toString(), QStringLiteral("62%"));
        QVERIFY(model.index(0, WorstTokensModel::Instead).data().toString().contains("␣big"));
        QCOMPARE(visibleToken("\n"), QStringLiteral("⏎"));
        QCOMPARE(visibleToken(""), QStringLiteral("·"));
    }

    void modelsKeepTheirPromises() {
        CompareMetricsModel metrics;
        RecipeDiffModel recipes;
        Tester metricsTester(&metrics, kQtTest);
        Tester recipesTester(&recipes, kQtTest);
        ComparedExperiments experiments;
        for (const char* scheme : {"", "int8", "int4-g32"}) {
            experiments.push_back({detailOf(1, scheme, scheme), std::nullopt, {}});
            metrics.setExperiments(experiments);
            recipes.setExperiments(experiments);
        }
        metrics.setTheme(ChartTheme::darkTheme());
        recipes.setShowEqual(true);
        metrics.setExperiments({});
        recipes.setExperiments({});
        QCOMPARE(metrics.rowCount(), 0);
    }

    void divergence_data() {
        QTest::addColumn<QString>("text");
        QTest::addColumn<QString>("reference");
        QTest::addColumn<int>("at");
        QTest::newRow("equal") << "a b c"
                               << "a b c" << -1;
        QTest::newRow("word") << "sat on the roof"
                              << "sat on the mat" << 11;
        QTest::newRow("inside a word") << "she walked"
                                       << "she walks" << 4;
        QTest::newRow("shorter") << "she"
                                 << "she walks" << 0;
        QTest::newRow("at once") << "no"
                                 << "yes" << 0;
        QTest::newRow("empty") << ""
                               << "yes" << 0;
    }
    void divergence() {
        QFETCH(QString, text);
        QFETCH(QString, reference);
        QFETCH(int, at);
        QCOMPARE(firstDivergence(text, reference), qsizetype(at));
        const QString html = divergenceHtml(text, reference, ChartTheme::light());
        QCOMPARE(html.contains(QStringLiteral("<u")), at >= 0);
    }

    void answersMarkWhereTheyPart() {
        Fixture fixture;
        const auto answer = [&](int i) {
            auto* label = fixture.page->findChild<QLabel*>(QStringLiteral("answer%1").arg(i));
            return label ? label->text() : QString();
        };
        QVERIFY(!answer(1).contains(QStringLiteral("<u")));
        QVERIFY2(answer(2).contains(QStringLiteral(">roof</u>")), qPrintable(answer(2)));
    }

    void weightsAreReadOnlyWhenShown() {
        Fixture fixture;
        QVERIFY(fixture.engine.of<HistogramRequest>().empty());
        fixture.page->tabs()->setCurrentWidget(fixture.page->weights());
        // A: the original only; B and C: the original and what became of it.
        const auto asked = fixture.engine.of<HistogramRequest>();
        QCOMPARE(asked.size(), std::size_t(5));
        QCOMPARE(asked[2].second.path, std::string("/artifacts/2"));
        TensorHistogram histogram;
        histogram.tensor = asked[1].second.tensor;
        histogram.minimum = -1;
        histogram.maximum = 1;
        histogram.count = 6;
        histogram.bins = {1, 2, 3};
        fixture.engine.send(asked[1].first, JobFinished{histogram});
        QCOMPARE(
            fixture.page->weights()->charts()[1]->accessibleName(),
            QStringLiteral("Distribution of %1").arg(QString::fromStdString(histogram.tensor)));
        fixture.page->weights()->list()->setCurrentRow(3);
        QCOMPARE(fixture.engine.of<HistogramRequest>().size(), std::size_t(10));
    }

    void followsTheStore() {
        Fixture fixture;
        fixture.service.details.erase(2);
        fixture.service.remove({2});
        QTRY_COMPARE(fixture.page->ids(), (std::vector<qint64>{1, 3}));
    }

    void thePickerKeepsToItsLimits() {
        Fixture fixture;
        ComparePicker picker(fixture.service.records, {1}, 1, 2);
        QCOMPARE(picker.list()->model()->rowCount(), 2);
        auto* accept = picker.findChild<QPushButton*>();
        for (QPushButton* button : picker.findChildren<QPushButton*>()) {
            accept = button->text() == QStringLiteral("Compare") ? button : accept;
        }
        QVERIFY(!accept->isEnabled());
        picker.list()->selectAll();
        QVERIFY(accept->isEnabled());
        QCOMPARE(picker.chosen().size(), std::size_t(2));
        picker.filter()->setText(QStringLiteral("careful"));
        QCOMPARE(picker.list()->model()->rowCount(), 1);
    }

    void aLongTextDrawsQuickly() {
        TokenStrip strip;
        std::vector<StripToken> tokens;
        for (int i = 0; i < 2048; ++i) {
            tokens.push_back({QStringLiteral(" word%1").arg(i), 0.01 * (i % 50), true});
        }
        strip.resize(1000, 600);
        strip.setTokens(std::move(tokens), [](int) { return QString(); });
        QElapsedTimer timer;
        timer.start();
        for (int frame = 0; frame < 10; ++frame) {
            strip.grab();
        }
        qInfo("token strip: %.1f ms a frame", timer.nsecsElapsed() / 1e7);
        QVERIFY(timer.elapsed() < 5000);
    }
};

QTEST_MAIN(CompareTest)
#include "tst_compare.moc"
