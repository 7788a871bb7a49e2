// Mixed precision: which scheme each weight gets so that all of them together fit a budget and lose
// the least. A multiple-choice knapsack over scores measured before (engine/quant/sensitivity.h),
// so that another budget is answered at once. Plain values: the window solves it while a slider
// moves.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "engine/experiment/run_values.h"

namespace fettle {

struct SchemeChoice {
    std::string scheme;  ///< id of a QuantScheme, or "none": stays as it is
    double bytes = 0;
    double loss = 0;  ///< nats per token or any other score that adds up over weights
    bool operator==(const SchemeChoice&) const = default;
};

/// Weights that must share a scheme (q, k, v; gate, up) and what they may become.
struct AllocationUnit {
    std::string name;  ///< "layers.3.attn.qkv"
    int layer = -1;
    std::vector<std::string> weights;  ///< canonical names
    std::vector<SchemeChoice> choices;
    int pinned = -1;  ///< index of the only choice allowed, or -1
};

struct BitAllocation {
    std::vector<std::size_t> chosen;  ///< per unit
    double bytes = 0;
    double loss = 0;
    bool withinBudget =
        false;  ///< false: even the smallest choices are too large; those are chosen
};

/// The allocation of least total loss with at most `budgetBytes`: choices that cannot be part of it
/// are dropped by a Lagrangian bound, dynamic programming over bytes decides among the rest, exact
/// up to the rounding of costs to 1/32768 of what is left to spend. Throws std::invalid_argument
/// for a unit without choices or with a pin outside them.
BitAllocation allocateBits(const std::vector<AllocationUnit>& units, double budgetBytes);

/// The allocations on the lower convex hull of (bytes, loss), from the smallest to the largest: the
/// optimum of every budget up to one unit's choice.
std::vector<BitAllocation> allocationFront(const std::vector<AllocationUnit>& units);

/// Bytes and loss of given choices, one per unit.
BitAllocation allocationOf(const std::vector<AllocationUnit>& units,
                           std::vector<std::size_t> chosen);

/// The unit that the weight `name` belongs to: "layers.3.attn.qkv" for "layers.3.attn.k.weight".
std::string allocationUnitOf(const std::string& name);

/// "layers.3.attn.qkv=int4-g32" for every unit: what the parameter "schemes" of ptq takes.
std::vector<std::string> schemeAssignments(const std::vector<AllocationUnit>& units,
                                           const BitAllocation& allocation);
/// The reverse; nothing where they are not one scored choice for each of the units.
std::optional<BitAllocation> allocationFrom(const std::vector<AllocationUnit>& units,
                                            const std::vector<std::string>& assignments);

/// Scores as the store keeps them beside an experiment: "loss:<scheme>" and "bytes:<scheme>" of
/// every unit, named by the unit.
std::vector<LayerMetric> toLayerMetrics(const std::vector<AllocationUnit>& units);
/// The units that toLayerMetrics() wrote, out of all metrics of an experiment; empty where it holds
/// none. Choices are sorted by bytes; `weights` is left empty.
std::vector<AllocationUnit> allocationUnitsFrom(const std::vector<LayerMetric>& metrics);

}  // namespace fettle
