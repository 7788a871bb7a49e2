#include "ui/models/parallel_model.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "ui/models/csv_text.h"
#include "ui/models/experiment_comparison.h"
#include "ui/models/metric_protocols.h"

namespace fettle::ui {
namespace {

PointKind kindOfMeasurement(const Measurement& value) {
    return !value.native     ? PointKind::Dequantized
           : value.estimated ? PointKind::Estimated
                             : PointKind::Native;
}

/// The values of one record on all axes, appended; the number of values that are there.
int appendValues(ParallelData& data, const MetricColumns& values, std::size_t record,
                 const std::vector<std::string>& protocols, bool& otherProtocol) {
    int count = 0;
    for (std::size_t axis = 0; axis < data.axes.size(); ++axis) {
        const Measurement* value = values.at(record, axis);
        if (value && value->protocol != protocols[axis]) {
            value = nullptr;
            otherProtocol = true;
        }
        data.values.push_back(value ? value->value : std::numeric_limits<double>::quiet_NaN());
        data.kinds.push_back(value ? kindOfMeasurement(*value) : PointKind::Native);
        count += value != nullptr;
    }
    return count;
}

void fitAxes(ParallelData& data) {
    const std::size_t count = data.axes.size();
    for (std::size_t axis = 0; axis < count; ++axis) {
        double low = std::numeric_limits<double>::max();
        double high = std::numeric_limits<double>::lowest();
        for (std::size_t line = 0; line < data.lines.size(); ++line) {
            const double value = data.value(line, axis);
            if (!std::isnan(value)) {
                low = std::min(low, value);
                high = std::max(high, value);
            }
        }
        if (low > high) {
            low = 0;
            high = 1;
        } else if (low == high) {
            const double margin = std::max(std::abs(low) * 0.1, 1e-9);
            low -= margin;
            high += margin;
        }
        data.axes[axis].low = low;
        data.axes[axis].high = high;
    }
}

/// Puts baselines last, so that nothing covers them.
void sortLines(ParallelData& data) {
    std::vector<std::size_t> order(data.lines.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_partition(order.begin(), order.end(),
                          [&](std::size_t i) { return !data.lines[i].baseline; });
    ParallelData sorted;
    const std::size_t axes = data.axes.size();
    sorted.lines.reserve(order.size());
    sorted.values.reserve(data.values.size());
    sorted.kinds.reserve(data.kinds.size());
    for (const std::size_t i : order) {
        sorted.lines.push_back(std::move(data.lines[i]));
        for (std::size_t axis = 0; axis < axes; ++axis) {
            sorted.values.push_back(data.values[i * axes + axis]);
            sorted.kinds.push_back(data.kinds[i * axes + axis]);
        }
    }
    data.lines = std::move(sorted.lines);
    data.values = std::move(sorted.values);
    data.kinds = std::move(sorted.kinds);
}

void placeColors(ParallelData& data, std::vector<double>& colors) {
    data.colorLow = std::numeric_limits<double>::max();
    data.colorHigh = std::numeric_limits<double>::lowest();
    for (const double color : colors) {
        if (!std::isnan(color)) {
            data.colorLow = std::min(data.colorLow, color);
            data.colorHigh = std::max(data.colorHigh, color);
        }
    }
    for (std::size_t i = 0; i < colors.size(); ++i) {
        if (!std::isnan(colors[i])) {
            data.lines[i].color = data.colorHigh > data.colorLow
                                      ? static_cast<float>((colors[i] - data.colorLow) /
                                                           (data.colorHigh - data.colorLow))
                                      : 0.5F;
        }
    }
}

}  // namespace

ParallelData buildParallel(std::span<const ExperimentRecord* const> records,
                           const ParallelQuery& query) {
    ParallelData data;
    data.query = query;
    std::vector<std::string> metrics;
    for (const QString& metric : query.metrics) {
        metrics.push_back(metric.toStdString());
    }
    const std::size_t color = metrics.size();  // the column after the axes
    metrics.push_back(query.color.toStdString());
    const MetricColumns values(records, metrics);
    std::vector<std::string> protocols;
    for (std::size_t axis = 0; axis < color; ++axis) {
        const QString& metric = query.metrics[static_cast<qsizetype>(axis)];
        const MetricInfo* info = findMetric(metrics[axis]);
        data.axes.push_back({metric, info ? info->better : BetterWhen::Neither,
                             chooseProtocol(values.protocols(axis), query.protocols, metric), 0,
                             1});
        protocols.push_back(data.axes.back().protocol.toStdString());
    }
    const std::string colorProtocol =
        chooseProtocol(values.protocols(color), query.protocols, query.color).toStdString();
    std::vector<double> colors;
    for (std::size_t i = 0; i < records.size(); ++i) {
        const ExperimentRecord& record = *records[i];
        if (record.status != ExperimentStatus::Finished) {
            ++data.unfinished;
            continue;
        }
        bool other = false;
        const int count = appendValues(data, values, i, protocols, other);
        data.otherProtocol += other;
        if (count < 2) {
            data.values.resize(data.values.size() - color);
            data.kinds.resize(data.kinds.size() - color);
            ++data.incomplete;
            continue;
        }
        data.lines.push_back({record.id, primaryTechnique(record),
                              QString::fromStdString(record.name), -1, record.isBaseline()});
        const Measurement* shade = values.at(i, color);
        colors.push_back(shade && shade->protocol == colorProtocol
                             ? shade->value
                             : std::numeric_limits<double>::quiet_NaN());
        if (!data.techniques.contains(data.lines.back().technique)) {
            data.techniques << data.lines.back().technique;
        }
    }
    data.techniques.sort();
    placeColors(data, colors);
    sortLines(data);
    fitAxes(data);
    return data;
}

QString parallelCsv(const ParallelData& data, const std::vector<std::size_t>& lines) {
    QString csv = QStringLiteral("id,name,technique");
    for (const ParallelAxis& axis : data.axes) {
        csv += u',' + axis.metric;
    }
    csv += u'\n';
    for (const std::size_t line : lines) {
        const ParallelLine& one = data.lines[line];
        csv += QString::number(one.id) + u',' + csvText(one.name) + u',' +
               (one.baseline ? QStringLiteral("baseline") : one.technique);
        for (std::size_t axis = 0; axis < data.axes.size(); ++axis) {
            const double value = data.value(line, axis);
            csv += u',' + (std::isnan(value) ? QString() : QString::number(value, 'g', 12));
        }
        csv += u'\n';
    }
    return csv;
}

}  // namespace fettle::ui
