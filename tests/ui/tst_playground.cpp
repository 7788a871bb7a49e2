// The Playground: models answer one after the other, tokens are marked by where they came from,
// pausing holds the display, a blind vote is stored with the experiments.
#include <QCheckBox>
#include <QComboBox>
#include <QPlainTextEdit>
#include <QPushButton>
#include <QSignalSpy>
#include <QtTest>

#include "tests/support/window_fixture.h"
#include "ui/pages/playground_page.h"
#include "ui/widgets/answer_column.h"
#include "ui/widgets/draft_tree_view.h"
#include "ui/widgets/theme.h"
#include "ui/widgets/token_view.h"

using namespace fettle;
using namespace fettle::ui;
using Origin = TokenPiece::Origin;

class PlaygroundTest : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { test::prepareGuiTest(); }

    void init() {
        m_fixture = std::make_unique<test::WindowFixture>();
        ExperimentRecord baseline;
        baseline.id = 3;
        baseline.name = "baseline";
        baseline.modelPath = "demo";
        baseline.status = ExperimentStatus::Finished;
        ExperimentRecord done = baseline;
        done.id = 5;
        done.name = "int8";
        done.modelName = "demo";
        done.recipe.steps = {{"ptq", {{"scheme", "int8"}}}};
        done.artifactPath = "/artifacts/5";
        m_fixture->service.records = {baseline, done};
        m_fixture->show();
        m_fixture->window->showPage(MainWindow::Page::Playground);
        m_page = m_fixture->window->playground();
    }
    void cleanup() { m_fixture.reset(); }

    void beginsWithBaselineAndNewestModel() {
        QCOMPARE(m_page->columns().size(), std::size_t{2});
        QCOMPARE(m_page->columns()[0]->source().path, QStringLiteral("demo"));
        QCOMPARE(m_page->columns()[1]->source().experiment, qint64{5});
        m_page->addColumn();
        m_page->addColumn();
        m_page->addColumn();
        QCOMPARE(m_page->columns().size(), PlaygroundPage::kMostColumns);
    }

    void modelsAnswerOneAfterTheOther() {
        m_page->prompt()->setPlainText(QStringLiteral("Once"));
        QTest::mouseClick(m_page->runButton(), Qt::LeftButton);
        QCOMPARE(requests().size(), std::size_t{1});
        QCOMPARE(requests()[0].second.prompt, std::string("Once"));
        QVERIFY(requests()[0].second.chat);
        QVERIFY(m_page->columns()[1]->state() == AnswerColumn::State::Waiting);
        answer(" upon a time", 50);
        QCOMPARE(requests().size(), std::size_t{2});
        QCOMPARE(requests()[1].second.modelPath, std::string("/artifacts/5"));
        answer(" there was", 80);
        QVERIFY(!m_page->isRunning());
        QCOMPARE(m_page->columns()[0]->view()->answer(), QStringLiteral(" upon a time"));
        QVERIFY(m_page->columns()[1]->statistics().contains(QStringLiteral("80.0 tokens/s")));
        QVERIFY(m_page->columns()[1]->statistics().contains(QStringLiteral("1.00 MiB")));
    }

    void tokensAreMarkedByOrigin() {
        TokenView* view = m_page->columns()[0]->view();
        view->append({{Origin::Plain, "The", 0},
                      {Origin::Accepted, " cat", 1},
                      {Origin::Plain, " sat", 1},
                      {Origin::Rejected, " dog", 1}});
        QCOMPARE(view->answer(), QStringLiteral("The cat sat"));
        QCOMPARE(view->toPlainText(), QStringLiteral("The cat sat dog"));
        QVERIFY(formatAt(view, 5).fontUnderline());
        QVERIFY(formatAt(view, 14).fontStrikeOut());
        QVERIFY(!formatAt(view, 9).fontUnderline());
        view->showRejected(false);
        QCOMPARE(view->toPlainText(), QStringLiteral("The cat sat"));
    }

    void pausingHoldsTheDisplayAndStepShowsARound() {
        m_page->run();
        const JobId job = requests()[0].first;
        m_page->pauseButton()->setChecked(true);
        m_fixture->engine.send(job,
                               JobText{"ab", {{Origin::Plain, "a", 0}, {Origin::Plain, "b", 1}}});
        TokenView* view = m_page->columns()[0]->view();
        QVERIFY(view->toPlainText().isEmpty());
        QVERIFY(m_page->stepButton()->isEnabled());
        QTest::mouseClick(m_page->stepButton(), Qt::LeftButton);
        QCOMPARE(view->toPlainText(), QStringLiteral("a"));
        m_page->pauseButton()->setChecked(false);
        QCOMPARE(view->toPlainText(), QStringLiteral("ab"));
        QVERIFY(m_fixture->engine.paused.empty());  // the timing is not disturbed
    }

    void treesShowTheGuessesOfEachPass() {
        m_page->columns()[0]->setDraft(QStringLiteral("ngram"));
        m_page->treeBox()->setChecked(true);
        m_page->run();
        QCOMPARE(requests()[0].second.draftTree, std::string("auto"));
        QVERIFY(m_page->columns()[0]->tree()->isVisible());
        m_page->pauseButton()->setChecked(true);
        const auto guess = [](Origin origin, const char* text, std::int64_t round, int node,
                              int parent) {
            TokenPiece piece{origin, text, round};
            piece.node = node;
            piece.parent = parent;
            piece.confidence = 0.5;
            return piece;
        };
        m_fixture->engine.send(
            requests()[0].first,
            JobText{
                "a b c",
                {guess(Origin::Plain, "a", 0, -1, -1), guess(Origin::Accepted, " b", 1, 1, -1),
                 guess(Origin::Accepted, " c", 1, 2, 1), guess(Origin::Plain, " d", 1, -1, 2),
                 guess(Origin::Rejected, " x", 1, 0, -1), guess(Origin::Rejected, " y", 1, 3, 2)}});
        DraftTreeView* tree = m_page->columns()[0]->tree();
        m_page->step();
        QCOMPARE(tree->nodeCount(), 1);
        m_page->step();
        QCOMPARE(tree->nodeCount(), 5);
        // Siblings stand above each other, what follows stands to the right.
        QVERIFY(tree->placeOf(1).left() > tree->placeOf(0).right());
        QVERIFY(tree->placeOf(2).left() > tree->placeOf(1).right());
        QCOMPARE(tree->placeOf(3).left(), tree->placeOf(0).left());
        QVERIFY(!tree->placeOf(4).intersects(tree->placeOf(2)));
        QVERIFY(tree->rect().contains(tree->placeOf(2).toRect()));
        QVERIFY(tree->accessibleDescription().contains(QStringLiteral("accepted")));
        if (const QString folder = qEnvironmentVariable("FETTLE_TEST_PICTURES");
            !folder.isEmpty()) {
            for (const auto& [mode, name] :
                 {std::pair{Theme::Mode::Light, "light"}, {Theme::Mode::Dark, "dark"}}) {
                Theme::instance()->setMode(mode);
                QTest::qWait(50);
                QVERIFY(m_fixture->window->grab().save(
                    folder + QStringLiteral("/playground-tree-%1.png").arg(name)));
            }
            Theme::instance()->setMode(Theme::Mode::Light);
        }
    }

    void stopCancelsAllTurns() {
        m_page->run();
        m_page->stop();
        QCOMPARE(m_fixture->engine.cancelled.size(), std::size_t{1});
        m_fixture->engine.send(m_fixture->engine.cancelled[0], JobCancelled{});
        QVERIFY(!m_page->isRunning());
        QCOMPARE(requests().size(), std::size_t{1});
        QVERIFY(m_page->columns()[1]->state() == AnswerColumn::State::Cancelled);
    }

    void aFailureNamesTheCauseAndTheOthersGoOn() {
        m_page->run();
        m_fixture->engine.send(requests()[0].first,
                               JobFailed{{ErrorKind::BadInput, "demo: truncated"}});
        QVERIFY(m_fixture->window->messages()->newest().contains(QStringLiteral("truncated")));
        QCOMPARE(requests().size(), std::size_t{2});
    }

    void aDraftIsComparedWithPlainDecoding() {
        m_page->removeColumn(m_page->columns()[1]);
        m_page->columns()[0]->setDraft(QStringLiteral("ngram"));
        m_page->plainToo()->setChecked(true);
        m_page->run();
        QCOMPARE(requests()[0].second.draft, std::string("ngram"));
        answer("x", 150);
        QCOMPARE(requests()[1].second.draft, std::string("none"));
        answer("x", 100);
        const QString text = m_page->columns()[0]->statistics();
        QVERIFY2(text.contains(QStringLiteral("1.50×")), qPrintable(text));
        QVERIFY2(text.contains(QStringLiteral("same text")), qPrintable(text));
    }

    void aBlindVoteIsStored() {
        m_page->blind()->setChecked(true);
        m_page->run();
        answer("one", 10);
        QVERIFY(m_page->columns()[0]->statistics().contains(QStringLiteral("after the vote")));
        answer("two", 20);
        QVERIFY(m_page->isVoting());
        const bool optimizedFirst = m_page->columns()[0]->source().experiment == 5;
        m_page->vote(optimizedFirst ? PlaygroundPage::Vote::First : PlaygroundPage::Vote::Second);
        const ExperimentRecord winner = *m_fixture->service.experiment(5);
        QCOMPARE(winner.metrics.at("preference").value, 100.0);
        QCOMPARE(winner.metrics.at("preference_votes").value, 1.0);
        QVERIFY(*winner.metrics.at("preference").low < 50);  // one vote proves nothing
        QCOMPARE(m_fixture->service.experiment(3)->metrics.at("preference").value, 0.0);
        QVERIFY(m_page->noteText().contains(QStringLiteral("stored")));
        QVERIFY(!m_page->isVoting());
    }

private:
    std::vector<std::pair<JobId, GenerateRequest>> requests() const {
        return m_fixture->engine.of<GenerateRequest>();
    }
    void answer(const std::string& text, double speed) {
        const JobId job = requests().back().first;
        m_fixture->engine.send(job, JobText{text, {{Origin::Plain, text, 0}}});
        GenerateReport report;
        report.text = text;
        report.ids = {1, 2};
        report.decodeTokensPerSecond = speed;
        report.weightBytes = 1 << 20;
        m_fixture->engine.send(job, JobFinished{report});
    }
    static QTextCharFormat formatAt(TokenView* view, int position) {
        QTextCursor cursor(view->document());
        cursor.setPosition(position);
        return cursor.charFormat();
    }

    std::unique_ptr<test::WindowFixture> m_fixture;
    PlaygroundPage* m_page = nullptr;
};

QTEST_MAIN(PlaygroundTest)
#include "tst_playground.moc"
