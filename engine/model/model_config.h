// An architecture described by data. One forward pass reads this description; a new family is a new
// table, not a new forward pass.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/formats/kv_format.h"

namespace fettle {

enum class NormKind : std::uint8_t { Rms, Layer };
enum class FeedForwardKind : std::uint8_t { SiluGated, GeluTanhGated, GeluTanh };

/// Position encoding of one layer: theta, and how frequencies are scaled.
struct RopeConfig {
    float theta = 10000;
    float linearFactor = 1;  ///< positions are divided by it
    // "llama3" frequency scaling; factor 1 turns it off.
    float llama3Factor = 1;
    float llama3LowFreq = 1;
    float llama3HighFreq = 4;
    float llama3OriginalContext = 8192;
    bool operator==(const RopeConfig&) const = default;
};

struct LayerConfig {
    std::int64_t slidingWindow = 0;  ///< 0 = sees everything
    RopeConfig rope;
};

struct ModelConfig {
    std::string architecture;  ///< "llama", "qwen3", "gpt2", "gemma3"
    std::int64_t vocabularySize = 0;
    std::int64_t hiddenSize = 0;
    std::int64_t heads = 0;
    std::int64_t kvHeads = 0;
    std::int64_t headDim = 0;
    std::int64_t feedForwardSize = 0;
    std::int64_t contextLength = 0;
    std::vector<LayerConfig> layers;

    NormKind norm = NormKind::Rms;
    float normEpsilon = 1e-6f;
    float normOffset =
        0;  ///< 1 where the stored weight is w and the norm multiplies by 1 + w (Gemma in HF files)
    FeedForwardKind feedForward = FeedForwardKind::SiluGated;
    bool qkNorm = false;     ///< RMSNorm over head_dim of q and k before rope
    bool postNorms = false;  ///< norms after attention and after the feed-forward, before the
                             ///< residual sum (Gemma)
    bool rotary = true;
    bool learnedPositions = false;  ///< GPT-2
    bool tiedEmbeddings = false;
    float embeddingScale = 1;  ///< Gemma: sqrt(hidden), rounded to bf16
    float attentionScale = 0;  ///< usually headDim^-1/2
    float attentionSoftcap = 0;
    float finalSoftcap = 0;
    /// Layers alone, for states that come from elsewhere (EAGLE): no embedding and no head, no norm
    /// in front of the first attention and none at the end.
    bool bare = false;

    /// How keys and values are kept while the model runs; "kv_cache_type" of config.json.
    kernels::KvType kvType = kernels::KvType::F16;

    /// The original config.json (or what GGUF metadata amounts to in those terms), for export.
    nlohmann::json source;

    std::int64_t layerCount() const { return static_cast<std::int64_t>(layers.size()); }
    /// Codes and scales of one token in all layers.
    std::int64_t kvBytesPerToken() const {
        return static_cast<std::int64_t>(static_cast<double>(layerCount() * 2 * kvHeads) *
                                         kernels::kvTokenBytes(kvType, headDim));
    }
};

/// Reads a Hugging Face config.json. Throws EngineError(BadInput) naming `origin` and the field.
ModelConfig modelConfigFromHuggingFace(const nlohmann::json& config, const std::string& origin);
/// The reverse: a config.json for `config`, starting from config.source where it came from Hugging
/// Face.
nlohmann::json modelConfigToHuggingFace(const ModelConfig& config);

}  // namespace fettle
