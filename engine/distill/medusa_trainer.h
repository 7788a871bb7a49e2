// Trains Medusa heads on the hidden states of a model that stays as it is: head k learns to say
// what comes k tokens after the next one. Loss sum over k of 0.8^k cross-entropy, blocks zero at
// first, so that head 1 starts from what the model itself would say. Cai et al. 2024 (Medusa-1).
#pragma once

#include <cstdint>

#include "engine/data/batch_source.h"
#include "engine/model/draft_heads.h"
#include "engine/model/transformer.h"
#include "engine/train/optimizer.h"
#include "kernels/ops/gemm.h"

namespace fettle {

struct MedusaOptions {
    std::int64_t heads = 4;
    /// Output rows: the commonest tokens of the text. A draft that never says a rare token is
    /// cheaper than one that could.
    std::int64_t vocabulary = 8192;
    std::int64_t tokens = 1'000'000;  ///< to train on
    LearningRate rate{1e-3F};
};

struct MedusaOutcome {
    DraftHeads heads;
    std::int64_t tokens = 0;
    double firstLoss = 0, lastLoss = 0;  ///< mean over heads, nats; on the text held back
    /// Share of the text held back that each head says rightly, in [0, 1].
    std::vector<double> accuracy;
};

/// `target` and `model` are the same. Reports series medusa_loss into the current phase of
/// `control`; ends early and keeps what there is when it says so.
MedusaOutcome trainMedusa(Transformer& target, const Model& model, BatchSource& data,
                          const MedusaOptions& options, RunControl& control);

}  // namespace fettle
