#include "ui/pages/model_layers.h"

#include <QComboBox>
#include <QLabel>
#include <QTabWidget>
#include <QVBoxLayout>
#include <algorithm>
#include <cmath>
#include <map>

#include "ui/bridge/experiment_service.h"
#include "ui/charts/axis_scale.h"
#include "ui/charts/layer_heat_map.h"
#include "ui/charts/model_graph.h"
#include "ui/charts/tree_map.h"
#include "ui/models/layer_grid.h"
#include "ui/models/recipe_marks.h"
#include "ui/models/roofline.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {

constexpr int kMostSources = 50;  ///< newest experiments offered as a source of values

ModelLayers::ModelLayers(ExperimentService* experiments, QWidget* parent)
    : QWidget(parent),
      m_experiments(experiments),
      m_source(new QComboBox(this)),
      m_metric(new QComboBox(this)),
      m_note(makeLabel({}, TextRole::Caption, this)),
      m_graph(new ModelGraph(this)),
      m_map(new LayerHeatMap(this)),
      m_memory(new TreeMap(this)),
      m_views(new QTabWidget(this)) {
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(0, 0, 4, 0);
    auto* bar = new QHBoxLayout;
    const auto add = [&](QComboBox* choice, const QString& text, const QString& name) {
        auto* label = makeLabel(text, TextRole::Body, this);
        label->setBuddy(choice);
        choice->setAccessibleName(name);
        bar->addWidget(label);
        bar->addWidget(choice);
    };
    m_source->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
    m_source->setMinimumContentsLength(16);
    m_metric->setSizeAdjustPolicy(QComboBox::AdjustToContents);
    add(m_source, tr("&Values of"), tr("Where the values come from"));
    add(m_metric, tr("&Colour"), tr("Metric of the colours"));
    bar->addStretch();
    column->addLayout(bar);
    m_note->setWordWrap(true);
    column->addWidget(m_note);
    m_views->setDocumentMode(true);
    m_views->addTab(m_graph, tr("Graph"));
    m_views->addTab(m_map, tr("Layers"));
    m_views->addTab(m_memory, tr("Memory"));
    m_memory->setEmptyText(tr("The model has no tensors."));
    column->addWidget(m_views, 1);
    m_refill.setSingleShot(true);
    m_refill.setInterval(200);
    connect(&m_refill, &QTimer::timeout, this, &ModelLayers::refillSources);
    const auto later = [this] { m_refill.start(); };
    connect(experiments, &ExperimentService::experimentsReset, this, later);
    connect(experiments, &ExperimentService::experimentsRemoved, this, later);
    connect(experiments, &ExperimentService::experimentChanged, this, later);
    connect(m_source, &QComboBox::currentIndexChanged, this, &ModelLayers::showSource);
    connect(m_metric, &QComboBox::currentIndexChanged, this, &ModelLayers::showMetric);
    connect(m_map, &LayerHeatMap::tensorActivated, this,
            [this](const QString& tensor) { emit tensorChosen(fileName(tensor)); });
    connect(m_memory, &TreeMap::activated, this, &ModelLayers::tensorChosen);
}

bool ModelLayers::isOurs(const ExperimentRecord& record) const {
    return record.modelPath == m_report.path || record.modelPath == m_path ||
           (!record.artifactPath.empty() && record.artifactPath == m_report.path);
}

void ModelLayers::setReport(const ModelReport& report, const QString& path) {
    m_report = report;
    m_path = path.toStdString();
    m_own = layerMetricsOf(report);
    addPredictedTimes();
    m_graph->setReport(report);
    m_graph->setMarks(recipeMarks(m_recipe, m_report));
    fillSources();
}

// What runs finished meanwhile is offered as well; what is shown stays.
void ModelLayers::refillSources() {
    if (m_report.tensors.empty()) {
        return;
    }
    m_own = layerMetricsOf(m_report);
    addPredictedTimes();
    const QVariant before = m_source->currentData();
    fillSources();
    if (const int kept = m_source->findData(before); kept >= 0) {
        m_source->setCurrentIndex(kept);
    }
}

void ModelLayers::setRecipe(const Recipe& recipe) {
    m_recipe = recipe;
    m_graph->setMarks(recipeMarks(m_recipe, m_report));
}

// Writing a token reads every weight once, at the best rate that a run of this model reached.
void ModelLayers::addPredictedTimes() {
    const ExperimentList records = m_experiments->experiments();
    const auto newest = std::find_if(records.rbegin(), records.rend(), [&](const auto& record) {
        return record.status == ExperimentStatus::Finished && isOurs(record);
    });
    if (newest == records.rend()) {
        return;
    }
    const TokenCost cost = tokenCost(m_report);
    const DeviceRoofs roofs = measuredRoofs(records, newest->device, newest->modelPath, cost);
    if (!(roofs.bytesPerSecond > 0)) {
        return;
    }
    std::vector<LayerMetric> times;
    for (const LayerMetric& metric : m_own) {
        if (metric.name == "bytes" && metric.layer >= 0) {
            times.push_back({metric.layer, metric.tensor, "predicted_us",
                             metric.value / roofs.bytesPerSecond * 1e6});
        }
    }
    m_own.insert(m_own.end(), times.begin(), times.end());
}

void ModelLayers::fillSources() {
    const QSignalBlocker block(m_source);
    m_source->clear();
    m_source->addItem(tr("This file"), QVariant::fromValue<qint64>(0));
    const ExperimentList records = m_experiments->experiments();
    for (auto record = records.rbegin();
         record != records.rend() && m_source->count() <= kMostSources; ++record) {
        if (isOurs(*record) && record->status == ExperimentStatus::Finished &&
            !record->isBaseline()) {
            m_source->addItem(QString::fromStdString(record->name),
                              QVariant::fromValue<qint64>(record->id));
        }
    }
    // The experiment that made this file knows where it lost most.
    for (const ExperimentRecord& record : records) {
        if (record.artifactPath == m_report.path && !record.artifactPath.empty()) {
            m_source->setCurrentIndex(
                std::max(0, m_source->findData(QVariant::fromValue<qint64>(record.id))));
        }
    }
    showSource();
}

void ModelLayers::showSource() {
    m_other.clear();
    const qint64 id = m_source->currentData().toLongLong();
    if (id != 0) {
        if (auto detail = m_experiments->detail(id)) {
            m_other = std::move(detail->layerMetrics);
        }
    }
    const QString before = m_metric->currentData().toString();
    const QSignalBlocker block(m_metric);
    m_metric->clear();
    for (const QString& name : layerMetricNames(m_other.empty() ? m_own : m_other)) {
        m_metric->addItem(layerMetricTitle(name), name);
    }
    const int kept = m_metric->findData(before);
    const int error = m_metric->findData(QStringLiteral("relative_output_error"));
    m_metric->setCurrentIndex(kept >= 0 ? kept : std::max(error, m_metric->count() > 0 ? 0 : -1));
    m_note->setText(id != 0 && m_other.empty()
                        ? tr("This experiment stored no values per layer; those of the file are "
                             "shown.")
                        : tr("Click a part to see its values, to pin its scheme, to leave it alone "
                             "or to take it out in the recipe. Bright is high."));
    showMetric();
}

void ModelLayers::showMetric() {
    const QString metric = m_metric->currentData().toString();
    const std::vector<LayerMetric>& metrics = m_other.empty() ? m_own : m_other;
    m_map->setTitle(QString::fromStdString(m_report.name));
    m_map->setGrid(layerGrid(metrics, metric));
    m_graph->setMetric(metrics, metric);
    showMemory(metrics, metric);
}

QString ModelLayers::fileName(const QString& tensor) const {
    const std::string name = tensor.toStdString();
    for (const TensorReport& one : m_report.tensors) {
        if (std::find(one.weights.begin(), one.weights.end(), name) != one.weights.end()) {
            return QString::fromStdString(one.name);
        }
    }
    return tensor;
}

void ModelLayers::showMemory(const std::vector<LayerMetric>& metrics, const QString& metric) {
    std::map<QString, double> values;  // by the tensor's name in the file
    for (const LayerMetric& one : metrics) {
        if (metric == QLatin1String(one.name.c_str())) {
            values[fileName(QString::fromStdString(one.tensor))] = one.value;
        }
    }
    double least = 0;  // what has no value takes the dark end
    bool any = false;
    for (const auto& [name, value] : values) {
        if (std::isfinite(value)) {
            least = any ? std::min(least, value) : value;
            any = true;
        }
    }
    std::vector<TreeMapItem> items;
    for (const TensorReport& tensor : m_report.tensors) {
        TreeMapItem item;
        item.id = QString::fromStdString(tensor.name);
        item.label = tensorKind(item.id);
        const int layer = layerInName(item.id);
        item.group = layer >= 0 ? tr("Layer %1").arg(layer) : tr("Outside the layers");
        item.size = static_cast<double>(tensor.bytes);
        const auto value = values.find(item.id);
        const bool known = value != values.end() && std::isfinite(value->second);
        item.value = known ? value->second : least;
        item.tip = QStringLiteral("<b>%1</b><br>%2 · %3")
                       .arg(item.id.toHtmlEscaped(), QString::fromStdString(formatBytes(item.size)),
                            QString::fromStdString(tensor.dtype).toHtmlEscaped());
        if (known && metric != QLatin1String("bytes")) {
            item.tip +=
                QStringLiteral("<br>%1: %2")
                    .arg(layerMetricTitle(metric).toHtmlEscaped(), shortNumber(value->second));
        }
        items.push_back(std::move(item));
    }
    m_memory->setItems(std::move(items));
}

}  // namespace fettle::ui
