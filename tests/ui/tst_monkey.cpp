// A monkey at the window: seeded random clicks, keys, drags, wheels, resizes and page changes over
// fakes. Nothing may crash, hang or leave the event loop. Three runs each time; as many as
// FETTLE_MONKEY_RUNS says, from seed FETTLE_MONKEY_SEED on, when it is set.
#include <QAbstractButton>
#include <QAbstractItemView>
#include <QApplication>
#include <QContextMenuEvent>
#include <QDialog>
#include <QDockWidget>
#include <QElapsedTimer>
#include <QFileDialog>
#include <QLineEdit>
#include <QMenu>
#include <QMouseEvent>
#include <QPointer>
#include <QStandardPaths>
#include <QTabWidget>
#include <QTimer>
#include <QWheelEvent>
#include <QtTest>
#include <random>

#include "explore_fixture.h"
#include "tests/support/window_fixture.h"
#include "ui/models/run_queue_model.h"
#include "ui/widgets/command_palette.h"

using namespace fettle;
using namespace fettle::ui;

namespace {

constexpr int kEvents = 500;

class Monkey {
public:
    explicit Monkey(unsigned seed) : m_random(seed) {
        m_fixture.service.records = ui::test::syntheticGallery();
        m_fixture.service.records[3].annotations = {true, {"kept", "small"}, "a note"};
        m_fixture.show();
        m_fixture.window->activateWindow();
        // A dialog, a menu or a message box runs an event loop of its own, in which the monkey goes
        // on for a while before it is closed: this timer fires in that loop.
        m_closer.setSingleShot(true);
        m_closer.setInterval(4);
        QObject::connect(&m_closer, &QTimer::timeout, [this] { nested(); });
        m_closer.start();
    }

    void play(int events) {
        for (m_done = 0; m_done < events; ++m_done) {
            act();
            if (!m_fixture.window->isVisible()) {
                m_fixture.window->show();  // Ctrl+Q, or a click on Quit
            }
            if (m_done % 8 == 0) {
                QCoreApplication::processEvents(QEventLoop::AllEvents, 5);
            }
        }
        closePopups();
        QCoreApplication::processEvents();
    }
    int done() const { return m_done; }
    const QString& last() const { return m_last; }
    /// What was done, the last things last.
    QString trail() const { return m_trail.join(QStringLiteral("; ")); }

private:
    int below(int count) {
        return count <= 0 ? 0 : static_cast<int>(m_random() % static_cast<unsigned>(count));
    }

    void note(const QString& what) {
        m_last = what;
        m_trail << what;
        if (m_trail.size() > 12) {
            m_trail.removeFirst();
        }
    }

    void nested() {
        m_closer.start();  // first: what follows may open one more loop inside this one
        QWidget* popup = QApplication::activePopupWidget();
        QWidget* modal = QApplication::activeModalWidget();
        if (!popup && !modal) {
            return;
        }
        // Files of the machine stay as they are: nothing is pressed in a file dialog.
        if (!qobject_cast<QFileDialog*>(modal) && m_inside < 6 && below(3) != 0) {
            ++m_inside;
            press(popup ? popup : modal);
            return;
        }
        m_inside = 0;
        popup ? popup->close() : modal->close();
        if (auto* dialog = qobject_cast<QDialog*>(modal)) {
            dialog->reject();
        }
    }

    void closePopups() {
        for (int i = 0; i < 20 && QApplication::activePopupWidget(); ++i) {
            QApplication::activePopupWidget()->close();
        }
        for (QDialog* dialog : m_fixture.window->findChildren<QDialog*>()) {
            dialog->reject();
        }
    }

    QWidget* anyWidget() {
        QWidget* root = m_fixture.window.get();
        if (QWidget* popup = QApplication::activePopupWidget()) {
            root = popup;
        } else if (QWidget* modal = QApplication::activeModalWidget()) {
            root = modal;
        }
        QList<QWidget*> widgets;
        for (QWidget* widget : root->findChildren<QWidget*>()) {
            if (widget->isVisible() && widget->isEnabled() && widget->width() > 2 &&
                widget->height() > 2) {
                widgets << widget;
            }
        }
        return widgets.isEmpty() ? root : widgets[below(static_cast<int>(widgets.size()))];
    }

    QPoint placeIn(const QWidget* widget) {
        return {below(widget->width()), below(widget->height())};
    }

    /// Files of the machine stay as they are: what would open a file manager is left alone.
    static bool leadsOutside(const QWidget* widget) {
        const auto* button = qobject_cast<const QAbstractButton*>(widget);
        return button && button->text().contains(QStringLiteral("folder"), Qt::CaseInsensitive) &&
               button->text().contains(QStringLiteral("open"), Qt::CaseInsensitive);
    }

    void act() {
        static constexpr int kWeights[] = {34, 24, 14, 8, 8, 4, 4, 4};
        int choice = below(100);
        int kind = 0;
        while (kind < 7 && choice >= kWeights[kind]) {
            choice -= kWeights[kind++];
        }
        switch (kind) {
            case 0:
                press(anyWidget());
                break;
            case 1:
                type();
                break;
            case 2:
                dragSomething();
                break;
            case 3:
                wheel();
                break;
            case 4:
                page();
                break;
            case 5:
                resize();
                break;
            case 6:
                storeReports();
                break;
            default:
                palette();
                break;
        }
    }

    void press(QWidget* widget) {
        if (widget == QApplication::activePopupWidget() ||
            widget == QApplication::activeModalWidget()) {
            QWidget* inner = anyWidget();
            widget = inner ? inner : widget;
        }
        if (leadsOutside(widget)) {
            return;
        }
        static constexpr Qt::KeyboardModifiers kModifiers[] = {
            Qt::NoModifier, Qt::NoModifier, Qt::NoModifier, Qt::ControlModifier, Qt::ShiftModifier};
        const QPoint at = placeIn(widget);
        const auto modifiers = kModifiers[below(5)];
        const int kind = below(10);
        note(QStringLiteral("%1 on %2 %3 at %4,%5")
                 .arg(kind == 0   ? QStringLiteral("double click")
                      : kind == 1 ? QStringLiteral("right click")
                                  : QStringLiteral("click"),
                      QString::fromLatin1(widget->metaObject()->className()), widget->objectName())
                 .arg(at.x())
                 .arg(at.y()));
        if (kind == 0) {
            QTest::mouseDClick(widget, Qt::LeftButton, modifiers, at);
        } else if (kind == 1) {
            const QPoint global = widget->mapToGlobal(at);
            QTest::mousePress(widget, Qt::RightButton, modifiers, at);
            QPointer<QWidget> target(widget);
            if (target) {
                QContextMenuEvent menu(QContextMenuEvent::Mouse, at, global, modifiers);
                QCoreApplication::sendEvent(target, &menu);
            }
            if (target) {
                QTest::mouseRelease(target, Qt::RightButton, modifiers, at);
            }
        } else {
            QPointer<QWidget> target(widget);
            QTest::mousePress(widget, Qt::LeftButton, modifiers, at);
            if (target) {
                QTest::mouseRelease(target, Qt::LeftButton, modifiers, at);
            }
        }
    }

    void type() {
        static constexpr Qt::Key kKeys[] = {
            Qt::Key_Tab,     Qt::Key_Backtab, Qt::Key_Return, Qt::Key_Escape, Qt::Key_Up,
            Qt::Key_Down,    Qt::Key_Left,    Qt::Key_Right,  Qt::Key_Space,  Qt::Key_Delete,
            Qt::Key_Home,    Qt::Key_End,     Qt::Key_PageUp, Qt::Key_F2,     Qt::Key_Backspace,
            Qt::Key_Plus,    Qt::Key_Minus,   Qt::Key_1,      Qt::Key_5,      Qt::Key_A,
            Qt::Key_E,       Qt::Key_R,       Qt::Key_Comma,  Qt::Key_Period, Qt::Key_F1,
            Qt::Key_Question};
        static constexpr Qt::Key kShortcuts[] = {
            Qt::Key_Z, Qt::Key_D, Qt::Key_T, Qt::Key_K, Qt::Key_B,      Qt::Key_R,     Qt::Key_P,
            Qt::Key_L, Qt::Key_J, Qt::Key_E, Qt::Key_S, Qt::Key_O,      Qt::Key_G,     Qt::Key_N,
            Qt::Key_C, Qt::Key_V, Qt::Key_A, Qt::Key_X, Qt::Key_Period, Qt::Key_Return};
        QWidget* target = QApplication::activePopupWidget();
        target = target ? target : QApplication::activeModalWidget();
        target = target ? target : QApplication::focusWidget();
        target = target ? target : m_fixture.window.get();
        Qt::Key key = kKeys[below(static_cast<int>(std::size(kKeys)))];
        Qt::KeyboardModifiers modifiers = below(6) == 0 ? Qt::ShiftModifier : Qt::NoModifier;
        if (below(4) == 0) {
            key = kShortcuts[below(static_cast<int>(std::size(kShortcuts)))];
            modifiers = Qt::ControlModifier | (below(3) == 0 ? Qt::ShiftModifier : Qt::NoModifier);
        }
        note(QStringLiteral("key %1 into %2 %3")
                 .arg(QKeySequence(modifiers | key).toString(),
                      QString::fromLatin1(target->metaObject()->className()),
                      target->objectName()));
        QTest::keyClick(target, key, modifiers);
    }

    void dragSomething() {
        QWidget* widget = anyWidget();
        if (leadsOutside(widget)) {
            return;
        }
        const QPoint from = placeIn(widget);
        QPointer<QWidget> target(widget);
        note(
            QStringLiteral("drag in %1 %2")
                .arg(QString::fromLatin1(widget->metaObject()->className()), widget->objectName()));
        const Qt::KeyboardModifiers modifiers = below(4) == 0 ? Qt::ShiftModifier : Qt::NoModifier;
        // Few steps: a drag that leaves a list would start a system drag, which has no one to end
        // it here. Asked before the press, which may take the widget away.
        const bool list = qobject_cast<QAbstractItemView*>(widget->parentWidget());
        QTest::mousePress(widget, Qt::LeftButton, modifiers, from);
        QPoint at = from;
        for (int step = 0; step < 4 && target && !list; ++step) {
            at = placeIn(target);
            QMouseEvent move(QEvent::MouseMove, at, target->mapToGlobal(at), Qt::NoButton,
                             Qt::LeftButton, modifiers);
            QCoreApplication::sendEvent(target, &move);
        }
        if (target) {
            QTest::mouseRelease(target, Qt::LeftButton, modifiers, at);
        }
    }

    void wheel() {
        QWidget* widget = anyWidget();
        const QPoint at = placeIn(widget);
        const int turn = (below(9) - 4) * 60;
        note(QStringLiteral("wheel over %1")
                 .arg(QString::fromLatin1(widget->metaObject()->className())));
        QWheelEvent event(at, widget->mapToGlobal(at), {}, {0, turn}, Qt::NoButton,
                          below(4) == 0 ? Qt::ControlModifier : Qt::NoModifier, Qt::NoScrollPhase,
                          false);
        QCoreApplication::sendEvent(widget, &event);
    }

    void page() {
        const int tab = below(m_fixture.window->tabs()->count());
        note(QStringLiteral("page %1").arg(tab));
        m_fixture.window->showPage(static_cast<MainWindow::Page>(tab));
        if (below(3) == 0) {
            m_fixture.window->showExperiment(1 + below(45));  // some of which are not there
        } else if (below(5) == 0) {
            m_fixture.window->compare({1 + below(40), 1 + below(40), 1 + below(45)});
        }
    }

    void resize() {
        const QSize size(900 + below(900), 560 + below(600));
        note(QStringLiteral("resize to %1x%2").arg(size.width()).arg(size.height()));
        m_fixture.window->resize(size);
        if (below(6) == 0) {
            QDockWidget* dock =
                below(2) ? m_fixture.window->runsDock() : m_fixture.window->libraryDock();
            dock->setFloating(!dock->isFloating());
        } else if (below(8) == 0) {
            m_fixture.window->resetLayout();
        } else if (below(6) == 0) {
            Theme::instance()->setMode(below(2) ? Theme::Mode::Dark : Theme::Mode::Light);
        }
    }

    /// What a busy engine and store tell the window.
    void storeReports() {
        auto& records = m_fixture.service.records;
        note(QStringLiteral("the store reports"));
        if (below(3) == 0 && !m_fixture.engine.posted.empty()) {
            const JobId job = m_fixture.engine
                                  .posted[static_cast<std::size_t>(
                                      below(static_cast<int>(m_fixture.engine.posted.size())))]
                                  .first;
            switch (below(4)) {
                case 0:
                    m_fixture.engine.send(job, JobStarted{});
                    break;
                case 1:
                    m_fixture.engine.send(job, JobProgress{});
                    break;
                case 2:
                    m_fixture.engine.send(job, JobCancelled{});
                    break;
                default:
                    m_fixture.engine.send(job, JobFailed{{ErrorKind::BadInput, "made to fail"}});
                    break;
            }
            return;
        }
        if (records.empty()) {
            records = ui::test::syntheticExperiments(5 + below(300), m_random());
            emit m_fixture.service.experimentsReset();
            return;
        }
        const qint64 id =
            records[static_cast<std::size_t>(below(static_cast<int>(records.size())))].id;
        switch (below(4)) {
            case 0:
                m_fixture.service.remove({id});
                break;
            case 1:
                m_fixture.service.setFavourite({id}, below(2) == 1);
                break;
            case 2:
                m_fixture.service.storeMetric(id, ui::test::measured("perplexity", 10 + below(9)));
                break;
            default:
                records = ui::test::syntheticExperiments(below(400), m_random());
                emit m_fixture.service.experimentsReset();
                break;
        }
    }

    void palette() {
        static constexpr const char* kWords[] = {"exp", "int4",  "help", "tour", "run",  "dark",
                                                 "fav", "model", "qq",   "note", "chart"};
        const char* word = kWords[below(static_cast<int>(std::size(kWords)))];
        note(QStringLiteral("palette: %1").arg(QLatin1String(word)));
        m_fixture.window->openPalette();
        CommandPalette* palette = m_fixture.window->commandPalette();
        QTest::keyClicks(palette->field(), QLatin1String(word));
        for (int i = below(4); i > 0; --i) {
            QTest::keyClick(palette->field(), Qt::Key_Down);
        }
        QTest::keyClick(palette->field(), below(3) ? Qt::Key_Return : Qt::Key_Escape);
    }

    fettle::test::WindowFixture m_fixture;
    std::mt19937 m_random;
    QTimer m_closer;
    QString m_last;
    QStringList m_trail;
    int m_done = 0;
    int m_inside = 0;
};

}  // namespace

class TestMonkey : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() {
        QStandardPaths::setTestModeEnabled(true);
        fettle::test::prepareGuiTest();
        QApplication::setQuitOnLastWindowClosed(false);
        // Saving into a folder that goes away, should a dialog ever be accepted.
        QVERIFY(QDir::setCurrent(m_folder.path()));
    }
    void init() { QSettings().clear(); }

    void plays_data() {
        QTest::addColumn<unsigned>("seed");
        bool given = false;
        const int asked = qEnvironmentVariableIntValue("FETTLE_MONKEY_RUNS", &given);
        const int first = qEnvironmentVariableIntValue("FETTLE_MONKEY_SEED");
        for (int run = 0; run < (given ? asked : 3); ++run) {
            QTest::addRow("seed %d", first + run) << static_cast<unsigned>(first + run);
        }
    }
    void plays() {
        QFETCH(unsigned, seed);
        QElapsedTimer clock;
        clock.start();
        Monkey monkey(seed);
        monkey.play(kEvents);
        QCOMPARE(monkey.done(), kEvents);
        qInfo("%d events in %lld ms", kEvents, clock.elapsed());
    }

private:
    QTemporaryDir m_folder;
};

QTEST_MAIN(TestMonkey)
#include "tst_monkey.moc"
