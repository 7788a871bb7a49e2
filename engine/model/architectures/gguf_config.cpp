#include "engine/model/architectures/gguf_config.h"

#include <cmath>
#include <cstring>
#include <numbers>

#include "engine/core/error.h"
#include "engine/io/strict_json.h"
#include "engine/model/architectures/architecture.h"
#include "engine/tokenizer/gguf_pre.h"

namespace fettle {
namespace {

using nlohmann::json;

constexpr std::int64_t kGemma27bLayers =
    62;  // llama.cpp tells the 27B model, which scales otherwise, by this

/// Reads keys below the architecture's name.
class Keys {
public:
    explicit Keys(const GgufFile& file) : m_file(file) {
        const auto name = file.findString("general.architecture");
        if (!name)
            throwBadInput(file.origin(), "key general.architecture is missing");
        if (!findArchitecture(*name))
            throwBadInput(file.origin(), "architecture " + inQuotes(*name) +
                                             " is not supported; supported are " +
                                             supportedArchitectures());
        if (const auto type = file.findString("general.type"); type && *type != "model")
            throwBadInput(file.origin(), "general.type is " + inQuotes(*type) + ", not a model");
        m_architecture = *name;
    }

    const std::string& architecture() const { return m_architecture; }
    std::string name(const char* key) const { return m_architecture + "." + key; }

    std::int64_t integer(const char* key) const {
        const auto value = optionalInteger(key);
        if (!value)
            throwBadInput(m_file.origin(), "key " + name(key) + " is missing");
        return *value;
    }
    /// A number, or a list of equal numbers (one per layer).
    std::optional<std::int64_t> optionalInteger(const char* key) const {
        const auto found = m_file.metadata().find(name(key));
        if (found == m_file.metadata().end())
            return std::nullopt;
        if (found->second.type != GgufType::Array)
            return m_file.findInteger(name(key));
        const std::vector<std::int32_t> values = m_file.integers(name(key));
        for (const std::int32_t value : values)
            if (value != values.front())
                throwBadInput(
                    m_file.origin(),
                    "key " + name(key) + " differs between layers, which is not supported");
        if (values.empty())
            return std::nullopt;
        return values.front();
    }
    std::optional<double> number(const char* key) const { return m_file.findNumber(name(key)); }
    std::optional<std::string> text(const char* key) const { return m_file.findString(name(key)); }

private:
    const GgufFile& m_file;
    std::string m_architecture;
};

/// The float32 of the file as the shortest decimal of that float32 (1e-6 rather
/// than 9.99999997e-07).
double shortest(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.7g", value);
    const double shorter = std::strtod(text, nullptr);
    return static_cast<float>(shorter) == static_cast<float>(value) ? shorter : value;
}

std::int64_t embeddingRows(const GgufFile& file) {
    const auto found = file.tensors().find("token_embd.weight");
    if (found == file.tensors().end())
        throwBadInput(file.origin(), "missing tensor \"token_embd.weight\"");
    const Shape& shape = found->second.tensor.shape();
    return shape.size() == 2 ? shape[0] : 1;
}

/// The type most of the matrices have, in config.json's words.
std::string floatType(const GgufFile& file, const std::string& architecture) {
    const auto embedding = file.tensors().find("token_embd.weight");
    const std::string type = embedding == file.tensors().end() ? "" : embedding->second.type;
    if (type == "F32")
        return "float32";
    // Gemma's activations do not fit float16.
    return type == "BF16" || architecture == "gemma3" ? "bfloat16" : "float16";
}

void addSpecialTokens(const GgufFile& file, json& out) {
    for (const auto& [key, field] : {std::pair{"tokenizer.ggml.bos_token_id", "bos_token_id"},
                                     {"tokenizer.ggml.eos_token_id", "eos_token_id"}})
        if (const auto id = file.findInteger(key))
            out[field] = *id;
}

json gpt2Config(const GgufFile& file, const Keys& keys) {
    json out = {{"vocab_size", embeddingRows(file)},
                {"n_embd", keys.integer("embedding_length")},
                {"n_head", keys.integer("attention.head_count")},
                {"n_layer", keys.integer("block_count")},
                {"n_positions", keys.integer("context_length")},
                {"n_ctx", keys.integer("context_length")},
                {"activation_function", "gelu_new"},
                {"layer_norm_epsilon",
                 shortest(keys.number("attention.layer_norm_epsilon").value_or(1e-5))}};
    if (const auto inner = keys.optionalInteger("feed_forward_length"))
        out["n_inner"] = *inner;
    return out;
}

json ropeConfig(const Keys& keys, double theta) {
    json rope = {{"rope_theta", shortest(theta)}, {"rope_type", "default"}};
    const std::string type = keys.text("rope.scaling.type").value_or("none");
    const auto factor = keys.number("rope.scaling.factor");
    if (type == "linear" || (type == "none" && keys.number("rope.scale_linear"))) {
        rope["rope_type"] = "linear";
        rope["factor"] = shortest(factor.value_or(keys.number("rope.scale_linear").value_or(1)));
        if (rope["factor"] == 0.0)
            rope["factor"] = 1.0;  // llama.cpp's way of saying "none"
    } else if (type != "none") {
        rope["rope_type"] = type;
    }
    return rope;
}

void gemmaConfig(const Keys& keys, json& out) {
    const std::int64_t layers = keys.integer("block_count");
    if (layers < 1 || layers > 4096)
        return;  // the reader of the config refuses it by name
    out["hidden_activation"] = "gelu_pytorch_tanh";
    if (const auto cap = keys.number("final_logit_softcapping"); cap && *cap != 0)
        out["final_logit_softcapping"] = shortest(*cap);
    const std::int64_t window = keys.optionalInteger("attention.sliding_window").value_or(0);
    const std::int64_t pattern =
        keys.optionalInteger("attention.sliding_window_pattern").value_or(6);
    json types = json::array();
    for (std::int64_t i = 0; i < layers; ++i)
        types.push_back(window > 0 && (pattern < 1 || (i + 1) % pattern != 0) ? "sliding_attention"
                                                                              : "full_attention");
    out["layer_types"] = types;
    if (window > 0)
        out["sliding_window"] = window;
    const double localTheta = keys.number("rope.freq_base_swa").value_or(10000);
    out["rope_parameters"] = {
        {"full_attention", out["rope_parameters"]},
        {"sliding_attention", {{"rope_theta", shortest(localTheta)}, {"rope_type", "default"}}}};
    const std::int64_t hidden = keys.integer("embedding_length"),
                       heads = keys.integer("attention.head_count");
    const bool large = layers == kGemma27bLayers && heads > 0;
    out["query_pre_attn_scalar"] = large ? json(hidden / heads) : out["head_dim"];
    out["embedding_scale"] = std::sqrt(static_cast<float>(hidden));
}

json decoderConfig(const GgufFile& file, const Keys& keys) {
    const std::int64_t heads = keys.integer("attention.head_count"),
                       hidden = keys.integer("embedding_length");
    json out = {
        {"vocab_size", embeddingRows(file)},
        {"hidden_size", hidden},
        {"intermediate_size", keys.integer("feed_forward_length")},
        {"num_hidden_layers", keys.integer("block_count")},
        {"num_attention_heads", heads},
        {"num_key_value_heads", keys.optionalInteger("attention.head_count_kv").value_or(heads)},
        {"max_position_embeddings", keys.integer("context_length")},
        {"rms_norm_eps", shortest(keys.number("attention.layer_norm_rms_epsilon").value_or(1e-6))},
        {"rope_parameters", ropeConfig(keys, keys.number("rope.freq_base").value_or(10000))}};
    const auto keyLength = keys.optionalInteger("attention.key_length");
    if (keyLength)
        out["head_dim"] = *keyLength;
    else if (heads > 0 && hidden % heads == 0)
        out["head_dim"] = hidden / heads;
    if (const auto value = keys.optionalInteger("attention.value_length");
        value && out.contains("head_dim") && out["head_dim"] != *value)
        throwBadInput(file.origin(), "key " + keys.name("attention.value_length") +
                                         " differs from key_length, which is not supported");
    if (const auto rotated = keys.optionalInteger("rope.dimension_count");
        rotated && out.contains("head_dim") && out["head_dim"] != *rotated)
        throwBadInput(file.origin(),
                      "key " + keys.name("rope.dimension_count") +
                          " rotates a part of each head only, which is not supported");
    if (const auto experts = keys.optionalInteger("expert_count"); experts && *experts > 0)
        throwBadInput(file.origin(), "is a mixture of experts (" + keys.name("expert_count") +
                                         "), which is not supported");
    if (keys.architecture() == "gemma3")
        gemmaConfig(keys, out);
    else
        out["hidden_act"] = "silu";
    return out;
}

/// Which llama3 scaling gives these factors; the parameters of the published models are tried.
void readRopeFactors(const GgufFile& file, json& config) {
    const auto found = file.tensors().find("rope_freqs.weight");
    if (found == file.tensors().end() || !config.contains("head_dim") ||
        !config["rope_parameters"].contains("rope_theta"))
        return;
    const Tensor& tensor = found->second.tensor;
    const auto headDim = config["head_dim"].get<std::int64_t>();
    if (tensor.dtype() != DType::F32 || tensor.elements() != headDim / 2)
        throwBadInput(file.origin(), "tensor \"rope_freqs.weight\" is not F32 [" +
                                         std::to_string(headDim / 2) + "]");
    std::vector<float> factors(static_cast<std::size_t>(tensor.elements()));
    std::memcpy(factors.data(), tensor.data(), tensor.bytes());
    RopeConfig rope;
    rope.theta = config["rope_parameters"]["rope_theta"].get<float>();
    for (const float factor : factors)
        rope.llama3Factor = std::max(rope.llama3Factor, factor);
    if (rope.llama3Factor == 1)
        return;
    for (const float context :
         {8192.0f, 2048.0f, 4096.0f, 16384.0f, 32768.0f, 65536.0f, 131072.0f}) {
        rope.llama3OriginalContext = context;
        const std::vector<float> expected = llama3RopeFactors(rope, headDim);
        bool same = true;
        for (std::size_t i = 0; i < factors.size(); ++i)
            same = same && std::abs(factors[i] - expected[i]) <= 1e-3f * expected[i];
        if (!same)
            continue;
        config["rope_parameters"] = {
            {"rope_theta", config["rope_parameters"]["rope_theta"]},
            {"rope_type", "llama3"},
            {"factor", rope.llama3Factor},
            {"low_freq_factor", 1.0},
            {"high_freq_factor", 4.0},
            {"original_max_position_embeddings", static_cast<std::int64_t>(context)}};
        return;
    }
    throwBadInput(
        file.origin(),
        "tensor \"rope_freqs.weight\" holds factors of a frequency scaling that is not supported");
}

std::int32_t tokenId(const GgufFile& file, const char* key, std::int32_t fallback,
                     std::size_t tokens) {
    const std::int64_t id = file.findInteger(key).value_or(fallback);
    if (id == 0xFFFFFFFF || id == -1)
        return -1;
    if (id < 0 || static_cast<std::uint64_t>(id) >= tokens)
        throwBadInput(file.origin(), "key " + inQuotes(key) + " is " + std::to_string(id) +
                                         ", outside the " + std::to_string(tokens) + " tokens");
    return static_cast<std::int32_t>(id);
}

}  // namespace

std::vector<float> llama3RopeFactors(const RopeConfig& rope, std::int64_t headDim) {
    std::vector<float> factors;
    const double low = rope.llama3OriginalContext / rope.llama3LowFreq,
                 high = rope.llama3OriginalContext / rope.llama3HighFreq;
    for (std::int64_t i = 0; i < headDim; i += 2) {
        const double wavelength = 2 * std::numbers::pi *
                                  std::pow(static_cast<double>(rope.theta),
                                           static_cast<double>(i) / static_cast<double>(headDim));
        double factor = 1;
        if (wavelength > low) {
            factor = rope.llama3Factor;
        } else if (wavelength >= high) {
            const double smooth = (rope.llama3OriginalContext / wavelength - rope.llama3LowFreq) /
                                  (rope.llama3HighFreq - rope.llama3LowFreq);
            factor = 1 / ((1 - smooth) / rope.llama3Factor + smooth);
        }
        factors.push_back(static_cast<float>(factor));
    }
    return factors;
}

float gemma3GgufAttentionScale(const ModelConfig& config) {
    const std::int64_t divisor =
        config.layerCount() == kGemma27bLayers ? config.hiddenSize / config.heads : config.headDim;
    return 1.0f / std::sqrt(static_cast<float>(divisor));
}

ModelConfig modelConfigFromGguf(const GgufFile& file) {
    const Keys keys(file);
    const Architecture& architecture = *findArchitecture(keys.architecture());
    json json = keys.architecture() == "gpt2" ? gpt2Config(file, keys) : decoderConfig(file, keys);
    json["model_type"] = architecture.modelTypes.front();
    json["architectures"] = {architecture.modelClass};
    json["tie_word_embeddings"] = !file.tensors().count("output.weight");
    json["dtype"] = floatType(file, keys.architecture());
    addSpecialTokens(file, json);
    if (keys.architecture() == "llama")
        readRopeFactors(file, json);
    ModelConfig config = modelConfigFromHuggingFace(json, file.origin());
    config.normOffset = 0;  // GGUF stores 1 + w
    return config;
}

GgufTokenizerData tokenizerFromGguf(const GgufFile& file) {
    GgufTokenizerData data;
    const auto model = file.findString("tokenizer.ggml.model");
    if (!model || !file.has("tokenizer.ggml.tokens"))
        throwBadInput(
            file.origin(),
            "has no tokenizer (keys tokenizer.ggml.model and tokenizer.ggml.tokens are missing)");
    data.model = *model;
    data.pre = file.findString("tokenizer.ggml.pre").value_or("");
    data.tokens = file.strings("tokenizer.ggml.tokens");
    data.scores = file.floats("tokenizer.ggml.scores");
    data.tokenTypes = file.integers("tokenizer.ggml.token_type");
    data.merges = file.strings("tokenizer.ggml.merges");
    const std::size_t count = data.tokens.size();
    if (!data.scores.empty() && data.scores.size() != count)
        throwBadInput(file.origin(), "tokenizer.ggml.scores has the wrong length: " +
                                         std::to_string(data.scores.size()) + " for " +
                                         std::to_string(count) + " tokens");
    if (!data.tokenTypes.empty() && data.tokenTypes.size() != count)
        throwBadInput(file.origin(), "tokenizer.ggml.token_type has the wrong length: " +
                                         std::to_string(data.tokenTypes.size()) + " for " +
                                         std::to_string(count) + " tokens");
    // llama.cpp's defaults for SentencePiece models.
    const bool sentencePiece = data.model == "llama";
    data.bos =
        tokenId(file, "tokenizer.ggml.bos_token_id", sentencePiece && count > 2 ? 1 : -1, count);
    data.eos =
        tokenId(file, "tokenizer.ggml.eos_token_id", sentencePiece && count > 2 ? 2 : -1, count);
    data.unknown = tokenId(file, "tokenizer.ggml.unknown_token_id",
                           sentencePiece && count > 2 ? 0 : -1, count);
    data.padding = tokenId(file, "tokenizer.ggml.padding_token_id", -1, count);
    const GgufPre* pre = findGgufPre(data.pre);
    data.addBos = file.findBool("tokenizer.ggml.add_bos_token")
                      .value_or(sentencePiece || (pre && pre->addsBos));
    data.addEos = file.findBool("tokenizer.ggml.add_eos_token").value_or(false);
    data.addSpacePrefix = file.findBool("tokenizer.ggml.add_space_prefix").value_or(sentencePiece);
    data.chatTemplate = file.findString("tokenizer.chat_template").value_or("");
    return data;
}

}  // namespace fettle
