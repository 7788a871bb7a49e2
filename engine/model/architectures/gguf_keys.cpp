#include "engine/model/architectures/gguf_keys.h"

#include <cmath>
#include <cstdio>

#include "engine/core/error.h"
#include "engine/model/architectures/gguf_config.h"

namespace fettle {
namespace {

constexpr std::uint32_t kQuantizationVersion = 2;
constexpr std::int32_t kNormalToken = 1, kUnusedToken = 5;
constexpr std::int64_t kDefaultPattern = 6;

class KeyWriter {
public:
    KeyWriter(const ModelConfig& config, const std::string& name, GgufWriter& writer)
        : m_config(config), m_name(name), m_writer(writer), m_prefix(config.architecture + ".") {}

    void write() {
        u32("block_count", m_config.layerCount());
        u32("context_length", m_config.contextLength);
        u32("embedding_length", m_config.hiddenSize);
        u32("feed_forward_length", m_config.feedForwardSize);
        u32("vocab_size", m_config.vocabularySize);
        u32("attention.head_count", m_config.heads);
        if (m_config.architecture == "gpt2") {
            m_writer.addF32(m_prefix + "attention.layer_norm_epsilon", m_config.normEpsilon);
            refuseIf(!nearlyEqual(m_config.attentionScale,
                                  1 / std::sqrt(static_cast<float>(m_config.headDim))),
                     "its attention scale");
            return;
        }
        u32("attention.head_count_kv", m_config.kvHeads);
        u32("attention.key_length", m_config.headDim);
        u32("attention.value_length", m_config.headDim);
        u32("rope.dimension_count", m_config.headDim);
        m_writer.addF32(m_prefix + "attention.layer_norm_rms_epsilon", m_config.normEpsilon);
        writePositions();
    }

private:
    void u32(const char* key, std::int64_t value) {
        m_writer.addU32(m_prefix + key, static_cast<std::uint64_t>(value));
    }

    static bool nearlyEqual(float a, float b) { return std::fabs(a - b) <= 1e-5f * std::fabs(b); }

    void refuseIf(bool condition, const std::string& what) const {
        if (condition)
            throwBadInput(m_name, "GGUF has no way to say " + what + " for architecture " +
                                      m_config.architecture);
    }

    void writePositions() {
        RopeConfig full, sliding;
        std::int64_t window = 0;
        bool anyFull = false;
        for (const LayerConfig& layer : m_config.layers) {
            const bool slides = layer.slidingWindow > 0;
            RopeConfig& rope = slides ? sliding : full;
            const bool first = slides ? window == 0 : !anyFull;
            refuseIf(!first && !(rope == layer.rope), "positions that differ from layer to layer");
            refuseIf(slides && window > 0 && window != layer.slidingWindow,
                     "sliding windows of different sizes");
            rope = layer.rope;
            anyFull = anyFull || !slides;
            if (slides)
                window = layer.slidingWindow;
        }
        const bool gemma = m_config.architecture == "gemma3";
        refuseIf(window > 0 && !gemma, "sliding windows");
        refuseIf(!gemma && !nearlyEqual(m_config.attentionScale,
                                        1 / std::sqrt(static_cast<float>(m_config.headDim))),
                 "its attention scale");
        refuseIf(m_config.attentionSoftcap != 0, "the soft cap of its attention scores");
        writeRope(anyFull ? full : sliding);
        if (gemma)
            writeGemma(window, sliding);
    }

    void writeRope(const RopeConfig& rope) {
        m_writer.addF32(m_prefix + "rope.freq_base", rope.theta);
        if (rope.linearFactor != 1) {
            m_writer.addString(m_prefix + "rope.scaling.type", "linear");
            m_writer.addF32(m_prefix + "rope.scaling.factor", rope.linearFactor);
        }
        refuseIf(rope.llama3Factor != 1 && m_config.architecture != "llama",
                 "llama 3's frequency scaling");
    }

    void writeGemma(std::int64_t window, const RopeConfig& sliding) {
        if (m_config.finalSoftcap != 0)
            m_writer.addF32(m_prefix + "final_logit_softcapping", m_config.finalSoftcap);
        if (window == 0)
            return;
        u32("attention.sliding_window", window);
        const std::int64_t pattern = slidingPattern();
        if (pattern != kDefaultPattern)
            u32("attention.sliding_window_pattern", pattern);
        m_writer.addF32(m_prefix + "rope.freq_base_swa", sliding.theta);
        refuseIf(sliding.linearFactor != 1 || sliding.llama3Factor != 1,
                 "scaled positions in sliding layers");
    }

    /// p such that every p-th layer sees everything and the others slide.
    std::int64_t slidingPattern() const {
        const auto fits = [&](std::int64_t pattern) {
            for (std::int64_t i = 0; i < m_config.layerCount(); ++i)
                if ((m_config.layers[static_cast<std::size_t>(i)].slidingWindow > 0) !=
                    ((i + 1) % pattern != 0))
                    return false;
            return true;
        };
        if (fits(kDefaultPattern))
            return kDefaultPattern;
        for (std::int64_t pattern = 2; pattern <= m_config.layerCount() + 1; ++pattern)
            if (fits(pattern))
                return pattern;
        refuseIf(true, "sliding layers without a regular pattern");
        return 0;
    }

    const ModelConfig& m_config;
    const std::string& m_name;
    GgufWriter& m_writer;
    std::string m_prefix;
};

std::string sizeLabel(std::uint64_t parameters) {
    const auto count = static_cast<double>(parameters);
    char text[32];
    if (count >= 1e9)
        std::snprintf(text, sizeof text, "%.1fB", count / 1e9);
    else if (count >= 1e6)
        std::snprintf(text, sizeof text, "%.0fM", count / 1e6);
    else
        std::snprintf(text, sizeof text, "%.0fK", count / 1e3);
    return text;
}

void addId(GgufWriter& writer, const char* key, std::int32_t id) {
    if (id >= 0)
        writer.addU32(key, static_cast<std::uint64_t>(id));
}

}  // namespace

void writeGgufConfig(const ModelConfig& config, const std::string& name, std::uint64_t parameters,
                     std::uint32_t fileType, GgufWriter& writer) {
    writer.addString("general.architecture", config.architecture);
    writer.addString("general.type", "model");
    writer.addString("general.name", name);
    writer.addString("general.size_label", sizeLabel(parameters));
    writer.addString("general.quantized_by", "Fettle");
    writer.addU32("general.quantization_version", kQuantizationVersion);
    writer.addU32("general.file_type", fileType);
    KeyWriter(config, name, writer).write();
}

void writeGgufTokenizer(GgufTokenizerData data, std::int64_t rows, GgufWriter& writer) {
    const auto count = static_cast<std::size_t>(rows);
    if (data.tokenTypes.empty())
        data.tokenTypes.assign(data.tokens.size(), kNormalToken);
    for (std::size_t id = data.tokens.size(); id < count; ++id) {
        data.tokens.push_back("[PAD" + std::to_string(id) + "]");
        data.tokenTypes.push_back(kUnusedToken);
        if (!data.scores.empty())
            data.scores.push_back(0);
    }
    data.tokens.resize(count);
    data.tokenTypes.resize(count);
    if (!data.scores.empty())
        data.scores.resize(count);
    writer.addString("tokenizer.ggml.model", data.model);
    if (!data.pre.empty())
        writer.addString("tokenizer.ggml.pre", data.pre);
    writer.addStrings("tokenizer.ggml.tokens", data.tokens);
    writer.addIntegers("tokenizer.ggml.token_type", data.tokenTypes);
    if (!data.scores.empty())
        writer.addFloats("tokenizer.ggml.scores", data.scores);
    if (!data.merges.empty())
        writer.addStrings("tokenizer.ggml.merges", data.merges);
    addId(writer, "tokenizer.ggml.bos_token_id", data.bos);
    addId(writer, "tokenizer.ggml.eos_token_id", data.eos);
    addId(writer, "tokenizer.ggml.unknown_token_id", data.unknown);
    addId(writer, "tokenizer.ggml.padding_token_id", data.padding);
    writer.addBool("tokenizer.ggml.add_bos_token", data.addBos);
    writer.addBool("tokenizer.ggml.add_eos_token", data.addEos);
    writer.addBool("tokenizer.ggml.add_space_prefix", data.addSpacePrefix);
    if (!data.chatTemplate.empty())
        writer.addString("tokenizer.chat_template", data.chatTemplate);
}

std::vector<std::string> ggufConfigNotes(const ModelConfig& config) {
    std::vector<std::string> notes;
    if (config.architecture != "gemma3")
        return notes;
    if (std::fabs(config.attentionScale / gemma3GgufAttentionScale(config) - 1) > 1e-5f)
        notes.push_back(
            "the attention scale is folded into the q norms, because GGUF has no key for it (same "
            "results)");
    const float unrounded = std::sqrt(static_cast<float>(config.hiddenSize));
    if (config.embeddingScale != unrounded)
        notes.push_back(
            "llama.cpp multiplies embeddings by sqrt(hidden size) without rounding it to 16 bits");
    return notes;
}

}  // namespace fettle
