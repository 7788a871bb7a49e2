// Drafts with a model: a small one with a cache of its own, which is kept in step with the text, or
// the target itself in a cheaper form - layers left out, weights quantized more strongly - which
// reads and borrows the target's cache. Leviathan et al. 2023; Zhang et al. 2023 (Draft & Verify);
// Elhoushi et al. 2024 (LayerSkip); Tiwari et al. 2025 (QuantSpec).
#pragma once

#include <optional>

#include "engine/speculative/proposer.h"

namespace fettle {

/// Drafted tokens that a cache holds, in its order.
struct Guesses {
    std::vector<std::int32_t> tokens;
    std::vector<std::int32_t> parents;  ///< an earlier guess; -1: the text
    void clear() {
        tokens.clear();
        parents.clear();
    }
    /// The guesses that came true: those that `text` goes on with, in order.
    std::vector<std::int32_t> along(std::span<const std::int32_t> text) const;
};

/// Level by level through `transformer`: the likeliest tokens where the target is greedy, else
/// drawn with the same sampling options, several of one place without putting back.
class ModelProposer : public Proposer {
public:
    /// A model with its own cache, made for `capacity` tokens when first needed.
    ModelProposer(std::string description, std::unique_ptr<Transformer> draft);

    std::string description() const override { return m_description; }
    void restart() override;
    void propose(const DraftRequest& request, Draft& draft) override;
    std::uint64_t bytes() const override;

private:
    bool catchUp(const DraftRequest& request, Draft& draft);

    std::string m_description;
    std::unique_ptr<Transformer> m_draft;
    std::optional<KvCache> m_cache;
    std::vector<std::int32_t> m_cached;  ///< text whose keys and values the cache holds
    Guesses m_guesses;                   ///< what it holds behind the text
};

/// The target in a cheaper form, on the target's own cache.
class SelfProposer : public Proposer {
public:
    /// `cheaper` null: `target` with `skipped` layers left out.
    SelfProposer(std::string description, Transformer& target, std::unique_ptr<Transformer> cheaper,
                 Transformer::SkippedLayers skipped);

    std::string description() const override { return m_description; }
    void restart() override {}
    void propose(const DraftRequest& request, Draft& draft) override;
    std::uint64_t bytes() const override { return m_cheaper ? m_cheaper->weightBytes() : 0; }

private:
    std::string m_description;
    Transformer& m_target;
    std::unique_ptr<Transformer> m_cheaper;
    Transformer::SkippedLayers m_skipped;
};

}  // namespace fettle
