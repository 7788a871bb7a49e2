#include "engine/model/eagle_head.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "engine/core/error.h"
#include "engine/model/model_initializer.h"

namespace fettle {

namespace {

constexpr const char* kVocabularyKey = "draft_vocabulary";
constexpr const char* kFusionName = "fc.weight";
constexpr double kEagleDeviation = 0.02;

struct EaglePart {
    const char* canonical;
    const char* file;
};
constexpr std::array kEagleParts = {
    EaglePart{"layers.0.attn.q.weight", "layers.0.self_attn.q_proj.weight"},
    EaglePart{"layers.0.attn.k.weight", "layers.0.self_attn.k_proj.weight"},
    EaglePart{"layers.0.attn.v.weight", "layers.0.self_attn.v_proj.weight"},
    EaglePart{"layers.0.attn.o.weight", "layers.0.self_attn.o_proj.weight"},
    EaglePart{"layers.0.ffn_norm.weight", "layers.0.post_attention_layernorm.weight"},
    EaglePart{"layers.0.ffn.gate.weight", "layers.0.mlp.gate_proj.weight"},
    EaglePart{"layers.0.ffn.up.weight", "layers.0.mlp.up_proj.weight"},
    EaglePart{"layers.0.ffn.down.weight", "layers.0.mlp.down_proj.weight"}};

Shape shapeOf(const std::string& canonical, const ModelConfig& c) {
    const std::int64_t q = c.heads * c.headDim, kv = c.kvHeads * c.headDim;
    if (canonical.ends_with("norm.weight"))
        return {c.hiddenSize};
    if (canonical.ends_with("q.weight"))
        return {q, c.hiddenSize};
    if (canonical.ends_with("k.weight") || canonical.ends_with("v.weight"))
        return {kv, c.hiddenSize};
    if (canonical.ends_with("o.weight"))
        return {c.hiddenSize, q};
    if (canonical.ends_with("down.weight"))
        return {c.hiddenSize, c.feedForwardSize};
    return {c.feedForwardSize, c.hiddenSize};
}

Tensor bfloats(const std::vector<float>& values, const Shape& shape) {
    Tensor tensor = Tensor::allocate(DType::BF16, shape);
    std::transform(values.begin(), values.end(), tensor.mutableAs<std::uint16_t>(),
                   kernels::floatToBfloat16);
    return tensor;
}

std::vector<std::int32_t> vocabularyOf(const DraftHeads& heads, const ModelConfig& target) {
    const auto found = heads.config.find(kVocabularyKey);
    std::vector<std::int32_t> tokens;
    if (found == heads.config.end()) {
        tokens.resize(static_cast<std::size_t>(target.vocabularySize));
        std::iota(tokens.begin(), tokens.end(), 0);
        return tokens;
    }
    if (!found->is_array() || found->empty())
        throwBadInput(heads.path,
                      std::string("config.json: \"") + kVocabularyKey + "\" is no list of tokens");
    for (const nlohmann::json& each : *found) {
        const std::int64_t token = each.is_number_integer() ? each.get<std::int64_t>() : -1;
        if (token < 0 || token >= target.vocabularySize ||
            (!tokens.empty() && token <= tokens.back()))
            throwBadInput(heads.path, std::string("config.json: \"") + kVocabularyKey +
                                          "\" holds " + each.dump() +
                                          ", which is no token of the model, or out of order");
        tokens.push_back(static_cast<std::int32_t>(token));
    }
    return tokens;
}

}  // namespace

void joinInputs(const Weight& embedding, float embeddingScale, std::int32_t token,
                const float* state, float* out) {
    const kernels::WeightView table = embedding.view();
    kernels::dequantizeRow(table, token, out);
    for (std::int64_t i = 0; i < table.cols; ++i)
        out[i] *= embeddingScale;
    std::copy_n(state, table.cols, out + table.cols);
}

ModelConfig eagleConfig(const ModelConfig& target) {
    ModelConfig c;
    c.architecture = "llama";
    c.bare = true;
    c.vocabularySize = target.vocabularySize;
    c.hiddenSize = target.hiddenSize;
    c.heads = target.heads;
    c.kvHeads = target.kvHeads;
    c.headDim = target.headDim;
    c.feedForwardSize = target.feedForwardSize;
    c.contextLength = target.contextLength;
    c.normEpsilon = target.normEpsilon;
    c.attentionScale = 1 / std::sqrt(static_cast<float>(c.headDim));
    LayerConfig layer;
    if (target.rotary)
        layer.rope = target.layers.front().rope;
    c.layers = {layer};
    return c;
}

EagleHead freshEagleHead(const Model& target, std::vector<std::int32_t> tokens,
                         std::uint64_t seed) {
    EagleHead head;
    head.tokens = std::move(tokens);
    head.layer.config = eagleConfig(target.config);
    head.layer.name = "EAGLE head of " + target.name;
    head.layer.path = head.layer.name;
    std::uint64_t stream = 0;
    for (const EaglePart& part : kEagleParts) {
        const Shape shape = shapeOf(part.canonical, head.layer.config);
        std::vector<float> values(static_cast<std::size_t>(elementCount(shape)), 1.0F);
        if (shape.size() == 2)
            fillNormal(values, kEagleDeviation, Philox(seed, ++stream));
        head.layer.weights[part.canonical] = Weight(bfloats(values, shape));
    }
    const auto width = static_cast<std::size_t>(target.config.hiddenSize);
    head.fusion.assign(2 * width * width, 0.0F);
    for (std::size_t row = 0; row < width; ++row)
        head.fusion[row * 2 * width + width + row] = 1;
    return head;
}

DraftHeads toDraftHeads(const EagleHead& head, const Model& target) {
    const ModelConfig& c = head.layer.config;
    DraftHeads out;
    out.kind = kEagle;
    out.path = head.layer.name;
    out.config = modelConfigToHuggingFace(c);
    out.config["draft_head"] = kEagle;
    out.config["base_model_name_or_path"] = target.name;
    out.config["torch_dtype"] = "bfloat16";
    out.config["bias"] = false;
    if (static_cast<std::int64_t>(head.tokens.size()) < c.vocabularySize)
        out.config[kVocabularyKey] = head.tokens;
    out.tensors[kFusionName] = bfloats(head.fusion, {c.hiddenSize, 2 * c.hiddenSize});
    for (const EaglePart& part : kEagleParts)
        out.tensors[part.file] =
            bfloats(head.layer.weight(part.canonical).toFloat(), shapeOf(part.canonical, c));
    return out;
}

EagleHead eagleHeadOf(const DraftHeads& heads, const Model& target) {
    EagleHead head;
    ModelConfig& c = head.layer.config;
    c = modelConfigFromHuggingFace(heads.config, heads.path);
    const ModelConfig& t = target.config;
    if (c.hiddenSize != t.hiddenSize || c.layerCount() != 1 || !c.rotary)
        throwBadInput(heads.path, "is no EAGLE head for " + target.name +
                                      ": it wants one layer with rope and states of " +
                                      std::to_string(t.hiddenSize) + " values");
    c.bare = true;
    head.layer.name = head.layer.path = heads.path;
    for (const EaglePart& part : kEagleParts) {
        const Shape shape = shapeOf(part.canonical, c);
        heads.values(part.file, shape);  // says what is wrong with it
        head.layer.weights[part.canonical] = Weight(heads.tensors.at(part.file));
    }
    head.fusion = heads.values(kFusionName, {c.hiddenSize, 2 * c.hiddenSize});
    head.tokens = vocabularyOf(heads, t);
    return head;
}

}  // namespace fettle
