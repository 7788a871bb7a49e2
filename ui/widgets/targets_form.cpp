#include "ui/widgets/targets_form.h"

#include <QGridLayout>
#include <QLabel>
#include <QLineEdit>
#include <QSettings>
#include <QSpinBox>
#include <QVBoxLayout>

#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

const QString kSettings = QStringLiteral("advisor/");

std::optional<double> read(const QLineEdit* edit) {
    return limitFromText(edit->text().trimmed().toStdString());
}

}  // namespace

TargetsForm::TargetsForm(QWidget* parent) : QFrame(parent) {
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(13, 6, 13, 6);
    column->setSpacing(kGap);
    column->addWidget(makeLabel(tr("Targets"), TextRole::Heading, this));
    QLabel* hint = makeLabel(tr("An empty field is no wish."), TextRole::Caption, this);
    column->addWidget(hint);
    auto* grid = new QGridLayout;
    grid->setHorizontalSpacing(kGap);
    grid->setVerticalSpacing(6);
    grid->setColumnMinimumWidth(0, 96);
    grid->setColumnStretch(1, 1);
    column->addLayout(grid);
    addRow(grid, QStringLiteral("max-perplexity-increase"), tr("Per&plexity, at most"),
           QStringLiteral("+2%"),
           tr("Increase of the perplexity against the model as it is, over the same tokens."),
           &AdvisorTargets::maxPerplexityIncrease);
    addRow(grid, QStringLiteral("max-kl"), tr("&KL divergence, at most"), QStringLiteral("0.01"),
           tr("Mean divergence from the predictions of the model as it is, in nats."),
           &AdvisorTargets::maxKl);
    addRow(grid, QStringLiteral("min-task-accuracy"), tr("Tas&ks right, at least"),
           QStringLiteral("70%"), tr("Share of the multiple-choice tasks that are answered right."),
           &AdvisorTargets::minTaskAccuracy);
    addRow(grid, QStringLiteral("min-speedup"), tr("&Speed-up, at least"), QStringLiteral("1.5x"),
           tr("Decode speed against the model as it is, on this machine."),
           &AdvisorTargets::minSpeedup);
    addRow(grid, QStringLiteral("max-memory"), tr("&Weights, at most"), QStringLiteral("2 GiB"),
           tr("Memory that the weights take while the model runs; a draft's count too."),
           &AdvisorTargets::maxMemoryBytes);
    addRow(grid, QStringLiteral("max-file-size"), tr("&File, at most"), QStringLiteral("2 GiB"),
           tr("Bytes of all files of the model on disk."), &AdvisorTargets::maxFileBytes);

    m_minutes = new QSpinBox(this);
    m_minutes->setRange(0, 100'000);
    m_minutes->setSuffix(tr(" min"));
    m_minutes->setSpecialValueText(tr("no limit"));
    m_minutes->setStepType(QAbstractSpinBox::AdaptiveDecimalStepType);
    m_minutes->setFocusPolicy(Qt::StrongFocus);
    m_minutes->setAccessibleName(tr("Budget"));
    m_minutes->setToolTip(
        tr("Measured time of all runs of the ladder, those found in the database included."));
    auto* budgetLabel = new QLabel(tr("Bu&dget"), this);
    budgetLabel->setBuddy(m_minutes);
    const int row = grid->rowCount();
    grid->addWidget(budgetLabel, row, 0);
    grid->addWidget(m_minutes, row, 1);
    m_draft = new QLineEdit(this);
    m_draft->setPlaceholderText(tr("none beside n-gram and self"));
    m_draft->setAccessibleName(tr("Draft model"));
    m_draft->setToolTip(
        tr("Folder or .gguf file of a small model with the same tokenizer, tried as a draft."));
    auto* draftLabel = new QLabel(tr("D&raft model"), this);
    draftLabel->setBuddy(m_draft);
    grid->addWidget(draftLabel, row + 1, 0);
    grid->addWidget(m_draft, row + 1, 1);
    restoreSettings();
    connect(m_minutes, &QSpinBox::valueChanged, this, &TargetsForm::changed);
    connect(m_draft, &QLineEdit::textChanged, this, &TargetsForm::changed);
}

void TargetsForm::addRow(QGridLayout* grid, const QString& name, const QString& title,
                         const QString& example, const QString& help,
                         std::optional<double> AdvisorTargets::*target) {
    auto* edit = new QLineEdit(this);
    edit->setPlaceholderText(tr("e.g. %1").arg(example));
    edit->setAccessibleName(QString(title).remove(QLatin1Char('&')));
    edit->setAccessibleDescription(help);
    edit->setToolTip(help);
    edit->setClearButtonEnabled(true);
    auto* label = new QLabel(title, this);
    label->setBuddy(edit);
    label->setToolTip(help);
    const int row = static_cast<int>(m_rows.size());
    grid->addWidget(label, row, 0);
    grid->addWidget(edit, row, 1);
    m_rows.push_back({name, QString(title).remove(QLatin1Char('&')), target, edit});
    connect(edit, &QLineEdit::textChanged, this, [this] {
        markFields();
        emit changed();
    });
}

void TargetsForm::restoreSettings() {
    const QSettings settings;
    for (const Row& row : m_rows) {
        row.edit->setText(settings.value(kSettings + row.name).toString());
    }
    if (!targets().any()) {
        field(QStringLiteral("max-perplexity-increase"))->setText(QStringLiteral("2%"));
        field(QStringLiteral("min-speedup"))->setText(QStringLiteral("1.5x"));
    }
    m_minutes->setValue(settings.value(kSettings + QStringLiteral("minutes"), 60).toInt());
    m_draft->setText(settings.value(kSettings + QStringLiteral("draft")).toString());
}

void TargetsForm::saveSettings() const {
    QSettings settings;
    for (const Row& row : m_rows) {
        settings.setValue(kSettings + row.name, row.edit->text());
    }
    settings.setValue(kSettings + QStringLiteral("minutes"), m_minutes->value());
    settings.setValue(kSettings + QStringLiteral("draft"), m_draft->text());
}

void TargetsForm::markFields() {
    for (const Row& row : m_rows) {
        const bool wrong = !row.edit->text().trimmed().isEmpty() && !read(row.edit);
        setStyleClass(row.edit, wrong ? "invalid" : "");
    }
}

AdvisorTargets TargetsForm::targets() const {
    AdvisorTargets targets;
    for (const Row& row : m_rows) {
        targets.*row.target = read(row.edit);
    }
    return targets;
}

double TargetsForm::minutes() const {
    return m_minutes->value();
}

QString TargetsForm::draft() const {
    return m_draft->text().trimmed();
}

QLineEdit* TargetsForm::field(const QString& name) const {
    for (const Row& row : m_rows) {
        if (row.name == name) {
            return row.edit;
        }
    }
    return nullptr;
}

QString TargetsForm::problem() const {
    for (const Row& row : m_rows) {
        if (!row.edit->text().trimmed().isEmpty() && !read(row.edit)) {
            return tr("%1: “%2” is not a number with %, x or a unit of bytes.")
                .arg(row.title, row.edit->text());
        }
    }
    return targets().any() ? QString() : tr("Set at least one target.");
}

}  // namespace fettle::ui
