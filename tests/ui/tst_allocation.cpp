// Mixed precision in the window: the model behind the slider without widgets, then the page: real
// slider, map, menu, queue and table over fakes.
#include <QApplication>
#include <QComboBox>
#include <QDoubleSpinBox>
#include <QMenu>
#include <QPushButton>
#include <QSignalSpy>
#include <QSlider>
#include <QSpinBox>
#include <QStackedWidget>
#include <QStandardItemModel>
#include <QTableView>
#include <QtTest>
#include <algorithm>
#include <cmath>
#include <ctime>

#include "tests/support/window_fixture.h"
#include "ui/charts/allocation_chart.h"
#include "ui/charts/bit_map.h"
#include "ui/models/allocation_model.h"
#include "ui/models/allocation_runs_model.h"
#include "ui/pages/allocation_page.h"

using namespace fettle;
using namespace fettle::ui;
using Target = AllocationModel::Target;

namespace {

constexpr double kUnitWeights = 1 << 20;
constexpr double kOtherBytes = 3 << 20;
constexpr double kKvBytes = 1024;

/// Four units a layer; later layers bear less, and what is multiplied last of all the least.
std::vector<AllocationUnit> layeredUnits(int layers) {
    std::vector<AllocationUnit> units;
    for (int layer = 0; layer < layers; ++layer) {
        int kind = 0;
        for (const char* name : {"attn.qkv", "attn.o", "ffn.gate_up", "ffn.down"}) {
            AllocationUnit unit;
            unit.name = "layers." + std::to_string(layer) + "." + name;
            unit.layer = layer;
            const double loss = 0.01 * (1 + layer) * (1 + kind++ * 0.37);
            for (const auto& [scheme, bits] : {std::pair{"int2-g64", 2.25},
                                               {"int3-g128", 3.125},
                                               {"int4-g32", 4.5},
                                               {"w8a16", 8.0}}) {
                unit.choices.push_back(
                    {scheme, kUnitWeights * bits / 8, loss * std::pow(0.2, bits - 2)});
            }
            unit.choices.push_back({"none", kUnitWeights * 2, 0});
            units.push_back(unit);
        }
    }
    return units;
}

Measurement number(const char* name, double value) {
    Measurement metric;
    metric.name = name;
    metric.value = value;
    return metric;
}

ExperimentRecord finishedRun(qint64 id, Recipe recipe) {
    ExperimentRecord record;
    record.id = id;
    record.name = "run " + std::to_string(id);
    record.modelName = "demo";
    record.modelPath = "demo";
    record.modelHash = "m";
    record.device = "cpu";
    record.status = ExperimentStatus::Finished;
    record.recipe = std::move(recipe);
    return record;
}

Recipe ptqRecipe(nlohmann::json params) {
    Recipe recipe;
    recipe.steps.push_back({"ptq", std::move(params)});
    return recipe;
}

/// The run that scored the weights.
ExperimentDetail scoredRun(qint64 id, int layers) {
    ExperimentDetail detail;
    detail.record = finishedRun(id, ptqRecipe({{"target_bits", 4.0}, {"method", "gptq"}}));
    const std::vector<AllocationUnit> units = layeredUnits(layers);
    detail.layerMetrics = toLayerMetrics(units);
    const double weights = kUnitWeights * static_cast<double>(units.size());
    for (const Measurement& metric :
         {number("mixed_weights", weights), number("mixed_bits", 3.9), number("predicted_kl", 0.02),
          number("kl_mean", 0.025), number("bits_per_weight", 5), number("parameters", weights)}) {
        detail.record.metrics[metric.name] = metric;
    }
    return detail;
}

ModelReport reportOf(int layers) {
    ModelReport report = test::smallReport("demo");
    report.weightBytes = static_cast<std::uint64_t>(kOtherBytes + 2 * kUnitWeights * 4 * layers);
    report.kvBytesPerToken = static_cast<std::uint64_t>(kKvBytes);
    report.contextLength = 2048;
    return report;
}

AllocationScores scoresOf(int layers) {
    AllocationScores scores = allocationScores(scoredRun(1, layers));
    addModelFacts(scores, reportOf(layers));
    return scores;
}

}  // namespace

class AllocationTest : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { test::prepareGuiTest(); }

    // Without widgets.

    void scoresComeOutOfAnExperiment() {
        const AllocationScores scores = scoresOf(3);
        QCOMPARE(scores.units.size(), std::size_t{12});
        QCOMPARE(scores.units[0].choices.size(), std::size_t{5});
        QVERIFY(scores.divergence);
        QVERIFY(scores.otherBytes.has_value());
        QCOMPARE(*scores.otherBytes, kOtherBytes);
        ExperimentDetail none = scoredRun(1, 3);
        none.record.metrics.clear();
        QVERIFY(allocationScores(none).empty());
        QVERIFY(!mayHoldScores(none.record));
    }

    void everyTargetIsKept() {
        AllocationModel model;
        model.setScores(scoresOf(4));
        QCOMPARE(model.target(), Target::Bits);
        QVERIFY(model.bits() <= 4 && model.bits() > 3.5);
        model.setValue(3);
        QVERIFY(model.bits() <= 3 && model.withinTarget());
        const double loss = model.allocation().loss;
        model.setTarget(Target::FileSize);
        QCOMPARE(model.allocation().loss, loss);  // said in another unit, the same allocation
        model.setValue(kOtherBytes + kUnitWeights * 16 * 3.5 / 8);
        QVERIFY(model.weightBytes() <= model.value());
        QVERIFY(model.allocation().loss < loss);
        model.setTarget(Target::Memory);
        model.setContext(1000);
        model.setValue(kOtherBytes + kUnitWeights * 16 * 3.5 / 8);
        QVERIFY(model.memoryBytes() <= model.value());
        QCOMPARE(model.memoryBytes() - model.weightBytes(), 1000 * kKvBytes);
        const double bits = model.bits();
        model.setContext(1500);  // the cache takes room from the weights
        QVERIFY(model.bits() < bits);
        QVERIFY(model.memoryBytes() <= model.value());
        model.setValue(1000);
        QVERIFY(!model.withinTarget());
        QVERIFY(std::abs(model.bits() - 2.25) < 1e-9);
    }

    void speedIsPredictedFromUniformRunsOnly() {
        std::vector<ExperimentRecord> records{scoredRun(1, 4).record};
        AllocationScores scores = scoresOf(4);
        addMeasuredSpeeds(scores, records);
        AllocationModel model;
        model.setScores(scores);
        QVERIFY(!model.problem(Target::Speed).isEmpty());
        QVERIFY(std::isnan(model.tokensPerSecond()));
        const auto add = [&](qint64 id, Recipe recipe, double speed) {
            records.push_back(finishedRun(id, std::move(recipe)));
            records.back().metrics["decode_tokens_per_s"] = number("decode_tokens_per_s", speed);
        };
        add(2, {}, 40);
        add(3, ptqRecipe({{"scheme", "w8a16"}}), 80);
        add(4, ptqRecipe({{"scheme", "int4-g32"}}), 120);
        add(5, ptqRecipe({{"scheme", "int2-g64"}, {"exclude", {"layers.0.*"}}}), 500);
        add(6, ptqRecipe({{"schemes", {"layers.0.attn.o=int2-g64"}}}), 500);
        add(7, ptqRecipe({{"scheme", "int3-g128"}}), 500);
        records.back().device = "another";
        addMeasuredSpeeds(scores, records);
        QCOMPARE(scores.secondsPerToken.size(), std::size_t{3});
        model.setScores(scores);
        QVERIFY(model.problem(Target::Speed).isEmpty());
        model.setTarget(Target::Speed);
        model.setValue(90);
        QVERIFY(model.tokensPerSecond() >= 90 * (1 - 1e-9));
        QVERIFY(model.tokensPerSecond() < 110);
        QVERIFY(model.unmeasured().isEmpty());
        QVERIFY(std::abs(model.range().low - 40) < 1e-6);
        QVERIFY(std::abs(model.range().high - 120) < 1e-6);
        model.setValue(121);
        QVERIFY(!model.withinTarget());
        model.pin(0, 0);  // int2-g64 was never measured with one scheme for all
        QCOMPARE(model.target(), Target::Bits);
        QVERIFY(!model.problem(Target::Speed).isEmpty());
        QVERIFY(model.unmeasured().contains(QStringLiteral("int2-g64")));
    }

    void pinsHoldAndTheRecipeSaysThem() {
        AllocationModel model;
        model.setScores(scoresOf(4));
        model.pin(5, 4);
        model.pin(6, 0);
        for (const double bits : {3.3, 3.6, 6.0}) {
            model.setValue(bits);
            QCOMPARE(model.allocation().chosen[5], std::size_t{4});
            QCOMPARE(model.allocation().chosen[6], std::size_t{0});
            QVERIFY(model.bits() <= bits);
        }
        model.setScores(scoresOf(4));  // facts that come later leave pins alone
        QCOMPARE(model.pinnedCount(), std::size_t{2});
        const Recipe recipe = model.recipe();
        QCOMPARE(recipe.steps.size(), std::size_t{1});
        const nlohmann::json& params = recipe.steps[0].params;
        QCOMPARE(params.at("method").get<std::string>(), std::string("gptq"));
        QVERIFY(!params.contains("target_bits"));
        const auto list = params.at("schemes").get<std::vector<std::string>>();
        QCOMPARE(list.size(), std::size_t{16});
        QCOMPARE(list[5], std::string("layers.1.attn.o=none"));
        const auto back = allocationFrom(model.scores().units, list);
        QVERIFY(back.has_value());
        QCOMPARE(back->chosen, model.allocation().chosen);
        model.unpinAll();
        QCOMPARE(model.pinnedCount(), std::size_t{0});
    }

    // A drag over a model of 36 layers: every position in well under 50 ms.
    void aDragIsFluent() {
        AllocationModel model;
        model.setScores(scoresOf(36));
        std::vector<double> times;
        for (double bits = 2.3; bits < 15; bits += 0.13) {
            // Time of this process: other programs may have the processor for a while.
            const std::clock_t start = std::clock();
            model.setValue(bits);
            times.push_back(1000.0 * static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
        }
        std::sort(times.begin(), times.end());
        const double median = times[times.size() / 2];
        qInfo("144 groups of weights: median %.2f ms, longest %.2f ms", median, times.back());
        QVERIFY2(median < 50, qPrintable(QString::number(median)));
    }

    // The page.

    void init() {
        m_fixture = std::make_unique<test::WindowFixture>();
        m_page = nullptr;
    }
    void cleanup() {
        m_page = nullptr;
        m_fixture.reset();
    }

    void withoutScoresItSaysWhatToDo() {
        open();
        QCOMPARE(m_page->stack()->currentIndex(), 0);
        QVERIFY(!m_page->sources()->isEnabled());
        answerEstimates();
        QVERIFY(m_page->measureButton()->isEnabled());
        QTest::mouseClick(m_page->measureButton(), Qt::LeftButton);
        const auto runs = m_fixture->engine.of<RunRequest>();
        QCOMPARE(runs.size(), std::size_t{2});  // the baseline first
        QVERIFY(runs[0].second.recipe.steps.empty());
        const RecipeStep& step = runs[1].second.recipe.steps.at(0);
        QCOMPARE(step.technique, std::string("ptq"));
        QVERIFY(step.params.at("target_bits").get<double>() > 0);
        // When it is done its scores are shown without another click.
        ExperimentDetail detail = scoredRun(runs[1].second.experiment, 3);
        m_fixture->service.details[detail.record.id] = detail;
        for (ExperimentRecord& record : m_fixture->service.records) {
            if (record.id == detail.record.id) {
                record = detail.record;
            }
        }
        emit m_fixture->service.experimentChanged(detail.record.id);
        QTRY_COMPARE(m_page->stack()->currentIndex(), 1);
        QCOMPARE(m_page->model()->scores().experiment, qint64{detail.record.id});
    }

    void theSliderMovesMapAndPoint() {
        open(6);
        QVERIFY(!m_page->map()->grid().empty());
        QCOMPARE(m_page->map()->grid().rows.size(), qsizetype{4});
        QCOMPARE(m_page->map()->grid().layers.size(), std::size_t{6});
        m_page->slider()->setValue(0);
        const QPointF low = m_page->chart()->currentPlace();
        QCOMPARE(bitsAt(0), 2.25);
        QVERIFY(m_page->factsText().contains(QStringLiteral("2.250 bits")));
        m_page->slider()->setFocus();
        for (int i = 0; i < 12; ++i) {
            QTest::keyClick(m_page->slider(), Qt::Key_PageUp);
        }
        QVERIFY(m_page->model()->bits() > 4);
        const QPointF high = m_page->chart()->currentPlace();
        QVERIFY(high.x() > low.x() + 10);
        QVERIFY(high.y() > low.y() + 10);  // less loss lies lower
        QVERIFY(std::abs(m_page->valueBox()->value() - m_page->model()->value()) < 1e-3);
        m_page->slider()->setValue(m_page->slider()->maximum());
        QCOMPARE(bitsAt(0), 16.0);
        // A drag on the chart is a wish for bits.
        const QPoint middle = ((low + high) / 2).toPoint();
        QTest::mouseClick(m_page->chart(), Qt::LeftButton, Qt::NoModifier, middle);
        QVERIFY(m_page->model()->bits() < 16);
    }

    void memoryAsksForAContext() {
        open(6);
        QVERIFY(!m_page->contextBox()->isVisible());
        choose(Target::Memory);
        QVERIFY(m_page->contextBox()->isVisible());
        QCOMPARE(m_page->contextBox()->value(), 2048);  // the model's own, it is shorter
        m_page->contextBox()->setValue(1024);
        m_page->valueBox()->setValue(16);
        QVERIFY(m_page->model()->memoryBytes() <= 16 * 1024.0 * 1024.0);
        QVERIFY(m_page->model()->withinTarget());
        QVERIFY(m_page->factsText().contains(QStringLiteral("with 1024 tokens")));
        m_page->valueBox()->setValue(1);
        QVERIFY(!m_page->model()->withinTarget());
    }

    void targetsThatLackNumbersSayWhy() {
        open(3);
        const auto* items = qobject_cast<QStandardItemModel*>(m_page->targets()->model());
        const int speed = m_page->targets()->findData(static_cast<int>(Target::Speed));
        QVERIFY(!items->item(speed)->isEnabled());
        QVERIFY(items->item(speed)->toolTip().contains(QStringLiteral("measured")));
        QVERIFY(!m_page->factsText().contains(QStringLiteral("tokens/s")));
    }

    void aClickPinsACell() {
        open(6);
        m_page->valueBox()->setValue(3);
        const QPoint cell = m_page->map()->cellOf(9);
        QVERIFY(cell.x() >= 0);
        QTest::mouseClick(m_page->map(), Qt::LeftButton, Qt::NoModifier,
                          m_page->map()->cellRect(cell.y(), cell.x()).center());
        QVERIFY(m_page->menu());
        QAction* leave = nullptr;
        for (QAction* action : m_page->menu()->actions()) {
            if (action->text().startsWith(QStringLiteral("Leave as it is"))) {
                leave = action;
            }
        }
        QVERIFY(leave);
        leave->trigger();
        m_page->menu()->close();
        QCOMPARE(m_page->model()->pinned(9), 4);
        QCOMPARE(bitsAt(9), 16.0);
        QVERIFY(m_page->map()->grid().at(cell.y(), cell.x()).pinned);
        QVERIFY(m_page->unpinButton()->isVisible());
        QVERIFY(m_page->model()->bits() <= 3);
        // Likewise with the keyboard.
        m_page->map()->setFocus();
        QTest::keyClick(m_page->map(), Qt::Key_Home);
        QTest::keyClick(m_page->map(), Qt::Key_Return);
        QVERIFY(m_page->menu());
        m_page->menu()->actions().at(3)->trigger();
        m_page->menu()->close();
        QCOMPARE(m_page->model()->pinnedCount(), std::size_t{2});
        QTest::mouseClick(m_page->unpinButton(), Qt::LeftButton);
        QCOMPARE(m_page->model()->pinnedCount(), std::size_t{0});
        QVERIFY(!m_page->unpinButton()->isVisible());
    }

    void whatIsRunIsHeldAgainstThePrediction() {
        open(6);
        QCOMPARE(m_page->runs()->rowCount(), 1);  // the run that scored
        m_page->valueBox()->setValue(3.5);
        const double predicted = m_page->model()->allocation().loss;
        QTest::mouseClick(m_page->runButton(), Qt::LeftButton);
        const auto runs = m_fixture->engine.of<RunRequest>();
        QCOMPARE(runs.size(), std::size_t{1});
        QCOMPARE(runs[0].second.recipe.steps.at(0).params.at("schemes").size(), std::size_t{24});
        QCOMPARE(runs[0].second.inputs.evaluate, std::string("/text"));
        QTRY_COMPARE(m_page->runs()->rowCount(), 2);
        const auto cell = [&](int column) {
            return m_page->runs()->index(1, column).data().toString();
        };
        const QString promise = QString::fromStdString(formatMetric("kl_mean", predicted));
        QCOMPARE(cell(AllocationRunsModel::Loss), promise + QStringLiteral(" → –"));
        QVERIFY(cell(AllocationRunsModel::Run).contains(QStringLiteral("queued")));
        for (ExperimentRecord& record : m_fixture->service.records) {
            if (record.id == runs[0].second.experiment) {
                record.status = ExperimentStatus::Finished;
                record.metrics["kl_mean"] = number("kl_mean", 0.0321);
            }
        }
        emit m_fixture->service.experimentChanged(runs[0].second.experiment);
        QTRY_COMPARE(cell(AllocationRunsModel::Loss),
                     promise + QStringLiteral(" → ") +
                         QString::fromStdString(formatMetric("kl_mean", 0.0321)));
        QCOMPARE(m_page->chart()->runCount(), 2);
        QSignalSpy asked(m_page, &AllocationPage::experimentRequested);
        emit m_page->table()->activated(m_page->runs()->index(1, 0));
        QCOMPARE(asked.size(), 1);
    }

    // Numbers on cells have at least 4.5:1, in both themes.
    void inkReadsOnEveryCell() {
        const auto luminance = [](const QColor& color) {
            const auto linear = [](double c) {
                return c <= 0.03928 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4);
            };
            return 0.2126 * linear(color.redF()) + 0.7152 * linear(color.greenF()) +
                   0.0722 * linear(color.blueF());
        };
        for (const ChartTheme& theme : {ChartTheme::light(), ChartTheme::darkTheme()}) {
            BitMap map;
            map.setTheme(theme);
            for (double bits = 2; bits <= 16; bits += 0.25) {
                const QColor ground = map.colorOf(bits);
                const double a = luminance(ground);
                const double b = luminance(map.inkOn(ground));
                const double contrast = (std::max(a, b) + 0.05) / (std::min(a, b) + 0.05);
                QVERIFY2(contrast >= 4.5, qPrintable(QString::number(bits)));
            }
            // Two and three bits, three and four: told apart by lightness alone.
            QVERIFY(std::abs(map.colorOf(2.25).lightness() - map.colorOf(3.125).lightness()) > 8);
            QVERIFY(std::abs(luminance(map.colorOf(3.125)) - luminance(map.colorOf(4.5))) > 0.02);
        }
    }

    void everyFieldHasAName() {
        open(3);
        for (const QWidget* widget :
             {static_cast<QWidget*>(m_page->slider()), static_cast<QWidget*>(m_page->valueBox()),
              static_cast<QWidget*>(m_page->contextBox()), static_cast<QWidget*>(m_page->targets()),
              static_cast<QWidget*>(m_page->sources()), static_cast<QWidget*>(m_page->map()),
              static_cast<QWidget*>(m_page->chart()), static_cast<QWidget*>(m_page->table())}) {
            QVERIFY2(!widget->accessibleName().isEmpty(), widget->metaObject()->className());
        }
    }

    // Pictures for whoever wants to look: FETTLE_TEST_PICTURES names the folder.
    void pictures() {
        const QString folder = qEnvironmentVariable("FETTLE_TEST_PICTURES");
        if (folder.isEmpty()) {
            QSKIP("FETTLE_TEST_PICTURES is not set");
        }
        for (const Theme::Mode mode : {Theme::Mode::Light, Theme::Mode::Dark}) {
            Theme::instance()->setMode(mode);
            const QString name = Theme::toString(mode);
            init();
            open();
            QTest::qWait(300);
            QVERIFY(m_fixture->window->grab().save(folder + "/precision-empty-" + name + ".png"));
            init();
            open(24);
            m_page->valueBox()->setValue(3.6);
            m_page->model()->pin(9, 4);
            QTest::mouseClick(m_page->runButton(), Qt::LeftButton);
            QTest::qWait(300);
            QVERIFY(m_fixture->window->grab().save(folder + "/precision-" + name + ".png"));
        }
        Theme::instance()->setMode(Theme::Mode::Light);
    }

private:
    /// The page, with a scored model of so many layers.
    void open(int layers = 0) {
        if (layers > 0) {
            RunRequest request;
            request.modelPath = "demo";
            request.inputs.evaluate = "/text";
            const qint64 id = m_fixture->service.create(request, QStringLiteral("scored"));
            ExperimentDetail detail = scoredRun(id, layers);
            m_fixture->service.records.back() = detail.record;
            m_fixture->service.details[id] = detail;
        }
        m_fixture->show();
        m_fixture->window->showPage(MainWindow::Page::Precision);
        m_page = m_fixture->window->allocation();
        for (const auto& [job, request] : m_fixture->engine.of<InspectRequest>()) {
            m_fixture->engine.send(job, JobFinished{reportOf(layers)});
        }
        if (layers > 0) {
            QCOMPARE(m_page->stack()->currentIndex(), 1);
        }
    }

    void answerEstimates() {
        QTRY_VERIFY(!m_fixture->engine.of<EstimateRequest>().empty());
        QTest::qWait(300);
        for (const auto& [job, request] : m_fixture->engine.of<EstimateRequest>()) {
            RecipeEstimate estimate;
            estimate.seconds = 12;
            estimate.peakBytes = 1 << 20;
            m_fixture->engine.send(job, JobFinished{estimate});
        }
    }

    void choose(Target target) {
        QComboBox* box = m_page->targets();
        box->setCurrentIndex(box->findData(static_cast<int>(target)));
        emit box->activated(box->currentIndex());
    }

    /// Bits that the map shows for a unit.
    double bitsAt(int unit) const {
        const QPoint cell = m_page->map()->cellOf(unit);
        return m_page->map()->grid().at(cell.y(), cell.x()).bits;
    }

    std::unique_ptr<test::WindowFixture> m_fixture;
    AllocationPage* m_page = nullptr;
};

QTEST_MAIN(AllocationTest)
#include "tst_allocation.moc"
