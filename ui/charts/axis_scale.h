// How a metric lies along an axis: unit, linear or logarithmic, tick places and their labels. Axis
// coordinates are value / unit, or their base-10 logarithm.
#pragma once

#include <QString>
#include <vector>

namespace fettle::ui {

struct AxisTick {
    double position = 0;  ///< in axis coordinates
    QString label;
};

class AxisScale {
public:
    AxisScale() = default;
    /// `largest` is the greatest magnitude to be shown: bytes become KiB, MiB or GiB, counts K, M
    /// or G.
    AxisScale(const QString& metric, bool logarithmic, double largest);

    const QString& metric() const { return m_metric; }
    bool logarithmic() const { return m_logarithmic; }
    /// "Weight size (MiB)"
    QString title() const;

    double toAxis(double value) const;
    double fromAxis(double position) const;
    /// Ticks inside [low, high], about `wanted` of them: multiples of 1, 2 or 5; on a logarithmic
    /// axis decades, and 1-2-5 or finer steps where the range spans less than that.
    std::vector<AxisTick> ticks(double low, double high, int wanted) const;

private:
    std::vector<AxisTick> linearTicks(double low, double high, int wanted) const;
    std::vector<AxisTick> logTicks(double low, double high, int wanted) const;

    QString m_metric;
    bool m_logarithmic = false;
    double m_unit = 1;
    QString m_unitName;
};

/// Title of a metric from the catalogue, or its id where a newer version wrote it.
QString metricTitle(const QString& metric);
/// "1.5", "0.002", "12 000": a bare number, as short as it stays exact to `digits` significant
/// digits.
QString shortNumber(double value, int digits = 4);

}  // namespace fettle::ui
