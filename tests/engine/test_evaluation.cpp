// The measuring protocol: perplexity equal to transformers', KL of a model with itself, intervals
// that cover.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/backend/cpu_backend.h"
#include "engine/core/random.h"
#include "engine/eval/statistics.h"
#include "engine/eval/text_scores.h"
#include "tests/support/fixtures.h"

namespace fettle {
namespace {

class Evaluation : public ::testing::TestWithParam<std::string> {
protected:
    NullProgress sink;
    RunControl control{{}, nullptr, sink};
};

const Measurement& find(const std::vector<Measurement>& metrics, const std::string& name) {
    for (const Measurement& metric : metrics)
        if (metric.name == name)
            return metric;
    throw std::runtime_error("no metric " + name);
}

TEST_P(Evaluation, PerplexityEqualsTransformers) {
    const auto folder = test::fixture(GetParam());
    FETTLE_NEED_FILE(folder);
    const nlohmann::json reference = test::readJson(folder / "reference.json");
    const Model model = loadModel(folder.string());
    CpuBackend backend(2);
    Transformer transformer(model, backend);
    for (const int context : {128, 256}) {
        const std::string key = "perplexity_context_" + std::to_string(context);
        if (!reference.contains(key))
            continue;
        MeasureOptions options;
        options.context = context;
        options.maxTokens = 16384;
        const auto windows = makeWindows(
            *model.tokenizer, readText(test::fixture("texts/evaluate.txt").string()), options);
        const TextScores scores = scoreText(transformer, nullptr, windows, control);
        EXPECT_EQ(static_cast<std::int64_t>(scores.nll.size()),
                  reference.at(key).at("scored_tokens").get<std::int64_t>());
        const Measurement perplexity = find(summarize(scores, "", true), "perplexity");
        const double expected = reference.at(key).at("value");
        EXPECT_NEAR(perplexity.value, expected, 0.005 * expected);
        ASSERT_TRUE(perplexity.low && perplexity.high);
        EXPECT_LT(*perplexity.low, perplexity.value);
        EXPECT_GT(*perplexity.high, perplexity.value);
    }
}

TEST_P(Evaluation, AModelDoesNotDifferFromItself) {
    const auto folder = test::fixture(GetParam());
    FETTLE_NEED_FILE(folder);
    const Model model = loadModel(folder.string());
    CpuBackend backend(2);
    Transformer transformer(model, backend), same(model, backend);
    MeasureOptions options;
    options.context = 64;
    options.maxTokens = 1024;
    const auto windows = makeWindows(
        *model.tokenizer, readText(test::fixture("texts/evaluate.txt").string()), options);
    const auto metrics = summarize(scoreText(transformer, &same, windows, control), "", true);
    EXPECT_LT(find(metrics, "kl_max").value, 1e-9);
    EXPECT_EQ(find(metrics, "top1_agreement").value, 100);
    EXPECT_EQ(find(metrics, "ppl_ratio").value, 1);
}

INSTANTIATE_TEST_SUITE_P(Trained, Evaluation, ::testing::Values("llama-4m", "qwen3-draft-500k"),
                         [](const auto& tested) { return tested.index == 0 ? "llama" : "qwen3"; });

TEST(Statistics, PercentilesOfARamp) {
    std::vector<double> ramp;
    for (int i = 100; i >= 0; --i)
        ramp.push_back(i);
    EXPECT_DOUBLE_EQ(percentile(ramp, 0), 0);
    EXPECT_DOUBLE_EQ(percentile(ramp, 0.5), 50);
    EXPECT_DOUBLE_EQ(percentile(ramp, 0.995), 99.5);
    EXPECT_DOUBLE_EQ(percentile({7}, 0.9), 7);
    EXPECT_DOUBLE_EQ(percentile({}, 0.9), 0);
}

TEST(Statistics, BootstrapIntervalsCoverTheTruth) {
    // 95% intervals of the mean of 40 normal values must hold the true mean in 90 to 98% of trials
    // (few blocks make the percentile bootstrap slightly narrow).
    Philox random(7);
    int covered = 0;
    const int trials = 400;
    for (int t = 0; t < trials; ++t) {
        std::vector<double> values;
        for (int i = 0; i < 40; ++i)
            values.push_back(std::sqrt(-2 * std::log(1 - random.uniform())) *
                             std::cos(2 * M_PI * random.uniform()));
        const Interval interval = bootstrapBlocks(
            values.size(),
            [&](const std::vector<int>& counts) {
                double sum = 0;
                for (std::size_t i = 0; i < values.size(); ++i)
                    sum += values[i] * counts[i];
                return sum / static_cast<double>(values.size());
            },
            400, static_cast<std::uint64_t>(t));
        covered += interval.low <= 0 && interval.high >= 0;
    }
    EXPECT_GE(covered, trials * 90 / 100);
    EXPECT_LE(covered, trials * 98 / 100);
}

TEST(Random, PhiloxKnownAnswer) {
    // Random123's known-answer vector for philox4x32-10 with zero key and counter.
    const auto words = Philox(0, 0).at(0);
    EXPECT_EQ(words[0], 0x6627e8d5u);
    EXPECT_EQ(words[1], 0xe169c58du);
    EXPECT_EQ(words[2], 0xbc57ac4cu);
    EXPECT_EQ(words[3], 0x9b00dbd8u);
}

}  // namespace
}  // namespace fettle
