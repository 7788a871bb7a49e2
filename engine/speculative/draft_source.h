// From the words that name a draft - a model, "SCHEME:MODEL", "text:MODEL", "ngram", "suffix",
// "self:N", "self:SCHEME" - to a proposer for a target.
#pragma once

#include "engine/backend/backend.h"
#include "engine/model/model.h"
#include "engine/speculative/draft_length.h"
#include "engine/speculative/proposer.h"
#include "kernels/ops/worker_pool.h"

namespace fettle {

/// Why `draft` cannot draft for `target`, in words; empty if it can. Every id must mean the same
/// token to both.
std::string draftRefusal(const Model& target, const Model& draft);

/// What is asked for, in words; empty ones stand for "auto" tokens and no tree.
struct DraftWords {
    std::string draft, draftTokens, tree;
};

/// What `words` say, without a look at any model. Throws EngineError(Usage).
SpeculativeSetup namedDraft(const DraftWords& words);

/// Checks `words` for `target`; a draft model is loaded and stays in the setup. For self:N the
/// layers are ranked on `rankingTexts`, or on a short English text of our own if there is none.
/// Throws EngineError(Usage) for words that name no draft, (BadInput) for a model that does not
/// fit.
SpeculativeSetup makeSetup(const DraftWords& words, const Model& target, Backend& backend,
                           const std::vector<std::vector<std::int32_t>>& rankingTexts,
                           RunControl& control);

/// The proposer of a setup. `transformer` is the target's, borrowed.
std::unique_ptr<Proposer> makeProposer(const SpeculativeSetup& setup, const Model& target,
                                       Transformer& transformer, Backend& backend,
                                       kernels::WorkerPool& pool, RunControl& control);
std::unique_ptr<DraftLength> makeDraftLength(const SpeculativeSetup& setup);

/// The linear weights of `model` rounded to `scheme`, with `head` the output matrix too, which gets
/// weights of its own; those whose rows do not divide stay.
Model quantizedCopy(const Model& model, const QuantScheme& scheme, bool head,
                    kernels::WorkerPool& pool, RunControl& control);

}  // namespace fettle
