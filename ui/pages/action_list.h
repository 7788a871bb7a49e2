// Every action of a window with the place it belongs to, found among its menus and widgets: what
// the command palette offers and the keyboard sheet lists. GUI thread only.
#pragma once

#include <QString>
#include <vector>

class QAction;
class QMainWindow;
class QTabWidget;
class QWidget;

namespace fettle::ui {

struct ListedAction {
    QAction* action = nullptr;
    QString place;             ///< "Edit", "View, Theme", or the title of a page
    int tab = -1;              ///< of the page it belongs to; -1: it works everywhere
    QWidget* owner = nullptr;  ///< the widget whose focus it needs; null: none
};

/// Menus first, in their order, then the pages that were made so far, in the order of their tabs.
/// Separators, submenus and actions without words are left out; each action comes once.
std::vector<ListedAction> listActions(const QMainWindow& window, const QTabWidget& tabs);

/// The words of an action without mnemonics and dots at the end: "Save recipe".
QString actionTitle(const QAction& action);
/// "Ctrl+Shift+O", as the system writes it; all of them, or an empty text.
QString actionKeys(const QAction& action);

}  // namespace fettle::ui
