#include "engine/tokenizer/vocabulary.h"

#include <algorithm>
#include <string>

#include "engine/tokenizer/bpe_model.h"
#include "engine/tokenizer/json_part.h"
#include "engine/tokenizer/utf8.h"

namespace fettle {

std::string Vocabulary::addMerge(std::string_view left, std::string_view right,
                                 std::uint32_t rank) {
    const std::int32_t leftId = tokens.find(left), rightId = tokens.find(right);
    if (leftId < 0 || rightId < 0) {
        return "the merge of " + quoteForMessage(left) + " and " + quoteForMessage(right) +
               " names a token that is not in the vocabulary";
    }
    const std::string_view last = tokens.text(m_lastMerged);
    const bool sameAgain = last.size() == left.size() + right.size() && last.starts_with(left) &&
                           last.ends_with(right);
    const std::int32_t merged =
        sameAgain ? m_lastMerged : tokens.find(std::string(left).append(right));
    m_lastMerged = merged;
    if (merged < 0) {
        return "the merge of " + quoteForMessage(left) + " and " + quoteForMessage(right) +
               " gives a token that is not in the vocabulary";
    }
    merges.add({leftId, rightId, rank, merged});
    return {};
}

std::int64_t largestTokenId(std::size_t entries) {
    return static_cast<std::int64_t>(std::min<std::size_t>(entries * 4 + 1'000'000, 1u << 30));
}

SafeCut findSafeCut(const TokenTable& tokens, std::string_view mark, std::int32_t unknown) {
    constexpr std::size_t kMostKept = 64;
    SafeCut cut;
    if (tokens.find(mark) < 0) {
        return cut;  // marks become unknown tokens, which may be fused across a cut
    }
    for (std::int32_t id = 0; id < tokens.idEnd(); ++id) {
        const std::string_view text = tokens.text(id);
        for (std::size_t at = text.find(mark, 1); at != std::string_view::npos;
             at = text.find(mark, at + mark.size())) {
            const std::string_view before = text.substr(0, at);
            if (before.ends_with(mark)) {
                continue;
            }
            // A byte token or the unknown token in front stands for something that is not its text.
            if (byteOfToken(before.substr(before.size() < 6 ? 0 : before.size() - 6)) >= 0 ||
                (unknown >= 0 && before.ends_with(tokens.text(unknown)))) {
                return cut;
            }
            const char32_t code = decodeUtf8(before, lastCharacterStart(before)).code;
            if (cut.keepTogether.find(code) == std::u32string::npos) {
                cut.keepTogether.push_back(code);
            }
            if (cut.keepTogether.size() > kMostKept) {
                return cut;
            }
        }
    }
    cut.possible = true;
    return cut;
}

}  // namespace fettle
