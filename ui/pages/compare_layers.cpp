#include "ui/pages/compare_layers.h"

#include <QComboBox>
#include <QLabel>
#include <QScrollArea>
#include <QVBoxLayout>
#include <algorithm>

#include "ui/charts/layer_heat_map.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {

CompareLayers::CompareLayers(QWidget* parent)
    : QWidget(parent),
      m_metric(new QComboBox(this)),
      m_note(makeLabel({}, TextRole::Caption, this)) {
    auto* outer = new QVBoxLayout(this);
    outer->setContentsMargins(0, kGap, 0, 0);
    auto* bar = new QHBoxLayout;
    auto* label = makeLabel(tr("&Colour"), TextRole::Body, this);
    label->setBuddy(m_metric);
    m_metric->setAccessibleName(tr("Metric of the heat maps"));
    m_metric->setSizeAdjustPolicy(QComboBox::AdjustToContents);
    bar->addWidget(label);
    bar->addWidget(m_metric);
    bar->addWidget(m_note, 1);
    outer->addLayout(bar);
    auto* scroll = new QScrollArea(this);
    scroll->setWidgetResizable(true);
    scroll->setFrameShape(QFrame::NoFrame);
    auto* content = new QWidget(scroll);
    setStyleClass(content, "page");
    m_column = new QVBoxLayout(content);
    m_column->setContentsMargins(0, 0, 0, 0);
    m_column->setSpacing(kGap);
    scroll->setWidget(content);
    outer->addWidget(scroll, 1);
    connect(m_metric, &QComboBox::currentIndexChanged, this, &CompareLayers::showMetric);
}

void CompareLayers::setExperiments(const ComparedExperiments& experiments) {
    m_experiments = experiments;
    QStringList names;
    for (const ComparedExperiment& one : experiments) {
        for (const QString& name : layerMetricNames(one.detail.layerMetrics)) {
            if (!names.contains(name)) {
                names << name;
            }
        }
    }
    const QString before = m_metric->currentData().toString();
    const QSignalBlocker block(m_metric);
    m_metric->clear();
    for (const QString& name : names) {
        m_metric->addItem(layerMetricTitle(name), name);
    }
    // Error first: where the damage is.
    const int wanted = m_metric->findData(
        names.contains(before) ? before : QStringLiteral("relative_output_error"));
    m_metric->setCurrentIndex(std::max(wanted, names.isEmpty() ? -1 : 0));
    m_metric->setEnabled(!names.isEmpty());
    qDeleteAll(m_maps);
    m_maps.clear();
    for (std::size_t i = 0; i < experiments.size(); ++i) {
        if (experiments[i].detail.layerMetrics.empty()) {
            continue;
        }
        auto* map = new LayerHeatMap(this);
        map->setTitle(QStringLiteral("%1 · %2").arg(letterOf(i), experiments[i].name()));
        map->setProperty("experiment", static_cast<int>(i));
        connect(map, &LayerHeatMap::tensorActivated, this, &CompareLayers::tensorActivated);
        m_column->addWidget(map);
        m_maps.push_back(map);
    }
    showMetric();
}

void CompareLayers::showMetric() {
    const QString metric = m_metric->currentData().toString();
    double low = 0;
    double high = 0;
    bool any = false;
    for (LayerHeatMap* map : m_maps) {
        const auto& one = m_experiments[map->property("experiment").toUInt()];
        LayerGrid grid = layerGrid(one.detail.layerMetrics, metric);
        if (!grid.empty()) {
            low = any ? std::min(low, grid.low) : grid.low;
            high = any ? std::max(high, grid.high) : grid.high;
            any = true;
        }
        map->setGrid(std::move(grid));
    }
    for (LayerHeatMap* map : m_maps) {
        map->setRange(low, high);
    }
    m_note->setText(
        m_maps.empty() ? tr("None of these experiments stored values per layer. Recipes that "
                            "quantize or prune do; baselines have nothing to store.")
                       : tr("One colour scale for all. %1 Click a cell to see the tensor's values.")
                             .arg(layerMetricHigherIsBetter(metric) ? tr("Bright is good.")
                                                                    : tr("Bright is bad.")));
}

}  // namespace fettle::ui
