// Drafts with an EAGLE head (eagle_head.h): one layer that runs along the target's hidden states
// and goes on from its own. Li et al. 2024 (EAGLE, EAGLE-2). Verified by the exact rules of
// acceptance.h.
#pragma once

#include <optional>

#include "engine/backend/backend.h"
#include "engine/model/eagle_head.h"
#include "engine/speculative/proposer.h"
#include "engine/speculative/tree_drafter.h"

namespace fettle {

class EagleProposer : public Proposer, private DraftRunner {
public:
    /// The layer and the output rows are multiplied in int8: guesses need no more. Throws
    /// EngineError(BadInput) for a head of another model.
    EagleProposer(const DraftHeads& heads, const Model& target, Backend& backend,
                  RunControl& control);

    std::string description() const override;
    void restart() override;
    void propose(const DraftRequest& request, Draft& draft) override;
    bool wantsStates() const override { return true; }
    std::uint64_t bytes() const override;

private:
    /// Follows the text up to its newest token. False: states are missing, or there is no room.
    bool catchUp(const DraftRequest& request, Draft& draft);
    /// Runs the joined rows of m_joined; their states go to the end of `states`.
    void run(std::int64_t rows, std::span<const std::int32_t> parents, std::vector<float>& states);
    /// Appends a row: a token and the state that it came of.
    void join(std::int32_t token, const float* state);
    std::vector<TokenDistribution> guesses(const float* states, std::int64_t rows);
    TokenDistribution first() override;
    std::vector<TokenDistribution> follow(const Draft& draft,
                                          const std::vector<int>& nodes) override;

    Backend& m_backend;
    std::int64_t m_width;
    Weight m_embedding;
    float m_embeddingScale;
    std::vector<std::int32_t> m_tokens;  ///< of the output rows, ascending
    std::unique_ptr<Transformer> m_layer;
    std::unique_ptr<DeviceWeight> m_fusion, m_output;
    std::optional<KvCache> m_cache;
    std::int64_t m_followed = 0;              ///< tokens of the text that the cache holds
    std::vector<float> m_last;                ///< what came of the newest of them [hidden]
    const DraftRequest* m_request = nullptr;  ///< of the round
    std::vector<std::int32_t> m_parents;      ///< of the nodes that were run, in the cache's order
    std::vector<int> m_slots;                 ///< of nodes, in m_parents; -1: not run
    std::vector<float> m_states;              ///< of the nodes that were run
    std::vector<float> m_joined, m_logits;
    std::unique_ptr<DeviceBuffer> m_input, m_deviceStates, m_deviceLogits;
    std::int64_t m_room = 0, m_guessRoom = 0;
};

}  // namespace fettle
