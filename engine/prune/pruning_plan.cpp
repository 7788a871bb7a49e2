#include "engine/prune/pruning_plan.h"

#include <cmath>
#include <numeric>

#include "engine/core/error.h"
#include "engine/model/architectures/architecture.h"

namespace fettle {

std::vector<std::int64_t> allIndices(std::int64_t count) {
    std::vector<std::int64_t> indices(static_cast<std::size_t>(count));
    std::iota(indices.begin(), indices.end(), 0);
    return indices;
}

PruningPlan keepAll(const ModelConfig& config) {
    const auto layers = static_cast<std::size_t>(config.layerCount());
    PruningPlan plan;
    plan.layers = allIndices(config.layerCount());
    plan.heads.assign(layers, allIndices(config.heads));
    plan.kvHeads.assign(layers, allIndices(config.kvHeads));
    plan.neurons.assign(layers, allIndices(config.feedForwardSize));
    plan.channels = allIndices(config.hiddenSize);
    return plan;
}

PrunedShape shapeOf(const ModelConfig& config) {
    return {config.layerCount(), config.heads, config.kvHeads, config.feedForwardSize,
            config.hiddenSize};
}

PrunedShape shapeOf(const PruningPlan& plan) {
    const auto first = static_cast<std::size_t>(plan.layers.at(0));
    const auto size = [](const auto& list) { return static_cast<std::int64_t>(list.size()); };
    return {size(plan.layers), size(plan.heads.at(first)), size(plan.kvHeads.at(first)),
            size(plan.neurons.at(first)), size(plan.channels)};
}

ModelConfig withShape(const ModelConfig& config, const PrunedShape& shape,
                      const std::vector<std::int64_t>& layers) {
    if (config.architecture == "gpt2" && shape.heads * config.headDim != shape.hidden)
        throw EngineError(ErrorKind::Usage,
                          "prune: the configuration of GPT-2 ties the number of heads to the "
                          "width: heads go with \"channels\" or \"width\"");
    ModelConfig changed = config;
    changed.hiddenSize = shape.hidden;
    changed.heads = shape.heads;
    changed.kvHeads = shape.kvHeads;
    changed.feedForwardSize = shape.feedForward;
    changed.layers.clear();
    for (const std::int64_t layer : layers)
        changed.layers.push_back(config.layers.at(static_cast<std::size_t>(layer)));
    if (changed.source.is_object() && changed.source.contains("embedding_scale"))
        changed.source["embedding_scale"] = std::sqrt(static_cast<float>(shape.hidden));
    return modelConfigFromHuggingFace(modelConfigToHuggingFace(changed), "the pruned config.json");
}

std::int64_t parameterCount(const ModelConfig& config,
                            const std::function<bool(const std::string&)>& has) {
    std::int64_t count = 0;
    for (const TensorPlace& place : tensorPlaces(config)) {
        const bool tied = place.is(kTiedHead) && config.tiedEmbeddings;
        if (!tied && (!place.is(kOptional) || has(place.canonical)))
            count += elementCount(place.shape());
    }
    return count;
}

}  // namespace fettle
