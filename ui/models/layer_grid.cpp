#include "ui/models/layer_grid.h"

#include <QCoreApplication>
#include <QRegularExpression>
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/experiment/measurement.h"
#include "ui/charts/axis_scale.h"

namespace fettle::ui {
namespace {

struct MetricTitle {
    const char* id;
    const char* title;
    bool higherIsBetter;
};

constexpr MetricTitle kTitles[] = {
    {"sqnr_db", QT_TRANSLATE_NOOP("LayerGrid", "Signal to noise of the weights (dB)"), true},
    {"mse", QT_TRANSLATE_NOOP("LayerGrid", "Mean squared error of the weights"), false},
    {"relative_output_error", QT_TRANSLATE_NOOP("LayerGrid", "Relative error of the output"),
     false},
    {"output_cosine", QT_TRANSLATE_NOOP("LayerGrid", "Cosine of the output"), true},
    {"kl", QT_TRANSLATE_NOOP("LayerGrid", "KL divergence of this layer alone"), false},
    {"kl_nearest", QT_TRANSLATE_NOOP("LayerGrid", "KL divergence of it alone, rounded to nearest"),
     false},
    {"bits", QT_TRANSLATE_NOOP("LayerGrid", "Bits per weight"), true},
    {"bytes", QT_TRANSLATE_NOOP("LayerGrid", "Bytes"), false},
    {"values", QT_TRANSLATE_NOOP("LayerGrid", "Number of weights"), false},
    {"predicted_us", QT_TRANSLATE_NOOP("LayerGrid", "Time per token, predicted (µs)"), false},
    {"block_influence", QT_TRANSLATE_NOOP("LayerGrid", "Influence of the layer"), true},
    {"loss_increase", QT_TRANSLATE_NOOP("LayerGrid", "Loss without the layer"), true},
    {"sparsity", QT_TRANSLATE_NOOP("LayerGrid", "Zero weights (%)"), false},
    {"importance", QT_TRANSLATE_NOOP("LayerGrid", "Importance"), true},
};

const MetricTitle* findTitle(const QString& metric) {
    const auto found = std::find_if(std::begin(kTitles), std::end(kTitles),
                                    [&](const auto& t) { return metric == QLatin1String(t.id); });
    return found == std::end(kTitles) ? nullptr : found;
}

const QRegularExpression& layerPattern() {
    static const QRegularExpression pattern(
        QStringLiteral("(?:^|\\.)(?:layers|blk|h|blocks)\\.(\\d{1,6})\\."));
    return pattern;
}

}  // namespace

QString tensorKind(const QString& tensor) {
    QString kind = tensor;
    const QRegularExpressionMatch match = layerPattern().match(tensor);
    if (match.hasMatch()) {
        kind = tensor.mid(match.capturedEnd());
    }
    if (kind.endsWith(QLatin1String(".weight"))) {
        kind.chop(7);
    }
    return kind;
}

int layerInName(const QString& tensor) {
    const QRegularExpressionMatch match = layerPattern().match(tensor);
    return match.hasMatch() ? match.captured(1).toInt() : -1;
}

LayerGrid layerGrid(const std::vector<LayerMetric>& metrics, const QString& metric) {
    LayerGrid grid;
    grid.metric = metric;
    const std::string wanted = metric.toStdString();
    for (const LayerMetric& one : metrics) {
        if (one.name != wanted) {
            continue;
        }
        const QString kind = tensorKind(QString::fromStdString(one.tensor));
        if (!grid.rows.contains(kind)) {
            grid.rows << kind;
        }
        if (std::find(grid.layers.begin(), grid.layers.end(), one.layer) == grid.layers.end()) {
            grid.layers.push_back(one.layer);
        }
    }
    // What lies outside the layers comes last: -1 is sorted as the greatest.
    std::sort(grid.layers.begin(), grid.layers.end(),
              [](int a, int b) { return static_cast<unsigned>(a) < static_cast<unsigned>(b); });
    const std::size_t cells = static_cast<std::size_t>(grid.rows.size()) * grid.layers.size();
    grid.values.assign(cells, std::numeric_limits<double>::quiet_NaN());
    grid.tensors.resize(cells);
    grid.low = std::numeric_limits<double>::max();
    grid.high = std::numeric_limits<double>::lowest();
    for (const LayerMetric& one : metrics) {
        if (one.name != wanted) {
            continue;
        }
        const QString tensor = QString::fromStdString(one.tensor);
        const auto column = std::find(grid.layers.begin(), grid.layers.end(), one.layer);
        const std::size_t at = grid.at(static_cast<int>(grid.rows.indexOf(tensorKind(tensor))),
                                       static_cast<int>(column - grid.layers.begin()));
        grid.values[at] = one.value;
        grid.tensors[at] = tensor;
        if (std::isfinite(one.value)) {
            grid.low = std::min(grid.low, one.value);
            grid.high = std::max(grid.high, one.value);
        }
    }
    if (grid.low > grid.high) {
        grid.low = grid.high = 0;
    }
    return grid;
}

QStringList layerMetricNames(const std::vector<LayerMetric>& metrics) {
    QStringList names;
    for (const LayerMetric& metric : metrics) {
        const QString name = QString::fromStdString(metric.name);
        if (!names.contains(name)) {
            names << name;
        }
    }
    return names;
}

QString layerMetricTitle(const QString& metric) {
    const MetricTitle* found = findTitle(metric);
    return found ? QCoreApplication::translate("LayerGrid", found->title)
                 : QString(metric).replace(u'_', u' ');
}

QString layerMetricText(const QString& metric, double value) {
    return metric == QLatin1String("bytes") ? QString::fromStdString(formatBytes(value))
                                            : shortNumber(value, 4);
}

bool layerMetricHigherIsBetter(const QString& metric) {
    const MetricTitle* found = findTitle(metric);
    return found && found->higherIsBetter;
}

std::vector<LayerMetric> layerMetricsOf(const ModelReport& report) {
    std::vector<LayerMetric> metrics;
    for (const TensorReport& tensor : report.tensors) {
        const int layer = layerInName(QString::fromStdString(tensor.name));
        double values = 1;
        for (const std::int64_t size : tensor.shape) {
            values *= static_cast<double>(size);
        }
        metrics.push_back({layer, tensor.name, "bytes", static_cast<double>(tensor.bytes)});
        metrics.push_back({layer, tensor.name, "bits", tensor.bitsPerWeight});
        metrics.push_back({layer, tensor.name, "values", values});
    }
    return metrics;
}

}  // namespace fettle::ui
