#include "ui/pages/explore_filter_bar.h"

#include <QComboBox>
#include <QDialog>
#include <QDialogButtonBox>
#include <QDoubleValidator>
#include <QFormLayout>
#include <QHBoxLayout>
#include <QLabel>
#include <QLineEdit>
#include <QPushButton>
#include <QSignalBlocker>
#include <QToolButton>
#include <QVBoxLayout>
#include <set>

#include "ui/charts/axis_scale.h"
#include "ui/charts/tradeoff_painter.h"
#include "ui/models/experiment_comparison.h"
#include "ui/widgets/flow_layout.h"
#include "ui/widgets/icons.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

QComboBox* makeChoice(const QString& name, const QString& all, QWidget* parent) {
    auto* box = new QComboBox(parent);
    box->setObjectName(name);
    box->setAccessibleName(all);
    box->addItem(all, QString());
    box->setSizeAdjustPolicy(QComboBox::AdjustToContents);
    box->setMaximumWidth(180);
    return box;
}

void refill(QComboBox& box, const std::vector<std::pair<QString, QString>>& entries) {
    const QSignalBlocker quiet(box);
    const QString kept = box.currentData().toString();
    while (box.count() > 1) {
        box.removeItem(1);
    }
    for (const auto& [data, title] : entries) {
        box.addItem(title, data);
    }
    box.setCurrentIndex(std::max(box.findData(kept), 0));
}

QString rangeText(const QString& metric, const MetricRange& range) {
    const std::string id = metric.toStdString();
    const auto number = [&](double value) {
        return QString::fromStdString(formatMetric(id, value));
    };
    if (range.low && range.high) {
        return QStringLiteral("%1 %2 to %3")
            .arg(metricTitle(metric), number(*range.low), number(*range.high));
    }
    return range.low
               ? QStringLiteral("%1 ≥ %2").arg(metricTitle(metric), number(*range.low))
               : QStringLiteral("%1 ≤ %2").arg(metricTitle(metric), number(range.high.value_or(0)));
}

}  // namespace

ExploreFilterBar::ExploreFilterBar(QWidget* parent)
    : QWidget(parent),
      m_text(new QLineEdit(this)),
      m_technique(makeChoice("techniqueFilter", tr("All techniques"), this)),
      m_model(makeChoice("modelFilter", tr("All models"), this)),
      m_device(makeChoice("deviceFilter", tr("All devices"), this)),
      m_status(makeChoice("statusFilter", tr("All states"), this)),
      m_tag(makeChoice("tagFilter", tr("All tags"), this)),
      m_favourites(new QPushButton(this)),
      m_addRange(new QPushButton(this)),
      m_clear(new QPushButton(this)),
      m_count(makeLabel({}, TextRole::Caption, this)),
      m_chips(new QWidget(this)),
      m_chipLayout(new QHBoxLayout(m_chips)) {
    m_text->setObjectName(QStringLiteral("textFilter"));
    m_text->setPlaceholderText(tr("Filter by name, recipe, model…"));
    m_text->setAccessibleName(tr("Filter experiments by words"));
    m_text->setClearButtonEnabled(true);
    m_text->setFixedWidth(220);
    m_favourites->setObjectName(QStringLiteral("favouritesFilter"));
    m_favourites->setIcon(themedIcon(QStringLiteral("star")));
    m_favourites->setText(tr("Favourites"));
    m_favourites->setCheckable(true);
    m_favourites->setToolTip(tr("Show only experiments with a star"));
    m_addRange->setText(tr("Range…"));
    m_addRange->setToolTip(tr("Show only experiments with a metric between two values"));
    m_clear->setText(tr("Clear filters"));
    m_clear->setObjectName(QStringLiteral("clearFilters"));

    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(0, 0, 0, 0);
    column->setSpacing(6);
    auto* row = new QHBoxLayout;
    row->setSpacing(kGap);
    // A narrow window takes a second row rather than squeeze what is in the first.
    auto* flow = new FlowLayout(nullptr, kGap);
    flow->addWidget(m_text);
    for (QWidget* widget : std::initializer_list<QWidget*>{
             m_technique, m_model, m_device, m_status, m_tag, m_favourites, m_addRange, m_clear}) {
        flow->addWidget(widget);
    }
    row->addLayout(flow, 1);
    row->addWidget(m_count, 0, Qt::AlignVCenter);
    column->addLayout(row);
    m_chipLayout->setContentsMargins(0, 0, 0, 0);
    m_chipLayout->setSpacing(6);
    m_chipLayout->addStretch();
    column->addWidget(m_chips);
    m_chips->hide();
    m_clear->hide();

    for (const ExperimentStatus status :
         {ExperimentStatus::Finished, ExperimentStatus::Running, ExperimentStatus::Queued,
          ExperimentStatus::Failed, ExperimentStatus::Cancelled, ExperimentStatus::Interrupted}) {
        m_status->addItem(statusTitle(status), QString::number(static_cast<int>(status)));
    }
    connect(m_text, &QLineEdit::textChanged, this, &ExploreFilterBar::emitChanged);
    for (QComboBox* box : {m_technique, m_model, m_device, m_status, m_tag}) {
        connect(box, &QComboBox::currentIndexChanged, this, &ExploreFilterBar::emitChanged);
    }
    connect(m_favourites, &QPushButton::toggled, this, &ExploreFilterBar::emitChanged);
    connect(m_addRange, &QPushButton::clicked, this, &ExploreFilterBar::editRange);
    connect(m_clear, &QPushButton::clicked, this, [this] { setFilter({}); });
}

ExperimentFilter ExploreFilterBar::filter() const {
    ExperimentFilter filter;
    filter.text = m_text->text().trimmed();
    filter.technique = m_technique->currentData().toString();
    filter.model = m_model->currentData().toString();
    filter.device = m_device->currentData().toString();
    if (const QString status = m_status->currentData().toString(); !status.isEmpty()) {
        filter.status = static_cast<ExperimentStatus>(status.toInt());
    }
    filter.tag = m_tag->currentData().toString();
    filter.favourites = m_favourites->isChecked();
    filter.ranges = m_ranges;
    return filter;
}

void ExploreFilterBar::setFilter(const ExperimentFilter& filter) {
    {
        const QSignalBlocker quiet[] = {QSignalBlocker(m_text),      QSignalBlocker(m_technique),
                                        QSignalBlocker(m_model),     QSignalBlocker(m_device),
                                        QSignalBlocker(m_status),    QSignalBlocker(m_tag),
                                        QSignalBlocker(m_favourites)};
        m_tag->setCurrentIndex(std::max(m_tag->findData(filter.tag), 0));
        m_favourites->setChecked(filter.favourites);
        m_text->setText(filter.text);
        m_technique->setCurrentIndex(std::max(m_technique->findData(filter.technique), 0));
        m_model->setCurrentIndex(std::max(m_model->findData(filter.model), 0));
        m_device->setCurrentIndex(std::max(m_device->findData(filter.device), 0));
        m_status->setCurrentIndex(
            filter.status ? m_status->findData(QString::number(static_cast<int>(*filter.status)))
                          : 0);
        m_ranges = filter.ranges;
    }
    showRanges();
    emitChanged();
}

void ExploreFilterBar::emitChanged() {
    m_clear->setVisible(!filter().isEmpty());
    emit filterChanged();
}

void ExploreFilterBar::setChoices(const ExperimentList& records, const QStringList& metrics,
                                  const QStringList& tags) {
    m_metrics = metrics;
    const ExperimentFilter before = filter();
    std::set<std::string> techniques;
    std::set<std::string> models;
    std::set<std::string> devices;
    for (const ExperimentRecord& record : records) {
        for (const RecipeStep& step : record.recipe.steps) {
            techniques.insert(step.technique);
        }
        models.insert(record.modelName);
        devices.insert(record.device);
    }
    const auto entries = [](const std::set<std::string>& values) {
        std::vector<std::pair<QString, QString>> result;
        for (const std::string& value : values) {
            if (!value.empty()) {
                result.emplace_back(QString::fromStdString(value), QString::fromStdString(value));
            }
        }
        return result;
    };
    auto titled = entries(techniques);
    for (auto& [id, title] : titled) {
        title = techniqueTitle(id);
    }
    titled.insert(titled.begin(), {QStringLiteral("baseline"), tr("Baseline")});
    refill(*m_technique, titled);
    refill(*m_model, entries(models));
    refill(*m_device, entries(devices));
    std::vector<std::pair<QString, QString>> named;
    for (const QString& tag : tags) {
        named.emplace_back(tag, tag);
    }
    refill(*m_tag, named);
    m_tag->setVisible(!tags.isEmpty());
    // A choice among one is none.
    m_model->setVisible(models.size() > 1 || m_model->currentIndex() > 0);
    m_device->setVisible(devices.size() > 1 || m_device->currentIndex() > 0);
    if (!(filter() == before)) {
        emitChanged();  // what was chosen is not there any more
    }
}

void ExploreFilterBar::setCounts(int shown, int total) {
    m_count->setText(
        shown == total
            ? tr("%n experiment(s)", nullptr, total).replace("(s)", total == 1 ? "" : "s")
            : tr("%1 of %2 shown").arg(shown).arg(total));
}

void ExploreFilterBar::editRange() {
    QDialog dialog(this);
    dialog.setWindowTitle(tr("Range of a metric"));
    auto* form = new QFormLayout(&dialog);
    auto* metric = new QComboBox(&dialog);
    for (const QString& id : m_metrics) {
        metric->addItem(metricTitle(id), id);
    }
    auto* low = new QLineEdit(&dialog);
    auto* high = new QLineEdit(&dialog);
    for (QLineEdit* edit : {low, high}) {
        auto* numbers = new QDoubleValidator(edit);
        numbers->setLocale(QLocale::c());
        edit->setValidator(numbers);
        edit->setPlaceholderText(tr("no limit"));
    }
    const auto load = [&] {
        const MetricRange range = m_ranges.value(metric->currentData().toString());
        low->setText(range.low ? QString::number(*range.low, 'g', 8) : QString());
        high->setText(range.high ? QString::number(*range.high, 'g', 8) : QString());
    };
    connect(metric, &QComboBox::currentIndexChanged, &dialog, load);
    load();
    form->addRow(tr("Metric"), metric);
    form->addRow(tr("At least"), low);
    form->addRow(tr("At most"), high);
    auto* buttons = new QDialogButtonBox(QDialogButtonBox::Ok | QDialogButtonBox::Cancel, &dialog);
    form->addRow(buttons);
    connect(buttons, &QDialogButtonBox::accepted, &dialog, &QDialog::accept);
    connect(buttons, &QDialogButtonBox::rejected, &dialog, &QDialog::reject);
    if (dialog.exec() != QDialog::Accepted) {
        return;
    }
    const auto value = [](const QLineEdit& edit) {
        bool fine = false;
        const double number = edit.text().toDouble(&fine);
        return fine ? std::optional(number) : std::nullopt;
    };
    const QString id = metric->currentData().toString();
    setRange(id, {value(*low), value(*high)});
}

void ExploreFilterBar::setRange(const QString& metric, const MetricRange& range) {
    if (range.low || range.high) {
        m_ranges[metric] = range;
    } else {
        m_ranges.remove(metric);
    }
    showRanges();
    emitChanged();
}

void ExploreFilterBar::showRanges() {
    while (m_chipLayout->count() > 1) {
        QLayoutItem* item = m_chipLayout->takeAt(0);
        item->widget()->deleteLater();
        delete item;
    }
    for (auto range = m_ranges.begin(); range != m_ranges.end(); ++range) {
        auto* chip = new QToolButton(m_chips);
        chip->setToolButtonStyle(Qt::ToolButtonTextBesideIcon);
        chip->setIcon(themedIcon(QStringLiteral("close"), IconTint::Muted));
        chip->setIconSize({12, 12});
        chip->setText(rangeText(range.key(), *range));
        chip->setToolTip(tr("Remove this range"));
        chip->setCheckable(true);
        chip->setChecked(true);
        connect(chip, &QToolButton::clicked, this, [this, id = range.key()] {
            m_ranges.remove(id);
            showRanges();
            emitChanged();
        });
        m_chipLayout->insertWidget(m_chipLayout->count() - 1, chip);
    }
    m_chips->setVisible(!m_ranges.isEmpty());
}

}  // namespace fettle::ui
