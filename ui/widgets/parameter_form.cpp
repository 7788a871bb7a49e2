#include "ui/widgets/parameter_form.h"

#include <QGridLayout>
#include <QLabel>
#include <QSizePolicy>
#include <QToolButton>
#include <algorithm>

#include "ui/bridge/engine_text.h"
#include "ui/widgets/icons.h"
#include "ui/widgets/parameter_editor.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

QString helpOf(const ParameterSchema& schema) {
    QString text = engineText(schema.help);
    if (schema.minimum && schema.maximum) {
        text += ParameterForm::tr("\nFrom %1 to %2.").arg(*schema.minimum).arg(*schema.maximum);
    } else if (schema.minimum) {
        text += ParameterForm::tr("\nAt least %1.").arg(*schema.minimum);
    }
    return text + ParameterForm::tr("\nDefault: %1")
                      .arg(QString::fromStdString(schema.defaultValue.dump()));
}

QToolButton* rowButton(const char* icon, const QString& tip, QWidget* parent) {
    auto* button = new QToolButton(parent);
    button->setIcon(themedIcon(QLatin1String(icon), IconTint::Muted));
    button->setToolTip(tip);
    button->setAccessibleName(tip);
    return button;
}

/// Keeps the button's place in rows that show, so that editors do not jump when a value changes.
void keepPlace(QWidget* button, bool keep) {
    QSizePolicy policy = button->sizePolicy();
    policy.setRetainSizeWhenHidden(keep);
    button->setSizePolicy(policy);
}

}  // namespace

ParameterForm::ParameterForm(const TechniqueDescriptor& technique, QWidget* parent)
    : QWidget(parent) {
    auto* grid = new QGridLayout(this);
    grid->setContentsMargins(0, 0, 0, 0);
    grid->setHorizontalSpacing(kGap);
    grid->setVerticalSpacing(6);
    grid->setColumnMinimumWidth(0, 130);
    grid->setColumnStretch(1, 1);
    m_rows.reserve(technique.parameters.size());
    int at = 0;
    for (const ParameterSchema& schema : technique.parameters) {
        addRow(schema, grid, at);
        at += 2;
    }
    setValues(nlohmann::json::object());
}

void ParameterForm::addRow(const ParameterSchema& schema, QGridLayout* grid, int at) {
    const QString title = engineText(schema.title.empty() ? schema.name : schema.title);
    Row row{schema,
            makeLabel(title, TextRole::Body, this),
            makeParameterEditor(schema, this),
            nullptr,
            nullptr,
            nullptr};
    row.label->setToolTip(helpOf(schema));
    row.editor->setToolTip(helpOf(schema));
    row.editor->control()->setAccessibleName(title);
    row.editor->control()->setAccessibleDescription(engineText(schema.help));
    row.editor->setFocusProxy(row.editor->control());
    row.label->setBuddy(row.editor->control());
    row.note = makeLabel({}, TextRole::Caption, this);
    row.note->setWordWrap(true);
    row.reset = rowButton("reset", tr("Back to the default of \"%1\"").arg(title), this);
    const std::string name = schema.name;
    connect(row.editor, &ParameterEditor::edited, this,
            [this, name](const nlohmann::json& value) { emit edited(name, value); });
    connect(row.reset, &QToolButton::clicked, this, [this, name] { emit resetRequested(name); });
    grid->addWidget(row.label, at, 0, Qt::AlignVCenter);
    grid->addWidget(row.editor, at, 1);
    grid->addWidget(row.reset, at, 2);
    if (schema.sweepable) {
        row.sweep = rowButton("sweep", tr("Sweep \"%1\" over several values…").arg(title), this);
        connect(row.sweep, &QToolButton::clicked, this,
                [this, name] { emit sweepRequested(name); });
        grid->addWidget(row.sweep, at, 3);
    }
    grid->addWidget(row.note, at + 1, 1);
    m_rows.push_back(std::move(row));
}

void ParameterForm::setValues(const nlohmann::json& params) {
    nlohmann::json effective = nlohmann::json::object();
    for (const Row& row : m_rows) {
        effective[row.schema.name] = row.schema.defaultValue;
    }
    if (params.is_object()) {
        effective.update(params);
    }
    for (Row& row : m_rows) {
        const auto& condition = row.schema.visibleWhen;
        row.visible = true;
        if (condition) {
            const nlohmann::json other = effective.value(condition->param, nlohmann::json());
            const std::string text = other.is_string() ? other.get<std::string>() : other.dump();
            row.visible = std::find(condition->values.begin(), condition->values.end(), text) !=
                          condition->values.end();
        }
        row.editor->setValue(effective[row.schema.name]);
        const bool changed = effective[row.schema.name] != row.schema.defaultValue;
        row.label->setVisible(row.visible);
        row.editor->setVisible(row.visible);
        keepPlace(row.reset, row.visible);
        row.reset->setVisible(row.visible && changed);
        if (row.sweep) {
            row.sweep->setVisible(row.visible);
        }
        row.note->setText(row.editor->note());
        row.note->setVisible(row.visible && !row.note->text().isEmpty());
    }
}

const ParameterForm::Row* ParameterForm::find(const std::string& parameter) const {
    const auto found = std::find_if(m_rows.begin(), m_rows.end(),
                                    [&](const Row& row) { return row.schema.name == parameter; });
    return found == m_rows.end() ? nullptr : &*found;
}

ParameterEditor* ParameterForm::editor(const std::string& parameter) const {
    const Row* row = find(parameter);
    return row ? row->editor : nullptr;
}

bool ParameterForm::isRowVisible(const std::string& parameter) const {
    const Row* row = find(parameter);
    return row && row->visible;
}

}  // namespace fettle::ui
