// The tokenizers of each family against ids that Hugging Face's tokenizers gave
// (tests/data/tokenizers), the fixtures, and broken files.
#include <gtest/gtest.h>

#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "engine/core/error.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/utf8.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string readFile(const fs::path& file) {
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
}

std::vector<std::string> styles() {
    return {"gpt2",      "llama3", "qwen2",    "gemma", "llama2",
            "metaspace", "digits", "deepseek", "words"};
}

fs::path folderOf(const std::string& style) {
    return fs::path(FETTLE_TEST_DATA) / "tokenizers" / style;
}

/// A folder of files that goes away with it.
class TemporaryFolder {
public:
    TemporaryFolder()
        : m_path(fs::temp_directory_path() / ("fettle_tokenizer_" + std::to_string(::getpid()) +
                                              "_" + std::to_string(s_count++))) {
        fs::create_directories(m_path);
    }
    ~TemporaryFolder() { fs::remove_all(m_path); }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    const fs::path& path() const { return m_path; }
    void write(const std::string& name, const std::string& text) const {
        std::ofstream(m_path / name, std::ios::binary) << text;
    }

private:
    static inline int s_count = 0;
    fs::path m_path;
};

std::string messageOf(const fs::path& folder) {
    try {
        Tokenizer::fromFolder(folder);
    } catch (const EngineError& error) {
        EXPECT_EQ(error.kind(), ErrorKind::BadInput);
        return error.what();
    }
    return {};
}

std::string messageOf(const std::string& tokenizerJson) {
    const TemporaryFolder folder;
    folder.write("tokenizer.json", tokenizerJson);
    return messageOf(folder.path());
}

class TokenizerStyle : public testing::TestWithParam<std::string> {};

TEST_P(TokenizerStyle, GivesTheIdsAndTextsOfHuggingFace) {
    const auto tokenizer = Tokenizer::fromFolder(folderOf(GetParam()));
    const json golden = json::parse(readFile(folderOf(GetParam()) / "golden.json"));
    ASSERT_GT(golden["cases"].size(), 60u);
    for (const json& item : golden["cases"]) {
        const auto text = item["text"].get<std::string>();
        const auto ids = item["ids"].get<std::vector<std::int32_t>>();
        EXPECT_EQ(tokenizer->encode(text, false), ids) << text;
        EXPECT_EQ(tokenizer->encode(text, true), item["special"].get<std::vector<std::int32_t>>())
            << text;
        // Broken sequences stay bytes here and become U+FFFD there.
        EXPECT_EQ(replaceInvalidUtf8(tokenizer->decode(ids)), item["decoded"].get<std::string>());
        EXPECT_EQ(replaceInvalidUtf8(tokenizer->decode(ids, false)),
                  item["decoded_special"].get<std::string>());
    }
}

TEST_P(TokenizerStyle, TreatsInvalidUtf8AsReplacementCharacters) {
    const auto tokenizer = Tokenizer::fromFolder(folderOf(GetParam()));
    EXPECT_EQ(tokenizer->encode("a\xff\xe2\x82 b\xf0\x9f\x98", false),
              tokenizer->encode("a\ufffd\ufffd b\ufffd", false));
    EXPECT_EQ(tokenizer->encode("\xed\xa0\x80", false),
              tokenizer->encode("\ufffd\ufffd\ufffd", false));
}

TEST_P(TokenizerStyle, IdsAreBelowTheVocabularySize) {
    const auto tokenizer = Tokenizer::fromFolder(folderOf(GetParam()));
    const json golden = json::parse(readFile(folderOf(GetParam()) / "golden.json"));
    for (const json& item : golden["cases"]) {
        for (const std::int32_t id : tokenizer->encode(item["text"].get<std::string>(), true)) {
            ASSERT_GE(id, 0);
            ASSERT_LT(id, tokenizer->vocabularySize());
        }
    }
    EXPECT_EQ(tokenizer->decode({-1, 1 << 30}), "");
}

INSTANTIATE_TEST_SUITE_P(Families, TokenizerStyle, testing::ValuesIn(styles()),
                         [](const auto& style) { return style.param; });

TEST(Tokenizer, ByteLevelRoundTripsAnyText) {
    std::mt19937 random(5);
    const auto tokenizer = Tokenizer::fromFolder(folderOf("llama3"));
    for (int i = 0; i < 500; ++i) {
        std::string text;
        for (int n = static_cast<int>(random() % 60); n > 0; --n) {
            const char32_t code = random() % (random() % 2 == 0 ? 0x80 : 0x11000);
            appendUtf8(text, code >= 0xD800 && code < 0xE000 ? U'\n' : code);
        }
        EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, false)), text);
    }
}

TEST(Tokenizer, ThreadsMayShareIt) {
    const auto tokenizer = Tokenizer::fromFolder(folderOf("qwen2"));
    const json golden = json::parse(readFile(folderOf("qwen2") / "golden.json"));
    std::vector<std::thread> threads;
    std::atomic<int> wrong = 0;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (const json& item : golden["cases"]) {
                const auto ids = tokenizer->encode(item["text"].get<std::string>(), false);
                wrong += ids == item["ids"].get<std::vector<std::int32_t>>() ? 0 : 1;
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(wrong, 0);
}

TEST(Tokenizer, FixturesGiveTheirReferenceIds) {
    int seen = 0;
    for (const char* name : {"llama-4m", "qwen3-draft-500k", "gpt2-random", "gemma3-random"}) {
        const fs::path folder = fs::path(FETTLE_FIXTURES) / name;
        if (!fs::exists(folder / "reference.json")) {
            continue;
        }
        const auto tokenizer = Tokenizer::fromFolder(folder);
        EXPECT_EQ(tokenizer->describe(), "byte-level BPE, 2048 tokens");
        EXPECT_EQ(tokenizer->bos(), 0);
        EXPECT_EQ(tokenizer->stopIds(), std::vector<std::int32_t>{0});
        EXPECT_FALSE(tokenizer->addsBos());
        EXPECT_EQ(tokenizer->toGguf().pre, "gpt-2");
        const json reference = json::parse(readFile(folder / "reference.json"));
        for (const json& item : reference["cases"]) {
            EXPECT_EQ(tokenizer->encode(item["text"].get<std::string>(), true),
                      item["ids"].get<std::vector<std::int32_t>>());
            ++seen;
        }
    }
    if (seen == 0) {
        GTEST_SKIP() << "no fixtures at " << FETTLE_FIXTURES;
    }
}

TEST(Tokenizer, ReadsTheFilesBesideIt) {
    const TemporaryFolder folder;
    fs::copy(folderOf("qwen2") / "tokenizer.json", folder.path());
    folder.write("tokenizer_config.json",
                 R"({"bos_token": null, "eos_token": {"content": "<|im_end|>", "lstrip": false},
                     "pad_token": "<|endoftext|>", "chat_template": [
                     {"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]})");
    folder.write("generation_config.json", R"({"eos_token_id": [803, 805, 99999999]})");
    const auto tokenizer = Tokenizer::fromFolder(folder.path());
    EXPECT_EQ(tokenizer->chatTemplate(), "D");
    EXPECT_EQ(tokenizer->bos(), -1);
    const auto idOf = [&](const char* token) { return tokenizer->encode(token, false).at(0); };
    EXPECT_EQ(tokenizer->eos(), idOf("<|im_end|>"));
    std::vector<std::int32_t> stops{idOf("<|endoftext|>"), idOf("<|im_end|>"), 803, 805};
    std::sort(stops.begin(), stops.end());
    stops.erase(std::unique(stops.begin(), stops.end()), stops.end());
    EXPECT_EQ(tokenizer->stopIds(), stops);
    EXPECT_EQ(tokenizer->toGguf().padding, idOf("<|endoftext|>"));

    folder.write("chat_template.jinja", "J");
    EXPECT_EQ(Tokenizer::fromFolder(folder.path())->chatTemplate(), "J");
    folder.write("tokenizer_config.json", "{\"eos_token\": 5}");
    EXPECT_NE(messageOf(folder.path()).find("tokenizer_config.json: 'eos_token': wanted a string"),
              std::string::npos);
}

TEST(Tokenizer, ConfigurationOverrulesTheTemplate) {
    const TemporaryFolder folder;
    fs::copy(folderOf("llama2") / "tokenizer.json", folder.path());
    folder.write("tokenizer_config.json",
                 R"({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": false,
                     "add_eos_token": true})");
    const auto tokenizer = Tokenizer::fromFolder(folder.path());
    EXPECT_FALSE(tokenizer->addsBos());
    const std::vector<std::int32_t> ids = tokenizer->encode("a", true);
    EXPECT_NE(ids.front(), tokenizer->bos());
    EXPECT_EQ(ids.back(), tokenizer->eos());
    EXPECT_TRUE(Tokenizer::fromFolder(folderOf("llama2"))->addsBos());
}

TEST(Tokenizer, RefusesWhatItDoesNotSupportByName) {
    const auto wrap = [](const std::string& model, const std::string& rest = "") {
        return R"({"version": "1.0", "model": )" + model + rest + "}";
    };
    const std::string bpe = R"({"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2},
                               "merges": ["a b"]})";
    EXPECT_EQ(messageOf(wrap(bpe)), "");
    const auto expect = [&](const std::string& text, const std::string& part) {
        EXPECT_NE(messageOf(text).find(part), std::string::npos) << messageOf(text);
    };
    expect(wrap(R"({"type": "Unigram", "vocab": [["a", 0.0]]})"), "'Unigram' is not supported");
    expect(wrap(R"({"type": "WordPiece", "vocab": {"a": 0}})"), "'WordPiece' is not supported");
    expect(wrap(bpe, R"(, "normalizer": {"type": "Precompiled"})"), "'Precompiled'");
    expect(wrap(bpe, R"(, "pre_tokenizer": {"type": "UnicodeScripts"})"), "'UnicodeScripts'");
    expect(wrap(bpe, R"(, "decoder": {"type": "CTC"})"), "'CTC'");
    expect(wrap(bpe, R"(, "post_processor": {"type": "Other"})"), "'Other'");
    expect(wrap(bpe, R"(, "version": "2.0")"), "version '2.0'");
    expect(wrap(R"({"type": "BPE", "end_of_word_suffix": "</w>", "vocab": {}, "merges": []})"),
           "end_of_word_suffix");
    expect(wrap(R"({"vocab": {"a": 0, "b": 0}, "merges": []})"), "line 1: the id 0 is given twice");
    expect(wrap(R"({"vocab": {"a": 0, "a": 1}, "merges": []})"), "'a' is there twice");
    expect(wrap(R"({"vocab": {"a": 4000000000}, "merges": []})"), "out of range");
    expect(wrap(R"({"vocab": {"a": -1}, "merges": []})"), "out of range");
    expect(wrap(R"({"vocab": {"a": 99999999999999999999}, "merges": []})"), "wanted an integer");
    expect(wrap(R"({"vocab": {"a": 0}, "merges": ["a a"]})"), "not in the vocabulary");
    expect(wrap(R"({"vocab": {"a": 0}, "merges": ["aa"]})"), "not of two tokens");
    expect(wrap(R"({"vocab": {"a": 0}, "merges": [["a"]]})"), "a merge of one token");
    expect(wrap(R"({"vocab": {}, "merges": []})"), "the vocabulary is empty");
    expect(wrap(bpe, R"(, "added_tokens": [{"id": 1, "content": "x"}])"), "belongs to the token");
    expect(wrap(bpe, R"(, "added_tokens": [{"id": 9, "content": "x"}, {"id": 9, "content": "y"}])"),
           "given twice");
    expect(wrap(bpe, R"(, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("},
                        "behavior": "Isolated", "invert": false})"),
           "regular expression '('");
    expect("{\"model\": {\"vocab\": {\"\xff\": 0}}}", "not valid UTF-8");
    expect("[]", "wanted an object");
    expect("", "the file ends too early");
    expect(wrap(bpe) + "x", "something follows");
    EXPECT_NE(messageOf(fs::path("/nowhere")).find("holds no tokenizer.json"), std::string::npos);
}

TEST(Tokenizer, RunawayExpressionsAndNormalizersEndInAMessage) {
    const auto encode = [](const std::string& rest, const std::string& text) -> std::string {
        const TemporaryFolder folder;
        folder.write(
            "tokenizer.json",
            R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}, )" + rest + "}");
        try {
            Tokenizer::fromFolder(folder.path())->encode(text, false);
        } catch (const EngineError& error) {
            return error.what();
        }
        return "encoded";
    };
    EXPECT_NE(
        encode(R"("pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+a+)+$|(a|aa)+b"},
                        "behavior": "Isolated", "invert": false})",
               std::string(5000, 'a') + "c")
            .find("limit"),
        std::string::npos);
    std::string steps;
    for (int i = 0; i < 40; ++i) {
        steps += std::string(i > 0 ? "," : "") +
                 R"({"type": "Replace", "pattern": {"String": "a"}, "content": "aaaa"})";
    }
    EXPECT_NE(encode(R"("normalizer": {"type": "Sequence", "normalizers": [)" + steps + "]}",
                     std::string(3000, 'a'))
                  .find("times as long"),
              std::string::npos);
}

/// Every place of a document below `limit` characters of path, to be replaced by something else.
void collectPlaces(const json& value, const json::json_pointer& place,
                   std::vector<json::json_pointer>& places) {
    places.push_back(place);
    if (value.is_object()) {
        for (const auto& [key, inner] : value.items()) {
            if (place.to_string() != "/model/vocab" || key < "d") {
                collectPlaces(inner, place / key, places);
            }
        }
    } else if (value.is_array()) {
        for (std::size_t i = 0; i < std::min<std::size_t>(value.size(), 8); ++i) {
            collectPlaces(value[i], place / i, places);
        }
    }
}

/// Loading and using a broken file ends in a message or not at all; never in a crash.
void expectNoCrash(const TemporaryFolder& folder, const std::string& text) {
    folder.write("tokenizer.json", text);
    try {
        const auto tokenizer = Tokenizer::fromFolder(folder.path());
        const auto ids = tokenizer->encode("The king's  <s> caf\u00e9 12\n\n<bos>x", true);
        tokenizer->decode(ids);
        tokenizer->toGguf();
    } catch (const EngineError& error) {
        EXPECT_EQ(error.kind(), ErrorKind::BadInput);
        EXPECT_TRUE(isValidUtf8(error.what()));
    }
}

TEST(TokenizerFuzz, SwappedTypesNeverCrash) {
    const TemporaryFolder folder;
    const std::vector<json> values{nullptr,
                                   true,
                                   1,
                                   -1,
                                   1e300,
                                   "",
                                   "\u2581",
                                   json::array(),
                                   json::object(),
                                   4294967295u,
                                   json::array({1, "a"})};
    for (const char* style : {"words", "gemma", "digits", "metaspace"}) {
        const json good = json::parse(readFile(folderOf(style) / "tokenizer.json"));
        std::vector<json::json_pointer> places;
        collectPlaces(good, json::json_pointer(), places);
        std::size_t turn = 0;
        for (const json::json_pointer& place : places) {
            for (int i = 0; i < 3; ++i) {
                json bad = good;
                bad[place] = values[turn++ % values.size()];
                expectNoCrash(folder, bad.dump());
            }
        }
    }
}

TEST(TokenizerFuzz, TruncatedAndFlippedFilesNeverCrash) {
    const TemporaryFolder folder;
    std::mt19937 random(11);
    for (const char* style : {"gpt2", "llama2", "digits"}) {
        const std::string good = readFile(folderOf(style) / "tokenizer.json");
        for (std::size_t length = 0; length < good.size(); length += 1 + good.size() / 80) {
            expectNoCrash(folder, good.substr(0, length));
        }
        for (int i = 0; i < 150; ++i) {
            std::string bad = good;
            for (int n = static_cast<int>(random() % 3); n >= 0; --n) {
                // Most of the file is its tables; the settings lie at both ends.
                const std::size_t at = random() % 2 == 0
                                           ? random() % bad.size()
                                           : random() % std::min<std::size_t>(2000, bad.size());
                bad[at] = static_cast<char>(random() % 2 == 0 ? "{}[]\",:0\\n-"[random() % 11]
                                                              : static_cast<char>(random()));
            }
            expectNoCrash(folder, bad);
        }
    }
}

}  // namespace
}  // namespace fettle
