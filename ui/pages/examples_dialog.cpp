#include "ui/pages/examples_dialog.h"

#include <QDialogButtonBox>
#include <QListWidget>
#include <QPushButton>
#include <QSplitter>
#include <QTextBrowser>
#include <QVBoxLayout>
#include <algorithm>

#include "ui/models/experiment_comparison.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {

ExamplesDialog::ExamplesDialog(Examples examples,
                               const std::vector<TechniqueDescriptor>& techniques, QWidget* parent)
    : QDialog(parent),
      m_examples(std::move(examples)),
      m_techniques(techniques),
      m_list(new QListWidget),
      m_text(new QTextBrowser),
      m_open(new QPushButton(tr("&Open in the recipe"))),
      m_run(new QPushButton(tr("&Run it"))) {
    setWindowTitle(tr("Examples"));
    resize(760, 460);
    auto* column = new QVBoxLayout(this);
    auto* split = new QSplitter(Qt::Horizontal, this);
    split->setChildrenCollapsible(false);
    split->setHandleWidth(9);
    m_list->setAccessibleName(tr("Examples"));
    m_text->setAccessibleName(tr("About the example"));
    m_text->setOpenLinks(false);
    split->addWidget(m_list);
    split->addWidget(m_text);
    split->setStretchFactor(1, 1);
    split->setSizes({300, 440});
    column->addWidget(split, 1);
    auto* buttons = new QDialogButtonBox(QDialogButtonBox::Close, this);
    setStyleClass(m_open, "primary");
    m_run->setToolTip(tr("Runs it on the model that the recipe page has chosen, and measures"));
    buttons->addButton(m_open, QDialogButtonBox::ActionRole);
    buttons->addButton(m_run, QDialogButtonBox::ActionRole);
    column->addWidget(buttons);
    for (const auto& [recipe, help] : m_examples) {
        m_list->addItem(QString::fromStdString(recipe.name));
    }
    connect(m_list, &QListWidget::currentRowChanged, this, &ExamplesDialog::showCurrent);
    connect(m_list, &QListWidget::itemActivated, this, [this] { choose(false); });
    connect(m_open, &QPushButton::clicked, this, [this] { choose(false); });
    connect(m_run, &QPushButton::clicked, this, [this] { choose(true); });
    connect(buttons, &QDialogButtonBox::rejected, this, &QDialog::reject);
    m_list->setCurrentRow(m_examples.empty() ? -1 : 0);
    showCurrent();
}

QString ExamplesDialog::text() const {
    return m_text->toPlainText();
}

QString ExamplesDialog::describe(const Recipe& recipe, const QString& help) const {
    QString html =
        QStringLiteral("<h3>%1</h3>").arg(QString::fromStdString(recipe.name).toHtmlEscaped());
    if (!help.isEmpty()) {
        html += QStringLiteral("<p>%1</p>").arg(help.toHtmlEscaped());
    }
    html += QStringLiteral("<ol>");
    QStringList needs;
    for (const QString& line : recipeLines(recipe)) {
        html += QStringLiteral("<li>%1</li>").arg(line.toHtmlEscaped());
    }
    html += QStringLiteral("</ol>");
    for (const RecipeStep& step : recipe.steps) {
        const auto technique =
            std::find_if(m_techniques.begin(), m_techniques.end(),
                         [&](const TechniqueDescriptor& t) { return t.id == step.technique; });
        if (technique == m_techniques.end()) {
            continue;
        }
        if (technique->usesCalibration) {
            needs << tr("a calibration text");
        }
        if (technique->needsTrainingText) {
            needs << tr("a training text");
        }
    }
    needs.removeDuplicates();
    html +=
        QStringLiteral("<p>%1</p>")
            .arg(needs.isEmpty()
                     ? tr("Needs the model alone.")
                     : tr("Uses %1; the demo model brings its own.").arg(needs.join(tr(" and "))));
    return html;
}

void ExamplesDialog::showCurrent() {
    const int row = m_list->currentRow();
    m_open->setEnabled(row >= 0);
    m_run->setEnabled(row >= 0);
    if (row < 0) {
        m_text->setPlainText(tr("No examples are installed with this program."));
        return;
    }
    const auto& [recipe, help] = m_examples[static_cast<std::size_t>(row)];
    m_text->setHtml(describe(recipe, help));
}

void ExamplesDialog::choose(bool run) {
    const int row = m_list->currentRow();
    if (row >= 0) {
        const Recipe recipe = m_examples[static_cast<std::size_t>(row)].first;
        accept();
        emit chosen(recipe, run);
    }
}

}  // namespace fettle::ui
