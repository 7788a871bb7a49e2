// Comparing the vocabularies of two models.
#include <gtest/gtest.h>

#include <filesystem>

#include "engine/tokenizer/vocabulary_match.h"

namespace fettle {
namespace {

std::shared_ptr<const Tokenizer> load(const std::string& style) {
    return Tokenizer::fromFolder(std::filesystem::path(FETTLE_TEST_DATA) / "tokenizers" / style);
}

std::string differenceOf(const GgufTokenizerData& a, const GgufTokenizerData& b) {
    return matchVocabularies(*Tokenizer::fromGguf(a, "a"), *Tokenizer::fromGguf(b, "b")).difference;
}

TEST(VocabularyMatch, AModelMatchesItsGgufForm) {
    for (const char* style : {"gpt2", "llama3", "gemma", "llama2"}) {
        const auto tokenizer = load(style);
        const auto again = Tokenizer::fromGguf(tokenizer->toGguf(), "model.gguf");
        const VocabularyMatch match = matchVocabularies(*tokenizer, *again);
        EXPECT_TRUE(match.same) << style << ": " << match.difference;
    }
}

TEST(VocabularyMatch, SaysWhatDiffers) {
    const auto gpt2 = load("gpt2"), llama3 = load("llama3"), gemma = load("gemma");
    EXPECT_EQ(matchVocabularies(*gpt2, *llama3).difference,
              "the first has 700 tokens, the second 803 tokens");
    EXPECT_EQ(matchVocabularies(*gpt2, *gemma).difference,
              "the first is byte-level BPE with 700 tokens, the second SentencePiece BPE with 1006 "
              "tokens");
    EXPECT_FALSE(matchVocabularies(*gpt2, *gemma).same);

    const GgufTokenizerData a = gpt2->toGguf();
    GgufTokenizerData b = a;
    b.tokens.push_back("[PAD700]");
    b.tokenTypes.push_back(5);
    EXPECT_EQ(differenceOf(a, b), "") << "a padded table is the same vocabulary";
    b = a;
    b.tokens[0] = "<|other|>";
    EXPECT_EQ(differenceOf(a, b),
              "1 of 700 tokens differ; the first is id 0, '<|endoftext|>' in the first and "
              "'<|other|>' in the second");
    b = a;
    b.tokenTypes[0] = 4;
    EXPECT_EQ(differenceOf(a, b), "the token '<|endoftext|>' (id 0) is special only in the first");
}

}  // namespace
}  // namespace fettle
