#include "engine/prune/shape_search.h"

#include <algorithm>
#include <cmath>

namespace fettle {

namespace {

/// Sizes below `whole` that are multiples of `multiple`, largest first, after `whole` itself.
std::vector<std::int64_t> sizesBelow(std::int64_t whole, std::int64_t multiple) {
    multiple = std::max<std::int64_t>(1, std::min(multiple, whole / 2));
    std::vector<std::int64_t> sizes{whole};
    for (std::int64_t size = (whole - 1) / multiple * multiple; size > 0; size -= multiple)
        sizes.push_back(size);
    return sizes;
}

/// Heads and their keys and values.
std::vector<std::pair<std::int64_t, std::int64_t>> headCounts(const ModelConfig& config,
                                                              bool wholeGroups) {
    std::vector<std::pair<std::int64_t, std::int64_t>> counts;
    const std::int64_t group = config.heads / config.kvHeads;
    if (wholeGroups)
        for (std::int64_t kv = config.kvHeads; kv > 0; --kv)
            counts.emplace_back(kv * group, kv);
    else
        for (std::int64_t size = group; size > 0; --size)
            counts.emplace_back(config.kvHeads * size, config.kvHeads);
    return counts;
}

std::int64_t stepOfChannels(const ModelConfig& config, std::int64_t multiple) {
    if (config.architecture != "gpt2")
        return multiple;
    // GPT-2's width is its heads side by side: channels go a head at a time.
    return config.headDim;
}

PrunedShape withChannels(const ModelConfig& config, PrunedShape shape, std::int64_t hidden) {
    shape.hidden = hidden;
    if (config.architecture == "gpt2")
        shape.heads = shape.kvHeads = hidden / config.headDim;
    return shape;
}

/// transformers refuses a Llama configuration whose heads do not divide its width, although nothing
/// is computed from the quotient where head_dim is given.
bool loadsElsewhere(const ModelConfig& config, const PrunedShape& shape) {
    return config.architecture != "llama" || shape.hidden % shape.heads == 0;
}

std::vector<PrunedShape> sharedShapes(const ModelConfig& config, const ShapeRules& rules,
                                      std::int64_t parameters, const ParameterCounter& count) {
    const bool gpt2 = config.architecture == "gpt2";
    std::vector<PrunedShape> shapes;
    const std::int64_t eighth = std::max(stepOfChannels(config, rules.multiple),
                                         config.hiddenSize / 8 / rules.multiple * rules.multiple);
    for (const std::int64_t hidden : sizesBelow(config.hiddenSize, eighth)) {
        if (hidden * 4 < config.hiddenSize * 3)
            break;
        for (const auto& [heads, kvHeads] : headCounts(config, rules.wholeGroups)) {
            if (heads * 2 < config.heads || (gpt2 && heads != hidden / config.headDim))
                continue;
            PrunedShape shape = shapeOf(config);
            shape.hidden = hidden;
            shape.heads = heads;
            shape.kvHeads = kvHeads;
            if (!loadsElsewhere(config, shape))
                continue;
            for (const std::int64_t size : sizesBelow(config.feedForwardSize, rules.multiple)) {
                shape.feedForward = size;
                if (count(shape) <= parameters) {
                    shapes.push_back(shape);
                    break;
                }
            }
        }
    }
    const auto unevenness = [&](const PrunedShape& s) {
        const auto share = [](std::int64_t part, std::int64_t whole) {
            return static_cast<double>(part) / static_cast<double>(whole);
        };
        const double a = share(s.feedForward, config.feedForwardSize),
                     b = share(s.heads, config.heads), c = share(s.hidden, config.hiddenSize);
        return std::max({a, b, c}) - std::min({a, b, c});
    };
    std::stable_sort(shapes.begin(), shapes.end(), [&](const PrunedShape& a, const PrunedShape& b) {
        return unevenness(a) < unevenness(b);
    });
    return shapes;
}

}  // namespace

std::vector<PrunedShape> shapesAlong(const ModelConfig& config, const ShapeRules& rules) {
    const PrunedShape whole = shapeOf(config);
    std::vector<PrunedShape> shapes;
    switch (rules.axis) {
        case PruneAxis::FeedForward:
            for (const std::int64_t size : sizesBelow(config.feedForwardSize, rules.multiple)) {
                shapes.push_back(whole);
                shapes.back().feedForward = size;
            }
            break;
        case PruneAxis::Heads:
            for (const auto& [heads, kvHeads] : headCounts(config, rules.wholeGroups)) {
                shapes.push_back(whole);
                shapes.back().heads = heads;
                shapes.back().kvHeads = kvHeads;
            }
            break;
        case PruneAxis::Channels:
            for (const std::int64_t size :
                 sizesBelow(config.hiddenSize, stepOfChannels(config, rules.multiple)))
                shapes.push_back(withChannels(config, whole, size));
            break;
        case PruneAxis::Layers:
            for (std::int64_t size = config.layerCount(); size > 0; --size) {
                shapes.push_back(whole);
                shapes.back().layers = size;
            }
            break;
        case PruneAxis::Width:
            break;
    }
    std::erase_if(shapes, [&](const PrunedShape& s) { return !loadsElsewhere(config, s); });
    return shapes;
}

PrunedShape shapeForRatio(const ModelConfig& config, const ShapeRules& rules, double ratio) {
    const std::vector<PrunedShape> shapes = shapesAlong(config, rules);
    const auto kept = [&](const PrunedShape& s) {
        const PrunedShape whole = shapeOf(config);
        const std::int64_t part = rules.axis == PruneAxis::FeedForward ? s.feedForward
                                  : rules.axis == PruneAxis::Heads     ? s.heads
                                  : rules.axis == PruneAxis::Channels  ? s.hidden
                                                                       : s.layers;
        const std::int64_t all = rules.axis == PruneAxis::FeedForward ? whole.feedForward
                                 : rules.axis == PruneAxis::Heads     ? whole.heads
                                 : rules.axis == PruneAxis::Channels  ? whole.hidden
                                                                      : whole.layers;
        return static_cast<double>(part) / static_cast<double>(all);
    };
    return *std::min_element(
        shapes.begin(), shapes.end(), [&](const PrunedShape& a, const PrunedShape& b) {
            return std::fabs(kept(a) - 1 + ratio) < std::fabs(kept(b) - 1 + ratio);
        });
}

std::vector<PrunedShape> shapesWithin(const ModelConfig& config, const ShapeRules& rules,
                                      std::int64_t parameters, const ParameterCounter& count) {
    if (rules.axis == PruneAxis::Width)
        return sharedShapes(config, rules, parameters, count);
    for (const PrunedShape& shape : shapesAlong(config, rules))
        if (count(shape) <= parameters)
            return {shape};
    return {};
}

}  // namespace fettle
