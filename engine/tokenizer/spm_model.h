// SentencePiece's BPE by scores: of all neighbours whose texts joined are a token, the pair with
// the highest score merges first (Kudo and Richardson 2018, arXiv:1808.06226; llama.cpp's SPM
// tokenizer). What is no token in the end becomes <0xNN> tokens. Immutable; may be shared by
// threads.
#pragma once

#include <array>
#include <vector>

#include "engine/tokenizer/token_table.h"
#include "engine/tokenizer/word_model.h"

namespace fettle {

class SpmModel : public WordModel {
public:
    /// The table and `scores` (by id, finite) must outlive the model.
    SpmModel(const TokenTable& tokens, const std::vector<float>& scores, std::int32_t unknown);

    void tokenize(std::string_view word, WordScratch& scratch,
                  std::vector<std::int32_t>& ids) const override;

private:
    const TokenTable& m_tokens;
    const std::vector<float>& m_scores;
    std::int32_t m_unknown;
    std::array<std::int32_t, 256> m_byteIds{};
};

}  // namespace fettle
