#include "engine/experiment/pareto_front.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fettle {
namespace {

double costOf(const ExperimentRecord& record, const std::string& metric, BetterWhen better) {
    const auto found = record.metrics.find(metric);
    if (found == record.metrics.end())
        return std::numeric_limits<double>::quiet_NaN();
    return better == BetterWhen::Higher ? -found->second.value : found->second.value;
}

using Row = std::span<const double>;

/// At least as good in each; the caller has seen that they are not equal.
bool beats(Row a, Row b) {
    for (std::size_t m = 0; m < a.size(); ++m)
        if (a[m] > b[m])
            return false;
    return true;
}

}  // namespace

std::vector<std::size_t> paretoFront(std::span<const double> costs, std::size_t metrics) {
    if (metrics == 0)
        return {};
    const auto row = [&](std::size_t i) { return costs.subspan(i * metrics, metrics); };
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < costs.size() / metrics; ++i)
        if (std::ranges::all_of(row(i), [](double cost) { return std::isfinite(cost); }))
            order.push_back(i);
    std::ranges::sort(order, [&](std::size_t a, std::size_t b) {
        const auto ordered = std::lexicographical_compare_three_way(row(a).begin(), row(a).end(),
                                                                    row(b).begin(), row(b).end());
        return ordered != 0 ? ordered < 0 : a < b;
    });
    // In this order a point can be beaten only by one before it, and what beats one that is beaten
    // beats the other as well: comparing with the front so far is enough. In two metrics its last
    // point has the best second value of all, so comparing with that one is.
    std::vector<std::size_t> front;
    for (const std::size_t i : order) {
        const std::size_t from = metrics == 2 && !front.empty() ? front.size() - 1 : 0;
        const bool beaten = std::any_of(
            front.begin() + static_cast<std::ptrdiff_t>(from), front.end(), [&](std::size_t other) {
                return !std::ranges::equal(row(other), row(i)) && beats(row(other), row(i));
            });
        if (!beaten)
            front.push_back(i);
    }
    std::ranges::sort(front);
    return front;
}

std::vector<std::size_t> paretoFront(const std::vector<ExperimentRecord>& records,
                                     const std::string& xMetric, BetterWhen xBetter,
                                     const std::string& yMetric, BetterWhen yBetter) {
    std::vector<std::size_t> front = paretoFront(records, {{xMetric, xBetter}, {yMetric, yBetter}});
    std::ranges::stable_sort(front, {},
                             [&](std::size_t i) { return records[i].metrics.at(xMetric).value; });
    return front;
}

std::vector<std::size_t> paretoFront(const std::vector<ExperimentRecord>& records,
                                     const std::vector<FrontMetric>& metrics) {
    std::vector<double> costs;
    costs.reserve(records.size() * metrics.size());
    for (const ExperimentRecord& record : records)
        for (const FrontMetric& metric : metrics)
            costs.push_back(costOf(record, metric.name, metric.better));
    return paretoFront(costs, metrics.size());
}

}  // namespace fettle
