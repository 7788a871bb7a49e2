#include "engine/experiment/bit_allocation.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
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

struct GreedyResult {
    std::vector<std::size_t> chosen;
    double price = 0;  ///< loss per byte of the first step that did not fit
};

/// Steps up the hulls while they fit. Skipping one that does not fit keeps its unit where it is.
GreedyResult greedy(const std::vector<std::vector<Option>>& options, double room) {
    GreedyResult result{smallest(options), 0};
    std::vector<bool> stuck(options.size(), false);
    for (const Upgrade& up : upgrades(options)) {
        if (result.price == 0 && up.bytes > room)
            result.price = up.slope();
        stuck[up.unit] = stuck[up.unit] || up.bytes > room;
        if (stuck[up.unit])
            continue;
        room -= up.bytes;
        result.chosen[up.unit] = options[up.unit][up.option].index;
    }
    return result;
}

/// Drops every option that no allocation of less loss than `known` takes: with bytes at `price`,
/// the least of loss + price * bytes over all units bounds the loss from below, and an option adds
/// to that bound what it costs more than the best one of its unit (the pegging test of knapsack
/// problems, Ingargiola & Korsh 1973). Those of the allocation of loss `known` stay.
void dropHopeless(std::vector<std::vector<Option>>& options, double budget, double price,
                  double known) {
    const auto cost = [&](const Option& o) { return o.loss + price * o.bytes; };
    std::vector<double> least;
    least.reserve(options.size());
    double bound = -price * budget;
    for (const std::vector<Option>& unit : options) {
        double cheapest = cost(unit.front());
        for (const Option& o : unit)
            cheapest = std::min(cheapest, cost(o));
        least.push_back(cheapest);
        bound += cheapest;
    }
    const double slack = known - bound + kRounding * (std::abs(known) + price * budget);
    for (std::size_t u = 0; u < options.size(); ++u)
        std::erase_if(options[u],
                      [&](const Option& o) { return cost(o) - least[u] > std::max(slack, 0.0); });
}

/// Least loss for every number of cells spent above the smallest choices; costs are rounded up, so
/// that the result fits.
std::vector<std::size_t> dynamic(const std::vector<std::vector<Option>>& options, double budget) {
    double room = budget;
    for (const std::vector<Option>& o : options)
        room -= o.front().bytes;
    const double cell = std::max(room, kRounding * budget) / kCells;
    constexpr double kNone = std::numeric_limits<double>::infinity();
    std::vector<double> best(kCells + 1, kNone), next(kCells + 1);
    best[0] = 0;
    std::vector<std::vector<std::uint8_t>> taken(options.size());
    std::vector<std::vector<std::size_t>> costs(options.size());
    for (std::size_t u = 0; u < options.size(); ++u) {
        if (options[u].size() == 1)
            continue;  // decided, and its bytes are no part of the room
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
        const std::size_t i = taken[u].empty() ? 0 : taken[u][at];
        chosen[u] = options[u][i].index;
        at -= taken[u].empty() ? 0 : costs[u][i];
    }
    return chosen;
}

constexpr std::string_view kLoss = "loss:";
constexpr std::string_view kBytes = "bytes:";

}  // namespace

BitAllocation allocationOf(const std::vector<AllocationUnit>& units,
                           std::vector<std::size_t> chosen) {
    BitAllocation allocation;
    allocation.chosen = std::move(chosen);
    for (std::size_t u = 0; u < units.size(); ++u) {
        allocation.bytes += units[u].choices[allocation.chosen[u]].bytes;
        allocation.loss += units[u].choices[allocation.chosen[u]].loss;
    }
    return allocation;
}

BitAllocation allocateBits(const std::vector<AllocationUnit>& units, double budgetBytes) {
    std::vector<std::vector<Option>> options = usefulOptions(units);
    BitAllocation least = allocationOf(units, smallest(options));
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
        BitAllocation everything = allocationOf(units, std::move(all));
        everything.withinBudget = true;
        return everything;
    }
    GreedyResult found = greedy(options, room);
    BitAllocation steps = allocationOf(units, std::move(found.chosen));
    dropHopeless(options, least.bytes + room, found.price, steps.loss);
    BitAllocation exact = allocationOf(units, dynamic(options, least.bytes + room));
    BitAllocation& better = exact.loss <= steps.loss ? exact : steps;
    better.withinBudget = true;
    return better;
}

std::vector<BitAllocation> allocationFront(const std::vector<AllocationUnit>& units) {
    const std::vector<std::vector<Option>> options = usefulOptions(units);
    std::vector<std::size_t> chosen = smallest(options);
    std::vector<BitAllocation> front{allocationOf(units, chosen)};
    for (const Upgrade& up : upgrades(options)) {
        chosen[up.unit] = options[up.unit][up.option].index;
        front.push_back(allocationOf(units, chosen));
    }
    for (BitAllocation& allocation : front)
        allocation.withinBudget = true;
    return front;
}

std::string allocationUnitOf(const std::string& name) {
    std::string unit = name.ends_with(".weight") ? name.substr(0, name.size() - 7) : name;
    const auto last = unit.rfind('.');
    const std::string_view part = std::string_view(unit).substr(last + 1);
    const bool attention = unit.find(".attn.") != std::string::npos;
    if (attention && (part == "q" || part == "k" || part == "v"))
        unit.replace(last + 1, std::string::npos, "qkv");
    else if (unit.find(".ffn.") != std::string::npos && (part == "gate" || part == "up"))
        unit.replace(last + 1, std::string::npos, "gate_up");
    return unit;
}

std::vector<std::string> schemeAssignments(const std::vector<AllocationUnit>& units,
                                           const BitAllocation& allocation) {
    std::vector<std::string> assignments;
    assignments.reserve(units.size());
    for (std::size_t u = 0; u < units.size(); ++u)
        assignments.push_back(units[u].name + "=" + units[u].choices[allocation.chosen[u]].scheme);
    return assignments;
}

std::optional<BitAllocation> allocationFrom(const std::vector<AllocationUnit>& units,
                                            const std::vector<std::string>& assignments) {
    std::map<std::string, std::string> schemes;
    for (const std::string& each : assignments) {
        const auto sign = each.rfind('=');
        if (sign == std::string::npos ||
            !schemes.emplace(each.substr(0, sign), each.substr(sign + 1)).second)
            return std::nullopt;
    }
    std::vector<std::size_t> chosen;
    for (const AllocationUnit& unit : units) {
        const auto found = schemes.find(unit.name);
        if (found == schemes.end())
            return std::nullopt;
        const auto choice =
            std::find_if(unit.choices.begin(), unit.choices.end(),
                         [&](const SchemeChoice& each) { return each.scheme == found->second; });
        if (choice == unit.choices.end())
            return std::nullopt;
        chosen.push_back(static_cast<std::size_t>(choice - unit.choices.begin()));
    }
    if (schemes.size() != units.size() || units.empty())
        return std::nullopt;
    return allocationOf(units, std::move(chosen));
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
