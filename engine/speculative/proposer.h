// Whoever guesses what the target will say next: a small model, the text itself, the target with
// layers left out, heads on its hidden states. A proposer may guess badly - that costs time, never
// correctness. One sequence at a time, on the engine thread.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "engine/core/run_control.h"
#include "engine/model/transformer.h"
#include "engine/speculative/chance.h"
#include "engine/speculative/draft.h"

namespace fettle {

/// What a proposer may look at. New kinds of proposers add to this what they need of the target.
struct DraftRequest {
    std::span<const std::int32_t> text;  ///< prompt and answer so far, at least one token
    KvCache& targetCache;                ///< holds all of `text` but the newest token
    int most = 1;                        ///< drafted tokens at most, at least 1
    std::int64_t vocabulary = 0;         ///< tokens from here on do not exist for the target
    const SamplingOptions& sampling;
    Chance& chance;
    /// Asked after each drafted token: is another one worth its time? A token that was drafted
    /// stays in the draft whatever the answer: dropping it would favour others.
    std::function<bool(const Draft&)> more;
    RunControl* control = nullptr;
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
    /// Memory that drafting takes beyond the target's own: weights, caches, tables.
    virtual std::uint64_t bytes() const = 0;
};

}  // namespace fettle
