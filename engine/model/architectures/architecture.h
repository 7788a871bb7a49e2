// A family of models as a table: which canonical weight is which tensor in a Hugging Face and in a
// GGUF file, what shape it has, and how it lies there. Reading and writing follow the table; a new
// family is a new table.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model/model_config.h"
#include "engine/tensor/tensor.h"

namespace fettle {

/// A size that the configuration gives.
enum class Dim : std::uint8_t {
    None,
    Vocabulary,
    Hidden,
    Context,
    Query,
    KeyValue,
    HeadDim,
    FeedForward
};

enum TensorFlag : unsigned {
    kRequired = 0,
    kOptional = 1,    ///< a bias, or a head that may be tied to the embedding
    kTransposed = 2,  ///< [in, out] in Hugging Face files (GPT-2's Conv1D)
    kPermuted = 4,    ///< GGUF holds the rows of each head as [d/2, 2] instead of [2, d/2]
    kNorm = 8,        ///< a norm: ModelConfig::normOffset applies
    kLinear = 16,     ///< a linear weight that a technique may quantize
    kTiedHead = 32,   ///< absent, or to be ignored, where embeddings are tied
    kKeepFloat = 64,  ///< 2-d, but never quantized in GGUF files (positions)
};

struct TensorRule {
    const char* canonical;  ///< "layers.N.attn.q.weight"; N stands for the layer
    const char* huggingFace;
    const char* gguf;
    Dim rows;
    Dim cols;  ///< None: one-dimensional
    unsigned flags = kRequired;
    int part = -1;  ///< 0, 1, 2: q, k, v rows of a fused tensor
};

struct Architecture {
    const char* name;                     ///< canonical, and GGUF's general.architecture
    std::vector<std::string> modelTypes;  ///< config.json's model_type
    const char* modelClass;               ///< config.json's architectures[0]
    /// What may stand before the names of the table in Hugging Face files (left out or added by
    /// other versions).
    std::vector<std::string> prefixes;
    std::span<const TensorRule>
        tensors;  ///< in file order; rules with N are repeated for every layer
};

const Architecture& llamaArchitecture();
const Architecture& qwen3Architecture();
const Architecture& gpt2Architecture();
const Architecture& gemma3Architecture();

/// nullptr for a family outside the four.
const Architecture* findArchitecture(std::string_view name);
const Architecture* findArchitectureOfModelType(std::string_view modelType);
/// "llama, qwen3, gpt2, gemma3"
std::string supportedArchitectures();

/// One tensor of one model: the rule with its layer filled in.
struct TensorPlace {
    const TensorRule* rule;
    std::string canonical;
    std::string huggingFace;
    std::string gguf;
    int layer = -1;
    std::int64_t rows = 0;
    std::int64_t cols = 0;  ///< 0: one-dimensional

    bool is(unsigned flag) const { return (rule->flags & flag) != 0; }
    Shape shape() const;
};
/// All tensors of a model of this configuration, in file order.
std::vector<TensorPlace> tensorPlaces(const ModelConfig& config);
std::int64_t sizeOf(Dim dim, const ModelConfig& config);

}  // namespace fettle
