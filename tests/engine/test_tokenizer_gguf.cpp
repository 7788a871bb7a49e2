// Tokenizers to and from GGUF metadata.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/core/error.h"
#include "engine/tokenizer/tokenizer.h"

namespace fettle {
namespace {

using nlohmann::json;

std::filesystem::path styleFolder(const std::string& style) {
    return std::filesystem::path(FETTLE_TEST_DATA) / "tokenizers" / style;
}

json goldenOf(const std::string& style) {
    std::ifstream stream(styleFolder(style) / "golden.json");
    return json::parse(stream);
}

/// A SentencePiece vocabulary of a few words.
GgufTokenizerData smallLlama() {
    GgufTokenizerData data;
    data.model = "llama";
    data.tokens = {"<unk>", "<s>", "</s>", "<0x0A>", "<0xE2>",  "\u2581", "a",  "b",
                   "c",     "ab",  "bc",   "abc",    "\u2581a", "[X]",    "  ", "<|im_end|>"};
    data.scores = {0, 0, 0, 0, 0, -9, -9, -9, -9, -2, -1, -3, -4, 0, 0, 0};
    data.tokenTypes = {2, 3, 3, 6, 6, 1, 1, 1, 1, 1, 1, 1, 1, 4, 4, 3};
    data.bos = 1;
    data.eos = 2;
    data.unknown = 0;
    data.addBos = true;
    return data;
}

std::string messageOf(const GgufTokenizerData& data) {
    try {
        Tokenizer::fromGguf(data, "model.gguf");
    } catch (const EngineError& error) {
        EXPECT_EQ(error.kind(), ErrorKind::BadInput);
        return error.what();
    }
    return {};
}

using Ids = std::vector<std::int32_t>;

TEST(TokenizerGguf, SentencePieceMergesTheHighestScoreFirst) {
    const auto tokenizer = Tokenizer::fromGguf(smallLlama(), "model.gguf");
    EXPECT_EQ(tokenizer->encode("abc", false), (Ids{11}));  // b+c, then a+bc
    EXPECT_EQ(tokenizer->encode("ab a", true), (Ids{1, 9, 12}));
    EXPECT_EQ(tokenizer->describe(), "SentencePiece BPE, 16 tokens");
    EXPECT_TRUE(tokenizer->addsBos());
    EXPECT_EQ(tokenizer->stopIds(), (Ids{2, 15}));
}

TEST(TokenizerGguf, SentencePieceFallsBackToBytesAndUnknown) {
    const auto tokenizer = Tokenizer::fromGguf(smallLlama(), "model.gguf");
    EXPECT_EQ(tokenizer->encode("a\nb", false), (Ids{6, 3, 7}));
    EXPECT_EQ(tokenizer->encode("\u2026", false), (Ids{4, 0, 0}));
    EXPECT_EQ(tokenizer->decode({6, 3, 7}), "a\nb");
    EXPECT_EQ(tokenizer->decode({4}), "\xe2");
}

TEST(TokenizerGguf, SpecialAndUserDefinedTokensAreFoundInText) {
    const auto tokenizer = Tokenizer::fromGguf(smallLlama(), "model.gguf");
    EXPECT_EQ(tokenizer->encode("a</s>[X]  b", false), (Ids{6, 2, 13, 14, 7}));
    EXPECT_EQ(tokenizer->decode({6, 2, 13, 14, 7}), "a[X]  b");
    EXPECT_EQ(tokenizer->decode({6, 2}, false), "a</s>");
}

TEST(TokenizerGguf, SpacePrefixIsAddedAndTakenAway) {
    GgufTokenizerData data = smallLlama();
    data.addSpacePrefix = true;
    const auto tokenizer = Tokenizer::fromGguf(data, "model.gguf");
    const Ids ids = tokenizer->encode("a b</s>a", false);
    EXPECT_EQ(ids, (Ids{12, 5, 7, 2, 12}));
    EXPECT_EQ(tokenizer->decode(ids), "a b a");
}

TEST(TokenizerGguf, ExportReadBackGivesTheSameIds) {
    for (const char* style : {"gpt2", "llama3", "qwen2", "deepseek", "llama2", "gemma"}) {
        const auto tokenizer = Tokenizer::fromFolder(styleFolder(style));
        const GgufTokenizerData data = tokenizer->toGguf();
        const auto again = Tokenizer::fromGguf(data, "model.gguf");
        EXPECT_EQ(again->vocabularySize(), tokenizer->vocabularySize());
        EXPECT_EQ(again->bos(), tokenizer->bos());
        EXPECT_EQ(again->addsBos(), tokenizer->addsBos());
        const json golden = goldenOf(style);
        for (const json& item : golden["cases"]) {
            const auto text = item["text"].get<std::string>();
            // What GGUF cannot say: tokens looked for in normalized text, and runs of spaces that
            // are tokens, which Hugging Face finds by their merges.
            if (text.find("caf\u00e9!") != std::string::npos ||
                (std::string(style) == "gemma" && (text.find("  ") != std::string::npos ||
                                                   text.find("\u2581") != std::string::npos))) {
                continue;
            }
            EXPECT_EQ(again->encode(text, true), item["special"].get<Ids>()) << style << text;
            EXPECT_EQ(again->decode(item["ids"].get<Ids>()),
                      tokenizer->decode(item["ids"].get<Ids>()))
                << style;
        }
        const GgufTokenizerData twice = again->toGguf();
        EXPECT_EQ(twice.tokens, data.tokens);
        EXPECT_EQ(twice.tokenTypes, data.tokenTypes);
        EXPECT_EQ(twice.merges, data.merges);
        EXPECT_EQ(twice.scores, data.scores);
        EXPECT_EQ(twice.pre, data.pre);
    }
}

TEST(TokenizerGguf, ExportNamesTypesAndPreTokenizer) {
    const GgufTokenizerData llama3 = Tokenizer::fromFolder(styleFolder("llama3"))->toGguf();
    EXPECT_EQ(llama3.model, "gpt2");
    EXPECT_EQ(llama3.pre, "llama-bpe");
    EXPECT_TRUE(llama3.addBos);
    EXPECT_EQ(llama3.tokenTypes.at(0), 3);
    EXPECT_EQ(llama3.tokens.at(0), "<|begin_of_text|>");
    EXPECT_EQ(Tokenizer::fromFolder(styleFolder("qwen2"))->toGguf().pre, "qwen2");
    EXPECT_EQ(Tokenizer::fromFolder(styleFolder("deepseek"))->toGguf().pre, "deepseek-v3");
    EXPECT_EQ(Tokenizer::fromFolder(styleFolder("digits"))->toGguf().pre, "default");

    const GgufTokenizerData gemma = Tokenizer::fromFolder(styleFolder("gemma"))->toGguf();
    EXPECT_EQ(gemma.model, "llama");
    EXPECT_FALSE(gemma.addSpacePrefix);
    EXPECT_EQ(gemma.tokenTypes.at(static_cast<std::size_t>(gemma.unknown)), 2);
    const auto byte = std::find(gemma.tokens.begin(), gemma.tokens.end(), "<0x41>");
    ASSERT_NE(byte, gemma.tokens.end());
    EXPECT_EQ(gemma.tokenTypes.at(static_cast<std::size_t>(byte - gemma.tokens.begin())), 6);
    EXPECT_NE(std::find(gemma.tokens.begin(), gemma.tokens.end(), "   "), gemma.tokens.end())
        << "the marks of user-defined tokens become spaces";
    EXPECT_TRUE(Tokenizer::fromFolder(styleFolder("llama2"))->toGguf().addSpacePrefix);
}

TEST(TokenizerGguf, RefusesBrokenMetadata) {
    const auto expect = [](const GgufTokenizerData& data, const std::string& part) {
        EXPECT_NE(messageOf(data).find(part), std::string::npos) << messageOf(data);
    };
    EXPECT_EQ(messageOf(smallLlama()), "");
    GgufTokenizerData data = smallLlama();
    data.model = "bert";
    expect(data, "model.gguf: tokenizer metadata: the tokenizer model 'bert' is not supported");
    data = smallLlama();
    data.scores.pop_back();
    expect(data, "15 scores for 16 tokens");
    data = smallLlama();
    data.scores[3] = std::nanf("");
    expect(data, "not a number");
    data = smallLlama();
    data.tokenTypes.resize(2);
    expect(data, "2 token types");
    expect(GgufTokenizerData(), "0 tokens");
    data = smallLlama();
    data.model = "gpt2";
    expect(data, "no merges");
    data.merges = {"a"};
    expect(data, "not of two tokens");
    data.merges = {"a zz"};
    expect(data, "not in the vocabulary");
    data.merges = {"a b"};
    EXPECT_EQ(messageOf(data), "");
    data.pre = "unheard-of";
    expect(data, "the pre-tokenizer 'unheard-of' is not supported");
    data = smallLlama();
    data.bos = 1 << 30;
    data.eos = -7;
    const auto tokenizer = Tokenizer::fromGguf(data, "model.gguf");
    EXPECT_EQ(tokenizer->bos(), -1);
    EXPECT_EQ(tokenizer->eos(), -1);
    EXPECT_EQ(tokenizer->encode("a", true), (Ids{6}));
}

TEST(TokenizerGguf, TheLastOfEqualTextsIsMeant) {
    GgufTokenizerData data = smallLlama();
    data.tokens[9] = "a";
    EXPECT_EQ(Tokenizer::fromGguf(data, "model.gguf")->encode("a", false), (Ids{9}));
}

}  // namespace
}  // namespace fettle
