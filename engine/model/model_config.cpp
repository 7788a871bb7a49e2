#include "engine/model/model_config.h"

#include <cmath>
#include <set>

#include "engine/core/error.h"
#include "engine/io/strict_json.h"
#include "engine/model/architectures/architecture.h"
#include "engine/model/config_fields.h"
#include "kernels/formats/weight_format.h"

namespace fettle {
namespace {

using nlohmann::json;

// Far above any model, far below what would exhaust memory by itself.
constexpr std::int64_t kMostLayers = 4096;
constexpr std::int64_t kMostHidden = 1 << 20;
constexpr std::int64_t kMostHeads = 1 << 16;
constexpr std::int64_t kMostHeadDim = 1 << 16;
constexpr std::int64_t kMostVocabulary = 1 << 24;
constexpr std::int64_t kMostContext = std::int64_t{1} << 31;

/// One rope description: {"rope_type": ..., "factor": ..., "rope_theta": ...}, old or new style.
void readScaling(const ConfigFields& fields, RopeConfig& rope) {
    const std::string type = fields.text("rope_type", fields.text("type", "default"));
    if (type == "linear") {
        rope.linearFactor = fields.positive("factor");
    } else if (type == "llama3") {
        rope.llama3Factor = fields.positive("factor");
        rope.llama3LowFreq = fields.positive("low_freq_factor", 1.0f);
        rope.llama3HighFreq = fields.positive("high_freq_factor", 4.0f);
        rope.llama3OriginalContext = fields.positive("original_max_position_embeddings", 8192.0f);
        if (rope.llama3HighFreq <= rope.llama3LowFreq)
            fields.refuse("high_freq_factor", "must be above low_freq_factor");
    } else if (type != "default") {
        fields.refuse("rope_type", "is " + inQuotes(type) +
                                       ", which is not supported (default, linear and llama3 are)");
    }
    if (fields.positive("partial_rotary_factor", 1.0f) != 1.0f)
        fields.refuse("partial_rotary_factor", "other than 1 is not supported");
}

/// What holds for all layers, and what Gemma's sliding layers have of their own.
struct Ropes {
    RopeConfig full;
    RopeConfig sliding;
};

RopeConfig readParameters(const ConfigFields& fields, float theta) {
    RopeConfig rope;
    rope.theta = fields.positive("rope_theta", theta);
    readScaling(fields, rope);
    return rope;
}

Ropes readRopes(const ConfigFields& fields, float defaultTheta, bool twoKinds) {
    Ropes ropes;
    const float theta = fields.positive("rope_theta", defaultTheta);
    const float localTheta = fields.positive("rope_local_base_freq", 10000.0f);
    if (fields.positive("partial_rotary_factor", 1.0f) != 1.0f)
        fields.refuse("partial_rotary_factor", "other than 1 is not supported");
    ropes.full.theta = theta;
    ropes.sliding.theta = localTheta;
    if (fields.has("rope_parameters")) {
        const ConfigFields parameters = fields.object("rope_parameters");
        if (parameters.has("full_attention") || parameters.has("sliding_attention")) {
            if (parameters.has("full_attention"))
                ropes.full = readParameters(parameters.object("full_attention"), theta);
            if (parameters.has("sliding_attention"))
                ropes.sliding = readParameters(parameters.object("sliding_attention"), localTheta);
        } else {
            ropes.full = readParameters(parameters, theta);
        }
    } else if (fields.has("rope_scaling")) {
        readScaling(fields.object("rope_scaling"), ropes.full);
    }
    if (!twoKinds)
        ropes.sliding = ropes.full;
    return ropes;
}

/// Which layers see a window only: layer_types where given, else what the older fields say.
std::vector<bool> slidingLayers(const ConfigFields& fields, const ModelConfig& config,
                                std::int64_t layers) {
    std::vector<bool> sliding(static_cast<std::size_t>(layers), false);
    if (fields.has("layer_types")) {
        const json& types = fields.at("layer_types");
        if (!types.is_array() || types.size() != sliding.size())
            fields.refuse("layer_types",
                          "is not a list of " + std::to_string(layers) + " names, one per layer");
        for (std::size_t i = 0; i < sliding.size(); ++i) {
            if (types[i] != "full_attention" && types[i] != "sliding_attention")
                fields.refuse("layer_types",
                              "holds something else than full_attention and sliding_attention");
            sliding[i] = types[i] == "sliding_attention";
        }
    } else if (config.architecture == "gemma3") {
        const char* key = fields.has("sliding_window_pattern") ? "sliding_window_pattern"
                                                               : "_sliding_window_pattern";
        const std::int64_t pattern = fields.size(key, kMostLayers, 6);
        for (std::size_t i = 0; i < sliding.size(); ++i)
            sliding[i] = (static_cast<std::int64_t>(i) + 1) % pattern != 0;
    } else if (config.architecture == "qwen3" && fields.flag("use_sliding_window", false) &&
               fields.has("max_window_layers")) {
        const std::int64_t first = fields.size("max_window_layers", kMostLayers);
        for (std::size_t i = 0; i < sliding.size(); ++i)
            sliding[i] = static_cast<std::int64_t>(i) >= first;
    }
    return sliding;
}

void readLayers(const ConfigFields& fields, ModelConfig& config, float defaultTheta) {
    const std::int64_t layers = fields.size("num_hidden_layers", kMostLayers);
    const bool gemma = config.architecture == "gemma3";
    const Ropes ropes = readRopes(fields, defaultTheta, gemma);
    const std::vector<bool> sliding = slidingLayers(fields, config, layers);
    bool any = false;
    for (const bool s : sliding)
        any = any || s;
    const std::int64_t window =
        any ? fields.size("sliding_window", kMostContext,
                          gemma ? std::optional<std::int64_t>(4096) : std::nullopt)
            : 0;
    for (const bool s : sliding) {
        LayerConfig layer;
        layer.slidingWindow = s ? window : 0;
        layer.rope = s ? ropes.sliding : ropes.full;
        config.layers.push_back(layer);
    }
}

void requireActivation(const ConfigFields& fields, const char* key, const std::string& fallback,
                       std::set<std::string> supported) {
    const std::string name = fields.text(key, fallback);
    if (!supported.count(name))
        fields.refuse(key,
                      "is " + inQuotes(name) + ", which is not supported for this architecture");
}

void readHeads(const ConfigFields& fields, ModelConfig& config,
               std::optional<std::int64_t> kvDefault, std::optional<std::int64_t> dimDefault) {
    config.heads = fields.size(
        "num_attention_heads", kMostHeads,
        config.architecture == "gemma3" ? std::optional<std::int64_t>(8) : std::nullopt);
    config.kvHeads =
        fields.size("num_key_value_heads", kMostHeads, kvDefault.value_or(config.heads));
    if (config.heads % config.kvHeads != 0)
        fields.refuse("num_attention_heads", "(" + std::to_string(config.heads) +
                                                 ") is no multiple of num_key_value_heads (" +
                                                 std::to_string(config.kvHeads) +
                                                 "): heads do not divide");
    if (!fields.has("head_dim") && !dimDefault && config.hiddenSize % config.heads != 0)
        fields.refuse("hidden_size", "(" + std::to_string(config.hiddenSize) +
                                         ") does not divide into num_attention_heads (" +
                                         std::to_string(config.heads) +
                                         ") heads, and head_dim is missing");
    config.headDim = fields.size("head_dim", kMostHeadDim,
                                 dimDefault.value_or(config.hiddenSize / config.heads));
    if (config.headDim % 2 != 0)
        fields.refuse("head_dim", "is " + std::to_string(config.headDim) +
                                      "; rotary positions need an even number");
}

float roundToBfloat16(float value) {
    return kernels::bfloat16ToFloat(kernels::floatToBfloat16(value));
}

void readGemma(const ConfigFields& fields, ModelConfig& config) {
    config.feedForward = FeedForwardKind::GeluTanhGated;
    config.normOffset = 1;
    config.qkNorm = true;
    config.postNorms = true;
    requireActivation(fields, "hidden_activation", "gelu_pytorch_tanh", {"gelu_pytorch_tanh"});
    config.attentionScale = 1.0f / std::sqrt(fields.positive("query_pre_attn_scalar", 256.0f));
    if (fields.has("attn_logit_softcapping"))
        config.attentionSoftcap = fields.positive("attn_logit_softcapping");
    if (fields.has("final_logit_softcapping"))
        config.finalSoftcap = fields.positive("final_logit_softcapping");
    // The factor is cast to the type of the embedding before it multiplies. llama.cpp does not
    // round it; what came from GGUF says so in "embedding_scale", which survives in our own
    // folders.
    const float scale = std::sqrt(static_cast<float>(config.hiddenSize));
    const std::string dtype = fields.text("dtype", fields.text("torch_dtype", "bfloat16"));
    config.embeddingScale =
        fields.positive("embedding_scale", dtype == "float32" ? scale : roundToBfloat16(scale));
    if (fields.flag("use_bidirectional_attention", false))
        fields.refuse("use_bidirectional_attention", "is not supported");
}

void readDecoder(const ConfigFields& fields, ModelConfig& config) {
    const bool gemma = config.architecture == "gemma3", qwen = config.architecture == "qwen3";
    const auto gemmaDefault = [&](std::int64_t value) {
        return gemma ? std::optional<std::int64_t>(value) : std::nullopt;
    };
    config.vocabularySize = fields.size("vocab_size", kMostVocabulary, gemmaDefault(262208));
    config.hiddenSize = fields.size("hidden_size", kMostHidden, gemmaDefault(2304));
    config.feedForwardSize = fields.size("intermediate_size", kMostHidden * 16, gemmaDefault(9216));
    config.contextLength = fields.size("max_position_embeddings", kMostContext,
                                       gemma  ? 131072
                                       : qwen ? 32768
                                              : 2048);
    config.normEpsilon = fields.positive("rms_norm_eps", 1e-6f);
    config.tiedEmbeddings = fields.flag("tie_word_embeddings", gemma);
    readHeads(fields, config, gemmaDefault(4),
              gemma  ? gemmaDefault(256)
              : qwen ? std::optional<std::int64_t>(128)
                     : std::nullopt);
    config.attentionScale = 1.0f / std::sqrt(static_cast<float>(config.headDim));
    readLayers(fields, config, gemma ? 1e6f : 10000.0f);
    if (gemma) {
        readGemma(fields, config);
        return;
    }
    config.feedForward = FeedForwardKind::SiluGated;
    config.qkNorm = qwen;
    requireActivation(fields, "hidden_act", "silu", {"silu", "swish"});
    for (const char* key : {"num_local_experts", "num_experts"})
        if (fields.has(key))
            fields.refuse(key, "says that this is a mixture of experts, which is not supported");
}

void readGpt2(const ConfigFields& fields, ModelConfig& config) {
    config.vocabularySize = fields.size("vocab_size", kMostVocabulary, 50257);
    config.hiddenSize = fields.size("n_embd", kMostHidden, 768);
    config.heads = config.kvHeads = fields.size("n_head", kMostHeads, 12);
    if (config.hiddenSize % config.heads != 0)
        fields.refuse("n_embd", "(" + std::to_string(config.hiddenSize) +
                                    ") does not divide into n_head (" +
                                    std::to_string(config.heads) + ") heads");
    config.headDim = config.hiddenSize / config.heads;
    config.feedForwardSize = fields.size("n_inner", kMostHidden * 16, 4 * config.hiddenSize);
    config.contextLength =
        fields.size("n_positions", kMostContext, fields.size("n_ctx", kMostContext, 1024));
    config.layers.resize(static_cast<std::size_t>(fields.size("n_layer", kMostLayers, 12)));
    config.norm = NormKind::Layer;
    config.normEpsilon = fields.positive("layer_norm_epsilon", 1e-5f);
    config.feedForward = FeedForwardKind::GeluTanh;
    requireActivation(fields, "activation_function", "gelu_new", {"gelu_new", "gelu_pytorch_tanh"});
    config.rotary = false;
    config.learnedPositions = true;
    config.tiedEmbeddings = fields.flag("tie_word_embeddings", true);
    config.attentionScale = fields.flag("scale_attn_weights", true)
                                ? 1.0f / std::sqrt(static_cast<float>(config.headDim))
                                : 1.0f;
    for (const char* key : {"scale_attn_by_inverse_layer_idx", "add_cross_attention"})
        if (fields.flag(key, false))
            fields.refuse(key, "is not supported");
}

/// The text part of a multimodal Gemma 3 description, as a text model of its own.
json textPart(const json& config, const std::string& origin) {
    if (!config.contains("text_config"))
        return config;
    if (!config["text_config"].is_object())
        throwBadInput(origin, "text_config is not an object");
    json text = config["text_config"];
    text["model_type"] = "gemma3_text";
    text["architectures"] = {"Gemma3ForCausalLM"};
    for (const char* key : {"dtype", "torch_dtype", "bos_token_id", "eos_token_id", "pad_token_id",
                            "quantization_config"})
        if (config.contains(key) && !text.contains(key))
            text[key] = config[key];
    return text;
}

const Architecture& architectureOf(const json& config, const std::string& origin) {
    const ConfigFields fields(config, origin);
    const std::string type = fields.text("model_type", "");
    if (type.empty())
        fields.refuse("model_type", "is missing");
    const Architecture* architecture = findArchitectureOfModelType(type);
    if (!architecture)
        throwBadInput(origin, "architecture " + inQuotes(type) +
                                  " is not supported; supported are " + supportedArchitectures());
    if (fields.has("architectures")) {
        const json& classes = fields.at("architectures");
        const std::string name = classes.is_array() && !classes.empty() && classes[0].is_string()
                                     ? classes[0].get<std::string>()
                                     : "";
        const bool language = name.ends_with("ForCausalLM") || name.ends_with("LMHeadModel") ||
                              name == "Gemma3ForConditionalGeneration";
        if (!language)
            fields.refuse("architectures", "names " + inQuotes(name) +
                                               ", which is not a language model; supported are " +
                                               supportedArchitectures());
    }
    return *architecture;
}

json ropeToJson(const RopeConfig& rope) {
    json out = {{"rope_theta", rope.theta}, {"rope_type", "default"}};
    if (rope.linearFactor != 1) {
        out["rope_type"] = "linear";
        out["factor"] = rope.linearFactor;
    } else if (rope.llama3Factor != 1) {
        out["rope_type"] = "llama3";
        out["factor"] = rope.llama3Factor;
        out["low_freq_factor"] = rope.llama3LowFreq;
        out["high_freq_factor"] = rope.llama3HighFreq;
        out["original_max_position_embeddings"] =
            static_cast<std::int64_t>(rope.llama3OriginalContext);
    }
    return out;
}

bool hasSlidingLayers(const ModelConfig& config) {
    for (const LayerConfig& layer : config.layers)
        if (layer.slidingWindow > 0)
            return true;
    return false;
}

void writeGpt2(const ModelConfig& config, json& out) {
    out["n_embd"] = config.hiddenSize;
    out["n_head"] = config.heads;
    out["n_layer"] = config.layerCount();
    out["n_positions"] = config.contextLength;
    out["n_ctx"] = config.contextLength;
    if (config.feedForwardSize != 4 * config.hiddenSize || out.contains("n_inner"))
        out["n_inner"] = config.feedForwardSize;
    out["layer_norm_epsilon"] =
        out.value("layer_norm_epsilon", static_cast<double>(config.normEpsilon));
}

/// Only where the source has none: what a technique may change in number must fit the layers that
/// are left.
void writeLayerTypes(const ModelConfig& config, json& out) {
    if (!out.contains("layer_types") && !hasSlidingLayers(config))
        return;
    json types = json::array();
    for (const LayerConfig& layer : config.layers) {
        types.push_back(layer.slidingWindow > 0 ? "sliding_attention" : "full_attention");
        if (layer.slidingWindow > 0)
            out["sliding_window"] = layer.slidingWindow;
    }
    out["layer_types"] = types;
}

void writeRope(const ModelConfig& config, json& out) {
    if (out.contains("rope_parameters") || out.contains("rope_theta") ||
        out.contains("rope_scaling") || config.layers.empty())
        return;
    out["rope_theta"] = config.layers.back().rope.theta;
    for (const LayerConfig& layer : config.layers) {
        const char* key = layer.slidingWindow > 0 && config.architecture == "gemma3"
                              ? "sliding_attention"
                              : "full_attention";
        if (config.architecture == "gemma3")
            out["rope_parameters"][key] = ropeToJson(layer.rope);
        else
            out["rope_parameters"] = ropeToJson(layer.rope);
    }
}

void writeDecoder(const ModelConfig& config, json& out) {
    out["hidden_size"] = config.hiddenSize;
    out["intermediate_size"] = config.feedForwardSize;
    out["num_hidden_layers"] = config.layerCount();
    out["num_attention_heads"] = config.heads;
    out["num_key_value_heads"] = config.kvHeads;
    out["head_dim"] = config.headDim;
    out["max_position_embeddings"] = config.contextLength;
    if (!out.contains("rms_norm_eps"))
        out["rms_norm_eps"] = config.normEpsilon;
    writeLayerTypes(config, out);
    writeRope(config, out);
}

}  // namespace

namespace {

constexpr const char* kKvType = "kv_cache_type";

kernels::KvType readKvType(const json& config, const std::string& origin) {
    const auto found = config.find(kKvType);
    if (found == config.end() || found->is_null())
        return kernels::KvType::F16;
    const auto type = found->is_string() ? kernels::findKvType(found->get<std::string>())
                                         : std::optional<kernels::KvType>();
    if (!type)
        throwBadInput(origin, std::string(kKvType) + " is no type of keys and values");
    return *type;
}

}  // namespace

ModelConfig modelConfigFromHuggingFace(const json& whole, const std::string& origin) {
    if (!whole.is_object())
        throwBadInput(origin, "the description is not a JSON object");
    const Architecture& architecture = architectureOf(whole, origin);
    ModelConfig config;
    config.architecture = architecture.name;
    config.source = config.architecture == "gemma3" ? textPart(whole, origin) : whole;
    const ConfigFields fields(config.source, origin);
    if (config.architecture == "gpt2")
        readGpt2(fields, config);
    else
        readDecoder(fields, config);
    config.kvType = readKvType(config.source, origin);
    return config;
}

json modelConfigToHuggingFace(const ModelConfig& config) {
    json out = config.source.is_object() ? config.source : json::object();
    const Architecture* architecture = findArchitecture(config.architecture);
    if (architecture && !out.contains("model_type")) {
        out["model_type"] = architecture->modelTypes.front();
        out["architectures"] = {architecture->modelClass};
    }
    out["vocab_size"] = config.vocabularySize;
    out["tie_word_embeddings"] = config.tiedEmbeddings;
    if (config.architecture == "gpt2")
        writeGpt2(config, out);
    else
        writeDecoder(config, out);
    out.erase(kKvType);
    if (config.kvType != kernels::KvType::F16)
        out[kKvType] = kernels::name(config.kvType);
    return out;
}

}  // namespace fettle
