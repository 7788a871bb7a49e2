// The parts of the tokenizers on their own.
#include <gtest/gtest.h>

#include <random>

#include "engine/core/error.h"
#include "engine/tokenizer/added_vocabulary.h"
#include "engine/tokenizer/bpe_model.h"
#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/json_reader.h"
#include "engine/tokenizer/regex_dialect.h"
#include "engine/tokenizer/regex_pattern.h"
#include "engine/tokenizer/spm_model.h"
#include "engine/tokenizer/unicode_normalization.h"
#include "engine/tokenizer/utf8.h"
#include "engine/tokenizer/vocabulary.h"
#include "engine/tokenizer/word_cache.h"

namespace fettle {
namespace {

using Ids = std::vector<std::int32_t>;

TEST(Utf8, MaximalSubpartsBecomeOneReplacement) {
    EXPECT_TRUE(isValidUtf8("a\u00e9\u20ac\U0001F600"));
    EXPECT_EQ(replaceInvalidUtf8("\xf0\x90\x80"
                                 "a"),
              "\ufffda");
    EXPECT_EQ(replaceInvalidUtf8("\xc0\xaf"), "\ufffd\ufffd");
    EXPECT_EQ(replaceInvalidUtf8("\xf5\x80"), "\ufffd\ufffd");
    EXPECT_EQ(replaceInvalidUtf8("\xe0\x80\x80"), "\ufffd\ufffd\ufffd");
    EXPECT_FALSE(isValidUtf8("aaaaaaaa\xed\xa0\x80"));
    EXPECT_EQ(trailingSpaceBytes("a \u3000\n"), 5u);
    EXPECT_EQ(leadingSpaceBytes("\u00a0 a"), 3u);
    EXPECT_TRUE(isWordCharacter(U'\u200d'));
    EXPECT_FALSE(isWordCharacter(U'\u00b2'));
}

TEST(ByteLevel, AlphabetGoesThereAndBack) {
    std::string bytes;
    for (int byte = 0; byte < 256; ++byte) {
        bytes.push_back(static_cast<char>(byte));
    }
    const std::string text = toByteLevel(bytes);
    EXPECT_EQ(codePoints(text).size(), 256u);
    EXPECT_EQ(toByteLevel(" \n"), "\u0120\u010a");
    std::string back = "x";
    EXPECT_TRUE(appendFromByteLevel(text, back));
    EXPECT_EQ(back, "x" + bytes);
    EXPECT_FALSE(appendFromByteLevel("a b", back));
    EXPECT_EQ(back, "x" + bytes);
}

TEST(RegexDialect, SpellsOutWhatPcre2ReadsDifferently) {
    EXPECT_EQ(onigurumaToPcre2("a{2,3}+b"), "(?:a{2,3})+b");
    EXPECT_EQ(onigurumaToPcre2("(ab){,3}"), "(ab){0,3}");
    EXPECT_EQ(onigurumaToPcre2("x{2}?"), "(?:x{2})?");
    EXPECT_EQ(onigurumaToPcre2("x{2,}?"), "x{2,}?");
    EXPECT_EQ(onigurumaToPcre2("a{b"), "a\\{b");
    EXPECT_EQ(onigurumaToPcre2("(?m:.)"), "(?s:.)");
    EXPECT_EQ(onigurumaToPcre2("\\h\\u00e9"), "[0-9A-Fa-f]\\x{00e9}");
    EXPECT_EQ(onigurumaToPcre2("\\p{Han}\\p{^Lu}\\P{Letter}"), "\\p{sc:Han}\\p{^Lu}\\P{L}");
    EXPECT_EQ(onigurumaToPcre2("\\x{1F600}[]a]"), "\\x{1F600}[\\]a]");
    for (const char* bad : {"[a&&b]", "[a[b]]", "(*ANY)a", "(", ")", "[", "\\", "a(?i)b", "[^\\W]",
                            "\\p{Alnum}", "(?P<a>b)"}) {
        EXPECT_THROW(onigurumaToPcre2(bad), RegexDialectError) << bad;
    }
}

std::vector<std::string> partsOf(const char* pattern, std::string_view text) {
    std::vector<std::string> parts;
    RegexPattern(pattern, RegexPattern::Syntax::Oniguruma, "file")
        .forEachPart(text, [&](const auto& part, bool isMatch) {
            parts.push_back((isMatch ? "+" : "-") +
                            std::string(text.substr(part.begin, part.end - part.begin)));
        });
    return parts;
}

TEST(RegexPattern, PartsCoverTheText) {
    using Parts = std::vector<std::string>;
    EXPECT_EQ(partsOf("[0-9]", "a1b22"), (Parts{"-a", "+1", "-b", "+2", "+2"}));
    EXPECT_EQ(partsOf("x*", "axb"), (Parts{"+", "-a", "+x", "-b", "+"}));
    EXPECT_EQ(partsOf("\\s+(?!\\S)|\\s+", "a  \u180eb"), (Parts{"-a", "+ ", "+ ", "-\u180eb"}));
    EXPECT_EQ(partsOf("(?i:'s)", "'\u017f"), (Parts{"+'\u017f"}));
    EXPECT_EQ(partsOf("^b$", "a\nb\nc"), (Parts{"-a\n", "+b", "-\nc"}));
    EXPECT_EQ(partsOf("\\b\u00e9\\w", "\u00e9t\u00e9"), (Parts{"+\u00e9t", "-\u00e9"}));
}

TEST(UnicodeNormalization, ComposesAndOrdersMarks) {
    std::string text = "e\u0323\u0302 \u1100\u1161\u11a8 A\u030a";
    normalizeUnicode(text, NormalizationForm::Nfc);
    EXPECT_EQ(text, "\u1ec7 \uac01 \u00c5");
    text = "\ufb01 \uff21";
    normalizeUnicode(text, NormalizationForm::Nfkc);
    EXPECT_EQ(text, "fi A");
    normalizeUnicode(text = "\u00e9", NormalizationForm::Nfd);
    EXPECT_EQ(text, "e\u0301");
    // A long run of marks in the wrong order: quadratic ordering would take minutes.
    text = "a";
    for (int i = 0; i < 100'000; ++i) {
        text += i % 2 == 0 ? "\u0301" : "\u0323";
    }
    normalizeUnicode(text, NormalizationForm::Nfc);
    EXPECT_EQ(codePoints(text).front(), U'\u1ea1');
}

TEST(JsonReader, ReadsEscapesAndRefusesWhatIsNotJson) {
    const std::string text =
        R"( {"a\u00e9\ud83d\ude00\n": -12 , "b": [1, "x"], "c": {"]": "\\"}} )";
    JsonReader reader(text, "file");
    auto scope = reader.enterObject();
    std::string_view key;
    ASSERT_TRUE(reader.nextKey(scope, key));
    EXPECT_EQ(key, "a\u00e9\U0001F600\n");
    EXPECT_EQ(reader.readInteger(), -12);
    ASSERT_TRUE(reader.nextKey(scope, key));
    EXPECT_EQ(reader.skipValue(), R"([1, "x"])");
    ASSERT_TRUE(reader.nextKey(scope, key));
    EXPECT_EQ(reader.skipValue(), R"({"]": "\\"})");
    EXPECT_FALSE(reader.nextKey(scope, key));
    EXPECT_NO_THROW(reader.finish());

    const auto refuses = [](const std::string& bad) {
        JsonReader broken(bad, "file");
        EXPECT_THROW(broken.readString(), EngineError) << bad;
    };
    for (const char* bad : {"\"a", "\"\\x\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\u12g4\"",
                            "\"\n\"", "\"\\", "5", ""}) {
        refuses(bad);
    }
    for (const char* bad : {"1.5", "1e3", "x", "", "99999999999999999999"}) {
        JsonReader broken(bad, "file");
        EXPECT_THROW(broken.readInteger(), EngineError) << bad;
    }
    JsonReader nested(std::string_view("[[[[[["), "file");
    EXPECT_THROW(nested.skipValue(), EngineError);
}

TEST(PrefixTrie, FindsTheLeftmostLongest) {
    PrefixTrie trie;
    trie.build({{"ab", 1}, {"abcd", 2}, {"b", 3}, {"", 4}, {"ab", 5}});
    PrefixTrie::Hit hit;
    ASSERT_TRUE(trie.search("xxabcab", 0, hit));
    EXPECT_EQ(hit.begin, 2u);
    EXPECT_EQ(hit.end, 4u);
    EXPECT_EQ(hit.value, 1);
    ASSERT_TRUE(trie.search("zabcd", 0, hit));
    EXPECT_EQ(hit.value, 2);
    EXPECT_FALSE(trie.search("zacd", 0, hit));
    EXPECT_FALSE(trie.search("", 0, hit));
}

TEST(WordCache, KeepsShortWordsAcrossGrowth) {
    WordCache cache;
    for (std::int32_t i = 0; i < 5000; ++i) {
        const std::string word = "w" + std::to_string(i);
        ASSERT_EQ(cache.find(word).data, nullptr);
        const std::int32_t ids[2] = {i, -i};
        cache.insert(word, ids, 2);
    }
    const WordCache::Ids known = cache.find("w4321");
    ASSERT_EQ(known.count, 2u);
    EXPECT_EQ(known.data[1], -4321);
    EXPECT_EQ(cache.find(std::string(1000, 'x')).data, nullptr);
}

/// Random merges over a few letters, so that many candidates overlap.
Vocabulary randomVocabulary(std::mt19937& random) {
    Vocabulary vocabulary;
    std::vector<std::string> tokens{"a", "b", "c"};
    std::uint32_t rank = 0;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        vocabulary.tokens.add(static_cast<std::int32_t>(i), tokens[i]);
    }
    while (tokens.size() < 40) {
        const std::string left = tokens[random() % tokens.size()];
        const std::string right = tokens[random() % tokens.size()];
        const auto id = static_cast<std::int32_t>(tokens.size());
        if (vocabulary.tokens.add(id, left + right) == TokenTable::Added::Yes) {
            tokens.push_back(left + right);
            EXPECT_EQ(vocabulary.addMerge(left, right, rank++), "");
        }
    }
    return vocabulary;
}

/// The definition: the lowest rank anywhere, the leftmost of equal ones, until nothing merges.
Ids mergedByDefinition(const Vocabulary& vocabulary, std::string_view word) {
    Ids ids;
    for (const char letter : word) {
        ids.push_back(letter - 'a');
    }
    for (;;) {
        const MergeTable::Merge* best = nullptr;
        std::size_t at = 0;
        for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
            const auto* merge = vocabulary.merges.find(ids[i], ids[i + 1]);
            if (merge != nullptr && (best == nullptr || merge->rank < best->rank)) {
                best = merge;
                at = i;
            }
        }
        if (best == nullptr) {
            return ids;
        }
        ids[at] = best->merged;
        ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    }
}

TEST(BpeModel, ShortAndLongWordsMergeAsDefined) {
    std::mt19937 random(3);
    WordScratch scratch;
    for (int round = 0; round < 30; ++round) {
        const Vocabulary vocabulary = randomVocabulary(random);
        const BpeModel model(vocabulary.tokens, vocabulary.merges, {});
        for (const std::size_t length : {1u, 2u, 7u, 32u, 33u, 90u, 300u}) {
            std::string word;
            while (word.size() < length) {
                word.push_back(static_cast<char>('a' + random() % 3));
            }
            Ids ids;
            model.tokenize(word, scratch, ids);
            EXPECT_EQ(ids, mergedByDefinition(vocabulary, word)) << word;
        }
    }
}

TEST(BpeModel, UnknownCharactersFuseOrFallBackToBytes) {
    Vocabulary vocabulary;
    const std::vector<std::string> tokens{"<unk>", "a", "<0xC3>", "<0xA9>"};
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        vocabulary.tokens.add(static_cast<std::int32_t>(i), tokens[i]);
    }
    WordScratch scratch;
    const auto encode = [&](const BpeOptions& options, const char* word) {
        Ids ids;
        BpeModel(vocabulary.tokens, vocabulary.merges, options).tokenize(word, scratch, ids);
        return ids;
    };
    BpeOptions options;
    EXPECT_EQ(encode(options, "xya"), (Ids{1}));
    options.unknown = 0;
    EXPECT_EQ(encode(options, "xya\u00e9"), (Ids{0, 0, 1, 0}));
    options.fuseUnknown = true;
    EXPECT_EQ(encode(options, "xya\u00e9"), (Ids{0, 1, 0}));
    options.byteFallback = true;
    EXPECT_EQ(encode(options, "a\u00e9\u00e8"), (Ids{1, 2, 3, 0}));
}

TEST(SafeCut, NeverCutsWhereATokenCrosses) {
    TokenTable tokens;
    tokens.add(0, "\u2581");
    tokens.add(1, "a\u2581b");
    tokens.add(2, "\u2581\u2581x");
    const SafeCut cut = findSafeCut(tokens, "\u2581", -1);
    EXPECT_TRUE(cut.possible);
    EXPECT_EQ(cut.keepTogether, U"a");
    tokens.add(3, "<0x0A>\u2581");
    EXPECT_FALSE(findSafeCut(tokens, "\u2581", -1).possible);
    EXPECT_FALSE(findSafeCut(TokenTable(), "\u2581", -1).possible);
}

}  // namespace
}  // namespace fettle
