// Whoever guesses what the target will say next: a small model, the text itself, the target with
// layers left out, heads on its hidden states. A proposer may guess badly - that costs time, never
// correctness. One sequence at a time, on the engine thread.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "engine/core/run_control.h"
#include "engine/model/transformer.h"
#include "engine/speculative/chance.h"
#include "engine/speculative/draft_length.h"

namespace fettle {

/// What a proposer may look at. New kinds of proposers add to this what they need of the target.
struct DraftRequest {
    std::span<const std::int32_t> text;  ///< prompt and answer so far, at least one token
    KvCache& targetCache;                ///< holds all of `text` but the newest token
    int most = 1;                        ///< levels at most, at least 1
    int nodes = 1;                       ///< tokens at most in all of them, at least 1
    std::int64_t vocabulary = 0;         ///< tokens from here on do not exist for the target
    const SamplingOptions& sampling;
    Chance& chance;
    /// Says whether another token is worth its time. One that was drafted stays in the draft
    /// whatever it says: dropping it would favour others.
    DraftLength& length;
    const DraftTree& tree;
    /// For proposers that want them: the target's hidden states [rows, hiddenSize], after the final
    /// norm, of the last tokens in its cache, all that came since the last time this was asked.
    std::span<const float> states;
    RunControl* control = nullptr;

    /// Whether a chain goes on after the tokens of `draft`.
    bool goesOn(const Draft& draft) const { return draft.size() < most && length.more(draft); }
};

class Proposer {
public:
    virtual ~Proposer() = default;
    /// In words, for reports: "draft model qwen3-draft-500k".
    virtual std::string description() const = 0;
    /// A new sequence begins: nothing of the last one is followed by what comes.
    virtual void restart() = 0;
    /// Appends to `draft`, which comes empty; leaving it empty is a valid answer. What the target's
    /// cache holds must be as before. The text of one sequence only ever grows; the proposer finds
    /// out itself which of its guesses came true.
    virtual void propose(const DraftRequest& request, Draft& draft) = 0;
    /// Whether it drafts from the target's hidden states.
    virtual bool wantsStates() const { return false; }
    /// Memory that drafting takes beyond the target's own: weights, caches, tables.
    virtual std::uint64_t bytes() const = 0;
};

}  // namespace fettle
