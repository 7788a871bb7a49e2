// An EAGLE head: one decoder layer that guesses the model's own next state from the state of a
// token and the embedding of the token that came of it. Li et al. 2024 (EAGLE, arXiv 2401.15077).
// The state is the one after the final norm; the layer has no norm in front of its attention, and
// what comes out goes straight to the model's own head.
//
// As a folder (draft_heads.h): config.json of a Llama of one layer, "draft_head": "eagle", and
// "draft_vocabulary", the tokens that are guessed among, ascending, where it is not all of them;
// fc.weight [hidden, 2 hidden], embedding first, and layers.0.* by the names of Llama's own files.
// Embedding and head are the model's.
#pragma once

#include <vector>

#include "engine/model/draft_heads.h"
#include "engine/model/model.h"

namespace fettle {

constexpr const char* kEagle = "eagle";

struct EagleHead {
    /// [hidden, 2 hidden], of embedding and state of a token.
    std::vector<float> fusion;
    Model layer;                       ///< bare, see ModelConfig::bare
    std::vector<std::int32_t> tokens;  ///< guessed among, ascending
};

/// What the fusion multiplies, [2 hidden]: the token's embedding as the model scales it, then the
/// state that it came of.
void joinInputs(const Weight& embedding, float embeddingScale, std::int32_t token,
                const float* state, float* out);

/// The layer's shape for a model: as wide, heads as the model's, a SiLU-gated feed-forward, rope.
ModelConfig eagleConfig(const ModelConfig& target);
/// A head that says what the model said last: random weights, states passed on. BF16.
EagleHead freshEagleHead(const Model& target, std::vector<std::int32_t> tokens, std::uint64_t seed);
DraftHeads toDraftHeads(const EagleHead& head, const Model& target);
/// Throws EngineError(BadInput) naming what is missing, misshapen or of another model.
EagleHead eagleHeadOf(const DraftHeads& heads, const Model& target);

}  // namespace fettle
