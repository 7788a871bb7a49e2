// What a parallel coordinates chart draws: experiments as lines over several metrics, one axis
// each. Numbers of different measuring protocols never meet on one axis. Values only.
#pragma once

#include <QHash>
#include <QString>
#include <QStringList>
#include <span>
#include <vector>

#include "engine/experiment/experiment_record.h"
#include "ui/models/tradeoff_model.h"

namespace fettle::ui {

struct ParallelQuery {
    QStringList metrics;  ///< one axis each, from left to right
    QString color;        ///< metric id; empty: by technique
    /// Protocol to draw per metric; a metric left out takes its most common protocol.
    QHash<QString, QString> protocols;
};

struct ParallelAxis {
    QString metric;
    BetterWhen better = BetterWhen::Neither;
    QString protocol;
    double low = 0, high = 1;  ///< the values drawn, low < high
};

struct ParallelLine {
    qint64 id = 0;
    QString technique;  ///< "" for a baseline
    QString name;
    float color = -1;  ///< place of the colour metric in its range, 0..1; negative: has none
    bool baseline = false;
};

struct ParallelData {
    ParallelQuery query;
    std::vector<ParallelAxis> axes;
    std::vector<ParallelLine> lines;  ///< painting order: baselines last
    std::vector<double> values;       ///< lines x axes; NaN where a line has no value on an axis
    std::vector<PointKind> kinds;     ///< lines x axes
    QStringList techniques;           ///< those present, "" (baseline) first
    double colorLow = 0, colorHigh = 0;
    int unfinished = 0;
    int incomplete = 0;     ///< left out: a line needs a value on two axes
    int otherProtocol = 0;  ///< have a value that is not drawn for its protocol

    double value(std::size_t line, std::size_t axis) const {
        return values[line * axes.size() + axis];
    }
    PointKind kind(std::size_t line, std::size_t axis) const {
        return kinds[line * axes.size() + axis];
    }
};

ParallelData buildParallel(std::span<const ExperimentRecord* const> records,
                           const ParallelQuery& query);

/// One line per experiment of `lines` (indices): id, name, technique, then the metrics in the order
/// of the axes, in full precision.
QString parallelCsv(const ParallelData& data, const std::vector<std::size_t>& lines);

}  // namespace fettle::ui
