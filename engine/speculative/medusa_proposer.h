// Drafts with Medusa heads: head k says, from the hidden state that gave the newest token, what
// comes k tokens after it. One pass of all heads drafts all levels. Cai et al. 2024. Verified by
// the exact rules of acceptance.h, not by the paper's typical acceptance, which changes the output.
#pragma once

#include "engine/backend/backend.h"
#include "engine/model/draft_heads.h"
#include "engine/model/model.h"
#include "engine/speculative/proposer.h"

namespace fettle {

/// Most heads that are drafted with.
constexpr std::int64_t kMostHeads = 16;

class MedusaProposer : public Proposer {
public:
    /// Heads are multiplied in int8, their output rows in int8 per channel: guesses need no more.
    /// Throws EngineError(BadInput) for heads that are not those of a model like `target`.
    MedusaProposer(const DraftHeads& heads, const Model& target, Backend& backend,
                   RunControl& control);

    std::string description() const override;
    void restart() override {}
    void propose(const DraftRequest& request, Draft& draft) override;
    bool wantsStates() const override { return true; }
    std::uint64_t bytes() const override;

private:
    /// What each head thinks; valid until the next call.
    const float* logitsFrom(std::span<const float> state);

    Backend& m_backend;
    std::int64_t m_heads = 0, m_width = 0;
    std::vector<std::int32_t> m_tokens;  ///< of the output rows, ascending
    std::vector<std::unique_ptr<DeviceWeight>> m_blocks;
    std::unique_ptr<DeviceWeight> m_output;
    std::unique_ptr<DeviceBuffer> m_state, m_ones, m_inner, m_logits;
    std::vector<float> m_hostLogits;
};

/// Why heads cannot draft for a target, in words; empty if they can.
std::string headsRefusal(const DraftHeads& heads, const Model& target);

}  // namespace fettle
