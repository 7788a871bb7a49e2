// EAGLE heads: the bare layer they are made of, what training teaches them, that greedy text stays
// that of plain decoding, and how they travel.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/backend/cpu_backend.h"
#include "engine/data/data_loader.h"
#include "engine/decode/generator.h"
#include "engine/distill/eagle_trainer.h"
#include "engine/io/exporter.h"
#include "engine/job/draft_trials.h"
#include "engine/job/recipe_runner.h"
#include "engine/model/model_initializer.h"
#include "engine/speculative/draft_source.h"
#include "engine/speculative/eagle_proposer.h"
#include "engine/speculative/speculation_measure.h"
#include "engine/technique/technique.h"
#include "tests/support/fixtures.h"
#include "tests/support/model_files.h"
#include "tests/support/network_state.h"

namespace fettle {
namespace {

std::vector<float> normals(std::size_t count, std::uint64_t stream) {
    std::vector<float> values(count);
    fillNormal(values, 1, Philox(9, stream));
    return values;
}

TEST(BareLayers, TrainWhatDecodingRuns) {
    test::TempFolder folder;
    for (const char* family : {"llama", "gemma3", "gpt2"}) {
        test::writeFolder(folder / family, test::tinyParts(family));
        const Model target = loadModel(folder / family);
        const EagleHead head = freshEagleHead(target, {1, 5, 9}, 4);
        CpuBackend backend{2};
        Network network(head.layer, backend.pool());
        Transformer layer(head.layer, backend);
        TrainBatch batch;
        batch.add(std::vector<std::int32_t>{1, 2, 3, 4, 5});
        batch.add(std::vector<std::int32_t>{6, 7, 8});
        const auto width = static_cast<std::size_t>(target.config.hiddenSize);
        std::vector<float> x = normals(8 * width, 1);
        const float* out = network.forwardStates(batch, x.data(), nullptr);
        const std::vector<float> trained(out, out + 8 * width);
        for (const kernels::TokenSpan& sequence : batch.sequences) {
            KvCache cache = layer.makeCache(sequence.count, kernels::KvType::F32);
            // A token at a time, as it is drafted with.
            for (std::int64_t t = sequence.first; t < sequence.first + sequence.count; ++t) {
                const float* from = x.data() + static_cast<std::size_t>(t) * width;
                std::copy_n(from, width, layer.statesIn(1));
                const float* y = layer.forwardStates(1, cache);
                for (std::size_t i = 0; i < width; ++i)
                    ASSERT_NEAR(y[i], trained[static_cast<std::size_t>(t) * width + i], 2e-4)
                        << family << " token " << t << " value " << i;
            }
        }
        // Gradients against differences of sum(g y), g random.
        const std::vector<float> g = normals(8 * width, 2);
        const auto sumAt = [&] {
            const float* y = network.forwardStates(batch, x.data(), nullptr);
            double sum = 0;
            for (std::size_t i = 0; i < g.size(); ++i)
                sum += static_cast<double>(g[i]) * y[i];
            return sum;
        };
        sumAt();
        const float* back = network.backwardStates(batch, g.data());
        const std::vector<float> dx(back, back + 8 * width), dw = test::gradsOf(network);
        constexpr float kStep = 1e-2F;
        const auto slope = [&](float& value) {
            const float before = value;
            value = before + kStep;
            const double above = sumAt();
            value = before - kStep;
            const double below = sumAt();
            value = before;
            return (above - below) / (2 * kStep);
        };
        for (std::size_t i = 3; i < x.size(); i += x.size() / 5)
            EXPECT_NEAR(dx[i], slope(x[i]), 1e-2 * std::fabs(dx[i]) + 1e-2) << family << " x " << i;
        for (std::size_t i = 11; i < dw.size(); i += dw.size() / 9)
            EXPECT_NEAR(dw[i], slope(network.values()[i]), 2e-2 * std::fabs(dw[i]) + 2e-2)
                << family << " weight " << i;
    }
}

class EagleDrafting : public ::testing::Test {
protected:
    EagleDrafting()
        : m_control({}, nullptr, m_sink),
          m_model(loadModel("demo")),
          m_backend(2),
          m_target(m_model, m_backend) {
        m_ids = m_model.tokenizer->encode(speculationText(""), false);
    }
    EagleOutcome trained(std::int64_t tokens) {
        DataOptions data;
        data.path = (resourcesFolder() / "demo/texts/train.txt").string();
        data.context = 128;
        data.batchTokens = 256;
        DataLoader texts(m_model.tokenizer, data, m_control);
        EagleOptions options;
        options.tokens = tokens;
        options.vocabulary = 1500;
        options.rate.peak = 3e-3F;
        return trainEagle(m_target, m_model, texts, options, m_control);
    }
    std::vector<std::int32_t> decode(std::size_t prompt, Proposer* proposer, DraftLength* length,
                                     const DraftTree& tree = {}) {
        const std::size_t size = 24, at = prompt * 67 % (m_ids.size() - size);
        const std::vector<std::int32_t> ids(m_ids.begin() + static_cast<std::ptrdiff_t>(at),
                                            m_ids.begin() + static_cast<std::ptrdiff_t>(at + size));
        constexpr std::size_t kTokens = 32;
        SpeculativeDecoder decoder(m_target, proposer, length, {}, size + kTokens, tree);
        decoder.begin(ids, m_control);
        while (decoder.text().size() < size + kTokens)
            decoder.next(static_cast<int>(size + kTokens - decoder.text().size()), m_control);
        m_counts.add(decoder.counts());
        return decoder.text();
    }

    NullProgress m_sink;
    RunControl m_control;
    Model m_model;
    CpuBackend m_backend;
    Transformer m_target;
    std::vector<std::int32_t> m_ids;
    SpeculationCounts m_counts;
};

TEST_F(EagleDrafting, HeadsLearnAndLeaveGreedyTextAsItIs) {
    const EagleOutcome made = trained(test::kSanitized ? 2000 : 60000);
    ASSERT_EQ(made.agreement.size(), 2u);
    if (!test::kSanitized) {
        EXPECT_LT(made.lastLoss, 0.6 * made.firstLoss);
        EXPECT_GT(made.agreement[0], 0.4);
    }
    test::TempFolder folder;
    const DraftHeads heads = toDraftHeads(made.head, m_model);
    writeDraftHeads(heads, folder / "head", m_control);
    const SpeculativeSetup setup =
        makeSetup({(folder / "head").string(), "auto", "auto"}, m_model, m_backend, {}, m_control);
    ASSERT_TRUE(setup.heads);
    EXPECT_EQ(setup.heads->kind, "eagle");
    const auto draft =
        makeProposer(setup, m_model, m_target, m_backend, m_backend.pool(), m_control);
    EXPECT_GT(draft->bytes(), 0u);
    FixedDraftLength six(6);
    for (const char* tree : {"off", "auto", "3-2-1"}) {
        m_counts = {};
        for (std::size_t i = 0; i < (test::kSanitized ? 2 : 24); ++i)
            ASSERT_EQ(decode(i, draft.get(), &six, draftTree(tree)), decode(i, nullptr, nullptr))
                << tree << ", prompt " << i;
        if (!test::kSanitized) {
            EXPECT_GT(m_counts.meanAcceptedLength(), 1.25) << tree;
        }
    }
}

TEST_F(EagleDrafting, HeadsTravelWithTheModelInTheLayoutOfOthers) {
    test::TempFolder folder;
    const EagleHead head = freshEagleHead(m_model, {2, 3, 700}, 1);
    const DraftHeads heads = toDraftHeads(head, m_model);
    EXPECT_EQ(heads.config.at("model_type"), "llama");
    EXPECT_EQ(heads.config.at("num_hidden_layers"), 1);
    EXPECT_EQ(heads.config.at("hidden_size"), 256);
    EXPECT_TRUE(heads.tensors.contains("layers.0.self_attn.q_proj.weight"));
    EXPECT_FALSE(heads.tensors.contains("layers.0.input_layernorm.weight"));
    EXPECT_EQ(heads.tensors.at("fc.weight").shape(), (Shape{256, 512}));
    Model carrying = m_model;
    carrying.speculative = SpeculativeSetup();
    carrying.speculative->draft = kDraftFolder;
    carrying.speculative->heads = std::make_shared<const DraftHeads>(heads);
    writeModelFolder(carrying, folder / "model", m_control);
    const Model again = loadModel((folder / "model").string());
    ASSERT_TRUE(again.speculative && again.speculative->heads);
    const EagleHead read = eagleHeadOf(*again.speculative->heads, again);
    EXPECT_EQ(read.tokens, head.tokens);
    EXPECT_EQ(read.fusion, head.fusion);
    EXPECT_EQ(read.layer.weight("layers.0.ffn.up.weight").toFloat(),
              head.layer.weight("layers.0.ffn.up.weight").toFloat());
    // A folder of others does not say what it is, but a fusion in front of one layer does; it
    // guesses among all tokens.
    DraftHeads foreign = heads;
    foreign.config.erase("draft_head");
    foreign.config.erase("draft_vocabulary");
    writeDraftHeads(foreign, folder / "foreign", m_control);
    ASSERT_TRUE(holdsDraftHeads(folder / "foreign"));
    EXPECT_EQ(eagleHeadOf(readDraftHeads(folder / "foreign"), m_model).tokens.size(),
              static_cast<std::size_t>(m_model.config.vocabularySize));
    const auto refusal = [&](const DraftHeads& broken) -> std::string {
        try {
            eagleHeadOf(broken, m_model);
        } catch (const EngineError& error) {
            EXPECT_EQ(error.kind(), ErrorKind::BadInput);
            return error.what();
        }
        return "";
    };
    DraftHeads broken = heads;
    broken.tensors.erase("layers.0.mlp.up_proj.weight");
    EXPECT_NE(refusal(broken).find("up_proj"), std::string::npos);
    broken = heads;
    broken.config["hidden_size"] = 128;
    EXPECT_NE(refusal(broken).find("256 values"), std::string::npos) << refusal(broken);
    for (const nlohmann::json& tokens :
         {nlohmann::json{5, 4}, nlohmann::json{-1}, nlohmann::json{9999}, nlohmann::json("all"),
          nlohmann::json::array()}) {
        broken = heads;
        broken.config["draft_vocabulary"] = tokens;
        EXPECT_NE(refusal(broken).find("draft_vocabulary"), std::string::npos) << tokens;
    }
}

TEST_F(EagleDrafting, HeadsAreNeitherRoundedNorReadAsText) {
    test::TempFolder folder;
    const std::string eagle = (folder / "eagle").string(), medusa = (folder / "medusa").string();
    writeDraftHeads(toDraftHeads(freshEagleHead(m_model, {2, 3, 700}, 1), m_model), eagle,
                    m_control);
    DraftHeads others;
    others.kind = "medusa";
    others.config = {{"model_type", "medusa"}};
    others.tensors["lm_head.weight"] = Tensor::allocate(DType::F32, {2, 2});
    writeDraftHeads(others, medusa, m_control);
    const auto refusal = [](const auto& ask) -> std::string {
        try {
            ask();
        } catch (const EngineError& error) {
            EXPECT_EQ(error.kind(), ErrorKind::BadInput) << error.what();
            return error.what();
        }
        return "";
    };
    const std::vector<std::tuple<std::string, std::string, std::string>> wrong{
        {"int8:" + eagle, eagle, "eagle heads, and only a draft model can be rounded to int8"},
        {"int4-g32:" + medusa, medusa,
         "medusa heads, and only a draft model can be rounded to int4-g32"},
        {"text:" + eagle, eagle, "eagle heads, and only a draft model can meet the model as text"}};
    for (const auto& [draft, where, why] : wrong) {
        // As `generate`, `bench` and the Playground ask for it, and as a recipe does.
        GenerateRequest generate;
        generate.modelPath = "demo";
        generate.draft = draft;
        generate.prompt = "a";
        const std::string said =
            refusal([&, d = draft] { generateText(generate, m_backend, m_control); });
        EXPECT_NE(said.find(where), std::string::npos) << said;
        EXPECT_NE(said.find(why), std::string::npos) << said;
        EXPECT_EQ(
            refusal([&, d = draft] { requestedSetup(d, "", "", m_model, m_backend, m_control); }),
            said);
        RunRequest recipe;
        recipe.modelPath = "demo";
        recipe.recipe.steps = {{"speculative", {{"draft", draft}}}};
        recipe.measure.speed = false;
        EXPECT_EQ(refusal([&] { runRecipe(recipe, m_backend, m_control); }), said);
        EstimateRequest asked;
        asked.modelPath = "demo";
        asked.recipe = recipe.recipe;
        const RecipeEstimate estimate = estimateRun(asked, m_backend, m_control);
        ASSERT_EQ(estimate.problems.size(), 1u);
        EXPECT_NE(estimate.problems[0].find(said), std::string::npos) << estimate.problems[0];
        // As the Drafts page tries it: a row that says why.
        DraftTrialRequest trials;
        trials.modelPath = "demo";
        trials.drafts = {draft};
        const DraftTrialReport report = tryDrafts(trials, m_backend, m_control);
        ASSERT_EQ(report.trials.size(), 1u);
        EXPECT_EQ(report.trials[0].refusal, said);
    }
    // As a model's folder names it.
    test::writeFile(folder / kSpeculativeFile, R"({"draft": "eagle", "draft_scheme": "int8"})");
    EXPECT_NE(refusal([&] { readSpeculativeSetup(folder.path()); }).find("rounded to int8"),
              std::string::npos);
}

TEST_F(EagleDrafting, ARecipeGivesTheModelItsHead) {
    test::TempFolder folder;
    RunRequest request;
    request.modelPath = "demo";
    request.recipe.steps = {{"eagle", {{"tokens", 1500}, {"batch_tokens", 256}}}};
    request.recipe.seed = 1;
    request.inputs.train = (resourcesFolder() / "demo/texts/train.txt").string();
    request.measure.context = 64;
    request.measure.maxTokens = 256;
    request.measure.speed = false;
    request.artifactFolder = (folder / "artifact").string();
    const RunResult result = runRecipe(request, m_backend, m_control);
    ASSERT_TRUE(result.artifact);
    const Model made = loadModel(result.artifact->path);
    ASSERT_TRUE(made.speculative && made.speculative->heads);
    EXPECT_EQ(made.speculative->heads->kind, "eagle");
}

}  // namespace
}  // namespace fettle
