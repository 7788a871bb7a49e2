// Charts as files, drawn without a display by the same code as the window's.
#pragma once

#include <QByteArray>
#include <QSize>
#include <QString>
#include <vector>

#include "engine/experiment/experiment_record.h"

namespace fettle::ui {

class ParallelChart;
class TradeoffChart;

/// Writes the chart of all finished experiments as .png (drawn at twice `size` for sharp print) or
/// .svg, by the ending of `path`. False when nothing can be drawn or the file cannot be written.
/// May be called from a plain command line: where no application object exists, one without a
/// display is made. Main thread only.
bool writeTradeoffChart(const std::vector<ExperimentRecord>& records, const QString& xMetric,
                        const QString& yMetric, const QString& path, QSize size, bool dark);

/// The chart as it stands as an SVG document.
QByteArray chartSvg(TradeoffChart& chart);
QByteArray chartSvg(ParallelChart& chart);
/// The chart as it stands, zoom and selection included, as .png or .svg; as .csv its points.
bool saveChart(TradeoffChart& chart, const QString& path);
/// The chart as it stands; as .csv the lines within its ranges.
bool saveChart(ParallelChart& chart, const QString& path);

}  // namespace fettle::ui
