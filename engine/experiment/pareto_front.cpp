#include "engine/experiment/pareto_front.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

namespace fettle {
namespace {

struct Point {
    double x = 0;  ///< turned so that smaller is better
    double y = 0;
    std::size_t index = 0;
};

std::optional<double> costOf(const ExperimentRecord& record, const std::string& metric,
                             BetterWhen better) {
    const auto found = record.metrics.find(metric);
    if (found == record.metrics.end() || !std::isfinite(found->second.value))
        return std::nullopt;
    return better == BetterWhen::Higher ? -found->second.value : found->second.value;
}

}  // namespace

std::vector<std::size_t> paretoFront(const std::vector<ExperimentRecord>& records,
                                     const std::string& xMetric, BetterWhen xBetter,
                                     const std::string& yMetric, BetterWhen yBetter) {
    std::vector<Point> points;
    for (std::size_t i = 0; i < records.size(); ++i) {
        const std::optional<double> x = costOf(records[i], xMetric, xBetter);
        const std::optional<double> y = costOf(records[i], yMetric, yBetter);
        if (x && y)
            points.push_back({*x, *y, i});
    }
    std::sort(points.begin(), points.end(), [](const Point& a, const Point& b) {
        return std::tie(a.x, a.y, a.index) < std::tie(b.x, b.y, b.index);
    });

    // In this order a point can be beaten only by one before it: one sweep that remembers the best
    // y so far. Within one x the first point has the best y, and only points equal to it stand
    // beside it.
    std::vector<std::size_t> front;
    double bestY = std::numeric_limits<double>::infinity();
    double bestX = 0;
    for (const Point& point : points) {
        if (point.y < bestY || (!front.empty() && point.y == bestY && point.x == bestX)) {
            front.push_back(point.index);
            bestY = point.y;
            bestX = point.x;
        }
    }
    // Sorted by the value of x as drawn, which for "higher is better" is the reverse of what the
    // sweep walked.
    if (xBetter == BetterWhen::Higher) {
        std::stable_sort(front.begin(), front.end(), [&](std::size_t a, std::size_t b) {
            return records[a].metrics.at(xMetric).value < records[b].metrics.at(xMetric).value;
        });
    }
    return front;
}

std::vector<std::size_t> paretoFront(const std::vector<ExperimentRecord>& records,
                                     const std::vector<FrontMetric>& metrics) {
    struct Costs {
        std::vector<double> values;
        std::size_t index = 0;
    };
    std::vector<Costs> points;
    for (std::size_t i = 0; i < records.size(); ++i) {
        Costs point{{}, i};
        for (const FrontMetric& metric : metrics)
            if (const std::optional<double> cost = costOf(records[i], metric.name, metric.better))
                point.values.push_back(*cost);
        if (!metrics.empty() && point.values.size() == metrics.size())
            points.push_back(std::move(point));
    }
    std::sort(points.begin(), points.end(), [](const Costs& a, const Costs& b) {
        return a.values != b.values ? a.values < b.values : a.index < b.index;
    });
    // In this order a point can be beaten only by one before it, and what beats one that is beaten
    // beats the other as well: comparing with the front so far is enough.
    std::vector<const Costs*> front;
    for (const Costs& point : points) {
        const bool beaten = std::any_of(front.begin(), front.end(), [&](const Costs* other) {
            if (other->values == point.values)
                return false;
            for (std::size_t m = 0; m < metrics.size(); ++m)
                if (other->values[m] > point.values[m])
                    return false;
            return true;
        });
        if (!beaten)
            front.push_back(&point);
    }
    std::vector<std::size_t> indices;
    for (const Costs* point : front)
        indices.push_back(point->index);
    std::sort(indices.begin(), indices.end());
    return indices;
}

}  // namespace fettle
