// Byte-pair encoding by ranked merges, as the BPE model of Hugging Face's tokenizers does it
// (Sennrich et al. 2016, arXiv:1508.07909). Immutable; may be shared by threads.
#pragma once

#include <array>
#include <string>

#include "engine/tokenizer/merge_table.h"
#include "engine/tokenizer/token_table.h"
#include "engine/tokenizer/word_model.h"

namespace fettle {

struct BpeOptions {
    bool byteLevel = false;     ///< words are raw bytes, tokens are in the byte alphabet
    bool byteFallback = false;  ///< unknown characters become <0xNN> tokens
    bool ignoreMerges = false;  ///< a word that is a token is that token
    bool fuseUnknown = false;   ///< a run of unknown characters is one unknown token
    std::int32_t unknown = -1;  ///< unknown characters vanish if none
};

class BpeModel : public WordModel {
public:
    /// The tables must outlive the model.
    BpeModel(const TokenTable& tokens, const MergeTable& merges, const BpeOptions& options);

    void tokenize(std::string_view word, WordScratch& scratch,
                  std::vector<std::int32_t>& ids) const override;

private:
    void appendCharacters(std::string_view word, std::vector<std::int32_t>& ids) const;
    void mergeShort(std::vector<std::int32_t>& ids) const;
    void mergeLong(WordScratch& scratch, std::vector<std::int32_t>& ids) const;

    const TokenTable& m_tokens;
    const MergeTable& m_merges;
    BpeOptions m_options;
    std::array<std::int32_t, 256> m_byteIds{};  // byte level: the token of each byte's character
    std::array<std::int32_t, 256> m_fallbackIds{};  // the token <0xNN>
    bool m_everyByte = false;                       // byte level without unknown characters
};

/// The id of the token "<0xNN>", -1 if there is none.
std::int32_t findByteToken(const TokenTable& tokens, unsigned char byte);
/// The byte that a token of the form "<0xNN>" stands for, else -1.
int byteOfToken(std::string_view token);

}  // namespace fettle
