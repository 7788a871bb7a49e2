#include "engine/tokenizer/vocabulary_match.h"

#include <algorithm>

#include "engine/tokenizer/gguf_token_type.h"
#include "engine/tokenizer/json_part.h"
#include "engine/tokenizer/pipeline_tokenizer.h"

namespace fettle {

namespace {

/// A token's text without what the two file formats write differently.
std::string comparableText(const GgufTokenizerData& data, std::size_t id) {
    std::string text = data.tokens[id];
    if (data.model == "llama" && data.tokenTypes[id] == kUserDefined) {
        const std::string mark = kSpaceMark;
        for (std::size_t at = 0; (at = text.find(mark, at)) != std::string::npos;) {
            text.replace(at, mark.size(), " ");
        }
    }
    return text;
}

GgufTokenizerData tableOf(const Tokenizer& tokenizer) {
    GgufTokenizerData data = tokenizer.toGguf();
    data.tokenTypes.resize(data.tokens.size(), kNormal);
    return data;
}

std::string countOf(const GgufTokenizerData& data) {
    return std::to_string(data.tokens.size()) + " tokens";
}

bool onlyPlaceholdersFrom(const GgufTokenizerData& data, std::size_t begin) {
    return std::all_of(data.tokenTypes.begin() + static_cast<std::ptrdiff_t>(begin),
                       data.tokenTypes.end(), [](std::int32_t type) { return type == kUnused; });
}

std::string kindOf(const GgufTokenizerData& data) {
    return data.model == "gpt2" ? "byte-level BPE" : "SentencePiece BPE";
}

std::string tokenDifference(const GgufTokenizerData& a, const GgufTokenizerData& b) {
    const std::size_t common = std::min(a.tokens.size(), b.tokens.size());
    std::size_t different = 0, firstDifferent = 0;
    for (std::size_t id = 0; id < common; ++id) {
        const bool unused = a.tokenTypes[id] == kUnused && b.tokenTypes[id] == kUnused;
        if (!unused && comparableText(a, id) != comparableText(b, id)) {
            firstDifferent = different == 0 ? id : firstDifferent;
            ++different;
        }
    }
    if (different == 0) {
        return {};
    }
    return std::to_string(different) + " of " + std::to_string(common) +
           " tokens differ; the first is id " + std::to_string(firstDifferent) + ", " +
           quoteForMessage(a.tokens[firstDifferent]) + " in the first and " +
           quoteForMessage(b.tokens[firstDifferent]) + " in the second";
}

std::string specialDifference(const GgufTokenizerData& a, const GgufTokenizerData& b) {
    const auto isSpecial = [](std::int32_t type) { return type == kControl || type == kUnknown; };
    for (std::size_t id = 0; id < std::min(a.tokens.size(), b.tokens.size()); ++id) {
        const bool inFirst = isSpecial(a.tokenTypes[id]);
        if (inFirst != isSpecial(b.tokenTypes[id])) {
            return "the token " + quoteForMessage(a.tokens[id]) + " (id " + std::to_string(id) +
                   ") is special only in the " + (inFirst ? "first" : "second");
        }
    }
    return {};
}

std::string difference(const GgufTokenizerData& a, const GgufTokenizerData& b) {
    if (a.model != b.model) {
        return "the first is " + kindOf(a) + " with " + countOf(a) + ", the second " + kindOf(b) +
               " with " + countOf(b);
    }
    const std::size_t common = std::min(a.tokens.size(), b.tokens.size());
    if (!onlyPlaceholdersFrom(a, common) || !onlyPlaceholdersFrom(b, common)) {
        return "the first has " + countOf(a) + ", the second " + countOf(b);
    }
    if (const std::string tokens = tokenDifference(a, b); !tokens.empty()) {
        return tokens;
    }
    return specialDifference(a, b);
}

}  // namespace

VocabularyMatch matchVocabularies(const Tokenizer& first, const Tokenizer& second) {
    VocabularyMatch match;
    match.difference = difference(tableOf(first), tableOf(second));
    match.same = match.difference.empty();
    return match;
}

}  // namespace fettle
