#include "ui/models/tradeoff_model.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/experiment/pareto_front.h"
#include "ui/models/csv_text.h"
#include "ui/models/experiment_comparison.h"

namespace fettle::ui {
namespace {

using Records = std::span<const ExperimentRecord* const>;

/// A metric beside x and y, scaled over the experiments that are drawn; the protocol rule holds for
/// it as well.
class FurtherMetric {
public:
    FurtherMetric(const MetricColumns& values, std::size_t column, const TradeoffQuery& query,
                  const QString& metric)
        : m_values(values),
          m_column(column),
          m_protocol(
              chooseProtocol(values.protocols(column), query.protocols, metric).toStdString()) {}

    double value(std::size_t record) {
        const Measurement* found = m_values.at(record, m_column);
        if (!found || found->protocol != m_protocol) {
            return std::numeric_limits<double>::quiet_NaN();
        }
        m_low = std::min(m_low, found->value);
        m_high = std::max(m_high, found->value);
        return found->value;
    }
    float place(double value) const {
        if (std::isnan(value)) {
            return -1;
        }
        return m_high > m_low ? static_cast<float>((value - m_low) / (m_high - m_low)) : 0.5F;
    }
    double low() const { return std::min(m_low, m_high); }
    double high() const { return m_high; }

private:
    const MetricColumns& m_values;
    std::size_t m_column;
    std::string m_protocol;
    double m_low = std::numeric_limits<double>::max();
    double m_high = std::numeric_limits<double>::lowest();
};

PointKind kindOf(const Measurement& x, const Measurement& y) {
    if (!x.native || !y.native) {
        return PointKind::Dequantized;
    }
    return x.estimated || y.estimated ? PointKind::Estimated : PointKind::Native;
}

TradeoffPoint makePoint(const ExperimentRecord& record, const Measurement& x,
                        const Measurement& y) {
    TradeoffPoint point;
    point.id = record.id;
    point.x = x.value;
    point.y = y.value;
    point.xLow = x.low.value_or(x.value);
    point.xHigh = x.high.value_or(x.value);
    point.yLow = y.low.value_or(y.value);
    point.yHigh = y.high.value_or(y.value);
    point.technique = primaryTechnique(record);
    point.name = QString::fromStdString(record.name);
    point.kind = kindOf(x, y);
    point.baseline = record.isBaseline();
    return point;
}

/// Marks the front and puts its points, then the baselines, at the end, so that nothing covers
/// them.
void markFront(TradeoffData& data) {
    const bool three = !data.query.third.isEmpty();
    const auto cost = [](double value, BetterWhen better) {
        return better == BetterWhen::Higher ? -value : value;
    };
    std::vector<double> costs;
    std::vector<std::size_t> source;
    for (std::size_t i = 0; i < data.points.size(); ++i) {
        const TradeoffPoint& point = data.points[i];
        if (point.kind != PointKind::Native || (three && std::isnan(point.third))) {
            continue;
        }
        costs.push_back(cost(point.x, data.xBetter));
        costs.push_back(cost(point.y, data.yBetter));
        if (three) {
            costs.push_back(cost(point.third, data.thirdBetter));
        }
        source.push_back(i);
    }
    const std::vector<std::size_t> front = paretoFront(costs, three ? 3 : 2);
    for (const std::size_t index : front) {
        data.points[source[index]].onFront = true;
    }
    const auto rank = [](const TradeoffPoint& p) { return p.baseline ? 2 : p.onFront ? 1 : 0; };
    std::stable_sort(data.points.begin(), data.points.end(),
                     [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
    for (std::size_t i = 0; i < data.points.size(); ++i) {
        if (data.points[i].onFront) {
            data.front.push_back(i);
        }
    }
    std::stable_sort(data.front.begin(), data.front.end(), [&](std::size_t a, std::size_t b) {
        return data.points[a].x < data.points[b].x;
    });
}

BetterWhen betterOf(const QString& metric) {
    const MetricInfo* info = findMetric(metric.toStdString());
    return info ? info->better : BetterWhen::Neither;
}

}  // namespace

TradeoffData buildTradeoff(Records records, const TradeoffQuery& query) {
    TradeoffData data;
    data.query = query;
    data.xBetter = betterOf(query.x);
    data.yBetter = betterOf(query.y);
    data.thirdBetter = betterOf(query.third);
    enum Column { X, Y, Size, Color, Third };
    const MetricColumns values(
        records, {query.x.toStdString(), query.y.toStdString(), query.size.toStdString(),
                  query.color.toStdString(), query.third.toStdString()});
    data.xProtocols = values.protocols(X);
    data.yProtocols = values.protocols(Y);
    data.xProtocol = chooseProtocol(data.xProtocols, query.protocols, query.x);
    data.yProtocol = chooseProtocol(data.yProtocols, query.protocols, query.y);
    const std::string xProtocol = data.xProtocol.toStdString();
    const std::string yProtocol = data.yProtocol.toStdString();
    FurtherMetric size(values, Size, query, query.size);
    FurtherMetric color(values, Color, query, query.color);
    FurtherMetric third(values, Third, query, query.third);
    std::vector<double> sizes;
    std::vector<double> colors;
    data.points.reserve(records.size());
    for (std::size_t i = 0; i < records.size(); ++i) {
        const ExperimentRecord& record = *records[i];
        if (record.status != ExperimentStatus::Finished) {
            ++data.unfinished;
            continue;
        }
        const Measurement* x = values.at(i, X);
        const Measurement* y = values.at(i, Y);
        if (!x || !y) {
            ++data.missingMetric;
            continue;
        }
        if (x->protocol != xProtocol || y->protocol != yProtocol) {
            ++data.otherProtocol;
            continue;
        }
        data.points.push_back(makePoint(record, *x, *y));
        const Measurement* z = values.at(i, Third);
        const bool counts = z && z->native && !z->estimated;
        data.points.back().third =
            counts ? third.value(i) : std::numeric_limits<double>::quiet_NaN();
        sizes.push_back(size.value(i));
        colors.push_back(color.value(i));
        if (!data.techniques.contains(data.points.back().technique)) {
            data.techniques << data.points.back().technique;
        }
    }
    for (std::size_t i = 0; i < data.points.size(); ++i) {
        data.points[i].size = size.place(sizes[i]);
        data.points[i].color = color.place(colors[i]);
    }
    data.sizeLow = size.low();
    data.sizeHigh = size.high();
    data.colorLow = color.low();
    data.colorHigh = color.high();
    data.techniques.sort();
    markFront(data);
    return data;
}

TradeoffData buildTradeoff(const std::vector<ExperimentRecord>& records,
                           const TradeoffQuery& query) {
    std::vector<const ExperimentRecord*> pointers;
    pointers.reserve(records.size());
    for (const ExperimentRecord& record : records) {
        pointers.push_back(&record);
    }
    return buildTradeoff(std::span<const ExperimentRecord* const>(pointers), query);
}

QString tradeoffCsv(const TradeoffData& data) {
    QString csv = QStringLiteral("id,name,technique");
    for (const QString& metric : {data.query.x, data.query.y}) {
        csv += QStringLiteral(",%1,%1_low,%1_high").arg(metric);
    }
    csv += QStringLiteral(",native,on_front\n");
    for (const TradeoffPoint& point : data.points) {
        csv += QString::number(point.id) + u',' + csvText(point.name) + u',' +
               (point.baseline ? QStringLiteral("baseline") : point.technique);
        for (const double value :
             {point.x, point.xLow, point.xHigh, point.y, point.yLow, point.yHigh}) {
            csv += u',' + QString::number(value, 'g', 12);
        }
        csv += QStringLiteral(",%1,%2\n")
                   .arg(point.kind == PointKind::Native ? 1 : 0)
                   .arg(point.onFront ? 1 : 0);
    }
    return csv;
}

}  // namespace fettle::ui
