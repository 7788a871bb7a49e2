// A tokenizer as GGUF metadata, as llama.cpp's converter writes it.
#include <algorithm>
#include <string>
#include <utility>

#include "engine/tokenizer/bpe_model.h"
#include "engine/tokenizer/gguf_token_type.h"
#include "engine/tokenizer/pipeline_tokenizer.h"

namespace fettle {

namespace {

void replaceAll(std::string& text, std::string_view from, std::string_view to) {
    for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
        text.replace(at, from.size(), to);
    }
}

struct Exporter {
    const TokenizerParts& parts;
    bool sentencePiece;

    std::int32_t typeOf(std::int32_t id, const AddedToken* added) const {
        if (!parts.tokenTypes.empty()) {
            return parts.tokenTypes[static_cast<std::size_t>(id)];
        }
        if (sentencePiece && id == parts.bpe.unknown) {
            return kUnknown;
        }
        if (added != nullptr) {
            return added->special ? kControl : kUserDefined;
        }
        if (!parts.vocabulary.tokens.contains(id)) {
            return kUnused;
        }
        const bool byte = sentencePiece && byteOfToken(parts.vocabulary.tokens.text(id)) >= 0;
        return byte ? kByte : kNormal;
    }

    std::string textOf(std::int32_t id, const AddedToken* added) const {
        if (added != nullptr) {
            std::string text = added->content;
            if (!added->special) {  // such tokens are looked for before spaces become marks
                replaceAll(text, kSpaceMark, " ");
            }
            return text;
        }
        if (!parts.vocabulary.tokens.contains(id)) {
            return "[PAD" + std::to_string(id) + "]";
        }
        return std::string(parts.vocabulary.tokens.text(id));
    }
};

/// Scores that make the highest-score rule choose as the ranks do: the token of the first merge has
/// the highest. Tokens that no merge makes come last.
std::vector<float> scoresFromMerges(const std::vector<MergeTable::Merge>& merges,
                                    std::size_t count) {
    std::vector<float> scores(count, 0.0f);
    std::vector<bool> scored(count, false);
    std::size_t order = 0;
    for (const MergeTable::Merge& merge : merges) {
        const auto merged = static_cast<std::size_t>(merge.merged);
        if (!scored[merged]) {
            scored[merged] = true;
            scores[merged] = -static_cast<float>(order++);
        }
    }
    for (std::size_t id = 0; id < count; ++id) {
        if (!scored[id]) {
            scores[id] = -static_cast<float>(order++);
        }
    }
    return scores;
}

}  // namespace

GgufTokenizerData PipelineTokenizer::toGguf() const {
    GgufTokenizerData data;
    const bool sentencePiece = !m_parts.bpe.byteLevel;
    const Exporter exporter{m_parts, sentencePiece};
    data.model = sentencePiece ? "llama" : "gpt2";
    data.pre = sentencePiece ? "default" : m_parts.ggufPre;
    const auto count = static_cast<std::size_t>(m_size);
    data.tokens.reserve(count);
    data.tokenTypes.reserve(count);
    for (std::int32_t id = 0; id < m_size; ++id) {
        const AddedToken* added = m_parts.added.find(id);
        data.tokens.push_back(exporter.textOf(id, added));
        data.tokenTypes.push_back(exporter.typeOf(id, added));
    }
    const std::vector<MergeTable::Merge> merges = m_parts.vocabulary.merges.byRank();
    if (byScores()) {
        data.scores = m_parts.scores;
        data.scores.resize(count, 0.0f);
    } else if (sentencePiece) {
        data.scores = scoresFromMerges(merges, count);
    } else {
        data.merges.reserve(merges.size());
        for (const MergeTable::Merge& merge : merges) {
            data.merges.push_back(std::string(m_parts.vocabulary.tokens.text(merge.left)) + " " +
                                  std::string(m_parts.vocabulary.tokens.text(merge.right)));
        }
    }
    const auto holds = [](const std::vector<std::int32_t>& ids, std::int32_t id) {
        return id >= 0 && std::find(ids.begin(), ids.end(), id) != ids.end();
    };
    data.bos = m_parts.bos;
    data.eos = m_parts.eos;
    data.unknown = m_parts.bpe.unknown;
    data.padding = m_parts.padding;
    data.addBos = holds(m_parts.prefix, m_parts.bos);
    data.addEos = holds(m_parts.suffix, m_parts.eos);
    data.addSpacePrefix = m_parts.addSpacePrefix;
    data.chatTemplate = m_parts.chatTemplate;
    return data;
}

}  // namespace fettle
