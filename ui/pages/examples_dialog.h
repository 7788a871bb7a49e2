// The gallery of examples: every bundled recipe with what it does, what it needs and its steps, to
// be opened or run at once. GUI thread only.
#pragma once

#include <QDialog>
#include <utility>
#include <vector>

#include "engine/experiment/recipe.h"
#include "engine/experiment/technique_schema.h"

class QListWidget;
class QPushButton;
class QTextBrowser;

namespace fettle::ui {

class ExamplesDialog : public QDialog {
    Q_OBJECT

public:
    using Examples = std::vector<std::pair<Recipe, QString>>;  ///< with a sentence each

    ExamplesDialog(Examples examples, const std::vector<TechniqueDescriptor>& techniques,
                   QWidget* parent);
    QListWidget* list() const { return m_list; }
    QString text() const;
    QPushButton* openButton() const { return m_open; }
    QPushButton* runButton() const { return m_run; }

signals:
    /// The example is to become the recipe being edited; `run`: and to be run at once.
    void chosen(const fettle::Recipe& recipe, bool run);

private:
    void showCurrent();
    void choose(bool run);
    QString describe(const Recipe& recipe, const QString& help) const;

    Examples m_examples;
    std::vector<TechniqueDescriptor> m_techniques;
    QListWidget* m_list;
    QTextBrowser* m_text;
    QPushButton* m_open;
    QPushButton* m_run;
};

}  // namespace fettle::ui
