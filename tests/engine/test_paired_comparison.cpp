// Paired tests on simulated experiments: intervals cover, real differences are found, and the words
// say what the numbers do.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/experiment/paired_comparison.h"

namespace fettle {
namespace {

constexpr int kTokensPerBlock = 200;

struct Simulation {
    int blocks = 64;
    double shift = 0;       ///< true extra loss per token of the second, nats
    double tokenNoise = 0;  ///< of the difference, per token
    double blockNoise = 0;  ///< shared by the tokens of one window
};

/// Two experiments on the same text: a shared difficulty per window, and a difference of their own.
std::pair<EvaluationTrace, EvaluationTrace> simulate(const Simulation& how, std::mt19937& random) {
    std::normal_distribution<double> normal(0, 1);
    EvaluationTrace first, second;
    first.protocol = second.protocol = "ppl windows=256 first-unscored text=1";
    for (int b = 0; b < how.blocks; ++b) {
        const double difficulty = kTokensPerBlock * (3 + 0.8 * normal(random));
        const double difference = kTokensPerBlock * (how.shift + how.blockNoise * normal(random)) +
                                  std::sqrt(kTokensPerBlock) * how.tokenNoise * normal(random);
        first.blocks.push_back({kTokensPerBlock, difficulty, 0, 0});
        second.blocks.push_back({kTokensPerBlock, difficulty + difference, 0, 0});
    }
    return {first, second};
}

const PairedFinding& perplexityIn(const PairedComparison& comparison) {
    EXPECT_FALSE(comparison.findings.empty()) << comparison.note;
    EXPECT_EQ(comparison.findings.front().metric, "perplexity");
    return comparison.findings.front();
}

/// Share of 600 simulations whose interval holds the true ratio.
double coverage(const Simulation& how, unsigned seed) {
    std::mt19937 random(seed);
    constexpr int kTrials = 600;
    int covered = 0;
    for (int trial = 0; trial < kTrials; ++trial) {
        const auto [first, second] = simulate(how, random);
        const PairedComparison comparison = comparePaired(first, second);
        const PairedFinding& finding = perplexityIn(comparison);
        const double truth = std::expm1(how.shift);
        covered += finding.low <= truth && truth <= finding.high ? 1 : 0;
    }
    return static_cast<double>(covered) / kTrials;
}

// 600 trials: two standard errors of 95% are 1.8 points.
TEST(PairedComparison, IntervalsOfEqualModelsCoverZero) {
    for (const int blocks : {6, 12, 64}) {
        const double share = coverage({blocks, 0, 0.3, 0.004}, 11u + static_cast<unsigned>(blocks));
        EXPECT_GT(share, 0.925) << blocks;
        EXPECT_LT(share, 0.985) << blocks;
    }
}

TEST(PairedComparison, IntervalsCoverATrueLoss) {
    const double share = coverage({40, 0.02, 0.3, 0.01}, 5);
    EXPECT_GT(share, 0.925);
    EXPECT_LT(share, 0.975);
}

TEST(PairedComparison, FindsAKnownShiftThatSeparateIntervalsWouldMiss) {
    // Windows differ by 0.8 nats among themselves, the models by 0.02: only pairing sees that.
    std::mt19937 random(3);
    int found = 0;
    for (int trial = 0; trial < 100; ++trial) {
        const auto [first, second] = simulate({64, 0.02, 0.3, 0.01}, random);
        const PairedComparison comparison = comparePaired(first, second);
        found += perplexityIn(comparison).finding == Finding::Loss ? 1 : 0;
    }
    EXPECT_GE(found, 95);
}

TEST(PairedComparison, DirectionDecidesBetweenLossAndGain) {
    std::mt19937 random(4);
    const auto [first, second] = simulate({64, 0.05, 0.1, 0}, random);
    const PairedComparison worse = comparePaired(first, second);
    const PairedComparison better = comparePaired(second, first);
    EXPECT_EQ(perplexityIn(worse).finding, Finding::Loss);
    EXPECT_EQ(perplexityIn(better).finding, Finding::Gain);
    EXPECT_NEAR(perplexityIn(worse).value, std::expm1(0.05), 0.002);
    EXPECT_EQ(perplexityIn(worse).text().rfind("The loss is real: perplexity +", 0), 0u)
        << perplexityIn(worse).text();
    EXPECT_NE(perplexityIn(worse).text().find("12,800 tokens in 64 windows"), std::string::npos)
        << perplexityIn(worse).text();
}

TEST(PairedComparison, AModelIsNotDistinguishableFromItself) {
    std::mt19937 random(5);
    const auto [first, second] = simulate({64, 0, 0, 0}, random);
    const PairedComparison comparison = comparePaired(first, second);
    EXPECT_EQ(perplexityIn(comparison).finding, Finding::NotDistinguishable);
    EXPECT_EQ(perplexityIn(comparison).low, 0);
    EXPECT_EQ(perplexityIn(comparison).high, 0);
}

TEST(PairedComparison, HigherAgreementIsAGain) {
    EvaluationTrace first, second;
    first.protocol = second.protocol = "p";
    first.hasBaseline = second.hasBaseline = true;
    for (int b = 0; b < 20; ++b) {
        first.blocks.push_back({100, 300.0 + b, 5.0 + b % 3, 80.0 + b % 4});
        second.blocks.push_back({100, 299.0 + b + b % 2, 2.0 + b % 2, 90.0 + b % 3});
    }
    const PairedComparison comparison = comparePaired(first, second);
    ASSERT_EQ(comparison.findings.size(), 3u);
    for (const PairedFinding& finding : comparison.findings)
        EXPECT_EQ(finding.finding, Finding::Gain) << finding.metric;
    EXPECT_NEAR(comparison.findings[2].value, 9.5, 1);  // percentage points
}

TEST(PairedComparison, SaysWhyNothingIsTested) {
    std::mt19937 random(6);
    auto [first, second] = simulate({64, 0, 0.1, 0}, random);
    EXPECT_NE(comparePaired({}, second).note.find("run it again"), std::string::npos);
    second.protocol = "another";
    EXPECT_NE(comparePaired(first, second).note.find("protocol"), std::string::npos);
    second.protocol = first.protocol;
    second.blocks[3].tokens = 7;
    EXPECT_NE(comparePaired(first, second).note.find("tokens differ"), std::string::npos);
    second.blocks[3] = first.blocks[3];
    second.blocks[3].nll = INFINITY;
    EXPECT_FALSE(comparePaired(first, second).note.empty());
    const auto [few, others] = simulate({3, 0, 0.1, 0}, random);
    EXPECT_NE(comparePaired(few, others).note.find("too few"), std::string::npos);
    EXPECT_TRUE(comparePaired(few, others).findings.empty());
}

EvaluationTrace answers(const std::string& right) {
    EvaluationTrace trace;
    trace.tasksProtocol = "tasks t.jsonl";
    for (const char one : right)
        trace.tasksCorrect.push_back(one == '1');
    return trace;
}

TEST(PairedComparison, McNemarOnTasks) {
    // 9 lost, 1 won: exact two-sided p = 2 * (1 + 10) / 2^10.
    const PairedComparison comparison =
        comparePaired(answers(std::string(9, '1') + "0" + std::string(30, '1')),
                      answers(std::string(9, '0') + "1" + std::string(30, '1')));
    ASSERT_EQ(comparison.findings.size(), 1u);
    const PairedFinding& finding = comparison.findings.front();
    EXPECT_EQ(finding.metric, "task_accuracy");
    EXPECT_NEAR(*finding.pValue, 22.0 / 1024, 1e-12);
    EXPECT_EQ(finding.finding, Finding::Loss);
    EXPECT_DOUBLE_EQ(finding.value, -20);
    EXPECT_LT(finding.low, -20);
    EXPECT_GT(finding.high, -20);
    EXPECT_NE(finding.text().find("9 tasks lost and 1 won of 40"), std::string::npos);

    const PairedComparison equal = comparePaired(answers("1100"), answers("1100"));
    EXPECT_EQ(equal.findings.front().finding, Finding::NotDistinguishable);
    EXPECT_EQ(*equal.findings.front().pValue, 1);
}

TEST(PairedComparison, McNemarRarelyCriesWolf) {
    std::mt19937 random(9);
    std::bernoulli_distribution first(0.6), flips(0.1);
    int alarms = 0;
    for (int trial = 0; trial < 1000; ++trial) {
        EvaluationTrace a = answers(""), b = answers("");
        for (int task = 0; task < 200; ++task) {
            const bool right = first(random);
            // Flips hit right and wrong answers alike in number: equal accuracy in truth.
            const bool flip = flips(random);
            a.tasksCorrect.push_back(flip ? random() % 2 : right);
            b.tasksCorrect.push_back(flip ? random() % 2 : right);
        }
        const PairedComparison comparison = comparePaired(a, b);
        alarms += comparison.findings.front().finding != Finding::NotDistinguishable ? 1 : 0;
    }
    EXPECT_LE(alarms, 62);  // exact tests stay at or below 5%
    EXPECT_GE(alarms, 5);
}

TEST(EvaluationTrace, SurvivesJson) {
    EvaluationTrace trace;
    trace.protocol = "ppl";
    trace.hasBaseline = true;
    trace.blocks = {{255, 700.25, 1.125, 250}, {10, INFINITY, 0, 3}};
    trace.tokens = {{"Once", false, 0, 0, 0}, {" upon", true, 1.23456789, 1.5, 0.01}};
    trace.worst = {{17, "the ", "cat", 2.5, 0.1, 0.9, "dog", 0.5, "cat", 0.9}};
    trace.tasksProtocol = "tasks";
    trace.tasksCorrect = {1, 0, 1};
    const EvaluationTrace read =
        evaluationTraceFromJson(nlohmann::json::parse(toJson(trace).dump()));
    EXPECT_EQ(read.protocol, "ppl");
    ASSERT_EQ(read.blocks.size(), 2u);
    EXPECT_EQ(read.blocks[0].nll, 700.25);
    EXPECT_TRUE(std::isnan(read.blocks[1].nll));
    ASSERT_EQ(read.tokens.size(), 2u);
    EXPECT_FALSE(read.tokens[0].scored);
    EXPECT_TRUE(read.tokens[1].scored);
    EXPECT_EQ(read.tokens[1].nll, 1.235);  // four digits are kept
    EXPECT_EQ(read.worst.at(0).baselineTop, "cat");
    EXPECT_EQ(read.worst.at(0).probability, 0.1);
    EXPECT_EQ(read.tasksCorrect, trace.tasksCorrect);
    EXPECT_TRUE(evaluationTraceFromJson(nlohmann::json::object()).empty());
    EXPECT_THROW(evaluationTraceFromJson(nlohmann::json::parse(
                     R"({"blocks":{"tokens":["x"],"nll":[1],"kl":[1],"same_top":[1]}})")),
                 nlohmann::json::exception);
}

}  // namespace
}  // namespace fettle
