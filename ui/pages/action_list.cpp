#include "ui/pages/action_list.h"

#include <QAction>
#include <QMainWindow>
#include <QMenu>
#include <QMenuBar>
#include <QSet>
#include <QTabWidget>

namespace fettle::ui {
namespace {

void addMenu(const QMenu& menu, const QString& place, QSet<QAction*>& seen,
             std::vector<ListedAction>& list) {
    for (QAction* action : menu.actions()) {
        if (action->menu()) {
            addMenu(*action->menu(), place + QStringLiteral(", ") + actionTitle(*action), seen,
                    list);
        } else if (!action->isSeparator() && !action->text().isEmpty() && !seen.contains(action)) {
            seen.insert(action);
            list.push_back({action, place, -1, nullptr});
        }
    }
}

void addWidget(QWidget& widget, const QString& place, int tab, QSet<QAction*>& seen,
               std::vector<ListedAction>& list) {
    for (QAction* action : widget.actions()) {
        if (!action->isSeparator() && !action->menu() && !action->text().isEmpty() &&
            !seen.contains(action)) {
            seen.insert(action);
            const bool needsFocus = action->shortcutContext() == Qt::WidgetShortcut;
            list.push_back({action, place, tab, needsFocus ? &widget : nullptr});
        }
    }
}

}  // namespace

std::vector<ListedAction> listActions(const QMainWindow& window, const QTabWidget& tabs) {
    std::vector<ListedAction> list;
    QSet<QAction*> seen;
    for (const QAction* menu : window.menuBar()->actions()) {
        if (menu->menu()) {
            addMenu(*menu->menu(), actionTitle(*menu), seen, list);
        }
    }
    for (int tab = 0; tab < tabs.count(); ++tab) {
        QWidget* page = tabs.widget(tab);
        addWidget(*page, tabs.tabText(tab), tab, seen, list);
        for (QWidget* widget : page->findChildren<QWidget*>()) {
            // A menu that hangs on a button is filled when it opens, and is the button's.
            if (!qobject_cast<QMenu*>(widget)) {
                addWidget(*widget, tabs.tabText(tab), tab, seen, list);
            }
        }
    }
    return list;
}

QString actionTitle(const QAction& action) {
    QString title = action.text();
    title.replace(QStringLiteral("&&"), QString(QChar(1))).remove(QLatin1Char('&'));
    title.replace(QChar(1), QLatin1Char('&'));
    while (title.endsWith(QChar(0x2026)) || title.endsWith(QLatin1Char('.'))) {
        title.chop(1);
    }
    return title;
}

QString actionKeys(const QAction& action) {
    QStringList keys;
    for (const QKeySequence& sequence : action.shortcuts()) {
        keys << sequence.toString(QKeySequence::NativeText);
    }
    keys.removeDuplicates();
    return keys.join(QStringLiteral(" / "));
}

}  // namespace fettle::ui
