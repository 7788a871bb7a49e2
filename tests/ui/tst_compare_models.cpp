// The parts of the Compare page that go back to the models: a text of the user's own scored by two
// of them, and the roofline.
#include <QComboBox>
#include <QFile>
#include <QLabel>
#include <QPlainTextEdit>
#include <QPushButton>
#include <QTabWidget>
#include <QTableWidget>
#include <QTemporaryDir>
#include <QtTest>

#include "tests/support/window_fixture.h"
#include "ui/charts/roofline_chart.h"
#include "ui/charts/token_strip.h"
#include "ui/pages/compare_own_text.h"
#include "ui/pages/compare_page.h"
#include "ui/pages/compare_roofline.h"
#include "ui/pages/compare_tokens.h"

using namespace fettle;
using namespace fettle::ui;

namespace {

Measurement number(const char* name, double value) {
    Measurement m;
    m.name = name;
    m.value = value;
    return m;
}

ExperimentDetail experiment(qint64 id, const char* name, const char* scheme, double decode,
                            double prefill, double bytes) {
    ExperimentDetail detail;
    ExperimentRecord& record = detail.record;
    record.id = id;
    record.name = name;
    record.modelName = record.modelPath = "demo";
    record.device = "Test processor";
    record.status = ExperimentStatus::Finished;
    if (scheme[0] != 0) {
        record.recipe.steps = {{"ptq", {{"scheme", scheme}}}};
        record.artifactPath = "/artifacts/" + std::to_string(id);
    }
    for (const auto& [metric, value] : {std::pair("decode_tokens_per_s", decode),
                                        {"prefill_tokens_per_s", prefill},
                                        {"weight_bytes", bytes},
                                        {"parameters", 1e6}}) {
        record.metrics[metric] = number(metric, value);
    }
    for (const char* metric : {"decode_tokens_per_s", "prefill_tokens_per_s"}) {
        record.metrics[metric].protocol = "speed prompt=100 new=20 threads=2 device=cpu";
    }
    return detail;
}

/// A model of 900 000 multiplied weights and a table of 100 000 that is only looked up.
ModelReport modelOf(double bytesPerWeight) {
    ModelReport report = test::smallReport("demo");
    report.layers = 2;
    report.heads = 4;
    report.headDim = 16;
    report.kvBytesPerToken = 512;
    const auto bytes = [&](double values) {
        return static_cast<std::uint64_t>(values * bytesPerWeight);
    };
    report.tensors = {{"embed", "BF16", {1000, 100}, 200'000, 16, {"embed.weight"}},
                      {"head", "BF16", {1000, 100}, bytes(1e5), 16, {"lm_head.weight"}},
                      {"layers.0", "BF16", {1000, 800}, bytes(8e5), 16, {"layers.0.ffn.up.weight"}},
                      {"norm", "F32", {100}, 400, 32, {"final_norm.weight"}}};
    return report;
}

struct Fixture : test::WindowFixture {
    Fixture() {
        service.details[1] = experiment(1, "baseline", "", 1000, 20000, 2e6);
        service.details[2] = experiment(2, "small", "int8", 1500, 30000, 1.1e6);
        service.details[3] = experiment(3, "lost", "int8", 1400, 30000, 1.1e6);
        service.details[3].record.artifactPath.clear();
        for (const auto& [id, detail] : service.details) {
            service.records.push_back(detail.record);
        }
        show();
        window->compare({1, 2, 3});
        page = window->comparePage();
        tokens = page->tokens();
        own = tokens->ownText();
        page->tabs()->setCurrentWidget(tokens);
        tokens->sourceChoice()->setCurrentIndex(1);
        tokens->experimentChoice()->setCurrentIndex(1);
    }
    /// Posts the text and returns its job.
    JobId score(const QString& text) {
        own->text()->setPlainText(text);
        QTest::mouseClick(own->runButton(), Qt::LeftButton);
        const auto posted = engine.of<EvaluateRequest>();
        return posted.empty() ? 0 : posted.back().first;
    }
    ComparePage* page = nullptr;
    CompareTokens* tokens = nullptr;
    CompareOwnText* own = nullptr;
};

EvaluationTrace ownTrace() {
    EvaluationTrace trace;
    trace.protocol = "ppl";
    trace.hasBaseline = true;
    trace.blocks = {{2, 3, 0.6, 1}};
    trace.tokens = {
        {"Hello", false, 0, 0, 0}, {" my", true, 1, 0.9, 0.1}, {" dog", true, 2, 1.5, 0.5}};
    trace.worst = {{1, "Hello my", " dog", 0.5, 0.13, 0.22, " cat", 0.4, " dog", 0.22}};
    return trace;
}

}  // namespace

class CompareModelsTest : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { test::prepareGuiTest(); }

    void anyTextIsScoredByBothModels() {
        Fixture fixture;
        QVERIFY(fixture.own->isVisible());
        QVERIFY(!fixture.own->runButton()->isEnabled());  // there is no text yet
        const JobId job = fixture.score(QStringLiteral("Hello my dog"));
        QVERIFY(job != 0);
        const EvaluateRequest asked = fixture.engine.of<EvaluateRequest>().back().second;
        QCOMPARE(asked.modelPath, std::string("/artifacts/2"));
        QCOMPARE(asked.baselinePath, std::string("demo"));
        QVERIFY(!asked.measure.speed);
        QFile file(QString::fromStdString(asked.textPath));
        QVERIFY(file.open(QIODevice::ReadOnly));
        QCOMPARE(file.readAll(), QByteArray("Hello my dog"));
        QVERIFY(fixture.own->cancelButton()->isVisible());
        fixture.engine.send(job, JobFinished{EvaluateResult{{}, ownTrace()}});
        QCOMPARE(fixture.tokens->strip()->count(), 3);
        QCOMPARE(fixture.tokens->valueChoice()->currentText(),
                 QStringLiteral("KL divergence from A"));
        fixture.tokens->strip()->setCurrent(2);
        const QString told = fixture.tokens->strip()->hoverText();
        QVERIFY2(told.contains("In A") && told.contains("0.5 nats"), qPrintable(told));
        QVERIFY2(fixture.tokens->note()->text().startsWith("2 of 2 scored tokens of your text"),
                 qPrintable(fixture.tokens->note()->text()));
        QVERIFY(!QFile::exists(QString::fromStdString(asked.textPath)));  // nothing stays behind
        // Values of another text are not shown beside this one.
        fixture.own->text()->setPlainText(QStringLiteral("Hello my cat"));
        QCOMPARE(fixture.tokens->strip()->count(), 0);
    }

    void scoringIsCancelledAndErrorsAreSaid() {
        Fixture fixture;
        JobId job = fixture.score(QStringLiteral("Some text"));
        QTest::mouseClick(fixture.own->cancelButton(), Qt::LeftButton);
        QCOMPARE(fixture.engine.cancelled, std::vector<JobId>{job});
        fixture.engine.send(job, JobCancelled{});
        QVERIFY(!fixture.own->isRunning());
        QVERIFY(fixture.own->runButton()->isVisible());
        job = fixture.score(QStringLiteral("Some text"));
        fixture.engine.send(job, JobFailed{{ErrorKind::BadInput, "/artifacts/2: gone"}});
        QCOMPARE(fixture.own->status()->text(), QStringLiteral("/artifacts/2: gone"));
        QVERIFY(!fixture.own->isRunning());
        // Another experiment: what ran is about other models.
        job = fixture.score(QStringLiteral("Some text"));
        fixture.tokens->experimentChoice()->setCurrentIndex(2);
        QCOMPARE(fixture.engine.cancelled.back(), job);
        fixture.engine.send(job, JobFinished{EvaluateResult{{}, ownTrace()}});
        QCOMPARE(fixture.tokens->strip()->count(), 0);
    }

    void whatCannotBeScoredSaysWhy() {
        Fixture fixture;
        fixture.own->text()->setPlainText(QStringLiteral("text"));
        fixture.tokens->experimentChoice()->setCurrentIndex(2);
        QVERIFY(!fixture.own->runButton()->isEnabled());
        QVERIFY2(fixture.own->status()->text().contains("kept no model"),
                 qPrintable(fixture.own->status()->text()));
        fixture.tokens->experimentChoice()->setCurrentIndex(0);
        QVERIFY(!fixture.own->runButton()->isEnabled());
        QTemporaryDir folder;
        QFile binary(folder.filePath("binary.txt"));
        QVERIFY(binary.open(QIODevice::WriteOnly));
        binary.write(QByteArray("a\0b", 3));
        binary.close();
        QVERIFY(!fixture.own->readFile(binary.fileName()));
        QVERIFY(!fixture.own->readFile(folder.filePath("missing.txt")));
        QFile plain(folder.filePath("plain.txt"));
        QVERIFY(plain.open(QIODevice::WriteOnly));
        plain.write("plain words");
        plain.close();
        QVERIFY(fixture.own->readFile(plain.fileName()));
        QCOMPARE(fixture.own->text()->toPlainText(), QStringLiteral("plain words"));
    }

    void costsCountWhatIsRead() {
        const TokenCost cost = tokenCost(modelOf(2));
        QCOMPARE(cost.unreadWeights, 1e5);
        QCOMPARE(cost.weightBytes, 2 * 9e5 + 400);
        QCOMPARE(cost.weightFlops, 2 * 9e5);  // a norm multiplies nothing by a matrix
        QCOMPARE(cost.contextFlops, 4.0 * 4 * 16 * 2);
        ModelReport tied = modelOf(2);
        tied.tensors.erase(tied.tensors.begin() + 1);
        QCOMPARE(tokenCost(tied).unreadWeights, 0.0);  // the table is the head as well
    }

    void roofsAreTheBestThatWasMeasured() {
        Fixture fixture;
        const TokenCost original = tokenCost(modelOf(2));
        auto& records = fixture.service.records;
        DeviceRoofs roofs = measuredRoofs(records, "Test processor", "demo", original);
        // Context as the protocol of the speed says: 100 tokens and half of an answer of 20.
        const double context = 110 * original.contextBytes;
        QCOMPARE(roofs.bytesPerSecond, 1000 * (2e6 + context));  // the baseline's: more bytes
        QCOMPARE(roofs.bytesFrom, qint64{1});
        QCOMPARE(roofs.flopsPerSecond, 30000 * (2 * 9e5 + original.contextFlops * 50));
        // Emulated speeds, drafts and other devices say nothing about the device.
        records[1].metrics["prefill_tokens_per_s"].native = false;
        records[2].recipe.steps.push_back({"speculative", {}});
        roofs = measuredRoofs(records, "Test processor", "demo", original);
        QCOMPARE(roofs.flopsPerSecond, 20000 * (2 * 9e5 + original.contextFlops * 50));
        QVERIFY(!measuredRoofs(records, "Another", "demo", original).known());
        const auto points =
            rooflinePoints(original, roofs, records[0], fixture.service.details[1].measure);
        QCOMPARE(points.size(), std::size_t{2});
        QVERIFY(points[1].intensity < points[0].intensity);
        QVERIFY(points[1].memoryBound);
        const double bytes = original.weightBytes + 110 * original.contextBytes;
        QCOMPARE(points[1].predicted, roofs.bytesPerSecond / bytes);
        QCOMPARE(points[1].measured, std::optional(1000.0));
    }

    void theRooflineIsDrawnFromTheModelsFiles() {
        Fixture fixture;
        CompareRoofline* roofline = fixture.page->roofline();
        QVERIFY(fixture.engine.of<InspectRequest>().empty() ||
                fixture.engine.of<InspectRequest>().back().second.path != "/artifacts/2");
        fixture.page->tabs()->setCurrentWidget(roofline);
        for (const auto& [job, request] : fixture.engine.of<InspectRequest>()) {
            fixture.engine.send(job, JobFinished{modelOf(request.path == "demo" ? 2 : 1)});
        }
        QCOMPARE(roofline->chart()->series().size(), std::size_t{2});
        QCOMPARE(roofline->table()->rowCount(), 4);
        QVERIFY2(roofline->note()->text().contains("Predicted") &&
                     roofline->note()->text().contains("kept no model"),
                 qPrintable(roofline->note()->text()));
        QCOMPARE(roofline->table()->item(1, 2)->text(), QStringLiteral("memory"));
        QVERIFY(QTest::qWaitForWindowExposed(fixture.window.get()));
        QCoreApplication::processEvents();  // laid out
        const QPoint at = roofline->chart()->pointPlace(1, 1, true).toPoint();
        QTest::mouseMove(roofline->chart(), at);
        QTRY_VERIFY2(roofline->chart()->hoverText().contains("Measured"),
                     qPrintable(roofline->chart()->hoverText()));
        QVERIFY(roofline->chart()->hoverText().contains("small"));
    }
};

QTEST_MAIN(CompareModelsTest)
#include "tst_compare_models.moc"
