// Drafts with a model of another tokenizer: the text so far is encoded anew for the draft, what it
// says is encoded anew for the target. Guesses meet the target as text, so any pair of models that
// write the same script can work together; where the two cut words differently guesses are lost,
// never correctness. Timor et al. 2025 (string-level exact match).
#pragma once

#include <optional>
#include <string>

#include "engine/speculative/proposer.h"
#include "engine/tokenizer/tokenizer.h"

namespace fettle {

class ReencodingProposer : public Proposer {
public:
    ReencodingProposer(std::string description, std::unique_ptr<Transformer> draft,
                       std::shared_ptr<const Tokenizer> draftTokenizer,
                       std::shared_ptr<const Tokenizer> targetTokenizer);

    std::string description() const override { return m_description; }
    void restart() override;
    void propose(const DraftRequest& request, Draft& draft) override;
    std::uint64_t bytes() const override;

private:
    bool read(std::span<const std::int32_t> text);
    bool catchUp(const DraftRequest& request, Draft& draft);
    std::vector<std::int32_t> inTargetTokens(std::span<const std::int32_t> text,
                                             const std::vector<std::int32_t>& said) const;

    std::string m_description;
    std::unique_ptr<Transformer> m_draft;
    std::shared_ptr<const Tokenizer> m_draftTokenizer, m_targetTokenizer;
    std::optional<KvCache> m_cache;
    std::vector<std::int32_t> m_cached;  ///< draft tokens that the cache holds
    std::vector<std::int32_t> m_ids;     ///< the text in draft tokens
    std::size_t m_read = 0;              ///< target tokens of it
};

}  // namespace fettle
