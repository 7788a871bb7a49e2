// What structured pruning leaves of a model, as indices into the original: layers, heads, neurons
// of the feed-forward, channels of the residual stream. The sizes that result are the same in every
// layer, as configurations of the supported families ask for.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/model/model_config.h"

namespace fettle {

/// Lists say what stays, in the order in which it will stand. Heads and neurons are listed for
/// every layer of the original, dropped ones included.
struct PruningPlan {
    std::vector<std::int64_t> layers;
    std::vector<std::vector<std::int64_t>> heads;    ///< query heads
    std::vector<std::vector<std::int64_t>> kvHeads;  ///< heads of keys and values
    std::vector<std::vector<std::int64_t>> neurons;
    std::vector<std::int64_t> channels;
};

/// 0, 1, ..., count - 1.
std::vector<std::int64_t> allIndices(std::int64_t count);
/// A plan that removes nothing.
PruningPlan keepAll(const ModelConfig& config);

/// Sizes of a pruned model; a size equal to the original's is left alone.
struct PrunedShape {
    std::int64_t layers = 0, heads = 0, kvHeads = 0, feedForward = 0, hidden = 0;
    bool operator==(const PrunedShape&) const = default;
};
PrunedShape shapeOf(const ModelConfig& config);
PrunedShape shapeOf(const PruningPlan& plan);
/// The configuration with these sizes and, of its layers, those in `layers`; read back from the
/// config.json that it gives, so that it is what a runtime will see. Throws EngineError(Usage)
/// where the family cannot express it.
ModelConfig withShape(const ModelConfig& config, const PrunedShape& shape,
                      const std::vector<std::int64_t>& layers);

/// Parameters of a model of this configuration. `has` says whether an optional tensor (a bias) is
/// there, by canonical name.
std::int64_t parameterCount(const ModelConfig& config,
                            const std::function<bool(const std::string&)>& has);

}  // namespace fettle
