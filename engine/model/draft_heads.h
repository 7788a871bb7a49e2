// Heads that draft from a model's hidden states, as they lie in a folder: config.json, whose
// "model_type" is their kind, and model.safetensors, both in the layout that vLLM reads.
//
// eagle: see eagle_head.h.
// medusa: "num_heads" blocks blocks.K.layers.0.weight [hidden, hidden] and one output matrix for
// all, lm_head.weight [tokens, hidden], the model's own rows for the tokens of token_map [tokens],
// ascending. Cai et al. 2024 (Medusa).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/core/run_control.h"
#include "engine/tensor/tensor.h"

namespace fettle {

struct Model;

struct DraftHeads {
    std::string kind;  ///< "medusa" or "eagle"
    nlohmann::json config;
    std::map<std::string, Tensor> tensors;

    /// Throws EngineError(BadInput) for a tensor that is missing or has another shape.
    std::vector<float> values(const std::string& name, const Shape& shape) const;
    /// A whole number of the configuration from 1 to `most`. Throws EngineError(BadInput).
    std::int64_t number(const char* key, std::int64_t most) const;
    std::string path;  ///< for messages
};

/// The model's own output rows for some tokens: [tokens, hiddenSize].
std::vector<float> outputRows(const Model& model, const std::vector<std::int32_t>& tokens);

/// Whether `folder` holds heads rather than a model.
bool holdsDraftHeads(const std::filesystem::path& folder);
/// Throws EngineError(BadInput) naming the file.
DraftHeads readDraftHeads(const std::filesystem::path& folder);
/// Returns the bytes written. Throws EngineError(Io).
std::uint64_t writeDraftHeads(const DraftHeads& heads, const std::filesystem::path& folder,
                              RunControl& control);

}  // namespace fettle
