// Metrics per layer as a grid of tensor × layer, for heat maps. Plain values; any thread.
#pragma once

#include <QString>
#include <QStringList>
#include <vector>

#include "engine/experiment/model_report.h"
#include "engine/experiment/run_values.h"

namespace fettle::ui {

struct LayerGrid {
    QString metric;
    QStringList rows;              ///< kinds of tensors: "attn.q", in the order of the model
    std::vector<int> layers;       ///< of the columns; -1, the last one, is outside the layers
    std::vector<double> values;    ///< [rows × layers]; NaN where there is none
    std::vector<QString> tensors;  ///< full names, likewise; empty where there is none
    double low = 0;
    double high = 0;

    bool empty() const { return rows.isEmpty(); }
    std::size_t at(int row, int column) const {
        return static_cast<std::size_t>(row) * layers.size() + static_cast<std::size_t>(column);
    }
};

/// "attn.q" of "layers.3.attn.q.weight".
QString tensorKind(const QString& tensor);
/// Layer in a tensor's name as files and the engine spell it ("blk.3.", "model.layers.3.", "h.3.");
/// -1 where there is none.
int layerInName(const QString& tensor);
LayerGrid layerGrid(const std::vector<LayerMetric>& metrics, const QString& metric);
/// Names of the metrics in the order in which they first come.
QStringList layerMetricNames(const std::vector<LayerMetric>& metrics);
/// "Signal to noise (dB)" for "sqnr_db"; ids of newer versions as they are.
QString layerMetricTitle(const QString& metric);
/// A value of such a metric with its unit: "8.00 MiB", "0.0123".
QString layerMetricText(const QString& metric, double value);
/// Whether large values are good: then the map's dark end is the bad one.
bool layerMetricHigherIsBetter(const QString& metric);
/// Bytes, bits per weight and number of values of each tensor of a model, as layer metrics.
std::vector<LayerMetric> layerMetricsOf(const ModelReport& report);

}  // namespace fettle::ui
