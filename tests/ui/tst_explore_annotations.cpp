// Stars, tags and notes on the explore page: shown, changed by mouse and keyboard, filtered, taken
// back.
#include <QAction>
#include <QComboBox>
#include <QLineEdit>
#include <QPlainTextEdit>
#include <QPushButton>
#include <QScrollArea>
#include <QScrollBar>
#include <QSettings>
#include <QTableView>
#include <QTemporaryDir>
#include <QTest>
#include <QToolButton>
#include <QUndoStack>

#include "explore_fixture.h"
#include "tests/support/window_fixture.h"
#include "ui/models/experiment_table_model.h"
#include "ui/pages/explore_filter_bar.h"
#include "ui/pages/explore_page.h"

using namespace fettle;
using namespace fettle::ui;

namespace {

struct Opened {
    Opened() {
        service.records = ui::test::syntheticExperiments(12);
        page = std::make_unique<ExplorePage>(&service);
        page->resize(1280, 860);
        page->show();
        table = page->findChild<QTableView*>("experimentTable");
        page->activateWindow();
        QVERIFY(QTest::qWaitForWindowActive(page.get()));
    }
    template <typename T>
    T* part(const char* name) const {
        return page->findChild<T*>(name);
    }
    Annotations of(qint64 id) const { return service.experiment(id)->annotations; }
    QModelIndex cell(qint64 id, int column) const {
        for (int row = 0; row < table->model()->rowCount(); ++row) {
            const QModelIndex index = table->model()->index(row, column);
            if (index.data(ExperimentTableModel::IdRole).toLongLong() == id) {
                return index;
            }
        }
        return {};
    }
    void clickStar(qint64 id) const {
        const QModelIndex star = cell(id, ExperimentTableModel::Favourite);
        table->scrollTo(star);
        QTest::mouseClick(table->viewport(), Qt::LeftButton, {}, table->visualRect(star).center());
    }
    void type(const char* tags) const {
        part<QLineEdit>("tagEdit")->setFocus();
        QTest::keyClicks(part<QLineEdit>("tagEdit"), tags);
        QTest::keyClick(part<QLineEdit>("tagEdit"), Qt::Key_Return);
    }
    QStringList chips() const {
        QStringList texts;
        for (const QToolButton* chip : page->findChildren<QToolButton*>("tagChip")) {
            if (chip->isVisible()) {
                texts << chip->text();
            }
        }
        return texts;
    }

    ui::test::FakeService service;
    std::unique_ptr<ExplorePage> page;
    QTableView* table = nullptr;
};

using Tags = std::vector<std::string>;

}  // namespace

class TestExploreAnnotations : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { fettle::test::prepareGuiTest(); }
    void init() { QSettings().clear(); }

    void starsByMouseAndKeyboard() {
        Opened opened;
        opened.clickStar(4);
        QVERIFY(opened.of(4).favourite);
        QVERIFY(opened.cell(4, ExperimentTableModel::Favourite)
                    .data(ExperimentTableModel::FavouriteRole)
                    .toBool());
        opened.page->undoStack()->undo();
        QVERIFY(!opened.of(4).favourite);
        opened.page->undoStack()->redo();
        QVERIFY(opened.of(4).favourite);

        // Several: all get the star, then all lose it.
        opened.page->select({4, 5});
        opened.table->setFocus();
        QTest::keyClick(opened.table, Qt::Key_D, Qt::ControlModifier);
        QVERIFY(opened.of(4).favourite && opened.of(5).favourite);
        opened.page->undoStack()->undo();
        QVERIFY2(opened.of(4).favourite && !opened.of(5).favourite, "only what was changed");
        opened.page->undoStack()->redo();
        QTRY_VERIFY(opened.part<QToolButton>("starButton")->isChecked());
        opened.part<QToolButton>("starButton")->click();
        QVERIFY(!opened.of(4).favourite && !opened.of(5).favourite);
    }

    void tagsAreChips() {
        Opened opened;
        QVERIFY(opened.table->isColumnHidden(ExperimentTableModel::Tags));
        opened.page->select({4});
        opened.type("paper, best of  all,");
        QCOMPARE(opened.of(4).tags, (Tags{"best of all", "paper"}));
        QTRY_COMPARE(opened.chips(), (QStringList{"best of all", "paper"}));
        QVERIFY(!opened.table->isColumnHidden(ExperimentTableModel::Tags));
        QCOMPARE(opened.cell(4, ExperimentTableModel::Tags).data().toString(),
                 QStringLiteral("best of all, paper"));
        opened.page->select({4, 6});
        QCOMPARE(opened.chips(), (QStringList{"best of all (1 of 2)", "paper (1 of 2)"}));
        opened.type("paper");
        QCOMPARE(opened.of(6).tags, Tags{"paper"});
        QTRY_COMPARE(opened.chips(), (QStringList{"best of all (1 of 2)", "paper"}));
        for (QToolButton* chip : opened.page->findChildren<QToolButton*>("tagChip")) {
            if (chip->isVisible() && chip->text() == "paper") {
                chip->click();
                break;
            }
        }
        QVERIFY(opened.of(6).tags.empty());
        QCOMPARE(opened.of(4).tags, Tags{"best of all"});
        opened.page->undoStack()->undo();
        QCOMPARE(opened.of(6).tags, Tags{"paper"});
        QCOMPARE(opened.of(4).tags, (Tags{"best of all", "paper"}));
        opened.page->undoStack()->undo();
        QVERIFY2(opened.of(6).tags.empty() && opened.of(4).hasTag("paper"),
                 "the tag that was there before stays");
    }

    void notesAreKept() {
        Opened opened;
        opened.page->select({4});
        auto* note = opened.part<QPlainTextEdit>("noteEdit");
        opened.table->setFocus();
        QTest::keyClick(opened.table, Qt::Key_N, Qt::ControlModifier | Qt::ShiftModifier);
        QVERIFY(note->hasFocus());
        QTest::keyClicks(note, "good");
        // A run that reports meanwhile does not take the words away.
        opened.service.store(*opened.service.experiment(4));
        QTest::qWait(80);
        QCOMPARE(note->toPlainText(), QStringLiteral("good"));
        QTest::keyClick(note, Qt::Key_Return, Qt::ControlModifier);
        QCOMPARE(opened.of(4).note, std::string("good"));
        // Another selection hands the note out to the experiment it was written for.
        QTest::keyClicks(note, " enough");
        opened.page->select({5});
        QCOMPARE(opened.of(4).note, std::string("good enough"));
        QVERIFY(opened.of(5).note.empty());
        QVERIFY(note->toPlainText().isEmpty());
        opened.page->undoStack()->undo();
        QCOMPARE(opened.of(4).note, std::string("good"));
        // Closing in the middle of a word loses nothing.
        opened.page->select({6});
        note->setFocus();
        QTest::keyClicks(note, "last words");
        opened.page.reset();
        QCOMPARE(opened.of(6).note, std::string("last words"));
    }

    void filters() {
        Opened opened;
        opened.service.setFavourite({2, 3, 4}, true);
        opened.service.setTag({3, 4, 5}, "small", true);
        opened.service.setNote(9, "the odd one");
        auto* tags = opened.part<QComboBox>("tagFilter");
        QTRY_VERIFY(tags->isVisible());
        opened.part<QPushButton>("favouritesFilter")->click();
        QCOMPARE(opened.table->model()->rowCount(), 3);
        tags->setCurrentIndex(tags->findData("small"));
        QCOMPARE(opened.table->model()->rowCount(), 2);
        // The last experiment with the tag loses it: the filter goes with it.
        opened.service.setTag({3, 4, 5}, "small", false);
        QTRY_COMPARE(opened.table->model()->rowCount(), 3);
        QVERIFY(tags->isHidden());
        opened.part<QPushButton>("clearFilters")->click();
        QCOMPARE(opened.table->model()->rowCount(), 12);
        opened.part<QLineEdit>("textFilter")->setText("odd one");
        QCOMPARE(opened.table->model()->rowCount(), 1);
    }

    void sortsFavouritesToTheTop() {
        Opened opened;
        opened.service.setFavourite({7, 9}, true);
        opened.table->sortByColumn(ExperimentTableModel::Favourite, Qt::AscendingOrder);
        QSet<qint64> top;
        for (int row = 0; row < 2; ++row) {
            top.insert(opened.table->model()
                           ->index(row, 0)
                           .data(ExperimentTableModel::IdRole)
                           .toLongLong());
        }
        QCOMPARE(top, (QSet<qint64>{7, 9}));
    }

    /// Bars take a second row, long tags are cut, the panel scrolls: nothing lies over anything.
    void narrowPagesOverlapNothing() {
        Opened opened;
        opened.service.setTag({4}, QString(40, QLatin1Char('w')), true);
        opened.page->select({4});
        QTRY_VERIFY(opened.part<QComboBox>("tagFilter")->isVisible());
        opened.page->resize(720, 640);
        QTest::qWait(50);
        const auto places = [&](std::initializer_list<const char*> names) {
            std::vector<QRect> rects;
            for (const char* name : names) {
                const auto* widget = opened.part<QWidget>(name);
                rects.emplace_back(widget->mapTo(opened.page.get(), QPoint(0, 0)), widget->size());
            }
            return rects;
        };
        for (const auto& rects : {places({"textFilter", "techniqueFilter", "statusFilter",
                                          "tagFilter", "favouritesFilter"}),
                                  places({"chartView", "xMetric", "logX", "yMetric", "logY",
                                          "colorMetric", "sizeMetric", "brushMode", "resetView"}),
                                  places({"tagChip", "tagEdit", "noteEdit"})}) {
            for (std::size_t i = 0; i < rects.size(); ++i) {
                QVERIFY(rects[i].right() < opened.page->width());
                for (std::size_t j = 0; j < i; ++j) {
                    QVERIFY(!rects[i].intersects(rects[j]));
                }
            }
        }
        for (const QScrollArea* area : opened.page->findChildren<QScrollArea*>()) {
            QCOMPARE(area->horizontalScrollBar()->maximum(), 0);
        }
    }

    void readOnlyChangesNothing() {
        Opened opened;
        opened.service.locked = true;
        emit opened.service.experimentsReset();
        opened.page->select({4});
        opened.clickStar(4);
        QVERIFY(!opened.of(4).favourite);
        QVERIFY(!opened.part<QToolButton>("starButton")->isEnabled());
        QVERIFY(!opened.part<QLineEdit>("tagEdit")->isVisible());
        QVERIFY(opened.part<QPlainTextEdit>("noteEdit")->isReadOnly());
    }

    void theWindowTakesBackWhatThePageInFrontDid() {
        fettle::test::WindowFixture fixture;
        fixture.service.records = ui::test::syntheticExperiments(6);
        fixture.show();
        MainWindow& window = *fixture.window;
        window.showExperiment(3);
        auto* page = window.findChild<ExplorePage*>();
        QAction* undo = nullptr;
        for (QAction* action : window.findChildren<QAction*>()) {
            if (action->shortcut() == QKeySequence(QKeySequence::Undo)) {
                undo = action;
            }
        }
        QVERIFY(undo && !undo->isEnabled());
        page->findChild<QToolButton*>("starButton")->click();
        QVERIFY(fixture.service.experiment(3)->annotations.favourite);
        QVERIFY(undo->isEnabled());
        QVERIFY2(undo->text().contains("star"), qPrintable(undo->text()));
        window.showPage(MainWindow::Page::Recipe);
        QVERIFY2(!undo->isEnabled(), "the recipe has nothing to take back");
        window.showPage(MainWindow::Page::Explore);
        undo->trigger();
        QVERIFY(!fixture.service.experiment(3)->annotations.favourite);
    }
};

QTEST_MAIN(TestExploreAnnotations)
#include "tst_explore_annotations.moc"
