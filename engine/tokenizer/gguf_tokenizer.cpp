#include "engine/tokenizer/gguf_tokenizer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/core/error.h"
#include "engine/tokenizer/gguf_pre.h"
#include "engine/tokenizer/gguf_token_type.h"
#include "engine/tokenizer/json_part.h"
#include "engine/tokenizer/utf8.h"

namespace fettle {

namespace {

constexpr std::size_t kMostTokens = 8u << 20;

class Builder {
public:
    Builder(const GgufTokenizerData& data, const std::string& origin)
        : m_data(data), m_origin(origin) {
        m_parts.origin = origin;
    }

    TokenizerParts run() {
        checkSizes();
        addTokens();
        if (m_data.model == "gpt2") {
            byteLevel();
        } else if (m_data.model == "llama") {
            sentencePiece();
        } else {
            fail("the tokenizer model " + quoteForMessage(m_data.model) +
                 " is not supported; only 'gpt2' and 'llama' are");
        }
        addSpecialTokens();
        m_parts.chatTemplate = m_data.chatTemplate;
        m_parts.tokenTypes = m_data.tokenTypes;
        return std::move(m_parts);
    }

private:
    [[noreturn]] void fail(const std::string& cause) const {
        throwBadInput(m_origin, "tokenizer metadata: " + cause);
    }

    void checkSizes() const {
        const std::size_t count = m_data.tokens.size();
        if (count == 0 || count > kMostTokens) {
            fail("there are " + std::to_string(count) + " tokens");
        }
        if (!m_data.tokenTypes.empty() && m_data.tokenTypes.size() != count) {
            fail("there are " + std::to_string(m_data.tokenTypes.size()) + " token types for " +
                 std::to_string(count) + " tokens");
        }
    }

    std::int32_t typeOf(std::size_t id) const {
        return m_data.tokenTypes.empty() ? kNormal : m_data.tokenTypes[id];
    }
    std::int32_t validId(std::int32_t id) const {
        return id >= 0 && static_cast<std::size_t>(id) < m_data.tokens.size() ? id : -1;
    }

    void addTokens() {
        std::size_t bytes = 0;
        for (const std::string& token : m_data.tokens) {
            bytes += token.size();
        }
        TokenTable& tokens = m_parts.vocabulary.tokens;
        tokens.reserve(m_data.tokens.size(), bytes);
        for (std::size_t id = 0; id < m_data.tokens.size(); ++id) {
            // Files with the same text twice exist; the later one is meant, as in llama.cpp.
            tokens.addOrRename(static_cast<std::int32_t>(id), m_data.tokens[id]);
        }
        m_parts.bpe.unknown = validId(m_data.unknown);
        m_parts.bos = validId(m_data.bos);
        m_parts.eos = validId(m_data.eos);
        m_parts.padding = validId(m_data.padding);
    }

    void byteLevel() {
        const GgufPre* pre = findGgufPre(m_data.pre);
        if (pre == nullptr) {
            fail("the pre-tokenizer " + quoteForMessage(m_data.pre) + " is not supported");
        }
        m_parts.ggufPre = m_data.pre.empty() ? "default" : m_data.pre;
        m_parts.bpe.byteLevel = true;
        m_parts.bpe.ignoreMerges = pre->ignoreMerges;
        if (pre->nfc) {
            m_parts.normalizers.push_back(makeNfc());
        }
        for (const char* pattern : pre->patterns) {
            m_parts.preTokenizers.push_back(makeSplit(pattern, RegexPattern::Syntax::Oniguruma,
                                                      SplitBehavior::Isolated, false, m_origin));
        }
        m_parts.decoders = makeByteLevelDecoder();
        addMerges();
    }

    void addMerges() {
        if (m_data.merges.empty()) {
            fail("there are no merges");
        }
        m_parts.vocabulary.merges.reserve(m_data.merges.size());
        std::uint32_t rank = 0;
        for (const std::string& merge : m_data.merges) {
            const std::string_view both = merge;
            const std::size_t space = both.find(' ', 1);  // the left token may be a space
            if (space == std::string_view::npos) {
                fail("the merge " + quoteForMessage(both) + " is not of two tokens");
            }
            const std::string wrong =
                m_parts.vocabulary.addMerge(both.substr(0, space), both.substr(space + 1), rank++);
            if (!wrong.empty()) {
                fail(wrong);
            }
        }
    }

    void sentencePiece() {
        if (m_data.scores.size() != m_data.tokens.size()) {
            fail("there are " + std::to_string(m_data.scores.size()) + " scores for " +
                 std::to_string(m_data.tokens.size()) + " tokens");
        }
        if (!std::all_of(m_data.scores.begin(), m_data.scores.end(),
                         [](float score) { return std::isfinite(score); })) {
            fail("a score is not a number");
        }
        m_parts.ggufPre = m_data.pre.empty() ? "default" : m_data.pre;
        m_parts.scores = m_data.scores;
        m_parts.addSpacePrefix = m_data.addSpacePrefix;
        if (m_data.addSpacePrefix) {
            m_parts.normalizers.push_back(makePrepender(" "));
        }
        m_parts.normalizers.push_back(makeSpaceReplacer(kSpaceMark));
        m_parts.decoders = makeSentencePieceDecoder(m_data.addSpacePrefix);
    }

    void addSpecialTokens() {
        std::vector<AddedToken> added;
        std::vector<std::string> contents;
        for (std::size_t i = 0; i < m_data.tokens.size(); ++i) {
            const auto id = static_cast<std::int32_t>(i);
            const std::int32_t type = typeOf(i);
            const bool special = type == kControl || type == kUnknown;
            if (special || type == kUserDefined) {
                AddedToken token;
                token.id = id;
                token.content = m_data.tokens[i];
                token.special = special;
                contents.push_back(token.content);
                added.push_back(std::move(token));
            }
        }
        m_parts.added.build(std::move(added), contents);
        if (m_data.addBos && m_parts.bos >= 0) {
            m_parts.prefix.push_back(m_parts.bos);
        }
        if (m_data.addEos && m_parts.eos >= 0) {
            m_parts.suffix.push_back(m_parts.eos);
        }
        m_parts.stopIds.push_back(m_parts.eos);
        addKnownStopIds(m_parts);
    }

    const GgufTokenizerData& m_data;
    const std::string& m_origin;
    TokenizerParts m_parts;
};

}  // namespace

TokenizerParts partsFromGguf(const GgufTokenizerData& data, const std::string& origin) {
    return Builder(data, origin).run();
}

}  // namespace fettle
