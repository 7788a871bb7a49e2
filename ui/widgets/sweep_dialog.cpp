#include "ui/widgets/sweep_dialog.h"

#include <QCheckBox>
#include <QDialogButtonBox>
#include <QGridLayout>
#include <QLabel>
#include <QLineEdit>
#include <QPushButton>
#include <QScrollArea>
#include <QVBoxLayout>
#include <cmath>

#include "ui/bridge/engine_text.h"
#include "ui/models/recipe_model.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

constexpr std::size_t kMaxExperiments = 500;

/// "a" or "from:to:step" as numbers; empty on a mistake.
std::vector<double> parseNumbers(const QString& piece) {
    const QStringList parts = piece.split(QLatin1Char(':'));
    std::vector<double> numbers;
    for (const QString& part : parts) {
        bool ok = false;
        numbers.push_back(part.trimmed().toDouble(&ok));
        if (!ok) {
            return {};
        }
    }
    if (numbers.size() == 1) {
        return numbers;
    }
    if (numbers.size() != 3 || numbers[2] <= 0 || numbers[1] < numbers[0]) {
        return {};
    }
    std::vector<double> range;
    const double count = std::floor((numbers[1] - numbers[0]) / numbers[2] + 1e-9);
    for (int i = 0; i <= count && range.size() < kMaxExperiments; ++i) {
        range.push_back(std::round((numbers[0] + i * numbers[2]) * 1e12) / 1e12);
    }
    return range;
}

}  // namespace

std::vector<nlohmann::json> parseSweepValues(const ParameterSchema& schema, const QString& text,
                                             QString* problem) {
    std::vector<nlohmann::json> values;
    const QString title = engineText(schema.title.empty() ? schema.name : schema.title);
    const bool number = schema.type == ParameterType::Int || schema.type == ParameterType::Double;
    for (const QString& piece : text.split(QLatin1Char(','), Qt::SkipEmptyParts)) {
        const QString trimmed = piece.trimmed();
        if (trimmed.isEmpty()) {
            continue;
        }
        if (!number) {
            values.push_back(trimmed.toStdString());
            continue;
        }
        const std::vector<double> parsed = parseNumbers(trimmed);
        if (parsed.empty()) {
            *problem = SweepDialog::tr("%1: \"%2\" is neither a number nor a range from:to:step.")
                           .arg(title, trimmed);
            return {};
        }
        for (const double value : parsed) {
            if ((schema.minimum && value < *schema.minimum) ||
                (schema.maximum && value > *schema.maximum)) {
                *problem = SweepDialog::tr("%1: %2 is out of range.").arg(title).arg(value);
                return {};
            }
            if (schema.type == ParameterType::Int) {
                values.push_back(static_cast<std::int64_t>(std::llround(value)));
            } else {
                values.push_back(value);
            }
        }
    }
    if (values.empty()) {
        *problem = SweepDialog::tr("%1: name at least one value.").arg(title);
    }
    return values;
}

SweepDialog::SweepDialog(const RecipeModel& model, int row, const std::string& parameter,
                         QWidget* parent)
    : QDialog(parent), m_base(model.recipe()), m_count(makeLabel({}, TextRole::Body, this)) {
    setWindowTitle(tr("Sweep parameters"));
    resize(560, 460);
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(kGapWide, kGapWide, kGapWide, kGapWide);
    column->setSpacing(kGap);
    column->addWidget(makeLabel(tr("One experiment for each combination"), TextRole::Title, this));
    QLabel* help = makeLabel(tr("Choose parameters and their values. Numbers may be listed (0.25, "
                                "0.5) or given as a range "
                                "from:to:step (0.1:0.9:0.2)."),
                             TextRole::Caption, this);
    help->setWordWrap(true);
    column->addWidget(help);

    auto* scroll = new QScrollArea(this);
    auto* content = new QWidget(scroll);
    setStyleClass(content, "page");
    auto* list = new QVBoxLayout(content);
    list->setContentsMargins(0, 0, 8, 0);
    list->setSpacing(kGap);
    for (int step = 0; step < model.rowCount(); ++step) {
        const TechniqueDescriptor* technique = model.descriptorAt(step);
        if (!technique) {
            continue;
        }
        const nlohmann::json params = model.effectiveParams(step);
        for (const ParameterSchema& schema : technique->parameters) {
            if (schema.sweepable && isParameterVisible(schema, params)) {
                addAxis(list, static_cast<std::size_t>(step), engineText(technique->title), schema,
                        params.value(schema.name, nlohmann::json()),
                        step == row && schema.name == parameter);
            }
        }
    }
    list->addStretch();
    scroll->setWidget(content);
    scroll->setWidgetResizable(true);
    column->addWidget(scroll, 1);
    m_count->setWordWrap(true);
    column->addWidget(m_count);

    auto* buttons = new QDialogButtonBox(this);
    m_run = buttons->addButton(tr("&Run sweep"), QDialogButtonBox::AcceptRole);
    setStyleClass(m_run, "primary");
    buttons->addButton(QDialogButtonBox::Cancel);
    connect(buttons, &QDialogButtonBox::accepted, this, &QDialog::accept);
    connect(buttons, &QDialogButtonBox::rejected, this, &QDialog::reject);
    column->addWidget(buttons);
    refresh();
}

void SweepDialog::addAxis(QVBoxLayout* column, std::size_t step, const QString& stepTitle,
                          const ParameterSchema& schema, const nlohmann::json& current,
                          bool chosen) {
    Axis axis;
    axis.step = step;
    axis.schema = schema;
    const QString title = engineText(schema.title.empty() ? schema.name : schema.title);
    axis.use = new QCheckBox(tr("%1 · %2").arg(stepTitle, title), this);
    axis.use->setChecked(chosen);
    axis.use->setToolTip(engineText(schema.help));
    column->addWidget(axis.use);
    axis.values = new QWidget(this);
    auto* inner = new QGridLayout(axis.values);
    inner->setContentsMargins(24, 0, 0, 6);
    inner->setVerticalSpacing(4);
    if (schema.type == ParameterType::Choice || schema.type == ParameterType::Bool) {
        std::vector<std::pair<nlohmann::json, QString>> options;
        for (const ParameterChoice& choice : schema.choices) {
            options.emplace_back(choice.value,
                                 engineText(choice.title.empty() ? choice.value : choice.title));
        }
        if (schema.type == ParameterType::Bool) {
            options = {{false, tr("off")}, {true, tr("on")}};
        }
        int at = 0;
        for (const auto& [value, text] : options) {
            auto* box = new QCheckBox(text, axis.values);
            box->setChecked(value == current);
            inner->addWidget(box, at / 2, at % 2);
            ++at;
            axis.boxes.emplace_back(value, box);
            connect(box, &QCheckBox::toggled, this, &SweepDialog::refresh);
        }
    } else {
        axis.line = new QLineEdit(axis.values);
        axis.line->setAccessibleName(tr("Values of %1").arg(title));
        axis.line->setPlaceholderText(tr("values, separated by commas"));
        axis.line->setText(current.is_null() ? QString()
                           : current.is_string()
                               ? QString::fromStdString(current.get<std::string>())
                               : QString::fromStdString(current.dump()));
        inner->addWidget(axis.line, 0, 0);
        connect(axis.line, &QLineEdit::textChanged, this, &SweepDialog::refresh);
    }
    axis.values->setVisible(chosen);
    connect(axis.use, &QCheckBox::toggled, axis.values, &QWidget::setVisible);
    connect(axis.use, &QCheckBox::toggled, this, &SweepDialog::refresh);
    column->addWidget(axis.values);
    m_axes.push_back(std::move(axis));
}

std::vector<nlohmann::json> SweepDialog::valuesOf(const Axis& axis, QString* problem) const {
    if (axis.line) {
        return parseSweepValues(axis.schema, axis.line->text(), problem);
    }
    std::vector<nlohmann::json> values;
    for (const auto& [value, box] : axis.boxes) {
        if (box->isChecked()) {
            values.push_back(value);
        }
    }
    if (values.empty()) {
        *problem = tr("%1: choose at least one value.").arg(engineText(axis.schema.title));
    }
    return values;
}

std::vector<SweepAxis> SweepDialog::axes() const {
    std::vector<SweepAxis> result;
    for (const Axis& axis : m_axes) {
        QString problem;
        if (axis.use->isChecked()) {
            result.push_back({axis.step, axis.schema.name, valuesOf(axis, &problem)});
        }
    }
    return result;
}

std::vector<Recipe> SweepDialog::recipes() const {
    return expandSweep(m_base, axes());
}

void SweepDialog::refresh() {
    std::size_t count = 1;
    bool any = false;
    QString problem;
    for (const Axis& axis : m_axes) {
        if (axis.use->isChecked()) {
            any = true;
            count *= valuesOf(axis, &problem).size();
        }
    }
    if (m_axes.empty()) {
        problem = tr("No parameter of this recipe can be swept. Add a step first.");
    } else if (!any) {
        problem = tr("Choose a parameter.");
    } else if (problem.isEmpty() && count > kMaxExperiments) {
        problem = tr("%1 experiments are too many; at most %2.").arg(count).arg(kMaxExperiments);
    }
    m_count->setText(problem.isEmpty() ? tr("%n experiment(s)", nullptr, static_cast<int>(count))
                                       : problem);
    setStyleClass(m_count, problem.isEmpty() ? "" : "danger");
    if (m_run) {
        m_run->setEnabled(problem.isEmpty());
    }
}

}  // namespace fettle::ui
