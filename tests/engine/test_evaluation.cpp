// The measuring protocol: perplexity equal to transformers', KL of a model with itself, intervals
// that cover.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/backend/cpu_backend.h"
#include "engine/core/random.h"
#include "engine/eval/score_trace.h"
#include "engine/eval/statistics.h"
#include "engine/eval/text_scores.h"
#include "engine/experiment/block_bootstrap.h"
#include "engine/experiment/paired_comparison.h"
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

TEST_P(Evaluation, TheTraceHoldsTheTextAndItsSums) {
    const auto folder = test::fixture(GetParam());
    FETTLE_NEED_FILE(folder);
    const Model model = loadModel(folder.string());
    CpuBackend backend(2);
    Transformer transformer(model, backend), same(model, backend);
    MeasureOptions options;
    options.context = 64;
    options.maxTokens = 512;
    const std::string text = readText(test::fixture("texts/evaluate.txt").string());
    const auto windows = makeWindows(*model.tokenizer, text, options);
    TextScores scores = scoreText(transformer, &same, windows, control);
    scores.kl[100] = 7;  // one token that suffered
    const EvaluationTrace trace = traceOf(scores, windows, *model.tokenizer, "p");
    ASSERT_EQ(trace.blocks.size(), windows.size());
    std::int64_t tokens = 0;
    double nll = 0;
    for (const TraceBlock& block : trace.blocks) {
        tokens += block.tokens;
        nll += block.nll;
        EXPECT_EQ(block.sameTop, static_cast<double>(block.tokens));
    }
    EXPECT_EQ(tokens, static_cast<std::int64_t>(scores.nll.size()));
    EXPECT_NEAR(nll / static_cast<double>(tokens), mean(scores.nll), 1e-9);

    std::string shown;
    std::size_t scored = 0;
    for (const TraceToken& token : trace.tokens) {
        shown += token.text;
        if (token.scored) {
            EXPECT_EQ(token.nll, scores.nll[scored++]);
        }
    }
    EXPECT_EQ(scored, scores.nll.size());
    EXPECT_NE(shown.find(text.substr(0, 300)), std::string::npos) << shown.substr(0, 400);

    ASSERT_EQ(trace.worst.size(), EvaluationTrace::kMaxWorst);
    const WorstToken& worst = trace.worst.front();
    EXPECT_EQ(worst.position, 100);
    EXPECT_EQ(worst.kl, 7);
    EXPECT_NEAR(worst.probability, std::exp(-scores.nll[100]), 1e-12);
    EXPECT_EQ(worst.top, worst.baselineTop);
    EXPECT_GE(worst.topProbability + 1e-6, worst.probability);
    EXPECT_NE(text.find(worst.before + worst.text), std::string::npos)
        << worst.before << "|" << worst.text;
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
    // 95% intervals of the mean of 40 normal values must hold the true mean in 92 to 98% of trials.
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
    EXPECT_GE(covered, trials * 92 / 100);
    EXPECT_LE(covered, trials * 98 / 100);
}

TEST(Statistics, AStoredIntervalSaysWhatThePairedComparisonSays) {
    // Losses of 12 windows that differ from the baseline's by little more than noise.
    Philox random(11);
    TextScores scores;
    EvaluationTrace before, after;
    for (int window = 0; window < 12; ++window) {
        TraceBlock baseline, model;
        const double shift = 0.01 + 0.03 * (random.uniform() - 0.5);
        for (int token = 0; token < 50; ++token) {
            scores.baselineNll.push_back(3 + random.uniform());
            scores.nll.push_back(scores.baselineNll.back() + shift);
            baseline.nll += scores.baselineNll.back();
            model.nll += scores.nll.back();
        }
        scores.windowEnds.push_back(scores.nll.size());
        baseline.tokens = model.tokens = 50;
        before.blocks.push_back(baseline);
        after.blocks.push_back(model);
    }
    scores.kl.assign(scores.nll.size(), 0.01);
    scores.deltaP.assign(scores.nll.size(), 0);
    scores.sameTop.assign(scores.nll.size(), 1);
    before.protocol = after.protocol = "p";
    const Measurement ratio = find(summarize(scores, "p", true), "ppl_ratio");
    const PairedComparison paired = comparePaired(before, after);
    ASSERT_FALSE(paired.findings.empty());
    ASSERT_EQ(paired.findings[0].metric, "perplexity");
    ASSERT_TRUE(ratio.low && ratio.high);
    EXPECT_NEAR(paired.findings[0].value, ratio.value - 1, 1e-9);
    EXPECT_NEAR(paired.findings[0].low, *ratio.low - 1, 1e-6);
    EXPECT_NEAR(paired.findings[0].high, *ratio.high - 1, 1e-6);
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
