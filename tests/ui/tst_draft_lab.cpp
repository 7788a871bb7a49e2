// The Drafts page: what is tried, what is refused and why, the curve with its points, a probe
// before a long training. Real widgets over a fake engine.
#include <QCheckBox>
#include <QComboBox>
#include <QLineEdit>
#include <QListWidget>
#include <QPushButton>
#include <QSignalSpy>
#include <QSpinBox>
#include <QTableView>
#include <QtTest>

#include "tests/support/window_fixture.h"
#include "ui/charts/break_even_chart.h"
#include "ui/models/draft_trials_model.h"
#include "ui/pages/draft_lab_page.h"
#include "ui/widgets/run_setup_panel.h"
#include "ui/widgets/theme.h"

using namespace fettle;
using namespace fettle::ui;

namespace {

DraftTrial trial(const char* draft, double cost, double acceptance, double speedup) {
    DraftTrial made;
    made.draft = draft;
    made.draftTokens = "4";
    made.tree = "off";
    made.description = "draft";
    made.verdict = speedup > 1 ? "pays: so many times" : "does not pay: too dear";
    made.acceptance = acceptance;
    made.draftCost = cost;
    made.meanDepth = 4;
    made.verifyCost = 1.2;
    made.speedup = speedup;
    made.expected = speedup * 1.05;
    return made;
}

DraftTrialReport report() {
    DraftTrialReport made;
    made.model = "demo";
    made.stepMs = 2;
    made.verifyCost = {1, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3};
    made.trials = {trial("ngram", 0.001, 0.2, 1.05), trial("/models/small", 0.15, 0.8, 2.1),
                   trial("self:int4-g32", 0.7, 0.6, 0.8)};
    DraftTrial refused;
    refused.draft = "/models/other";
    refused.draftTokens = "4";
    refused.tree = "off";
    refused.refusal = "/models/other: cannot draft for demo: the token tables differ";
    made.trials.push_back(refused);
    return made;
}

}  // namespace

class DraftLabTest : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { test::prepareGuiTest(); }
    void init() {
        m_fixture = std::make_unique<test::WindowFixture>();
        m_fixture->show();
        m_fixture->window->showPage(MainWindow::Page::Drafts);
        m_page = m_fixture->window->draftLab();
        m_page->useModel(QStringLiteral("demo"));
    }
    void cleanup() { m_fixture.reset(); }

    void triesWhatIsTicked() {
        m_page->moreDrafts()->setText(QStringLiteral(" self:2 ,text:/models/x"));
        QTest::mouseClick(m_page->tryButton(), Qt::LeftButton);
        QCOMPARE(requests().size(), std::size_t{1});
        const DraftTrialRequest request = requests()[0].second;
        QCOMPARE(request.modelPath, std::string("demo"));
        QCOMPARE(request.drafts,
                 (std::vector<std::string>{"ngram", "self:int4-g32", "self:2", "text:/models/x"}));
        QCOMPARE(request.draftTokens, std::vector<std::string>{"auto"});
        QCOMPARE(request.trees, std::vector<std::string>{"off"});
        QVERIFY(!request.probe);
        QVERIFY(m_page->isRunning());
        QVERIFY(!m_page->tryButton()->isEnabled());
        QTest::mouseClick(m_page->stopButton(), Qt::LeftButton);
        QCOMPARE(m_fixture->engine.cancelled.size(), std::size_t{1});
        m_fixture->engine.send(requests()[0].first, JobCancelled{});
        QVERIFY(!m_page->isRunning());
        QVERIFY(m_page->tryButton()->isEnabled());
    }

    void nothingTickedIsSaid() {
        for (int i = 0; i < m_page->drafts()->count(); ++i) {
            m_page->drafts()->item(i)->setCheckState(Qt::Unchecked);
        }
        QVERIFY(!m_page->tryButton()->isEnabled());
        m_page->tryDrafts();
        QVERIFY(requests().empty());
        m_page->drafts()->item(0)->setCheckState(Qt::Checked);
        QVERIFY(m_page->tryButton()->isEnabled());
    }

    void theFastestIsNamedAndRefusalsSayWhy() {
        answer(report());
        QCOMPARE(m_page->trials()->rowCount(), 4);
        QCOMPARE(m_page->chart()->pointCount(), 3);
        QVERIFY2(m_page->verdictText().contains(QStringLiteral("small · 4 is the fastest")),
                 qPrintable(m_page->verdictText()));
        QVERIFY(m_page->verdictText().contains(QStringLiteral("promises")));
        const auto why = [&](int row) {
            return m_page->trials()
                ->index(row, row == 3 ? DraftTrialsModel::Promised : DraftTrialsModel::Why)
                .data()
                .toString();
        };
        QVERIFY(why(3).contains(QStringLiteral("token tables differ")));
        QVERIFY(why(2).contains(QStringLiteral("does not pay")));
        m_page->table()->setCurrentIndex(m_page->trials()->index(3, 0));
        QVERIFY(m_page->verdictText().contains(QStringLiteral("token tables differ")));
    }

    void aPointChoosesItsRow() {
        answer(report());
        const QPointF at = m_page->chart()->placeOf(2);
        QVERIFY(m_page->chart()->rect().contains(at.toPoint()));
        QTest::mouseClick(m_page->chart(), Qt::LeftButton, {}, at.toPoint());
        QCOMPARE(m_page->table()->currentIndex().row(), 2);
        QCoreApplication::processEvents();  // the words about the row may take room from the chart
        const QPoint now = m_page->chart()->placeOf(2).toPoint();
        QTest::mouseMove(m_page->chart(), now - QPoint(1, 0));
        QTest::mouseMove(m_page->chart(), now);
        QTRY_VERIFY(m_page->chart()->hoverText().contains(QStringLiteral("measured")));
    }

    /// A point above the line pays, one below does not: the chart and the numbers agree.
    void theLineIsWhereDraftingBreaksEven() {
        const DraftTrialReport shown = report();
        for (const DraftTrial& each : shown.trials) {
            if (hasPoint(each) && each.draftCost > 0.01) {
                const double needed = neededAcceptance(1, each.draftCost, shown.verifyCost);
                QCOMPARE(each.acceptance > needed, each.speedup > 1);
            }
        }
    }

    void aProbeComesBeforeALongTraining() {
        m_page->tokens()->setValue(5'000'000);
        m_page->kind()->setCurrentIndex(1);
        QVERIFY(m_page->probeButton()->isEnabled());
        QTest::mouseClick(m_page->probeButton(), Qt::LeftButton);
        const DraftTrialRequest probing = requests().back().second;
        QVERIFY(probing.drafts.empty());
        QVERIFY(probing.probe.has_value());
        QCOMPARE(probing.probe->kind, std::string("medusa"));
        QVERIFY(probing.probe->tokens < 100'000);
        QCOMPARE(probing.trees, std::vector<std::string>{"auto"});
        DraftTrialReport result = report();
        result.trials = {trial("probe", 0.1, 0.4, 1.2)};
        m_fixture->engine.send(requests().back().first, JobFinished{result});
        QVERIFY(!m_page->isRunning());
        QCOMPARE(m_page->trials()->rowCount(), 1);
        // The long one is an experiment of its own.
        QTest::mouseClick(m_page->makeButton(), Qt::LeftButton);
        const auto runs = m_fixture->engine.of<RunRequest>();
        QCOMPARE(runs.size(), std::size_t{1});
        QCOMPARE(runs[0].second.recipe.steps.size(), std::size_t{1});
        QCOMPARE(runs[0].second.recipe.steps[0].technique, std::string("medusa"));
    }

    void aProbeJoinsWhatWasTried() {
        answer(report());
        QTest::mouseClick(m_page->probeButton(), Qt::LeftButton);
        DraftTrialReport result = report();
        result.trials = {trial("probe", 0.1, 0.4, 1.2)};
        m_fixture->engine.send(requests().back().first, JobFinished{result});
        QCOMPARE(m_page->trials()->rowCount(), 5);
    }

    void failuresAreShown() {
        QSignalSpy errors(m_page, &DraftLabPage::errorOccurred);
        m_page->tryDrafts();
        m_fixture->engine.send(requests().back().first,
                               JobFailed{{ErrorKind::BadInput, "demo: truncated"}});
        QCOMPARE(errors.size(), 1);
        QVERIFY(!m_page->isRunning());
    }

    void lightAndDark() {
        const QString folder = qEnvironmentVariable("FETTLE_TEST_PICTURES");
        answer(report());
        for (const auto& [mode, name] :
             {std::pair{Theme::Mode::Light, "light"}, {Theme::Mode::Dark, "dark"}}) {
            Theme::instance()->setMode(mode);
            m_fixture->window->resize(1360, 860);
            QTest::qWait(50);
            const QPixmap picture = m_fixture->window->grab();
            QVERIFY(!picture.isNull());
            if (!folder.isEmpty()) {
                QVERIFY(picture.save(folder + QStringLiteral("/drafts-%1.png").arg(name)));
            }
        }
        Theme::instance()->setMode(Theme::Mode::Light);
    }

private:
    std::vector<std::pair<JobId, DraftTrialRequest>> requests() const {
        return m_fixture->engine.of<DraftTrialRequest>();
    }
    void answer(const DraftTrialReport& result) {
        m_page->tryDrafts();
        m_fixture->engine.send(requests().back().first, JobFinished{result});
    }

    std::unique_ptr<test::WindowFixture> m_fixture;
    DraftLabPage* m_page = nullptr;
};

QTEST_MAIN(DraftLabTest)
#include "tst_draft_lab.moc"
