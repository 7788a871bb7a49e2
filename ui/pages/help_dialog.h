// What the window says about itself: the keys of its actions, and every technique with its
// settings. Made from the actions and the descriptors, so that nothing here is written twice. GUI
// thread only.
#pragma once

#include <QDialog>
#include <vector>

#include "engine/experiment/technique_schema.h"
#include "ui/pages/action_list.h"

class QListWidget;
class QTabWidget;
class QTextBrowser;

namespace fettle::ui {

/// Rich text of all actions that have keys, in a table per place; then what `parts` (charts, lists)
/// say about their own keys.
QString shortcutsHtml(const std::vector<ListedAction>& actions,
                      const std::vector<const QWidget*>& parts);
/// Rich text: what a technique does, what it needs, its settings with types, ranges and defaults.
QString techniqueHtml(const TechniqueDescriptor& technique);

class HelpDialog : public QDialog {
    Q_OBJECT

public:
    HelpDialog(const QString& shortcuts, const std::vector<TechniqueDescriptor>& techniques,
               QWidget* parent);
    /// Opens at a technique, by its id; an empty one: at the keys.
    void showAt(const QString& technique);
    QString text() const;

private:
    std::vector<TechniqueDescriptor> m_techniques;
    QTabWidget* m_tabs;
    QTextBrowser* m_keys;
    QListWidget* m_list;
    QTextBrowser* m_technique;
};

}  // namespace fettle::ui
