#include "engine/model/architectures/architecture.h"

#include <algorithm>
#include <array>

#include "engine/core/error.h"

namespace fettle {
namespace {

const std::array<const Architecture*, 4>& all() {
    static const std::array<const Architecture*, 4> architectures = {
        &llamaArchitecture(), &qwen3Architecture(), &gpt2Architecture(), &gemma3Architecture()};
    return architectures;
}

bool perLayer(const TensorRule& rule) {
    return std::string_view(rule.canonical).starts_with("layers.N.");
}

std::string fill(std::string_view pattern, int layer) {
    std::string text(pattern);
    const auto at = text.find(".N.");
    return layer >= 0 && at != std::string::npos ? text.replace(at + 1, 1, std::to_string(layer))
                                                 : text;
}

TensorPlace place(const TensorRule& rule, int layer, const ModelConfig& config) {
    return {
        &rule, fill(rule.canonical, layer), fill(rule.huggingFace, layer), fill(rule.gguf, layer),
        layer, sizeOf(rule.rows, config),   sizeOf(rule.cols, config)};
}

}  // namespace

Shape TensorPlace::shape() const {
    return cols > 0 ? Shape{rows, cols} : Shape{rows};
}

const Architecture* findArchitecture(std::string_view name) {
    const auto found = std::find_if(all().begin(), all().end(),
                                    [&](const Architecture* a) { return name == a->name; });
    return found == all().end() ? nullptr : *found;
}

const Architecture* findArchitectureOfModelType(std::string_view modelType) {
    for (const Architecture* architecture : all())
        if (std::find(architecture->modelTypes.begin(), architecture->modelTypes.end(),
                      modelType) != architecture->modelTypes.end())
            return architecture;
    return nullptr;
}

std::string supportedArchitectures() {
    std::string text;
    for (const Architecture* architecture : all())
        text += (text.empty() ? "" : ", ") + std::string(architecture->name);
    return text;
}

std::int64_t sizeOf(Dim dim, const ModelConfig& config) {
    switch (dim) {
        case Dim::None:
            return 0;
        case Dim::Vocabulary:
            return config.vocabularySize;
        case Dim::Hidden:
            return config.hiddenSize;
        case Dim::Context:
            return config.contextLength;
        case Dim::Query:
            return config.heads * config.headDim;
        case Dim::KeyValue:
            return config.kvHeads * config.headDim;
        case Dim::HeadDim:
            return config.headDim;
        case Dim::FeedForward:
            return config.feedForwardSize;
    }
    return 0;
}

std::vector<TensorPlace> tensorPlaces(const ModelConfig& config) {
    const Architecture* architecture = findArchitecture(config.architecture);
    if (!architecture)
        throw EngineError(ErrorKind::Internal,
                          "no tensor table for architecture " + config.architecture);
    std::vector<TensorPlace> places;
    const auto rules = architecture->tensors;
    // The layers' rules stand together in the table; each run of them is repeated layer by layer.
    for (std::size_t i = 0; i < rules.size();) {
        if (!perLayer(rules[i])) {
            places.push_back(place(rules[i++], -1, config));
            continue;
        }
        std::size_t end = i;
        while (end < rules.size() && perLayer(rules[end]))
            ++end;
        for (int layer = 0; layer < static_cast<int>(config.layers.size()); ++layer)
            for (std::size_t r = i; r < end; ++r)
                places.push_back(place(rules[r], layer, config));
        i = end;
    }
    return places;
}

}  // namespace fettle
