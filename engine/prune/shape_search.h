// Which sizes a pruned model gets: from a ratio, a number of parameters, or a speed on this device.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/prune/pruning_plan.h"

namespace fettle {

enum class PruneAxis { FeedForward, Heads, Channels, Layers, Width };

struct ShapeRules {
    PruneAxis axis = PruneAxis::Width;
    bool wholeGroups = true;  ///< heads go with their keys and values; else as many of each group
    std::int64_t multiple = 32;  ///< neurons and channels that stay are a multiple of it
};

/// All sizes that `rules` allow for one axis, from the whole model to the smallest; Width has none.
std::vector<PrunedShape> shapesAlong(const ModelConfig& config, const ShapeRules& rules);
/// The shape closest to removing `ratio` of the axis: of neurons, heads, channels or layers. Width
/// asks shapesWithin().
PrunedShape shapeForRatio(const ModelConfig& config, const ShapeRules& rules, double ratio);
/// Parameters of the model with these sizes.
using ParameterCounter = std::function<std::int64_t(const PrunedShape&)>;
/// The largest shapes of at most `parameters`: one for a single axis. For Width the ways to share
/// the removal between neurons, heads (down to half of them) and channels (down to three quarters),
/// the most even one first. Empty where nothing is small enough.
std::vector<PrunedShape> shapesWithin(const ModelConfig& config, const ShapeRules& rules,
                                      std::int64_t parameters, const ParameterCounter& count);

}  // namespace fettle
