// Speculative decoding with real models: whatever drafts, greedy text is bit for bit that of plain
// decoding, the cache is what a fresh pass would leave, and the setup travels with the model.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "engine/backend/cpu_backend.h"
#include "engine/core/random.h"
#include "engine/data/data_loader.h"
#include "engine/decode/generator.h"
#include "engine/distill/medusa_trainer.h"
#include "engine/eval/text_windows.h"
#include "engine/io/exporter.h"
#include "engine/job/draft_trials.h"
#include "engine/job/recipe_runner.h"
#include "engine/speculative/block_influence.h"
#include "engine/speculative/draft_source.h"
#include "engine/speculative/lookup_proposer.h"
#include "engine/speculative/medusa_proposer.h"
#include "engine/speculative/speculation_measure.h"
#include "engine/technique/technique.h"
#include "tests/support/fixtures.h"
#include "tests/support/model_files.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;

/// The bundled pair on two threads, with prompts from the bundled text.
class SpeculativeDecoding : public ::testing::Test {
protected:
    SpeculativeDecoding()
        : m_control({}, nullptr, m_sink),
          m_model(loadModel("demo")),
          m_backend(2),
          m_target(m_model, m_backend) {
        m_ids = m_model.tokenizer->encode(speculationText(""), false);
    }

    std::vector<std::int32_t> prompt(std::size_t index, std::size_t size = 24) const {
        const std::size_t at = index * 67 % (m_ids.size() - size);
        return {m_ids.begin() + static_cast<std::ptrdiff_t>(at),
                m_ids.begin() + static_cast<std::ptrdiff_t>(at + size)};
    }
    SpeculativeSetup setup(const std::string& draft, const std::string& tokens = "auto",
                           const std::string& tree = "off") {
        return makeSetup({draft, tokens, tree}, m_model, m_backend, {}, m_control);
    }
    std::unique_ptr<Proposer> proposer(const SpeculativeSetup& setup) {
        return makeProposer(setup, m_model, m_target, m_backend, m_backend.pool(), m_control);
    }
    std::vector<std::int32_t> decode(const std::vector<std::int32_t>& prompt, int tokens,
                                     Proposer* proposer, DraftLength* length,
                                     const SamplingOptions& sampling = {},
                                     const DraftTree& tree = {}) {
        SpeculativeDecoder decoder(m_target, proposer, length, sampling,
                                   static_cast<std::int64_t>(prompt.size()) + tokens, tree);
        decoder.begin(prompt, m_control);
        const auto wanted = prompt.size() + static_cast<std::size_t>(tokens);
        while (decoder.text().size() < wanted)
            decoder.next(static_cast<int>(wanted - decoder.text().size()), m_control);
        EXPECT_EQ(decoder.text().size(), wanted);
        m_counts.add(decoder.counts());
        return decoder.text();
    }

    /// Of chains of four on sixteen prompts.
    double acceptedLength(Proposer& proposer) {
        FixedDraftLength four(4);
        m_counts = {};
        for (std::size_t i = 0; i < 16; ++i)
            decode(prompt(5 * i), 32, &proposer, &four);
        return m_counts.meanAcceptedLength();
    }

    NullProgress m_sink;
    RunControl m_control;
    Model m_model;
    CpuBackend m_backend;
    Transformer m_target;
    std::vector<std::int32_t> m_ids;
    SpeculationCounts m_counts;
};

/// Guesses at random; may say anything.
class RandomProposer : public Proposer {
public:
    std::string description() const override { return "random tokens"; }
    void restart() override {}
    void propose(const DraftRequest& request, Draft& draft) override {
        while (draft.size() < request.most)
            draft.add(static_cast<std::int32_t>(
                          m_random.below(static_cast<std::uint64_t>(request.vocabulary))),
                      draft.size() - 1, 0.5);
    }
    std::uint64_t bytes() const override { return 0; }

private:
    Philox m_random{5};
};

TEST_F(SpeculativeDecoding, GreedyTextIsThatOfPlainDecodingOnFiveHundredPrompts) {
    constexpr int kPrompts = test::kSanitized ? 21 : 504, kTokens = 24;
    struct Way {
        std::string draft, tokens, tree = "off";
    };
    const std::vector<Way> ways{{"demo-draft", "4"},
                                {"demo-draft", "auto"},
                                {"ngram", "8"},
                                {"suffix", "auto"},
                                {"self:1", "3"},
                                {"self:int4-g32", "5"},
                                {"self:2", "auto"},
                                {"demo-draft", "auto", "auto"},
                                {"demo-draft", "12", "auto"},
                                {"demo-draft", "auto", "3-2-1-1"},
                                {"ngram", "12", "auto"},
                                {"suffix", "8", "auto"},
                                {"self:1", "8", "2-2-1"},
                                {"text:demo-draft", "4"},
                                {"int8:demo-draft", "4"},
                                {"ngram+int8:demo-draft", "auto"},
                                {"suffix+demo-draft", "6", "auto"},
                                {"suffix+self:1", "auto", "2-1-1"}};
    std::vector<std::unique_ptr<Proposer>> proposers;
    std::vector<SpeculativeSetup> setups;
    for (const Way& way : ways) {
        setups.push_back(setup(way.draft, way.tokens, way.tree));
        proposers.push_back(proposer(setups.back()));
    }
    RandomProposer random;
    FixedDraftLength sixteen(16);
    for (int i = 0; i < kPrompts; ++i) {
        const auto index = static_cast<std::size_t>(i);
        const std::vector<std::int32_t> text = prompt(index, 8 + index % 40);
        const std::vector<std::int32_t> plain = decode(text, kTokens, nullptr, nullptr);
        const std::size_t way = index % ways.size();
        const auto length = makeDraftLength(setups[way]);
        ASSERT_EQ(decode(text, kTokens, proposers[way].get(), length.get(), {},
                         draftTree(ways[way].tree)),
                  plain)
            << ways[way].draft << " " << ways[way].tree << ", prompt " << i;
        if (i % 8 == 0) {
            ASSERT_EQ(decode(text, kTokens, &random, &sixteen), plain) << "random, prompt " << i;
        }
    }
}

/// Notes when it is asked.
class WatchedProposer : public Proposer {
public:
    std::string description() const override { return "watched"; }
    void restart() override { ++restarts; }
    void propose(const DraftRequest&, Draft&) override { ++asked; }
    std::uint64_t bytes() const override { return 0; }
    int restarts = 0, asked = 0;
};

TEST_F(SpeculativeDecoding, TheFirstTokenWaitsForNoGuess) {
    WatchedProposer watched;
    FixedDraftLength four(4);
    const std::vector<std::int32_t> text = prompt(2);
    SpeculativeDecoder decoder(m_target, &watched, &four, {},
                               static_cast<std::int64_t>(text.size()) + 8);
    const std::int32_t first = decoder.begin(text, m_control);
    EXPECT_EQ(watched.restarts, 1);
    EXPECT_EQ(watched.asked, 0);
    EXPECT_EQ(first, decode(text, 1, nullptr, nullptr).back());
    decoder.next(4, m_control);
    EXPECT_EQ(watched.asked, 1);
}

TEST_F(SpeculativeDecoding, ADraftModelIsLoadedOnce) {
    const std::vector<std::int32_t> text = prompt(2), plain = decode(text, 24, nullptr, nullptr);
    FixedDraftLength four(4);
    for (const char* prefix : {"", "int8:", "text:"}) {
        test::TempFolder folder;
        fs::copy(loadModel("demo-draft").path, folder / "draft", fs::copy_options::recursive);
        const SpeculativeSetup made = setup(prefix + (folder / "draft").string(), "4");
        ASSERT_TRUE(made.draftModel);
        fs::remove_all(folder / "draft");  // whoever loads it again finds nothing
        const auto draft = proposer(made);
        m_counts = {};
        EXPECT_EQ(decode(text, 24, draft.get(), &four), plain) << prefix;
        EXPECT_GT(m_counts.accepted, 0) << prefix;
    }
}

TEST_F(SpeculativeDecoding, CacheIsWhatAFreshPassLeaves) {
    const SpeculativeSetup four = setup("self:1", "4");
    const auto self = proposer(four);
    FixedDraftLength length(4);
    const std::vector<std::int32_t> text = prompt(3);
    const std::int64_t capacity = static_cast<std::int64_t>(text.size()) + 30;
    SpeculativeDecoder decoder(m_target, self.get(), &length, {}, capacity);
    decoder.begin(text, m_control);
    for (int round = 0; round < 6; ++round) {
        decoder.next(5, m_control);
        KvCache fresh = m_target.makeCache(capacity);
        std::vector<std::int32_t> seen = decoder.text();
        seen.pop_back();
        m_target.forward(seen, fresh);
        ASSERT_EQ(decoder.cache().length(), fresh.length());
        const ModelConfig& c = m_model.config;
        for (std::int64_t layer = 0; layer < c.layerCount(); ++layer)
            for (std::int64_t head = 0; head < c.kvHeads; ++head) {
                // Values lie [head][position][headDim], keys [head][position / 16][headDim][16].
                const auto* a = static_cast<const std::uint16_t*>(decoder.cache().values(layer)) +
                                head * fresh.room() * c.headDim;
                const auto* b = static_cast<const std::uint16_t*>(fresh.values(layer)) +
                                head * fresh.room() * c.headDim;
                ASSERT_EQ(
                    std::memcmp(a, b, static_cast<std::size_t>(fresh.length() * c.headDim) * 2), 0);
                const auto* ka = static_cast<const std::uint16_t*>(decoder.cache().keys(layer)) +
                                 head * fresh.room() * c.headDim;
                const auto* kb = static_cast<const std::uint16_t*>(fresh.keys(layer)) +
                                 head * fresh.room() * c.headDim;
                for (std::int64_t p = 0; p < fresh.length(); ++p) {
                    const std::int64_t block = p / 16 * 16;
                    for (std::int64_t d = 0; d < c.headDim; ++d) {
                        const std::int64_t at = block * c.headDim + d * 16 + p - block;
                        ASSERT_EQ(ka[at], kb[at]);
                    }
                }
            }
    }
}

TEST_F(SpeculativeDecoding, SampledTextRepeatsForASeedAndDraftsAreAccepted) {
    SamplingOptions sampling;
    sampling.temperature = 0.8;
    sampling.topP = 0.95;
    const SpeculativeSetup drafted = setup("demo-draft", "4");
    const auto first = proposer(drafted), second = proposer(drafted);
    FixedDraftLength length(4);
    const std::vector<std::int32_t> a = decode(prompt(1), 64, first.get(), &length, sampling);
    EXPECT_EQ(decode(prompt(1), 64, second.get(), &length, sampling), a);
    sampling.seed = 2;
    EXPECT_NE(decode(prompt(1), 64, second.get(), &length, sampling), a);
    EXPECT_GT(m_counts.accepted, 0);
    EXPECT_GT(m_counts.tried, m_counts.accepted);
}

TEST_F(SpeculativeDecoding, CountsAddUp) {
    const SpeculativeSetup drafted = setup("demo-draft", "6");
    const auto draft = proposer(drafted);
    FixedDraftLength length(6);
    decode(prompt(9), 60, draft.get(), &length);
    EXPECT_EQ(m_counts.emitted, m_counts.accepted + m_counts.rounds);
    EXPECT_LE(m_counts.tried, m_counts.drafted);
    std::int64_t tried = 0, accepted = 0;
    for (std::size_t i = 0; i < m_counts.triedAt.size(); ++i) {
        tried += m_counts.triedAt[i];
        accepted += m_counts.acceptedAt[i];
        if (i > 0) {
            EXPECT_LE(m_counts.triedAt[i], m_counts.acceptedAt[i - 1]);
        }
    }
    EXPECT_EQ(tried, m_counts.tried);
    EXPECT_EQ(accepted, m_counts.accepted);
    EXPECT_GT(m_counts.acceptanceRate(), 0.3);  // the draft was distilled from this very model
}

TEST_F(SpeculativeDecoding, TokensSayWhereTheyCameFrom) {
    const SpeculativeSetup drafted = setup("demo-draft", "4");
    const auto draft = proposer(drafted);
    FixedDraftLength length(4);
    GenerateOptions options;
    options.maxNewTokens = 200;  // more than is decoded at a time
    options.ignoreStop = true;
    options.proposer = draft.get();
    options.draftLength = &length;
    std::string streamed, kept;
    std::int64_t accepted = 0, rejected = 0, tokens = 0, round = -1;
    const GenerateReport report =
        generate(m_target, *m_model.tokenizer, prompt(9), options, m_control,
                 [&](const std::string& piece, const std::vector<TokenPiece>& pieces) {
                     streamed += piece;
                     ++round;
                     for (const TokenPiece& token : pieces) {
                         EXPECT_EQ(token.round, round);
                         accepted += token.origin == TokenPiece::Origin::Accepted ? 1 : 0;
                         if (token.origin == TokenPiece::Origin::Rejected) {
                             ++rejected;
                         } else {
                             ++tokens;
                             kept += token.text;
                         }
                     }
                 });
    EXPECT_EQ(streamed, report.text);
    EXPECT_EQ(kept, report.text);
    EXPECT_EQ(tokens, 200);
    ASSERT_TRUE(report.speculation);
    EXPECT_EQ(accepted, report.speculation->accepted);
    EXPECT_EQ(rejected, report.speculation->drafted - report.speculation->accepted);
    EXPECT_GT(report.weightBytes, draft->bytes());
    EXPECT_EQ(report.promptTokens, 24);
}

TEST_F(SpeculativeDecoding, LookupsCopyWhatFollowedBefore) {
    const std::vector<std::int32_t> text{1, 2, 3, 4, 5, 6, 9, 2, 3, 4, 7, 8, 2, 3, 4};
    KvCache cache = m_target.makeCache(4);
    PhiloxChance chance(1);
    const SamplingOptions greedy;
    FixedDraftLength three(3);
    const auto ask = [&](Proposer& proposer, std::span<const std::int32_t> said, int most = 3,
                         const std::string& tree = "off") {
        const DraftTree shape = draftTree(tree);
        Draft draft;
        proposer.propose({said, cache, 3, most, 2048, greedy, chance, three, shape, {}, nullptr},
                         draft);
        std::vector<std::int32_t> tokens;
        for (const DraftNode& node : draft.nodes)
            tokens.push_back(node.token);
        return tokens;
    };
    NgramProposer ngram;
    EXPECT_EQ(ask(ngram, text), (std::vector<std::int32_t>{7, 8, 2}));  // the latest place
    ngram.restart();
    EXPECT_TRUE(ask(ngram, std::span(text).first(6)).empty());
    SuffixProposer suffix;
    EXPECT_EQ(ask(suffix, text).size(), 3u);
    suffix.restart();
    // The sequence before is remembered.
    EXPECT_EQ(ask(suffix, std::vector<std::int32_t>{40, 4, 5}),
              (std::vector<std::int32_t>{6, 9, 2}));
}

TEST_F(SpeculativeDecoding, TreesOfLookupsBranchWhereTheTextDid) {
    const std::vector<std::int32_t> text{2, 3, 4, 5, 6, 9, 2, 3, 4, 7, 8, 2, 3, 4};
    KvCache cache = m_target.makeCache(4);
    PhiloxChance chance(1);
    const SamplingOptions greedy;
    FixedDraftLength six(6);
    const DraftTree shape = draftTree("auto");
    NgramProposer ngram;
    Draft draft;
    ngram.propose({text, cache, 3, 6, 2048, greedy, chance, six, shape, {}, nullptr}, draft);
    ASSERT_EQ(draft.size(), 6);
    EXPECT_FALSE(draft.isChain());
    std::vector<std::int32_t> tokens, parents;
    for (const DraftNode& node : draft.nodes) {
        tokens.push_back(node.token);
        parents.push_back(node.parent);
    }
    EXPECT_EQ(tokens, (std::vector<std::int32_t>{7, 8, 2, 5, 6, 9}));
    EXPECT_EQ(parents, (std::vector<std::int32_t>{-1, 0, 1, -1, 3, 4}));
}

TEST_F(SpeculativeDecoding, ATreeTokenIsBitForBitThatOfTheTextBeforeIt) {
    const std::vector<std::int32_t> text = prompt(4, 61);  // the tree crosses a piece of 64
    const std::vector<std::int32_t> ids{5, 6, 7, 8, 9, 10, 11}, parents{-1, 0, 1, 0, 3, 4, -1};
    const std::int64_t vocabulary = m_model.config.vocabularySize;
    KvCache cache = m_target.makeCache(80);
    m_target.forward(text, cache);
    m_target.forward(ids, cache, nullptr, nullptr, parents);
    std::vector<float> whole(static_cast<std::size_t>(7 * vocabulary));
    m_target.logits(0, 7, whole.data());
    for (std::size_t node = 0; node < ids.size(); ++node) {
        std::vector<std::int32_t> alone, path;
        for (auto at = static_cast<std::int32_t>(node); at >= 0;
             at = parents[static_cast<std::size_t>(at)])
            path.insert(path.begin(), at);
        alone = text;
        for (const std::int32_t at : path)
            alone.push_back(ids[static_cast<std::size_t>(at)]);
        KvCache fresh = m_target.makeCache(80);
        m_target.forward(std::span(alone).first(text.size()), fresh);
        for (std::size_t i = text.size(); i < alone.size(); ++i)
            m_target.forward({&alone[i], 1}, fresh);
        const float* want = m_target.lastLogits();
        EXPECT_TRUE(std::equal(want, want + vocabulary,
                               whole.begin() + static_cast<std::ptrdiff_t>(node) * vocabulary))
            << "node " << node;
    }
    // In two steps as well.
    cache.truncate(static_cast<std::int64_t>(text.size()));
    m_target.forward(std::span(ids).first(3), cache, nullptr, nullptr, std::span(parents).first(3));
    m_target.forward(std::span(ids).subspan(3), cache, nullptr, nullptr, parents);
    std::vector<float> rest(static_cast<std::size_t>(4 * vocabulary));
    m_target.logits(0, 4, rest.data());
    EXPECT_TRUE(std::equal(rest.begin(), rest.end(), whole.begin() + 3 * vocabulary));
}

TEST_F(SpeculativeDecoding, TreesAcceptMoreThanChainsOfTheSameLevels) {
    const SpeculativeSetup drafted = setup("demo-draft", "8");
    const auto draft = proposer(drafted);
    FixedDraftLength three(3);
    for (std::size_t i = 0; i < 24; ++i)
        decode(prompt(3 * i), 32, draft.get(), &three);
    const double chain = m_counts.meanAcceptedLength();
    m_counts = {};
    FixedDraftLength many(16);
    for (std::size_t i = 0; i < 24; ++i)
        decode(prompt(3 * i), 32, draft.get(), &many, {}, draftTree("4-2-1"));
    EXPECT_GT(m_counts.meanAcceptedLength(), chain);
    // Levels are counted once however many siblings they have.
    EXPECT_EQ(m_counts.levelsAccepted, m_counts.accepted);
    EXPECT_LE(m_counts.levelsTried, m_counts.tried);
    std::int64_t rounds = 0, accepted = 0;
    for (const auto& [form, seen] : m_counts.forms) {
        EXPECT_LE(form.first, form.second);
        rounds += seen.rounds;
        accepted += seen.levelsAccepted;
    }
    EXPECT_EQ(rounds, m_counts.rounds);
    EXPECT_EQ(accepted, m_counts.accepted);
}

TEST_F(SpeculativeDecoding, SampledTreesRepeatForASeed) {
    SamplingOptions sampling;
    sampling.temperature = 1;
    sampling.topK = 20;
    const SpeculativeSetup drafted = setup("demo-draft", "10", "auto");
    const auto first = proposer(drafted), second = proposer(drafted);
    FixedDraftLength ten(10);
    const DraftTree shape = draftTree("auto");
    const auto a = decode(prompt(1), 64, first.get(), &ten, sampling, shape);
    EXPECT_EQ(decode(prompt(1), 64, second.get(), &ten, sampling, shape), a);
    EXPECT_GT(m_counts.accepted, 0);
}

TEST_F(SpeculativeDecoding, AnotherTokenizersDraftIsRightNearlyAsOftenThroughItsText) {
    const SpeculativeSetup direct = setup("demo-draft", "4"), words = setup("text:demo-draft", "4");
    EXPECT_TRUE(words.reencode);
    FixedDraftLength four(4);
    const auto same = proposer(direct), reencoded = proposer(words);
    EXPECT_GT(acceptedLength(*reencoded), 0.8 * acceptedLength(*same));
    // And one that really is another.
    const auto path = test::fixture("qwen3-draft-500k");
    FETTLE_NEED_FILE(path);
    const SpeculativeSetup other = setup("text:" + path.string(), "4");
    const auto foreign = proposer(other);
    for (std::size_t i = 0; i < 40; ++i)
        ASSERT_EQ(decode(prompt(i), 24, foreign.get(), &four),
                  decode(prompt(i), 24, nullptr, nullptr))
            << "prompt " << i;
}

TEST_F(SpeculativeDecoding, ARoundedDraftIsHalfTheSizeAndGuessesAsWell) {
    const SpeculativeSetup whole = setup("demo-draft", "4"),
                           rounded = setup("int8:demo-draft", "4");
    EXPECT_EQ(rounded.draftScheme, "int8");
    EXPECT_EQ(rounded.draft, whole.draft);
    const auto plain = proposer(whole), quantized = proposer(rounded);
    EXPECT_NE(quantized->description().find("int8"), std::string::npos);
    EXPECT_LT(static_cast<double>(quantized->bytes()), 0.85 * static_cast<double>(plain->bytes()));
    EXPECT_GT(acceptedLength(*quantized), 0.95 * acceptedLength(*plain));
    // The file beside the weights says so too.
    test::TempFolder folder;
    std::ofstream(folder / kSpeculativeFile) << toJson(rounded);
    EXPECT_EQ(readSpeculativeSetup(folder.path())->draftScheme, "int8");
    // A scheme alone is no draft, and what is no scheme is the name of a model.
    EXPECT_THROW(namedDraft({"int8:ngram", "", ""}), EngineError);
    EXPECT_EQ(namedDraft({"drafts:small", "", ""}).draft, "drafts:small");
}

TEST_F(SpeculativeDecoding, ALookGoesBeforeAModelWhereTheTextRepeats) {
    const SpeculativeSetup both = setup("suffix+int8:demo-draft"), alone = setup("demo-draft");
    EXPECT_EQ(both.lookup, "suffix");
    EXPECT_EQ(both.draftScheme, "int8");
    EXPECT_EQ(both.draft, alone.draft);
    const auto combined = proposer(both);
    EXPECT_NE(combined->description().find("suffixes"), std::string::npos);
    EXPECT_NE(combined->description().find("int8"), std::string::npos);
    FixedDraftLength four(4);
    const auto guesserAfter = [&](const std::vector<std::int32_t>& text) {
        combined->restart();
        SpeculativeDecoder decoder(m_target, combined.get(), &four, {},
                                   static_cast<std::int64_t>(text.size()) + 16);
        decoder.begin(text, m_control);
        std::vector<Guesser> guessers;
        while (decoder.text().size() < text.size() + 8)
            guessers.push_back(decoder.next(4, m_control).draft.guesser);
        return guessers;
    };
    // The target's own answer behind its prompt twice: it goes on with what it said before.
    std::vector<std::int32_t> text = decode(prompt(4, 32), 64, nullptr, nullptr);
    text.insert(text.end(), text.begin(), text.begin() + 64);
    const std::vector<Guesser> copying = guesserAfter(text);
    EXPECT_NE(std::find(copying.begin(), copying.end(), Guesser::Lookup), copying.end());
    // Nothing stands twice in six tokens that differ.
    const std::vector<Guesser> fresh = guesserAfter({11, 12, 13, 14, 15, 16});
    EXPECT_EQ(fresh.front(), Guesser::Model);

    test::TempFolder folder;
    std::ofstream(folder / kSpeculativeFile) << toJson(both);
    EXPECT_EQ(readSpeculativeSetup(folder.path())->lookup, "suffix");
    EXPECT_THROW(namedDraft({"ngram+suffix", "", ""}), EngineError);
    EXPECT_THROW(namedDraft({"ngram+", "", ""}), EngineError);
    EXPECT_EQ(namedDraft({"a+b", "", ""}).draft, "a+b");
    EXPECT_EQ(namedDraft({"ngram+text:small", "", ""}).draft, "small");
}

TEST_F(SpeculativeDecoding, MedusaHeadsLearnToGuessAndTravelWithTheModel) {
    test::TempFolder folder;
    DataOptions data;
    data.path = (resourcesFolder() / "demo/texts/train.txt").string();
    data.context = 128;
    data.batchTokens = 256;
    DataLoader texts(m_model.tokenizer, data, m_control);
    MedusaOptions options;
    options.heads = 3;
    options.tokens = test::kSanitized ? 2000 : 30000;
    options.vocabulary = 1500;
    options.rate.peak = 3e-3F;
    const MedusaOutcome made = trainMedusa(m_target, m_model, texts, options, m_control);
    ASSERT_EQ(made.accuracy.size(), 3u);
    if (!test::kSanitized) {
        EXPECT_LT(made.lastLoss, 0.85 * made.firstLoss);
        EXPECT_GT(made.accuracy[0], 0.05);
        EXPECT_GT(made.accuracy[0], made.accuracy[2]);
    }
    writeDraftHeads(made.heads, folder / "heads", m_control);
    const SpeculativeSetup heads = setup((folder / "heads").string(), "auto", "auto");
    ASSERT_TRUE(heads.heads);
    EXPECT_EQ(heads.heads->config.at("truncated_vocab_size"), 1500);
    const auto draft = proposer(heads);
    FixedDraftLength eight(8);
    for (const char* tree : {"off", "auto", "3-2-1"})
        for (std::size_t i = 0; i < (test::kSanitized ? 2 : 16); ++i)
            ASSERT_EQ(decode(prompt(i), 24, draft.get(), &eight, {}, draftTree(tree)),
                      decode(prompt(i), 24, nullptr, nullptr))
                << tree << ", prompt " << i;
    if (!test::kSanitized) {
        EXPECT_GT(m_counts.accepted, 0);
    }
    // The model is written with its heads and finds them again.
    Model carrying = m_model;
    carrying.speculative = heads;
    writeModelFolder(carrying, folder / "model", m_control);
    const Model again = loadModel((folder / "model").string());
    ASSERT_TRUE(again.speculative && again.speculative->heads);
    EXPECT_EQ(again.speculative->tree, "auto");
    EXPECT_EQ(again.speculative->heads->tensors.size(), made.heads.tensors.size());
    // Broken ones are refused by name.
    DraftHeads broken = made.heads;
    broken.config["hidden_size"] = 7;
    EXPECT_NE(headsRefusal(broken, m_model).find("hidden_size"), std::string::npos);
    broken = made.heads;
    broken.tensors.erase("blocks.1.layers.0.weight");
    writeDraftHeads(broken, folder / "broken", m_control);
    try {
        proposer(setup((folder / "broken").string()));
        FAIL() << "a missing block was not noticed";
    } catch (const EngineError& error) {
        EXPECT_NE(std::string(error.what()).find("blocks.1"), std::string::npos) << error.what();
    }
}

TEST_F(SpeculativeDecoding, TrialsNameTheBestAndSayWhyOthersAreRefused) {
    DraftTrialRequest request;
    request.modelPath = "demo";
    request.drafts = {"ngram", "demo-draft", "/nowhere/model"};
    request.draftTokens = {"2", "auto"};
    request.measure.promptTokens = 32;
    request.measure.newTokens = 16;
    request.measure.repeats = 1;
    const DraftTrialReport report = tryDrafts(request, m_backend, m_control);
    ASSERT_EQ(report.trials.size(), 6u);
    EXPECT_GT(report.stepMs, 0);
    EXPECT_GE(report.verifyCost.size(), 9u);
    for (std::size_t i = 0; i < 4; ++i) {
        const DraftTrial& trial = report.trials[i];
        EXPECT_EQ(trial.refusal, "");
        EXPECT_EQ(trial.identical, 100);
        EXPECT_GT(trial.speedup, 0);
        EXPECT_GT(trial.expected, 0);
        EXPECT_GT(trial.copySpeedup, 0);
        EXPECT_FALSE(trial.verdict.empty());
    }
    EXPECT_EQ(report.trials[2].draft, "demo-draft");
    EXPECT_EQ(report.trials[2].draftTokens, "2");
    EXPECT_GT(report.trials[2].acceptance, 0.2);
    EXPECT_NE(report.trials[4].refusal.find("/nowhere/model"), std::string::npos);
    EXPECT_LT(report.best(), 4);
    const nlohmann::json json = toJson(report);
    EXPECT_EQ(json.at("trials").size(), 6u);
    EXPECT_TRUE(json.at("trials")[4].contains("refusal"));
}

TEST_F(SpeculativeDecoding, RefusesWhatCannotDraftInWords) {
    const auto reason = [&](const std::string& draft, const std::string& tokens) -> std::string {
        try {
            setup(draft, tokens);
        } catch (const EngineError& error) {
            return error.what();
        }
        return "";
    };
    EXPECT_NE(reason("self:9", "auto").find("of 4 layers, 1 to 3"), std::string::npos);
    EXPECT_NE(reason("self:q4_k", "auto").find("scheme"), std::string::npos);
    EXPECT_NE(reason("q4_k:demo-draft", "auto").find("cannot be rounded to q4_k"),
              std::string::npos);
    EXPECT_NE(reason("ngram", "17").find("1 to 16"), std::string::npos);
    EXPECT_NE(reason("/nowhere/model", "auto").find("/nowhere/model"), std::string::npos);
    const auto other = test::fixture("qwen3-draft-500k");
    FETTLE_NEED_FILE(other);
    const std::string different = reason(other.string(), "auto");
    EXPECT_NE(different.find("tokens differ"), std::string::npos) << different;
}

TEST_F(SpeculativeDecoding, InfluenceRanksAllLayers) {
    const std::vector<std::vector<std::int32_t>> texts{prompt(0, 64), prompt(5, 64)};
    const std::vector<double> influence = blockInfluence(m_target, texts, m_control);
    ASSERT_EQ(influence.size(), 4u);
    for (const double value : influence)
        EXPECT_GT(value, 0);
    const std::vector<int> least = leastInfluential(influence, 2);
    ASSERT_EQ(least.size(), 2u);
    EXPECT_LT(least[0], least[1]);
    for (int layer = 0; layer < 4; ++layer)
        if (layer != least[0] && layer != least[1]) {
            EXPECT_GE(influence[static_cast<std::size_t>(layer)],
                      std::max(influence[static_cast<std::size_t>(least[0])],
                               influence[static_cast<std::size_t>(least[1])]));
        }
}

TEST_F(SpeculativeDecoding, RecipeMeasuresAndTheArtifactRemembersItsDraft) {
    test::TempFolder folder;
    RunRequest request;
    request.modelPath = "demo";
    request.recipe.steps = {{"ptq", {{"scheme", "int8"}, {"scale_search", "absmax"}}},
                            {"speculative", {{"draft", "demo-draft"}, {"draft_tokens", 3}}}};
    request.artifactFolder = (folder / "artifact").string();
    request.measure.maxTokens = 512;
    request.measure.promptTokens = 32;
    request.measure.newTokens = 24;
    request.measure.repeats = 1;
    request.inputs.tasks = "";
    const RunResult result = runRecipe(request, m_backend, m_control);
    std::map<std::string, double> values;
    for (const Measurement& metric : result.metrics) {
        EXPECT_EQ(values.count(metric.name), 0u) << metric.name << " stands twice";
        values[metric.name] = metric.value;
    }
    for (const char* name :
         {"speedup", "expected_speedup", "acceptance_rate", "mean_accepted_length", "draft_bytes",
          "acceptance_rate_copy", "acceptance_rate_code", "speedup_random", "ttft_ms"})
        EXPECT_EQ(values.count(name), 1u) << name;
    EXPECT_EQ(values["identical_output"], 100);
    EXPECT_GT(values["acceptance_rate"], 20);
    EXPECT_GT(values["mean_accepted_length"], 1);

    const Model artifact = loadModel(result.artifact->path);
    ASSERT_TRUE(artifact.speculative.has_value());
    EXPECT_EQ(artifact.speculative->draftTokens, "3");
    EXPECT_EQ(artifact.speculative->draft, (fs::path(result.artifact->path) / "draft").string());
    GenerateRequest generate;
    generate.modelPath = result.artifact->path;
    generate.prompt = "Question: What is 3 + 1?\nAnswer:";
    generate.maxNewTokens = 16;
    const GenerateReport fast = generateText(generate, m_backend, m_control);
    generate.draft = "none";
    const GenerateReport plain = generateText(generate, m_backend, m_control);
    ASSERT_TRUE(fast.speculation.has_value());
    EXPECT_FALSE(plain.speculation.has_value());
    EXPECT_EQ(fast.ids, plain.ids);
    // As GGUF the draft is a file beside the target's.
    exportModel(artifact, "gguf-f16", folder / "model.gguf", m_control);
    const nlohmann::json names =
        nlohmann::json::parse(test::readFile(folder / "model.speculative.json"));
    EXPECT_EQ(names.at("target"), "model.gguf");
    EXPECT_EQ(names.at("draft"), "model-draft.gguf");
    EXPECT_EQ(draftRefusal(loadModel((folder / "model.gguf").string()),
                           loadModel((folder / "model-draft.gguf").string())),
              "");
    // An artifact can be written again, over itself too.
    writeModelFolder(artifact, folder / "again", m_control);
    writeModelFolder(artifact, folder / "again", m_control);
    EXPECT_TRUE(loadModel((folder / "again").string()).speculative->hasModel());
}

TEST(SpeculativeSetup, BadFilesAreRefusedByName) {
    test::TempFolder folder;
    const auto reason = [&](const std::string& text) -> std::string {
        test::writeFile(folder / kSpeculativeFile, text);
        try {
            readSpeculativeSetup(folder.path());
        } catch (const EngineError& error) {
            return error.what();
        }
        return "";
    };
    EXPECT_NE(reason("{").find(kSpeculativeFile), std::string::npos);
    EXPECT_NE(reason("{}").find(kSpeculativeFile), std::string::npos);
    EXPECT_NE(reason(R"({"draft": "../other"})").find("inside"), std::string::npos);
    EXPECT_NE(reason(R"({"draft": "/etc"})").find("inside"), std::string::npos);
    EXPECT_NE(reason(R"({"draft": "ngram", "draft_tokens": "many"})").find("draft_tokens"),
              std::string::npos);
    EXPECT_NE(reason(R"({"draft": "ngram", "lookup": "suffix"})").find("lookup"),
              std::string::npos);
    EXPECT_NE(reason(R"({"draft": "self:2", "lookup": "index"})").find("lookup"),
              std::string::npos);
    EXPECT_EQ(reason(R"({"draft": "self:2", "skipped_layers": [1, 2]})"), "");
    EXPECT_EQ(reason(R"({"draft": "self:2", "lookup": "ngram"})"), "");
}

}  // namespace
}  // namespace fettle
