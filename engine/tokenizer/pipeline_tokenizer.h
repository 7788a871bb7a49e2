// The tokenizer that every supported file becomes: added tokens are cut out, the rest is
// normalized, cut into words and each word merged. Immutable after construction; may be shared by
// threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/tokenizer/added_vocabulary.h"
#include "engine/tokenizer/bpe_model.h"
#include "engine/tokenizer/decoder.h"
#include "engine/tokenizer/normalizer.h"
#include "engine/tokenizer/pre_tokenizer.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/vocabulary.h"

namespace fettle {

/// What a file says, ready to be put to work.
struct TokenizerParts {
    std::string origin;  ///< the file, for errors
    Vocabulary vocabulary;
    NormalizerList normalizers;
    PreTokenizerSteps preTokenizers;
    BpeOptions bpe;
    std::vector<float> scores;  ///< by id; not empty: SentencePiece by scores instead of merges
    std::vector<std::int32_t> tokenTypes;  ///< by id, as a GGUF file gives them; else empty
    AddedVocabulary added;
    DecoderSteps decoders;
    std::vector<std::int32_t> prefix, suffix;  ///< what `addSpecial` puts around a text
    std::int32_t bos = -1, eos = -1, padding = -1;
    std::vector<std::int32_t> stopIds;
    std::string chatTemplate;
    std::string ggufPre;          ///< name of the pre-tokenizer in GGUF files
    bool addSpacePrefix = false;  ///< a space goes in front of each text
};

/// The character that stands for a space in SentencePiece vocabularies.
inline constexpr const char* kSpaceMark = "\u2581";

/// Applies the steps in order to valid UTF-8. Throws EngineError(BadInput) where they blow the text
/// up.
void normalizeText(const NormalizerList& steps, const std::string& origin, std::string& text);

class PipelineTokenizer : public Tokenizer {
public:
    explicit PipelineTokenizer(TokenizerParts parts);

    std::vector<std::int32_t> encode(std::string_view text, bool addSpecial) const override;
    std::string decode(const std::vector<std::int32_t>& ids, bool skipSpecial) const override;
    std::int64_t vocabularySize() const override { return m_size; }
    std::int32_t bos() const override { return m_parts.bos; }
    std::int32_t eos() const override { return m_parts.eos; }
    const std::vector<std::int32_t>& stopIds() const override { return m_parts.stopIds; }
    bool addsBos() const override;
    const std::string& chatTemplate() const override { return m_parts.chatTemplate; }
    std::string describe() const override;
    GgufTokenizerData toGguf() const override;

private:
    void encodeSegment(std::string_view text, bool first, PieceSink& words,
                       std::vector<std::int32_t>& ids) const;
    bool byScores() const { return !m_parts.scores.empty(); }

    TokenizerParts m_parts;
    std::unique_ptr<const WordModel> m_model;
    std::int64_t m_size = 0;
};

/// The smallest number that every id of the vocabulary and the added tokens is below.
std::int64_t tokenIdEnd(const Vocabulary& vocabulary, const AddedVocabulary& added);

}  // namespace fettle
