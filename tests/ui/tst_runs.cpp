// The queue of runs: its model, its buttons, what a former session left behind.
#include <QAbstractItemModelTester>
#include <QPlainTextEdit>
#include <QSignalSpy>
#include <QTabWidget>
#include <QTableView>
#include <QToolButton>
#include <QTreeWidget>
#include <QtTest>

#include "tests/support/window_fixture.h"
#include "ui/bridge/event_queue.h"
#include "ui/models/run_queue_model.h"
#include "ui/pages/runs_page.h"
#include "ui/widgets/training_panel.h"

using namespace fettle;
using namespace fettle::ui;

namespace {

JobProgress progressAt(double fraction) {
    JobProgress progress;
    progress.phase = "Evaluating";
    progress.fraction = fraction;
    progress.tokensPerSecond = 1200;
    progress.secondsLeft = 30;
    return progress;
}

ExperimentRecord interrupted(std::int64_t id) {
    ExperimentRecord record;
    record.id = id;
    record.name = "left behind";
    record.status = ExperimentStatus::Interrupted;
    return record;
}

}  // namespace

class RunsTest : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { test::prepareGuiTest(); }

    void theModelKeepsItsPromises() {
        RunQueueModel model;
        QAbstractItemModelTester tester(&model,
                                        QAbstractItemModelTester::FailureReportingMode::QtTest);
        model.track(1, QStringLiteral("a"), 10);
        model.track(2, QStringLiteral("b"), 0);
        model.handle({1, 10, JobStarted{}});
        model.handle({1, 10, progressAt(0.5)});
        model.handle({1, 10, JobLog{JobLog::Level::Warning, "careful"}});
        QCOMPARE(model.entry(0).fraction, 0.5);
        QCOMPARE(model.index(0, RunQueueModel::Status).data().toString(),
                 QStringLiteral("Running"));
        QVERIFY(model.index(0, RunQueueModel::Speed)
                    .data()
                    .toString()
                    .contains(QStringLiteral("1200")));
        QVERIFY(model.index(0, RunQueueModel::Progress)
                    .data(Qt::AccessibleTextRole)
                    .toString()
                    .contains(QStringLiteral("50 percent")));
        QCOMPARE(model.activeCount(), 2);
        model.handle({1, 10, JobFinished{RunResult{}}});
        model.handle({2, 0, JobFailed{{ErrorKind::Io, "/x/y: disk full"}}});
        QCOMPARE(model.activeCount(), 0);
        QCOMPARE(model.entry(1).error, QStringLiteral("/x/y: disk full"));
        model.handle({99, 0, JobStarted{}});  // not ours
        model.setInterrupted(std::vector{interrupted(20), interrupted(10)});
        QCOMPARE(model.rowCount(), 3);  // experiment 10 has its row already
        model.track(3, QStringLiteral("again"), 20);
        QCOMPARE(model.rowCount(), 3);
        QCOMPARE(model.rowOfJob(3), 2);
        model.removeEnded();
        QCOMPARE(model.rowCount(), 1);
    }

    void aLongLogIsBounded() {
        RunQueueModel model;
        model.track(1, QStringLiteral("a"), 1);
        for (std::size_t i = 0; i < RunQueueModel::kMaxLogLines + 50; ++i) {
            model.handle({1, 1, JobLog{JobLog::Level::Info, std::to_string(i)}});
        }
        QCOMPARE(model.entry(0).log.size(), std::size_t(RunQueueModel::kMaxLogLines));
        QCOMPARE(model.entry(0).log.front().text, std::string("50"));
    }

    void pauseResumeCancel() {
        test::WindowFixture fixture;
        fixture.show();
        RunRequest request;
        request.modelPath = "demo";
        const qint64 id = fixture.jobs->queueRun(request, QStringLiteral("run"));
        const JobId job = fixture.engine.of<RunRequest>()[0].first;
        RunsPage* runs = fixture.window->runs();
        QCOMPARE(runs->currentRow(), 0);
        fixture.engine.send(job, JobStarted{});
        QTest::mouseClick(runs->pauseButton(), Qt::LeftButton);
        QCOMPARE(fixture.engine.paused, std::vector<JobId>{job});
        fixture.engine.send(job, JobPaused{});
        QCOMPARE(runs->pauseButton()->text(), QStringLiteral("Resume"));
        QTest::mouseClick(runs->pauseButton(), Qt::LeftButton);
        QCOMPARE(fixture.engine.resumed, std::vector<JobId>{job});
        fixture.engine.send(job, JobResumed{});
        QTest::mouseClick(runs->cancelButton(), Qt::LeftButton);
        QCOMPARE(fixture.engine.cancelled.back(), job);
        fixture.engine.send(job, JobCancelled{});
        QVERIFY(fixture.window->queue()->entry(0).state == RunEntry::State::Cancelled);
        QVERIFY(!runs->cancelButton()->isEnabled());
        QCOMPARE(runs->pauseButton()->text(), QStringLiteral("Run again"));
        QTest::mouseClick(runs->pauseButton(), Qt::LeftButton);
        QCOMPARE(fixture.engine.of<RunRequest>().size(), std::size_t(2));
        QCOMPARE(fixture.engine.of<RunRequest>()[1].second.experiment, id);
    }

    void trainingCanBeStoppedEarlyAndKept() {
        test::WindowFixture fixture;
        fixture.show();
        RunRequest request;
        request.modelPath = "demo";
        fixture.jobs->queueRun(request, QStringLiteral("run"));
        const JobId job = fixture.engine.of<RunRequest>()[0].first;
        RunsPage* runs = fixture.window->runs();
        fixture.engine.send(job, JobStarted{});
        fixture.engine.send(job, progressAt(0.1));
        QVERIFY(!runs->keepButton()->isEnabled());
        runs->keepCurrent();
        QVERIFY(fixture.engine.finishedEarly.empty());
        JobProgress training = progressAt(0.2);
        training.finishable = true;
        fixture.engine.send(job, training);
        QVERIFY(runs->keepButton()->isEnabled());
        QTest::mouseClick(runs->keepButton(), Qt::LeftButton);
        QCOMPARE(fixture.engine.finishedEarly, std::vector<JobId>{job});
        QVERIFY(fixture.engine.cancelled.empty());
        fixture.engine.send(job, progressAt(0.6));  // trains no more
        QVERIFY(!runs->keepButton()->isEnabled());
        fixture.engine.send(job, training);
        fixture.engine.send(job, JobFinished{RunResult{}});
        QVERIFY(!runs->keepButton()->isEnabled());
    }

    void numbersAndLogAreLive() {
        test::WindowFixture fixture;
        fixture.show();
        RunRequest request;
        request.modelPath = "demo";
        fixture.jobs->queueRun(request, QStringLiteral("run"));
        const JobId job = fixture.engine.of<RunRequest>()[0].first;
        fixture.engine.send(job, JobStarted{});
        fixture.engine.send(job, JobLog{JobLog::Level::Info, "reading the model"});
        Measurement metric;
        metric.name = "perplexity";
        metric.value = 12.5;
        fixture.engine.send(job, JobMetric{metric});
        QVERIFY(fixture.window->runs()->log()->toPlainText().contains(
            QStringLiteral("reading the model")));
        QTRY_COMPARE(fixture.window->runs()->metrics()->topLevelItemCount(), 1);
        QVERIFY(fixture.window->runs()->metrics()->topLevelItem(0)->text(1).contains(
            QStringLiteral("12.5")));
    }

    void trainingIsDrawnAsItGoes() {
        test::WindowFixture fixture;
        fixture.show();
        RunRequest request;
        request.modelPath = "demo";
        fixture.jobs->queueRun(request, QStringLiteral("train"));
        const JobId job = fixture.engine.of<RunRequest>()[0].first;
        fixture.engine.send(job, JobStarted{});
        RunsPage* runs = fixture.window->runs();
        QVERIFY(!runs->detailTabs()->isTabVisible(2));
        const auto point = [&](const char* name, double step, double value) {
            fixture.engine.send(job, JobSeries{{name, step, value}});
        };
        point("train_loss", 1, 3.2);
        point("learning_rate", 1, 1e-4);
        point("validation_perplexity", 0, 9.9);
        point("validation_perplexity_original", 0, 6);
        point("validation_perplexity_quantized", 0, 10);
        point("validation_perplexity", 100, 7);
        point("tokens_per_second", 100, 1500);
        QTRY_VERIFY(runs->detailTabs()->isTabVisible(2));
        QTRY_COMPARE(runs->training()->shownCharts(), 4);
        // (10 - 7) / (10 - 6)
        QTRY_VERIFY2(runs->training()->summary().contains(QStringLiteral("75% of the lost")),
                     qPrintable(runs->training()->summary()));
        point("recovery", 100, 82);
        QTRY_VERIFY(runs->training()->summary().contains(QStringLiteral("82%")));
        QCOMPARE(fixture.window->queue()->entry(0).series.size(), std::size_t(8));
        // Another run starts with empty charts.
        fixture.jobs->queueRun(request, QStringLiteral("other"));
        runs->select(1);
        QVERIFY(!runs->detailTabs()->isTabVisible(2));
    }

    void interruptedRunsCanBeTakenUpOrRemoved() {
        test::WindowFixture fixture;
        RunRequest request;
        request.modelPath = "demo";
        const qint64 first = fixture.service.create(request, QStringLiteral("one"));
        const qint64 second = fixture.service.create(request, QStringLiteral("two"));
        for (ExperimentRecord& record : fixture.service.records) {
            record.status = ExperimentStatus::Interrupted;
        }
        fixture.show();
        RunsPage* runs = fixture.window->runs();
        QCOMPARE(fixture.window->queue()->rowCount(), 2);
        QVERIFY(fixture.window->queue()->entry(0).state == RunEntry::State::Interrupted);
        runs->select(0);
        QCOMPARE(runs->pauseButton()->text(), QStringLiteral("Resume"));
        runs->togglePause();
        QCOMPARE(fixture.engine.of<RunRequest>().at(0).second.experiment, first);
        runs->select(1);
        runs->removeCurrent();
        QCOMPARE(fixture.service.removed, std::vector<qint64>{second});
        QCOMPARE(fixture.window->queue()->rowCount(), 1);
    }

    void progressIsMergedAndOrderIsKept() {
        EventQueue queue;
        QVERIFY(queue.push({1, 0, JobStarted{}}));
        for (int i = 0; i < 1000; ++i) {
            QVERIFY(!queue.push({1, 0, progressAt(i / 1000.0)}));
        }
        queue.push({2, 0, progressAt(0.1)});
        queue.push({1, 0, JobText{"Hello ", {{TokenPiece::Origin::Plain, "Hello ", 0}}}});
        queue.push({1, 0, JobText{"world", {{TokenPiece::Origin::Accepted, "world", 1}}}});
        queue.push({1, 0, progressAt(1)});
        queue.push({1, 0, JobFinished{RunResult{}}});
        const std::vector<JobEvent> events = queue.take(100);
        QCOMPARE(events.size(), std::size_t(6));
        QVERIFY(std::holds_alternative<JobStarted>(events[0].body));
        QCOMPARE(std::get<JobProgress>(events[1].body).fraction, 0.999);
        QCOMPARE(std::get<JobText>(events[3].body).piece, std::string("Hello world"));
        QCOMPARE(std::get<JobText>(events[3].body).tokens.size(), std::size_t{2});
        QCOMPARE(std::get<JobText>(events[3].body).tokens[1].round, std::int64_t{1});
        QVERIFY(std::holds_alternative<JobFinished>(events[5].body));
        QVERIFY(queue.empty());
    }
};

QTEST_MAIN(RunsTest)
#include "tst_runs.moc"
