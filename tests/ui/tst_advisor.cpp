// The Advisor page: what it asks for, that it runs its ladder as ordinary jobs, how it shows rungs,
// decisions and result, and that it stops.
#include <QComboBox>
#include <QLineEdit>
#include <QPushButton>
#include <QSignalSpy>
#include <QSpinBox>
#include <QTableView>
#include <QtTest>

#include "tests/support/window_fixture.h"
#include "ui/bridge/advisor_controller.h"
#include "ui/charts/ladder_chart.h"
#include "ui/models/advisor_ladder_model.h"
#include "ui/models/run_queue_model.h"
#include "ui/pages/advisor_page.h"
#include "ui/pages/export_page.h"
#include "ui/widgets/targets_form.h"

using namespace fettle;
using namespace fettle::ui;

class AdvisorTest : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { test::prepareGuiTest(); }

    void init() {
        m_fixture = std::make_unique<test::WindowFixture>();
        m_fixture->show();
        m_fixture->window->showPage(MainWindow::Page::Advisor);
        m_page = m_fixture->window->advisor();
        setTarget("max-perplexity-increase", QStringLiteral("2%"));
        setTarget("min-speedup", QStringLiteral("1.5x"));
        m_page->form()->budget()->setValue(0);
        m_answered = 0;
    }
    void cleanup() { m_fixture.reset(); }

    void aWrongTargetIsNamed() {
        setTarget("min-speedup", QStringLiteral("quickly"));
        QVERIFY(!m_page->startButton()->isEnabled());
        QVERIFY(m_page->form()->problem().contains(QStringLiteral("quickly")));
        setTarget("min-speedup", QString());
        QVERIFY(m_page->startButton()->isEnabled());
        setTarget("max-perplexity-increase", QString());
        QVERIFY(!m_page->startButton()->isEnabled());
        QVERIFY(m_page->form()->problem().contains(QStringLiteral("at least one")));
    }

    void everyFieldHasAName() {
        for (const QWidget* widget : m_page->form()->findChildren<QWidget*>()) {
            if (qobject_cast<const QLineEdit*>(widget) && widget->focusPolicy() != Qt::NoFocus &&
                !qobject_cast<const QSpinBox*>(widget->parentWidget())) {
                QVERIFY2(!widget->accessibleName().isEmpty(), widget->metaObject()->className());
            }
        }
    }

    void climbsUntilTheTargetsHold() {
        QSignalSpy ended(m_page->controller(), &AdvisorController::ended);
        QTest::mouseClick(m_page->startButton(), Qt::LeftButton);
        QVERIFY(m_page->controller()->isRunning());
        QVERIFY(!m_page->stopButton()->isHidden());
        answerAll(ended);
        QCOMPARE(ended.size(), 1);
        QVERIFY(m_page->controller()->report().met);
        QVERIFY2(m_page->resultText().contains(QStringLiteral("All targets hold")),
                 qPrintable(m_page->resultText()));
        QVERIFY(m_page->decisionsText().contains(QStringLiteral("The model as it is")));
        QVERIFY(m_page->ladder()->rowCount() > 1);
        QVERIFY(m_page->chart()->pointCount() > 1);
        QVERIFY(!m_page->openButton()->isHidden());
        // Runs are ordinary experiments.
        QVERIFY(m_fixture->service.records.size() > 1);
        QVERIFY(m_fixture->window->queue()->rowCount() > 1);
    }

    void openAndExportLeadThere() {
        QSignalSpy ended(m_page->controller(), &AdvisorController::ended);
        m_page->start();
        answerAll(ended);
        for (ExperimentRecord& record : m_fixture->service.records) {
            record.artifactPath = "/artifacts/" + std::to_string(record.id);
        }
        QSignalSpy asked(m_page, &AdvisorPage::experimentRequested);
        QTest::mouseClick(m_page->openButton(), Qt::LeftButton);
        QCOMPARE(asked.size(), 1);
        QCOMPARE(m_fixture->window->tabs()->currentIndex(),
                 static_cast<int>(MainWindow::Page::Explore));
        const qint64 id = asked[0][0].toLongLong();
        QVERIFY(id > 0);
        QVERIFY(m_page->chart()->placeOf(id).x() > 0);
    }

    void aSecondStartRunsNothingAgain() {
        QSignalSpy ended(m_page->controller(), &AdvisorController::ended);
        m_page->start();
        answerAll(ended);
        const std::size_t runs = m_fixture->engine.of<RunRequest>().size();
        for (ExperimentRecord& record : m_fixture->service.records) {
            record.status = ExperimentStatus::Finished;
            record.artifactPath = "/artifacts/" + std::to_string(record.id);
            record.metrics = m_metrics[record.id];
        }
        m_page->start();
        answerAll(ended);
        QCOMPARE(ended.size(), 2);
        QCOMPARE(m_fixture->engine.of<RunRequest>().size(), runs);
        QVERIFY(m_page->controller()->report().rungs.front().reused);
    }

    void stopCancelsTheRun() {
        QSignalSpy ended(m_page->controller(), &AdvisorController::ended);
        m_page->start();
        answerQuestions();
        QTRY_COMPARE(m_fixture->engine.of<RunRequest>().size(), std::size_t{1});
        const JobId job = m_fixture->engine.of<RunRequest>()[0].first;
        QTest::mouseClick(m_page->stopButton(), Qt::LeftButton);
        QCOMPARE(m_fixture->engine.cancelled, std::vector<JobId>{job});
        QCOMPARE(ended.size(), 1);
        QVERIFY(!m_page->controller()->isRunning());
        QVERIFY(m_page->startButton()->isEnabled());
        m_fixture->engine.send(job, JobCancelled{});
        QCOMPARE(ended.size(), 1);
    }

    void theBudgetEndsARun() {
        m_page->form()->budget()->setValue(1);
        m_page->start();
        answerQuestions();
        QTRY_COMPARE(m_fixture->engine.of<RunRequest>().size(), std::size_t{1});
        QVERIFY(m_page->controller()->report().question->secondsLeft <= 60);
    }

    void aBrokenModelIsAMessage() {
        QSignalSpy ended(m_page->controller(), &AdvisorController::ended);
        m_page->start();
        const auto inspected = m_fixture->engine.of<InspectRequest>();
        m_fixture->engine.send(inspected.back().first,
                               JobFailed{{ErrorKind::BadInput, "demo: truncated"}});
        QCOMPARE(ended.size(), 1);
        QVERIFY(ended[0][0].toString().contains(QStringLiteral("truncated")));
    }

private:
    void setTarget(const char* name, const QString& text) {
        m_page->form()->field(QLatin1String(name))->setText(text);
    }

    /// Answers whatever was posted since the last call.
    void answerQuestions() {
        while (m_answered < m_fixture->engine.posted.size()) {
            const auto [job, request] = m_fixture->engine.posted[m_answered];
            if (std::holds_alternative<RunRequest>(request)) {
                return;
            }
            ++m_answered;
            if (std::holds_alternative<InspectRequest>(request)) {
                m_fixture->engine.send(job, JobFinished{test::smallReport("demo")});
            } else if (std::holds_alternative<EstimateRequest>(request)) {
                RecipeEstimate estimate;
                estimate.seconds = 1;
                estimate.outputBytes = 1000;
                m_fixture->engine.send(job, JobFinished{estimate});
            }
        }
    }

    void answerAll(const QSignalSpy& ended) {
        const qsizetype before = ended.size();
        for (int turn = 0; turn < 1000 && ended.size() == before; ++turn) {
            answerQuestions();
            if (m_answered < m_fixture->engine.posted.size()) {
                const auto [job, request] = m_fixture->engine.posted[m_answered++];
                m_fixture->engine.send(job, JobStarted{});
                m_fixture->engine.send(job, JobFinished{resultOf(std::get<RunRequest>(request))});
            }
            QCoreApplication::processEvents();
        }
    }

    /// int8 is 1.6 times as fast and loses nothing worth the name.
    RunResult resultOf(const RunRequest& request) {
        const bool baseline = request.recipe.steps.empty();
        const auto number = [](const char* name, double value, double half) {
            return Measurement{name, value, "", value - half, value + half, true, false, ""};
        };
        RunResult result;
        result.metrics = {number("perplexity", baseline ? 10 : 10.01, 0.2),
                          number("decode_tokens_per_s", baseline ? 100 : 160, 1),
                          number("weight_bytes", baseline ? 8e6 : 4e6, 0),
                          number("wall_seconds", 2, 0)};
        if (!baseline) {
            result.metrics.push_back(number("ppl_ratio", 1.001, 0.002));
            result.metrics.push_back(number("kl_mean", 0.001, 0.0001));
        }
        for (const Measurement& metric : result.metrics) {
            m_metrics[request.experiment][metric.name] = metric;
        }
        return result;
    }

    std::unique_ptr<test::WindowFixture> m_fixture;
    AdvisorPage* m_page = nullptr;
    std::size_t m_answered = 0;
    std::map<qint64, std::map<std::string, Measurement>> m_metrics;
};

QTEST_MAIN(AdvisorTest)
#include "tst_advisor.moc"
