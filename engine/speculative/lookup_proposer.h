// Drafts copied from the text itself: where the last tokens stood before, what followed them then
// is guessed to follow again. Costs next to nothing, and pays wherever an answer repeats its
// prompt: summaries, code edits, questions about a text.
#pragma once

#include <array>
#include <map>
#include <unordered_map>

#include "engine/speculative/proposer.h"

namespace fettle {

/// Longest match of the last 4, 3 or 2 tokens in this sequence, the latest one; a tree takes up to
/// three of each. Saxena 2023 (prompt lookup), with a table of positions instead of a search.
class NgramProposer : public Proposer {
public:
    std::string description() const override { return "n-grams of the text"; }
    void restart() override;
    void propose(const DraftRequest& request, Draft& draft) override;
    std::uint64_t bytes() const override;

private:
    static constexpr int kShortest = 2, kLongest = 4;
    void learn(std::span<const std::int32_t> text);

    /// Positions after an n-gram, the latest first; 0: none.
    using Places = std::array<std::size_t, 3>;
    /// Per length: hash of an n-gram -> where it stood.
    std::array<std::unordered_map<std::uint64_t, Places>, kLongest + 1> m_places;
    std::size_t m_learned = 0;
};

/// Longest match of any length in this sequence and those before it, by a suffix automaton that
/// grows with the text: constant time per token. Blumer et al. 1985; Hu et al. 2024 (SAM Decoding).
class SuffixProposer : public Proposer {
public:
    SuffixProposer() { clear(); }
    std::string description() const override { return "suffixes of this and earlier texts"; }
    void restart() override;
    void propose(const DraftRequest& request, Draft& draft) override;
    std::uint64_t bytes() const override;

private:
    struct State {
        std::map<std::int32_t, int> next;
        int link = -1;
        int length = 0;
        std::size_t end = 0;  ///< position after the latest known place of this state's strings
    };
    void clear();
    void append(std::int32_t token);

    std::vector<State> m_states;
    std::vector<std::int32_t> m_all;  ///< everything appended, sequences apart by a separator
    int m_last = 0;
    std::size_t m_learned = 0;  ///< tokens of the current sequence
};

}  // namespace fettle
