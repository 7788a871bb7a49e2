// The forward pass against outputs of transformers for every family, and against itself: token by
// token = all at once.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/backend/cpu_backend.h"
#include "engine/decode/generator.h"
#include "engine/model/model.h"
#include "engine/model/transformer.h"
#include "tests/support/fixtures.h"

namespace fettle {
namespace {

class TransformerParity : public ::testing::TestWithParam<std::string> {};

std::vector<float> logitsOf(Transformer& transformer, const std::vector<std::int32_t>& ids) {
    KvCache cache = transformer.makeCache(static_cast<std::int64_t>(ids.size()));
    transformer.forward(ids, cache);
    const float* logits = transformer.lastLogits();
    return {logits, logits + transformer.config().vocabularySize};
}

TEST_P(TransformerParity, LogitsTokensAndArgmaxEqualTransformers) {
    const auto folder = test::fixture(GetParam());
    FETTLE_NEED_FILE(folder);
    const nlohmann::json reference = test::readJson(folder / "reference.json");
    const Model model = loadModel(folder.string());
    CpuBackend backend(2);
    Transformer transformer(model, backend);
    const std::int64_t vocabulary = model.config.vocabularySize;
    for (const auto& item : reference.at("cases")) {
        const auto ids = item.at("ids").get<std::vector<std::int32_t>>();
        EXPECT_EQ(model.tokenizer->encode(item.at("text").get<std::string>(), false), ids);

        const auto expected = item.at("logits_last").get<std::vector<float>>();
        const std::vector<float> logits = logitsOf(transformer, ids);
        ASSERT_EQ(logits.size(), expected.size());
        const auto [lowest, highest] = std::minmax_element(expected.begin(), expected.end());
        const float range = *highest - *lowest;
        for (std::size_t i = 0; i < logits.size(); ++i)
            ASSERT_NEAR(logits[i], expected[i], 1e-3f * range) << "logit " << i;
        EXPECT_EQ(std::max_element(logits.begin(), logits.end()) - logits.begin(),
                  item.at("argmax").get<std::ptrdiff_t>());
        EXPECT_NEAR(kernels::summarizeLogits(logits.data(), vocabulary).logSumExp,
                    item.at("logsumexp").get<float>(), 1e-3f * range);

        std::vector<float> all(ids.size() * static_cast<std::size_t>(vocabulary));
        transformer.logits(0, static_cast<std::int64_t>(ids.size()), all.data());
        const auto argmaxAll = item.at("argmax_all").get<std::vector<std::int64_t>>();
        for (std::size_t t = 0; t < ids.size(); ++t)
            EXPECT_EQ(kernels::summarizeLogits(
                          all.data() + t * static_cast<std::size_t>(vocabulary), vocabulary)
                          .argmax,
                      argmaxAll[t])
                << "position " << t;
    }
}

TEST_P(TransformerParity, GreedyContinuationEqualsTransformers) {
    const auto folder = test::fixture(GetParam());
    FETTLE_NEED_FILE(folder);
    const nlohmann::json reference = test::readJson(folder / "reference.json");
    const Model model = loadModel(folder.string());
    CpuBackend backend(2);
    Transformer transformer(model, backend);
    NullProgress sink;
    RunControl control({}, nullptr, sink);
    GenerateOptions options;
    options.maxNewTokens = 32;
    options.ignoreStop = true;
    int same = 0, total = 0;
    for (const auto& item : reference.at("cases")) {
        const auto expected = item.at("greedy_32").get<std::vector<std::int32_t>>();
        const GenerateReport report =
            generate(transformer, *model.tokenizer, item.at("ids").get<std::vector<std::int32_t>>(),
                     options, control);
        const auto end =
            std::mismatch(expected.begin(), expected.end(), report.ids.begin(), report.ids.end())
                .first;
        same += static_cast<int>(end - expected.begin());
        total += static_cast<int>(expected.size());
    }
    // A near-tie may go the other way once; everything before it must agree.
    EXPECT_GE(same, total * 2 / 3);
}

TEST_P(TransformerParity, TokenByTokenEqualsAllAtOnceBitForBit) {
    const auto folder = test::fixture(GetParam());
    FETTLE_NEED_FILE(folder);
    const Model model = loadModel(folder.string());
    CpuBackend backend(2);
    Transformer transformer(model, backend);
    const std::vector<std::int32_t> ids =
        test::readJson(folder / "reference.json").at("cases")[0].at("ids");
    const std::vector<float> together = logitsOf(transformer, ids);
    KvCache cache = transformer.makeCache(static_cast<std::int64_t>(ids.size()));
    for (const std::int32_t& id : ids)
        transformer.forward({&id, 1}, cache);
    const float* single = transformer.lastLogits();
    EXPECT_EQ(std::vector<float>(single, single + model.config.vocabularySize), together);
}

TEST_P(TransformerParity, NarrowKeysAndValuesStayCloseAndKeepTheirBits) {
    const auto folder = test::fixture(GetParam());
    FETTLE_NEED_FILE(folder);
    Model model = loadModel(folder.string());
    CpuBackend backend(2);
    const std::vector<std::int32_t> ids =
        test::readJson(folder / "reference.json").at("cases")[0].at("ids");
    const auto logits = [&](kernels::KvType type, bool single) {
        model.config.kvType = type;
        Transformer transformer(model, backend);
        KvCache cache = transformer.makeCache(static_cast<std::int64_t>(ids.size()) + 3);
        EXPECT_EQ(cache.type(), type);
        if (single)
            for (const std::int32_t& id : ids)
                transformer.forward({&id, 1}, cache);
        else
            transformer.forward(ids, cache);
        const float* last = transformer.lastLogits();
        return std::vector<float>(last, last + model.config.vocabularySize);
    };
    const std::vector<float> want = logits(kernels::KvType::F16, false);
    const auto [lowest, highest] = std::minmax_element(want.begin(), want.end());
    const std::int64_t wide = model.config.kvBytesPerToken();
    for (const auto& [type, most] : {std::pair{kernels::KvType::Int8, 0.02},
                                     {kernels::KvType::Fp8, 0.06},
                                     {kernels::KvType::Int4, 0.25},
                                     {kernels::KvType::NvFp4, 0.25}}) {
        const std::vector<float> got = logits(type, false);
        double worst = 0;
        for (std::size_t i = 0; i < got.size(); ++i)
            worst = std::max(worst, std::fabs(static_cast<double>(got[i]) - want[i]));
        EXPECT_LT(worst, most * (*highest - *lowest)) << kernels::name(type);
        EXPECT_GT(worst, 0) << kernels::name(type);
        EXPECT_EQ(logits(type, true), got) << kernels::name(type);
        EXPECT_LT(model.config.kvBytesPerToken(), wide * 2 / 3) << kernels::name(type);
    }
}

TEST_P(TransformerParity, ThreadCountDoesNotChangeABit) {
    const auto folder = test::fixture(GetParam());
    FETTLE_NEED_FILE(folder);
    const Model model = loadModel(folder.string());
    const std::vector<std::int32_t> ids =
        test::readJson(folder / "reference.json").at("cases")[0].at("ids");
    CpuBackend one(1), three(3);
    Transformer a(model, one), b(model, three);
    EXPECT_EQ(logitsOf(a, ids), logitsOf(b, ids));
}

INSTANTIATE_TEST_SUITE_P(Families, TransformerParity,
                         ::testing::Values("llama-4m", "qwen3-draft-500k", "gpt2-random",
                                           "gemma3-random"),
                         [](const auto& tested) {
                             std::string name = tested.param;
                             std::replace(name.begin(), name.end(), '-', '_');
                             return name;
                         });

TEST(Transformer, RefusesTokensOutsideTheVocabulary) {
    const auto folder = test::fixture("llama-4m");
    FETTLE_NEED_FILE(folder);
    const Model model = loadModel(folder.string());
    CpuBackend backend(1);
    Transformer transformer(model, backend);
    KvCache cache = transformer.makeCache(4);
    const std::vector<std::int32_t> ids{5, 2048};
    EXPECT_THROW(transformer.forward(ids, cache), EngineError);
}

}  // namespace
}  // namespace fettle
