// Continues a text in rounds: the proposer drafts, one pass of the target reads newest token and
// draft together, the accepted part and one token of the target's own are kept. Greedy output is
// bit for bit that of plain decoding, since the target's numbers for a token do not depend on how
// many tokens are run together; sampled output has the target's distribution. Leviathan et al.
// 2023.
#pragma once

#include <map>
#include <vector>

#include "engine/speculative/draft_length.h"
#include "engine/speculative/proposer.h"

namespace fettle {

/// What speculation did over one or many sequences. A drafted token after the first rejection is
/// drafted but not tried: rates are of the tried ones.
struct SpeculationCounts {
    std::int64_t rounds = 0;   ///< passes of the target, plain ones included
    std::int64_t emitted = 0;  ///< tokens they gave
    std::int64_t drafted = 0;
    std::int64_t tried = 0;
    std::int64_t accepted = 0;
    std::vector<std::int64_t> triedAt, acceptedAt;  ///< by depth, from 1 on at index 0
    /// Levels of drafts that were reached, one token of them or another accepted.
    std::int64_t levelsTried = 0, levelsAccepted = 0;
    /// Rounds of one form.
    struct Form {
        std::int64_t rounds = 0, levelsTried = 0, levelsAccepted = 0;
    };
    std::map<std::pair<int, int>, Form> forms;  ///< by levels and drafted tokens
    double draftSeconds = 0, verifySeconds = 0;
    double catchUpSeconds = 0;  ///< of draftSeconds: reading text that was not drafted

    double acceptanceRate() const {
        return tried > 0 ? static_cast<double>(accepted) / static_cast<double>(tried) : 0;
    }
    /// Tokens per pass of the target, its own one included.
    double meanAcceptedLength() const {
        return rounds > 0 ? static_cast<double>(emitted) / static_cast<double>(rounds) : 0;
    }
    void add(const SpeculationCounts& other);
};

/// One round, for those who show it.
struct Round {
    Draft draft;
    Verdict verdict;
    std::vector<std::int32_t> tokens;  ///< what was added to the text: accepted ones, then the next
    double draftSeconds = 0, verifySeconds = 0;
};

class SpeculativeDecoder {
public:
    /// `proposer` null: plain decoding by the same rules. All are borrowed. Room for `capacity`
    /// tokens of prompt and answer; trees are drafted as far as there is room for their branches.
    SpeculativeDecoder(Transformer& target, Proposer* proposer, DraftLength* length,
                       const SamplingOptions& sampling, std::int64_t capacity,
                       const DraftTree& tree = {});

    /// Reads the prompt and returns the first token of the answer. Forgets an earlier sequence.
    std::int32_t begin(std::span<const std::int32_t> prompt, RunControl& control);
    /// Adds 1 to `most` tokens to the text.
    const Round& next(int most, RunControl& control);

    /// Prompt and answer so far.
    const std::vector<std::int32_t>& text() const { return m_text; }
    const SpeculationCounts& counts() const { return m_counts; }
    KvCache& cache() { return m_cache; }

private:
    void draft(int most, RunControl& control);
    void verify(RunControl& control);
    void layOut();
    void keepStates(std::span<const std::int32_t> rows);
    void count();
    TokenDistribution row(int index) const;
    bool isGreedy() const { return m_sampling.temperature <= 0; }
    std::int32_t nextOf(std::int64_t position);

    Transformer& m_target;
    Proposer* m_proposer;
    DraftLength* m_length;
    SamplingOptions m_sampling;
    PhiloxChance m_chance;
    KvCache m_cache;
    std::vector<std::int32_t> m_text;
    DraftTree m_tree;
    std::vector<std::int32_t> m_batch, m_parents;  ///< newest token and draft, branch by branch
    std::vector<int> m_rowOf;                      ///< of a drafted node in the batch
    std::vector<float> m_states;                   ///< see DraftRequest
    std::vector<float> m_logits;
    std::vector<std::int64_t> m_likeliest;  ///< greedy: instead of the logits
    Round m_round;
    SpeculationCounts m_counts;
};

}  // namespace fettle
