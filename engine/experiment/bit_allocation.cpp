#include "engine/experiment/bit_allocation.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string_view>

namespace fettle {

namespace {

constexpr std::size_t kCells = 32768;  // steps of the budget in dynamic programming
constexpr double kRounding = 1e-12;    // of a sum of bytes

/// A choice of a unit that is not dominated: no other one is both smaller and better.
struct Option {
    std::size_t index = 0;
    double bytes = 0, loss = 0;
};

/// By rising bytes and falling loss. A larger choice that scores worse is noise of the measurement
/// and can go.
std::vector<Option> usefulOptions(const AllocationUnit& unit) {
    if (unit.choices.empty() || unit.pinned >= static_cast<int>(unit.choices.size()))
        throw std::invalid_argument("mixed precision: " + unit.name +
                                    " has no choice of schemes, or is pinned to one outside them");
    std::vector<Option> options;
    for (std::size_t i = 0; i < unit.choices.size(); ++i)
        if (unit.pinned < 0 || static_cast<std::size_t>(unit.pinned) == i)
            options.push_back({i, unit.choices[i].bytes, unit.choices[i].loss});
    std::sort(options.begin(), options.end(), [](const Option& a, const Option& b) {
        return a.bytes != b.bytes ? a.bytes < b.bytes : a.loss < b.loss;
    });
    std::vector<Option> useful;
    for (const Option& option : options)
        if (useful.empty() || option.loss < useful.back().loss)
            useful.push_back(option);
    return useful;
}

std::vector<std::vector<Option>> usefulOptions(const std::vector<AllocationUnit>& units) {
    std::vector<std::vector<Option>> all;
    all.reserve(units.size());
    for (const AllocationUnit& unit : units)
        all.push_back(usefulOptions(unit));
    return all;
}

BitAllocation total(const std::vector<AllocationUnit>& units, std::vector<std::size_t> chosen) {
    BitAllocation allocation;
    allocation.chosen = std::move(chosen);
    for (std::size_t u = 0; u < units.size(); ++u) {
        allocation.bytes += units[u].choices[allocation.chosen[u]].bytes;
        allocation.loss += units[u].choices[allocation.chosen[u]].loss;
    }
    return allocation;
}

/// One step up the lower hull of a unit's options.
struct Upgrade {
    std::size_t unit = 0, option = 0;
    double bytes = 0, gain = 0;
    double slope() const { return gain / bytes; }
};

/// All steps up the hulls, the most gain per byte first; steps of one unit stay in order, since
/// slopes fall along a hull.
std::vector<Upgrade> upgrades(const std::vector<std::vector<Option>>& options) {
    std::vector<Upgrade> all;
    for (std::size_t u = 0; u < options.size(); ++u) {
        const std::vector<Option>& o = options[u];
        for (std::size_t at = 0; at + 1 < o.size();) {
            std::size_t best = at + 1;
            const auto slope = [&](std::size_t to) {
                return (o[at].loss - o[to].loss) / (o[to].bytes - o[at].bytes);
            };
            for (std::size_t to = at + 2; to < o.size(); ++to)
                if (slope(to) >= slope(best))
                    best = to;
            all.push_back({u, best, o[best].bytes - o[at].bytes, o[at].loss - o[best].loss});
            at = best;
        }
    }
    std::stable_sort(all.begin(), all.end(),
                     [](const Upgrade& a, const Upgrade& b) { return a.slope() > b.slope(); });
    return all;
}

std::vector<std::size_t> smallest(const std::vector<std::vector<Option>>& options) {
    std::vector<std::size_t> chosen;
    chosen.reserve(options.size());
    for (const std::vector<Option>& o : options)
        chosen.push_back(o.front().index);
    return chosen;
}

/// Steps up the hulls while they fit. Skipping one that does not fit keeps its unit where it is.
std::vector<std::size_t> greedy(const std::vector<std::vector<Option>>& options, double room) {
    std::vector<std::size_t> chosen = smallest(options);
    std::vector<bool> stuck(options.size(), false);
    for (const Upgrade& up : upgrades(options)) {
        stuck[up.unit] = stuck[up.unit] || up.bytes > room;
        if (stuck[up.unit])
            continue;
        room -= up.bytes;
        chosen[up.unit] = options[up.unit][up.option].index;
    }
    return chosen;
}

/// Least loss for every number of cells spent above the smallest choices; costs are rounded up, so
/// that the result fits.
std::vector<std::size_t> dynamic(const std::vector<std::vector<Option>>& options, double room) {
    const double cell = room / kCells;
    constexpr double kNone = std::numeric_limits<double>::infinity();
    std::vector<double> best(kCells + 1, kNone), next(kCells + 1);
    best[0] = 0;
    std::vector<std::vector<std::uint8_t>> taken(options.size());
    std::vector<std::vector<std::size_t>> costs(options.size());
    for (std::size_t u = 0; u < options.size(); ++u) {
        taken[u].assign(kCells + 1, 0);
        std::fill(next.begin(), next.end(), kNone);
        for (std::size_t i = 0; i < options[u].size(); ++i) {
            const double extra = options[u][i].bytes - options[u].front().bytes;
            costs[u].push_back(static_cast<std::size_t>(
                std::min(std::ceil(extra / cell - 1e-9), static_cast<double>(kCells + 1))));
            const std::size_t cost = costs[u].back();
            for (std::size_t c = cost; c <= kCells; ++c) {
                const double loss = best[c - cost] + options[u][i].loss;
                if (loss < next[c]) {
                    next[c] = loss;
                    taken[u][c] = static_cast<std::uint8_t>(i);
                }
            }
        }
        best.swap(next);
    }
    auto at = static_cast<std::size_t>(std::min_element(best.begin(), best.end()) - best.begin());
    std::vector<std::size_t> chosen(options.size());
    for (std::size_t u = options.size(); u-- > 0;) {
        const std::size_t i = taken[u][at];
        chosen[u] = options[u][i].index;
        at -= costs[u][i];
    }
    return chosen;
}

constexpr std::string_view kLoss = "loss:";
constexpr std::string_view kBytes = "bytes:";

}  // namespace

BitAllocation allocateBits(const std::vector<AllocationUnit>& units, double budgetBytes) {
    const std::vector<std::vector<Option>> options = usefulOptions(units);
    BitAllocation least = total(units, smallest(options));
    least.withinBudget = least.bytes <= budgetBytes;
    // Sums of the same numbers in another order must not decide what fits.
    const double room = budgetBytes - least.bytes + kRounding * budgetBytes;
    if (!(room > 0))
        return least;
    double most = 0;
    for (const std::vector<Option>& o : options)
        most += o.back().bytes - o.front().bytes;
    if (most <= room) {
        std::vector<std::size_t> all;
        all.reserve(options.size());
        for (const std::vector<Option>& o : options)
            all.push_back(o.back().index);
        BitAllocation everything = total(units, std::move(all));
        everything.withinBudget = true;
        return everything;
    }
    BitAllocation steps = total(units, greedy(options, room));
    BitAllocation exact = total(units, dynamic(options, room));
    BitAllocation& better = exact.loss <= steps.loss ? exact : steps;
    better.withinBudget = true;
    return better;
}

std::vector<BitAllocation> allocationFront(const std::vector<AllocationUnit>& units) {
    const std::vector<std::vector<Option>> options = usefulOptions(units);
    std::vector<std::size_t> chosen = smallest(options);
    std::vector<BitAllocation> front{total(units, chosen)};
    for (const Upgrade& up : upgrades(options)) {
        chosen[up.unit] = options[up.unit][up.option].index;
        front.push_back(total(units, chosen));
    }
    for (BitAllocation& allocation : front)
        allocation.withinBudget = true;
    return front;
}

std::vector<LayerMetric> toLayerMetrics(const std::vector<AllocationUnit>& units) {
    std::vector<LayerMetric> metrics;
    for (const AllocationUnit& unit : units)
        for (const SchemeChoice& choice : unit.choices) {
            metrics.push_back(
                {unit.layer, unit.name, std::string(kLoss) + choice.scheme, choice.loss});
            metrics.push_back(
                {unit.layer, unit.name, std::string(kBytes) + choice.scheme, choice.bytes});
        }
    return metrics;
}

std::vector<AllocationUnit> allocationUnitsFrom(const std::vector<LayerMetric>& metrics) {
    std::vector<AllocationUnit> units;
    for (const LayerMetric& metric : metrics) {
        const bool loss = metric.name.starts_with(kLoss);
        if (!loss && !metric.name.starts_with(kBytes))
            continue;
        auto unit = std::find_if(units.begin(), units.end(), [&](const AllocationUnit& each) {
            return each.name == metric.tensor;
        });
        if (unit == units.end()) {
            units.emplace_back();
            unit = units.end() - 1;
            unit->name = metric.tensor;
            unit->layer = metric.layer;
        }
        const std::string scheme = metric.name.substr(loss ? kLoss.size() : kBytes.size());
        auto choice = std::find_if(unit->choices.begin(), unit->choices.end(),
                                   [&](const SchemeChoice& each) { return each.scheme == scheme; });
        if (choice == unit->choices.end()) {
            unit->choices.push_back({scheme, 0, 0});
            choice = unit->choices.end() - 1;
        }
        (loss ? choice->loss : choice->bytes) = metric.value;
    }
    for (AllocationUnit& unit : units)
        std::sort(unit.choices.begin(), unit.choices.end(),
                  [](const SchemeChoice& a, const SchemeChoice& b) { return a.bytes < b.bytes; });
    return units;
}

}  // namespace fettle
