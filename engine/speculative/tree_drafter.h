// Drafts tokens with a model whose cache already holds the text: a chain, or a tree level by level,
// all tokens of a level in one pass. Where a tree follows costs, a token gets as many continuations
// as are likely enough to be worth verifying. How many are drawn depends on distributions alone,
// never on what was drawn, so sampling stays exact. Miao et al. 2024 (SpecInfer); Li et al. 2024
// (EAGLE-2).
#pragma once

#include "engine/speculative/model_proposer.h"

namespace fettle {

/// Drafts into the empty `draft`; the last logits of `model` are those after the text. What `cache`
/// holds behind the text afterwards is in `guesses`.
void draftWithModel(Transformer& model, KvCache& cache, const DraftRequest& request,
                    const Transformer::SkippedLayers* skipped, Draft& draft, Guesses& guesses);

/// Whoever can say what follows drafted tokens once it has run them.
class DraftRunner {
public:
    virtual ~DraftRunner() = default;
    /// What follows the text.
    virtual TokenDistribution first() = 0;
    /// Runs these nodes, whose parents were run before, and says what follows each of them; nothing
    /// where there is no room for them.
    virtual std::vector<TokenDistribution> follow(const Draft& draft,
                                                  const std::vector<int>& nodes) = 0;
};
/// Drafts into the empty `draft`, a pass of the runner for each level but the last.
void draftLevels(DraftRunner& runner, const DraftRequest& request, Draft& draft);

/// One place where a draft may go on: what is thought to follow node `parent`.
struct Continuation {
    int parent = -1;
    double reach = 1;  ///< chance that the parent is accepted
    TokenDistribution next;
};

/// The distribution a proposer drafts from: what the sampling options make of `logits`; of a greedy
/// target the likeliest tokens, as many as the request's tree may ask for at one place, with their
/// shares of the whole, since guesses are not certain.
TokenDistribution guessFrom(const float* logits, std::int64_t count, const DraftRequest& request);

/// Adds the children that are worth it, at most request.nodes in all: of a Dynamic tree by their
/// chances, else `width` each. `paid`: the time to guess is spent, one child is added whatever its
/// chance. Returns the nodes that were added.
std::vector<int> addLevel(const DraftRequest& request, const std::vector<Continuation>& places,
                          int width, bool paid, Draft& draft);

}  // namespace fettle
