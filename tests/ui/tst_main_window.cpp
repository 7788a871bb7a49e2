// The window as a whole: layout, keyboard, messages, themes; and with the real engine at work,
// whether it ever stalls.
#include <QComboBox>
#include <QDockWidget>
#include <QElapsedTimer>
#include <QFile>
#include <QLabel>
#include <QLineEdit>
#include <QMenuBar>
#include <QPushButton>
#include <QScrollBar>
#include <QSpinBox>
#include <QStatusBar>
#include <QTabBar>
#include <QTabWidget>
#include <QTableView>
#include <QToolButton>
#include <QTreeView>
#include <QtTest>
#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <set>
#include <vector>

#include "app/gui/database_experiment_service.h"
#include "engine/model/model.h"
#include "storage/database.h"
#include "storage/experiment_repository.h"
#include "tests/support/window_fixture.h"
#include "ui/models/recipe_model.h"
#include "ui/models/run_queue_model.h"
#include "ui/pages/library_page.h"
#include "ui/pages/recipe_page.h"
#include "ui/pages/runs_page.h"
#include "ui/widgets/run_setup_panel.h"

using namespace fettle;
using namespace fettle::ui;

namespace {

double luminance(const QColor& color) {
    const auto linear = [](double c) {
        return c <= 0.04045 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4);
    };
    return 0.2126 * linear(color.redF()) + 0.7152 * linear(color.greenF()) +
           0.0722 * linear(color.blueF());
}

/// Contrast as WCAG 2 defines it.
double contrast(const QColor& a, const QColor& b) {
    const double la = luminance(a);
    const double lb = luminance(b);
    return (std::max(la, lb) + 0.05) / (std::min(la, lb) + 0.05);
}

}  // namespace

/// Time this thread was ready to run but had no processor, in ms; 0 where the system does not tell.
static qint64 waitedForProcessorMs() {
    std::ifstream file("/proc/thread-self/schedstat");
    long long ran = 0, waited = 0;
    file >> ran >> waited;
    return waited / 1000000;
}

class MainWindowTest : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { test::prepareGuiTest(); }
    void init() { QSettings().clear(); }

    void beginsWithTheDemoModel() {
        test::WindowFixture fixture;
        fixture.show();
        QCOMPARE(fixture.window->library()->view()->currentIndex().data().toString(),
                 QStringLiteral("Demo model"));
        QCOMPARE(fixture.window->recipe()->setup()->modelPath(), QStringLiteral("demo"));
        bool device = false;
        for (const QLabel* label : fixture.window->statusBar()->findChildren<QLabel*>()) {
            device |= label->text().contains(QStringLiteral("Test processor"));
        }
        QVERIFY(device);
    }

    void theDatabaseNoticeIsShown() {
        test::WindowFixture fixture;
        fixture.service.notice = QStringLiteral("/db was written by a newer version");
        fixture.show();
        QVERIFY(fixture.window->messages()->newest().contains(QStringLiteral("newer version")));
    }

    void aDatabaseOfANewerVersionIsShownButNotChanged() {
        QTemporaryDir folder;
        const QString path = folder.filePath(QStringLiteral("newer.db"));
        qint64 id = 0;
        {
            storage::Database database = storage::Database::open(path.toStdString());
            RunRequest request;
            request.modelPath = "demo";
            storage::ExperimentRepository repository(database);
            id = repository.create(request, "kept as it is", "99.0");
            repository.finish(id, {});
        }
        {
            // user_version of the SQLite file format: four bytes, big-endian, at offset 60.
            QFile file(path);
            QVERIFY(file.open(QIODevice::ReadWrite));
            QVERIFY(file.seek(60));
            QCOMPARE(file.write(QByteArray("\0\0\0\x63", 4)), 4);
        }
        app::GuiApplication application(path.toStdString());
        QSignalSpy ready(&application, &app::GuiApplication::ready);
        application.show();
        QVERIFY(ready.wait(10000));
        MainWindow* window = application.window();
        QVERIFY(application.experiments()->readOnly());
        QVERIFY2(window->messages()->newest().contains(QStringLiteral("newer")),
                 qPrintable(window->messages()->newest()));

        window->showPage(MainWindow::Page::Explore);
        auto* table = window->findChild<QTableView*>(QStringLiteral("experimentTable"));
        QTRY_COMPARE(table->model()->rowCount(), 1);
        table->selectRow(0);
        for (const char* name : {"starButton", "renameButton", "removeButton", "rerunButton"}) {
            const auto* button = window->findChild<QAbstractButton*>(QLatin1String(name));
            QVERIFY2(button, name);
            QVERIFY2(!button->isEnabled() && button->isVisible(), name);
            QVERIFY2(button->toolTip().contains(QStringLiteral("reading only")), name);
        }
        QVERIFY(!window->findChild<QLineEdit*>(QStringLiteral("tagEdit"))->isVisible());
        table->setFocus();
        QTest::keyClick(table, Qt::Key_Delete);
        QTest::keyClick(table, Qt::Key_D, Qt::ControlModifier);
        QTest::keyClick(table, Qt::Key_F2);
        QCOMPARE(table->model()->rowCount(), 1);
        QVERIFY(!application.experiments()->experiment(id)->annotations.favourite);

        // Asked directly, the store refuses and says why.
        QSignalSpy problem(application.experiments(), &ExperimentService::problemOccurred);
        application.experiments()->rename(id, QStringLiteral("other"));
        QCOMPARE(problem.count(), 1);
        QVERIFY(problem[0][0].toString().contains(QStringLiteral("newer")));
        QCOMPARE(application.experiments()->experiment(id)->name, std::string("kept as it is"));
    }

    void anErrorEventShowsAMessageAndTheWindowStaysUp() {
        test::WindowFixture fixture;
        fixture.show();
        RunRequest request;
        request.modelPath = "demo";
        fixture.jobs->queueRun(request, QStringLiteral("my run"));
        const JobId job = fixture.engine.of<RunRequest>()[0].first;
        fixture.engine.send(job, JobStarted{});
        fixture.engine.send(job,
                            JobFailed{{ErrorKind::BadInput, "/texts/a.txt: not UTF-8 at byte 7"}});
        const QString message = fixture.window->messages()->newest();
        QVERIFY2(message.contains(QStringLiteral("my run")) &&
                     message.contains(QStringLiteral("/texts/a.txt")),
                 qPrintable(message));
        QVERIFY(fixture.window->isVisible());
        QVERIFY(!QApplication::activeModalWidget());
        QVERIFY(fixture.window->queue()->entry(0).state == RunEntry::State::Failed);
    }

    void messagesDoNotPileUp() {
        MessageBar bar;
        for (int i = 0; i < 10; ++i) {
            bar.show(MessageBar::Kind::Error, QStringLiteral("Error"), QString::number(i));
            bar.show(MessageBar::Kind::Error, QStringLiteral("Error"), QString::number(i));
        }
        QCOMPARE(bar.count(), MessageBar::kMaxMessages);
        QVERIFY(bar.newest().endsWith(QLatin1Char('9')));
        bar.clear();
        QCOMPARE(bar.count(), 0);
    }

    void theLayoutIsRememberedAndCanBeReset() {
        {
            test::WindowFixture fixture;
            fixture.show();
            fixture.window->runsDock()->hide();
            fixture.window->addDockWidget(Qt::RightDockWidgetArea, fixture.window->libraryDock());
            fixture.window->close();
        }
        test::WindowFixture fixture;
        fixture.show();
        QVERIFY(!fixture.window->runsDock()->isVisible());
        QCOMPARE(fixture.window->dockWidgetArea(fixture.window->libraryDock()),
                 Qt::RightDockWidgetArea);
        fixture.window->resetLayout();
        QVERIFY(fixture.window->runsDock()->isVisible());
        QCOMPARE(fixture.window->dockWidgetArea(fixture.window->libraryDock()),
                 Qt::LeftDockWidgetArea);
    }

    void everyPageOpens() {
        test::WindowFixture fixture;
        fixture.show();
        using Page = MainWindow::Page;
        for (const Page page : {Page::Explore, Page::Export, Page::Inspect, Page::Recipe}) {
            fixture.window->showPage(page);
            QCOMPARE(fixture.window->tabs()->currentIndex(), static_cast<int>(page));
            QCOMPARE(fixture.window->tabs()->count(), 9);
        }
    }

    void theTabKeyReachesEveryControl() {
        test::WindowFixture fixture;
        fixture.show();
        fixture.window->recipe()->model()->addStep("ptq");
        QVERIFY(QTest::qWaitForWindowExposed(fixture.window.get()));
        fixture.window->activateWindow();
        std::set<QWidget*> reached;
        QWidget* widget = fixture.window->library()->view();
        for (int i = 0; i < 2000 && widget; ++i) {
            if (!reached.insert(widget).second && i > 1) {
                break;
            }
            widget = widget->nextInFocusChain();
        }
        QStringList missed;
        QStringList nameless;
        for (QWidget* child : fixture.window->findChildren<QWidget*>()) {
            const bool control =
                qobject_cast<QAbstractButton*>(child) || qobject_cast<QComboBox*>(child) ||
                qobject_cast<QSpinBox*>(child) || qobject_cast<QAbstractItemView*>(child);
            const bool inner = child->objectName().startsWith(QStringLiteral("qt_")) ||
                               qobject_cast<QTabBar*>(child->parentWidget()) ||
                               qobject_cast<QDockWidget*>(child->parentWidget()) ||
                               qobject_cast<QMenuBar*>(child->parentWidget()) ||
                               qobject_cast<QComboBox*>(child->parentWidget()) ||
                               child->inherits("QTableCornerButton") ||
                               child->inherits("QHeaderView") ||
                               child->inherits("QComboBoxPrivateContainer") ||
                               child->inherits("QComboBoxListView");
            if (!control || inner || !child->isVisible() || !child->isEnabled()) {
                continue;
            }
            const auto* button = qobject_cast<QAbstractButton*>(child);
            if (!reached.contains(child) || (child->focusPolicy() & Qt::TabFocus) == 0) {
                missed << QStringLiteral("%1 \"%2\"")
                              .arg(QString::fromLatin1(child->metaObject()->className()),
                                   child->accessibleName() + (button ? button->text() : QString()));
            }
            if (child->accessibleName().isEmpty() && !(button && !button->text().isEmpty())) {
                nameless << QString::fromLatin1(child->metaObject()->className()) +
                                QLatin1Char(' ') + child->toolTip();
            }
        }
        QVERIFY2(missed.isEmpty(), qPrintable(missed.join(QStringLiteral("; "))));
        QVERIFY2(nameless.isEmpty(), qPrintable(nameless.join(QStringLiteral("; "))));
    }

    void productsOfBfloat16AreChosenAndRemembered() {
        const auto actionOf = [](const test::WindowFixture& fixture) {
            return fixture.window->findChild<QAction*>(QStringLiteral("bfloat16"));
        };
        const auto saysBfloat16 = [](const test::WindowFixture& fixture) {
            const QList<QLabel*> labels = fixture.window->statusBar()->findChildren<QLabel*>();
            return std::any_of(labels.begin(), labels.end(), [](const QLabel* label) {
                return label->text().contains(QLatin1String("bfloat16"));
            });
        };
        {
            test::WindowFixture fixture;
            fixture.show();
            QVERIFY(!fixture.engine.usesBfloat16);
            QVERIFY(!saysBfloat16(fixture));
            actionOf(fixture)->trigger();
            QVERIFY(fixture.engine.usesBfloat16);
            QVERIFY(saysBfloat16(fixture));
        }
        {
            test::WindowFixture again;
            again.show();
            QVERIFY(actionOf(again)->isChecked());
            QVERIFY(again.engine.usesBfloat16);
            actionOf(again)->trigger();
            QVERIFY(!again.engine.usesBfloat16);
        }
        test::WindowFixture without;
        without.show();
        QVERIFY(!actionOf(without)->isChecked());
    }

    void menusHaveMnemonicsAndShortcutsAreUnique() {
        test::WindowFixture fixture;
        std::set<QString> shortcuts;
        for (const QAction* menu : fixture.window->menuBar()->actions()) {
            QVERIFY(menu->text().contains(QLatin1Char('&')));
            for (const QAction* action : menu->menu()->actions()) {
                const QString keys = action->shortcut().toString();
                QVERIFY2(keys.isEmpty() || shortcuts.insert(keys).second, qPrintable(keys));
            }
        }
        QVERIFY(shortcuts.size() >= 14);
    }

    void textHasEnoughContrast_data() {
        QTest::addColumn<bool>("dark");
        QTest::newRow("light") << false;
        QTest::newRow("dark") << true;
    }
    void textHasEnoughContrast() {
        QFETCH(bool, dark);
        const ThemeColors& c = dark ? darkColors() : lightColors();
        for (const QColor& background : {c.window, c.surface}) {
            for (const QColor& ink : {c.text, c.muted, c.accent, c.danger, c.warning, c.success}) {
                QVERIFY2(contrast(ink, background) >= 4.5,
                         qPrintable(ink.name() + QStringLiteral(" on ") + background.name()));
            }
            QVERIFY(contrast(c.outline, background) >= 3);
        }
        QVERIFY(contrast(c.text, c.accentSoft) >= 4.5);
        QVERIFY(contrast(c.onAccent, c.accent) >= 4.5);
        QVERIFY(contrast(c.text, c.dangerSoft) >= 4.5);
    }

    void theThemeSwitchesWhileRunning() {
        test::WindowFixture fixture;
        fixture.show();
        Theme::instance()->setMode(Theme::Mode::Dark);
        QCOMPARE(fixture.window->palette().color(QPalette::Window), darkColors().window);
        Theme::instance()->setMode(Theme::Mode::Light);
        QCOMPARE(fixture.window->palette().color(QPalette::Window), lightColors().window);
    }

    /// Twenty seconds of use while the real engine works on the demo model: the event loop never
    /// stands still.
    void neverStalls() {
        if (!QFileInfo::exists(QString::fromStdString(
                (resourcesFolder() / "demo/teacher/config.json").string()))) {
            QSKIP("the demo model is not here");
        }
        QTemporaryDir folder;
        app::GuiApplication application(folder.filePath(QStringLiteral("stall.db")).toStdString());
        QSignalSpy ready(&application, &app::GuiApplication::ready);
        application.show();
        QVERIFY(ready.wait(10000));
        MainWindow* window = application.window();
        RecipePage* recipe = window->recipe();

        qint64 longest = 0;
        std::map<int, qint64> longestOwn;  // by step
        qint64 waitedBefore = 0;
        qint64 ticks = 0;
        int step = 0;
        QElapsedTimer since;
        QTimer tick;
        tick.setTimerType(Qt::PreciseTimer);
        tick.setInterval(5);
        connect(&tick, &QTimer::timeout, this, [&] {
            const qint64 gap = since.restart(), waited = waitedForProcessorMs();
            // Other programs on few cores only ever add: what counts is the time the thread was not
            // just waiting for a processor.
            const qint64 own = gap - (waited - waitedBefore);
            waitedBefore = waited;
            if (++ticks > 1) {
                longest = std::max(longest, gap);
                longestOwn[step] = std::max(longestOwn[step], own);
            }
        });
        const auto use = [&] {
            ++step;
            switch (step % 12) {
                case 1:
                    window->showPage(MainWindow::Page::Recipe);
                    break;
                case 2:
                    recipe->model()->addStep("ptq");
                    break;
                case 3:
                    recipe->model()->setParam(0, "scheme", step % 24 == 3 ? "int4-g32" : "int8");
                    break;
                case 4:
                    window->showPage(MainWindow::Page::Inspect);
                    break;
                case 5:
                    recipe->model()->duplicateStep(0);
                    break;
                case 6:
                    recipe->model()->undoStack()->undo();
                    break;
                case 7:
                    window->showPage(MainWindow::Page::Explore);
                    break;
                case 8:
                    window->runs()->select(0);
                    break;
                case 9:
                    window->showPage(MainWindow::Page::Export);
                    break;
                case 10:
                    window->resize(1200 + step % 5 * 20, 780);
                    break;
                case 11:
                    window->library()->reload();
                    break;
                default:
                    recipe->model()->undoStack()->undo();
                    break;
            }
        };
        for (int warm = 0; warm < 12;
             ++warm) {  // pages are made on first show; that once is start-up, not use
            use();
            QTest::qWait(60);
        }
        MeasureOptions measure;
        measure.maxTokens = 0;
        measure.repeats = 1;
        measure.promptTokens = 64;
        measure.newTokens = 32;
        recipe->setup()->setMeasure(measure);
        std::vector<Recipe> recipes(4);
        for (std::size_t i = 0; i < recipes.size(); ++i) {
            recipes[i].name = "stall " + std::to_string(i);
            recipes[i].steps = {{"ptq", {{"scheme", i % 2 == 0 ? "int8" : "int4-g32"}}}};
        }
        QTimer user;
        connect(&user, &QTimer::timeout, this, use);
        QCOMPARE(recipe->queueRecipes(recipes).size(), recipes.size());
        since.start();
        waitedBefore = waitedForProcessorMs();
        tick.start();
        user.start(150);
        QTest::qWait(20000);
        user.stop();
        tick.stop();
        // What the window makes itself comes back whenever a kind of step does; what the machine
        // does meanwhile hits one of a dozen.
        qint64 usualOwn = 0;
        int usualAt = 0;
        for (int kind = 0; kind < 12; ++kind) {
            std::vector<qint64> each;
            for (const auto& [at, own] : longestOwn) {
                if (at % 12 == kind) {
                    each.push_back(own);
                }
            }
            QVERIFY(each.size() >= 5);
            std::nth_element(each.begin(), each.begin() + each.size() / 2, each.end());
            if (each[each.size() / 2] > usualOwn) {
                usualOwn = each[each.size() / 2];
                usualAt = kind;
            }
        }
        qInfo(
            "longest stall %lld ms; of its own making usually %lld ms (step %d), in %lld ticks, %d "
            "runs still active",
            longest, usualOwn, usualAt, ticks, window->queue()->activeCount());
        window->runs()->cancelAll();
        QTRY_COMPARE_WITH_TIMEOUT(window->queue()->activeCount(), 0, 20000);
        bool worked = false;
        for (int row = 0; row < window->queue()->rowCount(); ++row) {
            worked |= window->queue()->entry(row).startedMs > 0;
        }
        QVERIFY(worked);
        QVERIFY2(usualOwn < 50, qPrintable(QStringLiteral("%1 ms").arg(usualOwn)));
    }
};

QTEST_MAIN(MainWindowTest)
#include "tst_main_window.moc"
