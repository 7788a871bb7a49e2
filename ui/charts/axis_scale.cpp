#include "ui/charts/axis_scale.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/experiment/measurement.h"
#include "ui/bridge/engine_text.h"

namespace fettle::ui {
namespace {

double niceStep(double raw) {
    const double power = std::pow(10.0, std::floor(std::log10(raw)));
    const double part = raw / power;
    return power * (part <= 1.0001 ? 1 : part <= 2.0001 ? 2 : part <= 5.0001 ? 5 : 10);
}

QString decimals(double value, double step) {
    const int places = std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-6)), 0, 12);
    const double size = std::abs(value);
    if ((size >= 1e6 && step >= 1e4) || (size > 0 && step < 1e-5)) {
        return QString::number(value, 'g', 4);
    }
    QString text = QString::number(value, 'f', places);
    return text == QLatin1String("-0") ? QStringLiteral("0") : text.replace(u'-', QChar(0x2212));
}

}  // namespace

AxisScale::AxisScale(const QString& metric, bool logarithmic, double largest)
    : m_metric(metric), m_logarithmic(logarithmic) {
    const MetricInfo* info = findMetric(metric.toStdString());
    m_unitName = info ? QString::fromStdString(info->unit) : QString();
    const bool bytes = m_unitName == QLatin1String("bytes");
    const double base = bytes ? 1024 : 1000;
    static constexpr std::array<const char*, 4> byteNames{"bytes", "KiB", "MiB", "GiB"};
    static constexpr std::array<const char*, 4> countNames{"", "thousand", "million", "billion"};
    if (bytes || (m_unitName.isEmpty() && largest >= 1e5)) {
        std::size_t power = 0;
        while (power < 3 && largest / m_unit >= base * 1.5) {
            m_unit *= base;
            ++power;
        }
        m_unitName = QLatin1String(bytes ? byteNames[power] : countNames[power]);
    }
}

QString AxisScale::title() const {
    const QString name = metricTitle(m_metric);
    return m_unitName.isEmpty() || name.contains(m_unitName) ? name
                                                             : name + " (" + m_unitName + ")";
}

double AxisScale::toAxis(double value) const {
    return m_logarithmic ? std::log10(value / m_unit) : value / m_unit;
}

double AxisScale::fromAxis(double position) const {
    return (m_logarithmic ? std::pow(10.0, position) : position) * m_unit;
}

std::vector<AxisTick> AxisScale::ticks(double low, double high, int wanted) const {
    if (!(high > low) || !std::isfinite(low) || !std::isfinite(high) ||
        (m_logarithmic && (low < -300 || high > 300))) {
        return {};
    }
    return m_logarithmic ? logTicks(low, high, std::max(wanted, 2))
                         : linearTicks(low, high, std::max(wanted, 2));
}

std::vector<AxisTick> AxisScale::linearTicks(double low, double high, int wanted) const {
    double step = niceStep((high - low) / wanted);
    // One label alone tells no scale: the step shrinks until two fit.
    while (std::floor(high / step + 1e-9) - std::ceil(low / step - 1e-9) < 1) {
        step = niceStep(step / 2.5);
    }
    std::vector<AxisTick> result;
    for (double i = std::ceil(low / step - 1e-9); i * step <= high + step * 1e-9; ++i) {
        result.push_back({i * step, decimals(i * step, step)});
    }
    return result;
}

std::vector<AxisTick> AxisScale::logTicks(double low, double high, int wanted) const {
    // Less than about a third of a decade is nearly straight: linear ticks at their logarithmic
    // places.
    if (high - low < 0.4) {
        std::vector<AxisTick> result =
            linearTicks(std::pow(10.0, low), std::pow(10.0, high), wanted);
        for (AxisTick& tick : result) {
            tick.position = std::log10(tick.position);
        }
        return result;
    }
    static constexpr std::array<double, 5> fine{1, 1.5, 2, 3, 5};
    static constexpr std::array<double, 3> coarse{1, 2, 5};
    const double decades = high - low;
    std::vector<double> factors;
    if (decades * 5 <= wanted * 1.2) {
        factors.assign(fine.begin(), fine.end());
        if (decades < 1.2) {
            factors = {1, 1.5, 2, 3, 4, 5, 7};
        }
    } else if (decades * 3 <= wanted * 1.2) {
        factors.assign(coarse.begin(), coarse.end());
    } else {
        factors = {1};
    }
    const int every = std::max(1, static_cast<int>(std::ceil(decades / wanted)));
    std::vector<AxisTick> result;
    for (int power = static_cast<int>(std::floor(low)); power <= high; ++power) {
        if (factors.size() == 1 && power % every != 0) {
            continue;
        }
        for (const double factor : factors) {
            const double position = power + std::log10(factor);
            if (position >= low - 1e-9 && position <= high + 1e-9) {
                result.push_back({position, shortNumber(factor * std::pow(10.0, power))});
            }
        }
    }
    return result;
}

QString metricTitle(const QString& metric) {
    const MetricInfo* info = findMetric(metric.toStdString());
    return info ? engineText(info->title) : metric;
}

QString shortNumber(double value, int digits) {
    const double size = std::abs(value);
    if (size >= 1e7 || (size > 0 && size < 1e-4)) {
        return QString::number(value, 'g', digits);
    }
    QString text = QString::number(
        value, 'f',
        std::clamp(
            digits - 1 - static_cast<int>(std::floor(size > 0 ? std::log10(size) + 1e-9 : 0)), 0,
            12));
    if (text.contains(u'.')) {
        while (text.endsWith(u'0')) {
            text.chop(1);
        }
        if (text.endsWith(u'.')) {
            text.chop(1);
        }
    }
    return text;
}

}  // namespace fettle::ui
