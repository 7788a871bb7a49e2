#include "engine/tokenizer/pipeline_tokenizer.h"

#include <algorithm>
#include <utility>

#include "engine/core/error.h"
#include "engine/tokenizer/spm_model.h"
#include "engine/tokenizer/utf8.h"
#include "engine/tokenizer/word_cache.h"

namespace fettle {

namespace {

/// Turns words into ids, each different word once.
class WordSink : public PieceSink {
public:
    WordSink(const WordModel& model, std::vector<std::int32_t>& ids) : m_model(model), m_ids(ids) {}

    void take(const TextPiece& piece) override {
        if (const WordCache::Ids known = m_cache.find(piece.text); known.data != nullptr) {
            m_ids.insert(m_ids.end(), known.data, known.data + known.count);
            return;
        }
        const std::size_t before = m_ids.size();
        m_model.tokenize(piece.text, m_scratch, m_ids);
        m_cache.insert(piece.text, m_ids.data() + before, m_ids.size() - before);
    }

private:
    const WordModel& m_model;
    std::vector<std::int32_t>& m_ids;
    WordCache m_cache;
    WordScratch m_scratch;
};

/// Files may hold steps that make a text much longer, one after the other.
void checkGrowth(std::size_t now, std::size_t before, const std::string& origin, const char* what) {
    constexpr std::size_t kMost = 64;
    if (now > kMost * before + (64 << 10)) {
        throwBadInput(origin, std::string("its ") + what + " makes a text more than " +
                                  std::to_string(kMost) + " times as long");
    }
}

}  // namespace

void normalizeText(const NormalizerList& steps, const std::string& origin, std::string& text) {
    const std::size_t before = text.size();
    for (const auto& step : steps) {
        step->apply(text);
        checkGrowth(text.size(), before, origin, "normalizer");
    }
}

std::int64_t tokenIdEnd(const Vocabulary& vocabulary, const AddedVocabulary& added) {
    std::int64_t end = vocabulary.tokens.idEnd();
    for (const AddedToken& token : added.tokens()) {
        end = std::max<std::int64_t>(end, token.id + std::int64_t(1));
    }
    return end;
}

PipelineTokenizer::PipelineTokenizer(TokenizerParts parts) : m_parts(std::move(parts)) {
    m_size = tokenIdEnd(m_parts.vocabulary, m_parts.added);
    const TokenTable& tokens = m_parts.vocabulary.tokens;
    if (byScores()) {
        m_model = std::make_unique<SpmModel>(tokens, m_parts.scores, m_parts.bpe.unknown);
    } else {
        m_model = std::make_unique<BpeModel>(tokens, m_parts.vocabulary.merges, m_parts.bpe);
    }
    if (!m_parts.bpe.byteLevel && !m_parts.bpe.ignoreMerges) {
        const SafeCut cut = findSafeCut(tokens, kSpaceMark, m_parts.bpe.unknown);
        if (cut.possible) {
            m_parts.preTokenizers.push_back(makeMarkSplit(kSpaceMark, cut.keepTogether));
        }
    }
}

std::vector<std::int32_t> PipelineTokenizer::encode(std::string_view text, bool addSpecial) const {
    std::string repaired;
    if (!isValidUtf8(text)) {
        repaired = replaceInvalidUtf8(text);
        text = repaired;
    }
    std::vector<std::int32_t> ids;
    ids.reserve(text.size() / 3 + 8);
    WordSink words(*m_model, ids);
    if (addSpecial) {
        ids.insert(ids.end(), m_parts.prefix.begin(), m_parts.prefix.end());
    }
    if (m_parts.added.looksFor(false)) {
        for (const AddedVocabulary::Part& part : m_parts.added.split(text, false)) {
            if (part.id >= 0) {
                ids.push_back(part.id);
            } else {
                encodeSegment(text.substr(part.begin, part.end - part.begin), part.begin == 0,
                              words, ids);
            }
        }
    } else if (!text.empty()) {
        encodeSegment(text, true, words, ids);
    }
    if (addSpecial) {
        ids.insert(ids.end(), m_parts.suffix.begin(), m_parts.suffix.end());
    }
    return ids;
}

void PipelineTokenizer::encodeSegment(std::string_view text, bool first, PieceSink& words,
                                      std::vector<std::int32_t>& ids) const {
    std::string normalized;
    if (!m_parts.normalizers.empty()) {
        normalized = text;
        normalizeText(m_parts.normalizers, m_parts.origin, normalized);
        text = normalized;
    }
    const auto toWords = [&](std::string_view piece, bool isFirst) {
        if (!piece.empty()) {
            runSteps(m_parts.preTokenizers, 0, {piece, isFirst}, words);
        }
    };
    if (!m_parts.added.looksFor(true)) {
        return toWords(text, first);
    }
    for (const AddedVocabulary::Part& part : m_parts.added.split(text, true)) {
        if (part.id >= 0) {
            ids.push_back(part.id);
        } else {
            toWords(text.substr(part.begin, part.end - part.begin), first && part.begin == 0);
        }
    }
}

std::string PipelineTokenizer::decode(const std::vector<std::int32_t>& ids,
                                      bool skipSpecial) const {
    std::vector<std::string> tokens;
    tokens.reserve(ids.size());
    std::size_t bytes = 0;
    for (const std::int32_t id : ids) {
        if (skipSpecial && m_parts.added.isSpecial(id)) {
            continue;
        }
        std::string_view text = m_parts.added.decodedText(id);
        if (text.empty()) {
            text = m_parts.vocabulary.tokens.text(id);
        }
        if (!text.empty()) {
            tokens.emplace_back(text);
            bytes += text.size();
        }
    }
    const auto sizeOf = [](const std::vector<std::string>& texts) {
        std::size_t size = 0;
        for (const std::string& text : texts) {
            size += text.size();
        }
        return size;
    };
    for (const auto& step : m_parts.decoders) {
        step->apply(tokens);
        checkGrowth(sizeOf(tokens), bytes, m_parts.origin, "decoder");
    }
    std::string out;
    out.reserve(sizeOf(tokens));
    for (const std::string& token : tokens) {
        out += token;
    }
    return out;
}

bool PipelineTokenizer::addsBos() const {
    return m_parts.bos >= 0 && std::find(m_parts.prefix.begin(), m_parts.prefix.end(),
                                         m_parts.bos) != m_parts.prefix.end();
}

std::string PipelineTokenizer::describe() const {
    return std::string(m_parts.bpe.byteLevel ? "byte-level BPE, " : "SentencePiece BPE, ") +
           std::to_string(m_size) + " tokens";
}

}  // namespace fettle
