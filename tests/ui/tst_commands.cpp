// Finding everything by a few letters, the keys of all actions, help on techniques, the tour.
#include <QAction>
#include <QDockWidget>
#include <QLineEdit>
#include <QListView>
#include <QMenu>
#include <QMenuBar>
#include <QPushButton>
#include <QSignalSpy>
#include <QTabWidget>
#include <QtTest>

#include "explore_fixture.h"
#include "tests/support/window_fixture.h"
#include "ui/models/fuzzy_match.h"
#include "ui/models/palette_model.h"
#include "ui/models/recipe_model.h"
#include "ui/pages/action_list.h"
#include "ui/pages/explore_page.h"
#include "ui/pages/help_dialog.h"
#include "ui/pages/recipe_page.h"
#include "ui/widgets/command_palette.h"
#include "ui/widgets/recent_files.h"
#include "ui/widgets/run_setup_panel.h"
#include "ui/widgets/tour.h"

using namespace fettle;
using namespace fettle::ui;

namespace {

struct Opened : fettle::test::WindowFixture {
    Opened() {
        service.records = ui::test::syntheticExperiments(8);
        show();
        window->activateWindow();
        QVERIFY(QTest::qWaitForWindowActive(window.get()));
    }
    CommandPalette* find(const char* letters) {
        window->openPalette();
        QTest::keyClicks(window->commandPalette()->field(), letters);
        return window->commandPalette();
    }
    void choose(const char* letters) { QTest::keyClick(find(letters)->field(), Qt::Key_Return); }
    QString best(const char* letters) {
        const CommandPalette* palette = find(letters);
        const PaletteEntry* entry = palette->model()->entry(0);
        return entry ? entry->title : QString();
    }
};

}  // namespace

class TestCommands : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { fettle::test::prepareGuiTest(); }
    void init() { QSettings().clear(); }

    void fewLettersAreEnough() {
        QVERIFY(fuzzyMatch("", "anything"));
        QVERIFY(!fuzzyMatch("xyz", "Export"));
        QVERIFY(!fuzzyMatch("te", "Export"));  // the order counts
        const auto match = fuzzyMatch("ei4", "Export int4-g32");
        QVERIFY(match);
        QCOMPARE(match->positions, (std::vector<int>{0, 7, 10}));
        const auto score = [](const char* pattern, const char* text) {
            const auto found = fuzzyMatch(pattern, text);
            return found ? found->score : -100000;
        };
        QVERIFY2(score("sr", "Save recipe") > score("sr", "Measure"), "beginnings of words");
        QVERIFY2(score("run", "Run recipe") > score("run", "Rename until now"), "letters in a row");
        QVERIFY2(score("exp", "Explore") > score("exp", "Explore every part"), "the shorter one");
        QVERIFY(score("RECIPE", "open recipe") > 0);
        QVERIFY(fuzzyMatch("open rec", "Open recipe"));
        QCOMPARE(fuzzyMatch("aaaa", QString(500, 'a'))->positions.size(), std::size_t(4));
    }

    void actionsRunFromThePalette() {
        Opened opened;
        QCOMPARE(opened.best("runs"), QStringLiteral("Runs"));
        const bool shown = opened.window->runsDock()->isVisible();
        opened.choose("runs");
        QCOMPARE(opened.window->runsDock()->isVisible(), !shown);
        QVERIFY(!opened.window->commandPalette()->isVisible());
        opened.choose("explore");
        QCOMPARE(opened.window->tabs()->currentIndex(),
                 static_cast<int>(MainWindow::Page::Explore));
        // The keys stand beside it.
        const CommandPalette* palette = opened.find("save recipe");
        QCOMPARE(palette->model()->entry(0)->keys,
                 QKeySequence(QKeySequence::Save).toString(QKeySequence::NativeText));
        QTest::keyClick(palette->field(), Qt::Key_Escape);
        QVERIFY(!palette->isVisible());
    }

    void everyActionOfTheMenusIsThere() {
        Opened opened;
        QStringList titles;
        for (const PaletteEntry& entry : opened.window->paletteEntries()) {
            titles << entry.title;
        }
        for (const QAction* menu : opened.window->menuBar()->actions()) {
            for (const QAction* action : menu->menu()->actions()) {
                if (action->isSeparator() || action->menu() ||
                    action->shortcut() == QKeySequence("Ctrl+K")) {
                    continue;
                }
                QString title = actionTitle(*action);
                if (title.size() > 2 && title[0].isDigit()) {
                    title = title.mid(2);  // pages are numbered in the menu
                }
                QVERIFY2(titles.contains(title), qPrintable(title));
            }
        }
        QVERIFY(titles.contains("Dark"));  // of a submenu
    }

    void techniquesModelsExperimentsAndFiles() {
        Opened opened;
        opened.choose("add quantize");
        QCOMPARE(opened.window->recipe()->model()->recipe().steps.size(), std::size_t(1));
        opened.window->recipe()->setup()->setModelPath({});
        opened.choose("demo model");
        QCOMPARE(opened.window->recipe()->setup()->modelPath(), QStringLiteral("demo"));
        const QString name = QString::fromStdString(opened.service.records[4].name);
        opened.choose(qPrintable(name));
        auto* page = opened.window->findChild<ExplorePage*>();
        QVERIFY(page);
        QCOMPARE(page->selection(), std::vector<qint64>{5});
        // An action of a page is found once the page is there, and goes to it.
        opened.window->showPage(MainWindow::Page::Recipe);
        opened.choose("favourite");
        QVERIFY(opened.service.records[4].annotations.favourite);
        QCOMPARE(opened.window->tabs()->currentIndex(),
                 static_cast<int>(MainWindow::Page::Explore));

        QTemporaryDir folder;
        const QString file = folder.filePath("kept.json");
        QFile written(file);
        QVERIFY(written.open(QIODevice::WriteOnly));
        written.write(R"({"name":"kept","steps":[]})");
        written.close();
        QVERIFY(opened.window->recipe()->loadRecipeFile(file));
        QCOMPARE(recentFiles(), QStringList{file});
        opened.window->recipe()->model()->setRecipe({}, "cleared");
        opened.choose("kept.json");
        QCOMPARE(QString::fromStdString(opened.window->recipe()->model()->recipe().name),
                 QStringLiteral("kept"));
        QFile::remove(file);
        QVERIFY2(recentFiles().isEmpty(), "what is gone is not offered");
    }

    void keyboardAloneIsEnough() {
        Opened opened;
        opened.window->tabs()->currentWidget()->setFocus();
        QTest::keyClick(opened.window.get(), Qt::Key_K, Qt::ControlModifier);
        CommandPalette* palette = opened.window->commandPalette();
        QVERIFY(palette && palette->isVisible());
        QVERIFY(palette->field()->hasFocus());
        const int count = palette->model()->rowCount();
        QVERIFY(count > 30);
        QTest::keyClick(palette->field(), Qt::Key_Down);
        QTest::keyClick(palette->field(), Qt::Key_PageDown);
        QCOMPARE(palette->list()->currentIndex().row(), 9);
        QTest::keyClick(palette->field(), Qt::Key_Up);
        QCOMPARE(palette->list()->currentIndex().row(), 8);
        QTest::keyClicks(palette->field(), "qqqqzzzz");
        QCOMPARE(palette->model()->rowCount(), 0);
        QTest::keyClick(palette->field(), Qt::Key_Return);  // nothing there, nothing done
        QVERIFY(palette->isVisible());
        QTest::keyClick(palette->field(), Qt::Key_Escape);
        QVERIFY(!palette->isVisible());
        // What was used last leads.
        opened.choose("inspect");
        opened.window->openPalette();
        QCOMPARE(palette->model()->entry(0)->title, QStringLiteral("Inspect"));
    }

    void tenThousandExperimentsAreFoundAtOnce() {
        fettle::test::WindowFixture fixture;
        fixture.service.records = ui::test::syntheticExperiments(10000);
        PaletteModel model;
        fixture.show();
        model.setEntries(fixture.window->paletteEntries(), {});
        QElapsedTimer timer;
        timer.start();
        model.setPattern("int4 gptq #77");
        const qint64 ms = timer.elapsed();
        QVERIFY(model.rowCount() > 0);
        QVERIFY2(ms < 500, qPrintable(QStringLiteral("%1 ms").arg(ms)));
    }

    void theSheetListsTheRealKeys() {
        Opened opened;
        QTest::keyClick(opened.window.get(), Qt::Key_F1);
        HelpDialog* help = opened.window->help();
        QVERIFY(help && help->isVisible());
        const QString text = help->text();
        for (const ListedAction& listed : listActions(*opened.window, *opened.window->tabs())) {
            if (!listed.action->shortcut().isEmpty()) {
                QVERIFY2(text.contains(actionTitle(*listed.action)),
                         qPrintable(actionTitle(*listed.action)));
                QVERIFY(
                    text.contains(listed.action->shortcut().toString(QKeySequence::NativeText)));
            }
        }
        QVERIFY2(text.contains("Ctrl+D"), "keys of pages are there as well");
        QVERIFY2(text.contains("Arrow keys move through the points"), "and those of charts");
        help->close();
    }

    void techniquesExplainThemselves() {
        Opened opened;
        opened.choose("about quantize");
        HelpDialog* help = opened.window->help();
        QVERIFY(help);
        const QString text = help->text();
        const TechniqueDescriptor& technique = opened.engine.techniques().front();
        QVERIFY(text.contains(QString::fromStdString(technique.help)));
        for (const ParameterSchema& parameter : technique.parameters) {
            QVERIFY2(text.contains(QString::fromStdString(parameter.title)),
                     parameter.title.c_str());
            QVERIFY(text.contains(QString::fromStdString(parameter.help)));
        }
        QVERIFY(text.contains("1 to 100000 tokens"));
        QVERIFY(text.contains("only with scheme = int4-g32"));
        QVERIFY(text.contains("Half the size again."));
        help->close();
    }

    void theTourIsShownOnce() {
        {
            Opened opened;
            QVERIFY(!opened.window->tour());
            opened.window->startTourOnce();
            Tour* tour = opened.window->tour();
            QVERIFY(tour && tour->isVisible());
            QVERIFY(tour->count() >= 3 && tour->count() <= 5);
            QSignalSpy ended(tour, &Tour::ended);
            const int count = tour->count();
            for (int hint = 0; hint < count; ++hint) {
                QCOMPARE(tour->current(), hint);
                QVERIFY(tour->rect().contains(tour->next()->mapTo(tour, QPoint(0, 0))));
                QTest::keyClick(tour->next(), Qt::Key_Return);
            }
            QCOMPARE(ended.count(), 1);
            QTRY_VERIFY(!opened.window->tour());
        }
        Opened again;
        again.window->startTourOnce();
        QVERIFY2(!again.window->tour(), "never shown again by itself");
        again.choose("tour");
        QVERIFY2(again.window->tour(), "but found when it is asked for");
        QTest::keyClick(again.window->tour(), Qt::Key_Escape);
        QTRY_VERIFY(!again.window->tour());
    }

    void theTourCanBeSkipped() {
        Opened opened;
        opened.window->startTour();
        opened.window->resize(900, 560);
        opened.window->tour()->skip()->click();
        QTRY_VERIFY(!opened.window->tour());
        QVERIFY(opened.window->isVisible());
    }
};

QTEST_MAIN(TestCommands)
#include "tst_commands.moc"
