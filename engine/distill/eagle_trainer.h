// Trains an EAGLE head on the hidden states of a model that stays as it is: from the state of a
// token and the token that came of it, the next state. What counts is what the model's own head
// makes of it: the divergence from what it makes of the true state, and to keep the two alike a
// little of their distance. Later passes read the head's own states in the place of the model's, as
// drafting does. Li et al. 2024 (EAGLE) and 2025 (EAGLE-3, training-time test).
#pragma once

#include "engine/data/batch_source.h"
#include "engine/model/eagle_head.h"
#include "engine/model/transformer.h"
#include "engine/train/optimizer.h"

namespace fettle {

struct EagleOptions {
    /// Tokens that are guessed among, the commonest of the text.
    std::int64_t vocabulary = 8192;
    std::int64_t tokens = 1'000'000;  ///< to train on
    int passes = 2;                   ///< the first reads the model's states, later ones the head's
    std::uint64_t seed = 1;
    LearningRate rate{1e-3F};
};

struct EagleOutcome {
    EagleHead head;
    std::int64_t tokens = 0;
    double firstLoss = 0, lastLoss = 0;  ///< divergence, mean over passes, nats; on text held back
    /// Share of the text held back where head and model think the same token likeliest, pass by
    /// pass, in [0, 1].
    std::vector<double> agreement;
};

/// `target` and `model` are the same. Reports series eagle_loss into the current phase of
/// `control`; ends early and keeps what there is when it says so.
EagleOutcome trainEagle(Transformer& target, const Model& model, BatchSource& data,
                        const EagleOptions& options, RunControl& control);

}  // namespace fettle
