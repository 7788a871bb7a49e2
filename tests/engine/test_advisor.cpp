// The advisor against a world whose numbers are made up: which rungs it climbs, what it leaves out
// and why, that it stops when the targets hold, keeps to its budget and goes on where it was
// killed.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "engine/advisor/advisor.h"
#include "engine/technique/technique.h"

namespace fettle {
namespace {

ParameterSchema parameter(const char* name, ParameterType type, nlohmann::json value) {
    ParameterSchema schema;
    schema.name = name;
    schema.type = type;
    schema.defaultValue = std::move(value);
    return schema;
}

ParameterSchema choice(const char* name, const std::vector<std::string>& values) {
    ParameterSchema schema = parameter(name, ParameterType::Choice, values.front());
    for (const std::string& value : values)
        schema.choices.push_back({value, value, ""});
    return schema;
}

TechniqueDescriptor technique(const char* id, std::vector<ParameterSchema> parameters) {
    TechniqueDescriptor descriptor;
    descriptor.id = id;
    descriptor.title = id;
    descriptor.parameters = std::move(parameters);
    return descriptor;
}

std::vector<TechniqueDescriptor> allTechniques() {
    const auto trained = [] {
        return std::vector{parameter("tokens", ParameterType::Int, 1000000),
                           parameter("rate_factor", ParameterType::Double, 1)};
    };
    return {technique("ptq", {choice("scheme", {"int8", "int4-g32", "int4-g128"}),
                              choice("method", {"rtn", "gptq", "awq", "smoothquant"})}),
            technique("qat", trained()),
            technique("qad", trained()),
            technique("speculative", {parameter("draft", ParameterType::Text, "ngram")}),
            technique("eagle", {parameter("tokens", ParameterType::Int, 1000000)}),
            technique("prune", {choice("method", {"ffn", "layers"}),
                                parameter("ratio", ParameterType::Double, 0.25)}),
            technique("distill", {parameter("tokens", ParameterType::Int, 1000000)})};
}

Measurement number(const char* name, double value, double halfWidth = 0) {
    Measurement m{name, value, "", {}, {}, true, false, ""};
    if (halfWidth > 0) {
        m.low = value - halfWidth;
        m.high = value + halfWidth;
    }
    return m;
}

/// What a made-up model does; a trial changes it.
struct Numbers {
    double increase = 0, halfWidth = 0.002, speed = 100, bytes = 16e6, seconds = 10;
    bool fails = false;
};

/// int8: no loss worth the name; int4: 5% that training halves twice; drafting 1.3 times as fast.
Numbers numbersOf(const AdvisorTrial& trial) {
    Numbers n;
    for (const RecipeStep& step : trial.recipe.steps) {
        const std::string scheme = step.params.value("scheme", "");
        if (scheme == "int8") {
            n.increase += 0.001;
            n.speed *= 1.6;
            n.bytes *= 0.5;
        } else if (step.technique == "ptq") {
            n.increase += step.params.value("method", "") == "gptq" ? 0.05 : 0.08;
            n.speed *= 2;
            n.bytes *= scheme == "int4-g32" ? 0.28 : 0.26;
        } else if (step.technique == "qat" || step.technique == "qad") {
            n.increase *= step.technique == "qad" ? 0.25 : 0.5;
            n.seconds += step.params.at("tokens").get<double>() / 2000;
        } else if (step.technique == "speculative") {
            n.speed *= step.params.at("draft") == "ngram" ? 1.3 : 1.1;
        } else if (step.technique == "eagle") {
            n.speed *= 1.5;
            n.seconds += step.params.at("tokens").get<double>() / 2000;
        } else if (step.technique == "prune") {
            n.increase += 0.04;
            n.speed *= 1.2;
            n.bytes *= 0.8;
        }
    }
    return n;
}

class World {
public:
    AdvisorGoal goal;
    std::vector<TechniqueDescriptor> techniques = allTechniques();
    std::function<Numbers(const AdvisorTrial&)> numbers = numbersOf;
    AdvisorKnowledge known;
    std::vector<AdvisorTrial> ran;

    World() {
        goal.modelPath = "model";
        goal.inputs.evaluate = "text";
        goal.inputs.calibration = "calibration";
        goal.layers = 8;
    }

    /// Answers at most `most` runs; the report as it then stands.
    AdvisorReport climb(std::size_t most = 1000) {
        while (true) {
            AdvisorReport report = advise(goal, techniques, known);
            if (!report.question)
                return report;
            const AdvisorTrial trial = report.question->trial;
            if (report.question->kind == AdvisorQuestion::Kind::Estimate) {
                known.estimates[trialKey(trial)] = estimateOf(trial);
                continue;
            }
            if (ran.size() == most)
                return report;
            EXPECT_EQ(known.outcomes.count(trialKey(trial)), 0u) << "asked twice";
            ran.push_back(trial);
            known.outcomes[trialKey(trial)] = outcomeOf(trial);
        }
    }

private:
    RecipeEstimate estimateOf(const AdvisorTrial& trial) const {
        const Numbers n = numbers(trial);
        RecipeEstimate estimate;
        estimate.seconds = n.seconds;
        estimate.outputBytes = static_cast<std::uint64_t>(n.bytes);
        return estimate;
    }
    AdvisorOutcome outcomeOf(const AdvisorTrial& trial) const {
        const Numbers n = numbers(trial);
        AdvisorOutcome outcome;
        outcome.experiment = static_cast<std::int64_t>(ran.size());
        outcome.seconds = n.seconds;
        if (n.fails) {
            outcome.status = ExperimentStatus::Failed;
            outcome.error = "made to fail";
            return outcome;
        }
        const auto add = [&](const Measurement& m) { outcome.metrics[m.name] = m; };
        add(number("perplexity", 10 * (1 + n.increase)));
        add(number("decode_tokens_per_s", n.speed));
        add(number("weight_bytes", n.bytes));
        add(number("file_bytes", n.bytes));
        if (!trial.recipe.steps.empty()) {
            add(number("ppl_ratio", 1 + n.increase, n.halfWidth));
            add(number("kl_mean", n.increase + 1e-4));
        }
        if (trial.stage == "speculative")
            add(number("speedup", n.speed / 160));
        return outcome;
    }
};

bool ranStage(const World& world, const std::string& stage) {
    return std::any_of(world.ran.begin(), world.ran.end(),
                       [&](const AdvisorTrial& t) { return t.stage == stage; });
}

std::string allText(const AdvisorReport& report) {
    std::string text;
    for (const AdvisorDecision& decision : report.decisions)
        text += decision.stage + ": " + decision.text + "\n";
    return text + report.verdict;
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

TEST(Advisor, StopsAtTheModelAsItIs) {
    World world;
    world.goal.targets.maxMemoryBytes = 20e6;
    const AdvisorReport report = world.climb();
    EXPECT_EQ(world.ran.size(), 1u);
    EXPECT_TRUE(report.met);
    ASSERT_TRUE(report.recommended);
    EXPECT_TRUE(report.rungs[*report.recommended].trial.recipe.steps.empty());
}

TEST(Advisor, StopsWithinPtqWhenTheTargetsHold) {
    World world;
    world.goal.targets.maxPerplexityIncrease = 0.02;
    world.goal.targets.minSpeedup = 1.5;
    const AdvisorReport report = world.climb();
    EXPECT_TRUE(report.met) << allText(report);
    EXPECT_FALSE(ranStage(world, "qad"));
    EXPECT_FALSE(ranStage(world, "speculative"));
    const AdvisorRung& best = report.rungs[report.recommended.value()];
    EXPECT_EQ(best.trial.recipe.steps.at(0).params.at("scheme"), "int8");
    EXPECT_TRUE(best.trial.inFull());
    EXPECT_TRUE(contains(report.verdict, "not significant")) << report.verdict;
}

TEST(Advisor, ChoosesOnPartOfTheEvaluationFirst) {
    World world;
    world.goal.targets.minSpeedup = 100;  // never
    world.goal.measure.maxTokens = 16384;
    world.climb();
    std::size_t quarter = 0, half = 0, full = 0;
    for (const AdvisorTrial& trial : world.ran) {
        if (trial.stage != "ptq")
            continue;
        quarter += trial.measure.maxTokens == 4096 ? 1 : 0;
        half += trial.measure.maxTokens == 8192 ? 1 : 0;
        full += trial.inFull() && trial.measure.maxTokens == 16384 ? 1 : 0;
    }
    EXPECT_EQ(quarter, 7u);  // int8 by two methods, int4 by three and two
    EXPECT_EQ(half, 4u);
    EXPECT_EQ(full, 2u);
}

TEST(Advisor, ALossWithinChanceIsNotTrainedAway) {
    World world;
    world.techniques.erase(world.techniques.begin() + 5, world.techniques.end());
    world.goal.targets.maxPerplexityIncrease = 0.02;
    world.goal.targets.minSpeedup = 1.9;
    const AdvisorReport report = [&] {
        world.numbers = [](const AdvisorTrial& trial) {
            Numbers n = numbersOf(trial);
            n.increase = std::min(n.increase, 0.001);
            n.speed = std::min(n.speed, 160.0);
            return n;
        };
        return world.climb();
    }();
    EXPECT_FALSE(ranStage(world, "qad"));
    EXPECT_TRUE(contains(allText(report),
                         "is not significant (perplexity +0.10% (-0.10% to "
                         "+0.30%)), so training is not worth its 8 min 30 s"))
        << allText(report);
}

TEST(Advisor, TrainsWhatMissesAccuracyAlone) {
    World world;
    world.goal.targets.maxPerplexityIncrease = 0.02;
    world.goal.targets.maxMemoryBytes = 5e6;  // int4 only
    const AdvisorReport report = world.climb();
    EXPECT_TRUE(report.met) << allText(report);
    EXPECT_TRUE(ranStage(world, "qad"));
    const AdvisorRung& best = report.rungs[report.recommended.value()];
    ASSERT_EQ(best.trial.recipe.steps.size(), 2u);
    EXPECT_EQ(best.trial.recipe.steps[1].technique, "qad");
    EXPECT_EQ(best.trial.recipe.steps[1].params.at("tokens"), 1000000);
    EXPECT_TRUE(
        contains(allText(report), "too large: ptq int8 rtn (7.63 MiB estimated, at most 4.77"))
        << allText(report);
    // Chosen on a quarter of the tokens.
    EXPECT_TRUE(std::any_of(world.ran.begin(), world.ran.end(), [](const AdvisorTrial& t) {
        return t.stage == "qad" && !t.inFull() &&
               t.recipe.steps.back().params.at("tokens") == 250000;
    }));
}

TEST(Advisor, DraftsWhatMissesSpeedAlone) {
    World world;
    world.goal.targets.maxPerplexityIncrease = 0.02;
    world.goal.targets.minSpeedup = 2.0;  // int8 gives 1.6, with a draft 2.08
    const AdvisorReport report = world.climb();
    EXPECT_TRUE(report.met) << allText(report);
    const AdvisorRung& best = report.rungs[report.recommended.value()];
    EXPECT_EQ(best.trial.recipe.steps.back().technique, "speculative");
    EXPECT_TRUE(contains(allText(report), "Drafting pays: 1.30×")) << allText(report);
}

TEST(Advisor, WithoutADraftModelALargeOneIsGivenAnEagleHead) {
    World world;
    world.goal.targets.maxPerplexityIncrease = 0.02;
    world.goal.targets.minSpeedup = 2.3;  // int8 with n-grams gives 2.08, with a head 2.4
    world.goal.inputs.train = "train";
    world.goal.hiddenSize = 2048;
    world.goal.vocabulary = 32000;
    const AdvisorReport report = world.climb();
    ASSERT_TRUE(report.met) << allText(report);
    const AdvisorRung& best = report.rungs[report.recommended.value()];
    EXPECT_EQ(best.trial.recipe.steps.front().technique, "ptq");
    EXPECT_EQ(best.trial.recipe.steps.back().technique, "eagle");
    EXPECT_EQ(best.trial.recipe.steps.back().params.at("tokens"), 1000000);
    EXPECT_TRUE(contains(allText(report), "There is no draft model: an EAGLE head is tried"))
        << allText(report);

    const auto refusal = [&](const std::function<void(World&)>& change) {
        World other;
        other.goal = world.goal;
        change(other);
        const std::string text = allText(other.climb());
        for (const AdvisorTrial& trial : other.ran)
            for (const RecipeStep& step : trial.recipe.steps)
                EXPECT_NE(step.technique, "eagle") << text;
        return text;
    };
    EXPECT_TRUE(contains(refusal([](World& w) { w.goal.draft = "small-model"; }),
                         "EAGLE head is left out: there is a draft model, small-model"));
    EXPECT_TRUE(contains(refusal([](World& w) { w.goal.hiddenSize = 256; }),
                         "a model of 256 values a token and 32000 tokens is too small"));
    EXPECT_TRUE(contains(refusal([](World& w) { w.goal.vocabulary = 2048; }), "2048 tokens"));
    EXPECT_TRUE(contains(refusal([](World& w) { w.goal.inputs.train.clear(); }),
                         "EAGLE head is left out: it needs a training text"));
    EXPECT_TRUE(contains(refusal([](World& w) { w.goal.minutes = 4; }),
                         "EAGLE head is left out: it takes about"));
    EXPECT_TRUE(contains(refusal([](World& w) {
                             std::erase_if(w.techniques,
                                           [](const auto& t) { return t.id == "eagle"; });
                         }),
                         "no technique named eagle"));
}

TEST(Advisor, AbsentTechniquesAreNamed) {
    World world;
    world.techniques.resize(1);  // ptq alone
    world.goal.targets.minSpeedup = 50;
    const AdvisorReport report = world.climb();
    EXPECT_FALSE(report.met);
    const std::string text = allText(report);
    for (const char* id : {"qat", "speculative", "prune"})
        EXPECT_TRUE(contains(text, std::string("no technique named ") + id)) << text;
    EXPECT_TRUE(contains(report.verdict, "It misses: 2.00× the decode speed, at least 50.00×"))
        << report.verdict;
}

TEST(Advisor, KeepsToItsBudget) {
    World world;
    world.goal.targets.minSpeedup = 50;
    world.goal.minutes = 3;
    const AdvisorReport report = world.climb();
    EXPECT_LE(report.seconds, 200);
    EXPECT_TRUE(contains(allText(report), "of the budget are left")) << allText(report);
}

TEST(Advisor, AFailedRunEndsNothing) {
    World world;
    world.goal.targets.maxPerplexityIncrease = 0.02;
    world.goal.targets.minSpeedup = 1.5;
    world.numbers = [](const AdvisorTrial& trial) {
        Numbers n = numbersOf(trial);
        n.fails = !trial.recipe.steps.empty() &&
                  trial.recipe.steps[0].params.value("method", "") == "smoothquant";
        return n;
    };
    const AdvisorReport report = world.climb();
    EXPECT_TRUE(report.met);
    EXPECT_TRUE(contains(allText(report), "made to fail"));
}

TEST(Advisor, GoesOnWhereItWasKilled) {
    World whole;
    whole.goal.targets.maxPerplexityIncrease = 0.02;
    whole.goal.targets.maxMemoryBytes = 5e6;
    const AdvisorReport expected = whole.climb();
    World first = whole;
    first.known = {};
    first.ran.clear();
    const AdvisorReport cut = first.climb(5);
    ASSERT_TRUE(cut.question);
    EXPECT_TRUE(std::any_of(cut.rungs.begin(), cut.rungs.end(), [](const AdvisorRung& r) {
        return r.state == AdvisorRung::State::Running;
    }));
    World second = whole;
    second.known = first.known;
    second.known.estimates.clear();  // are asked again; only experiments are stored
    second.ran.clear();
    const AdvisorReport resumed = second.climb();
    EXPECT_EQ(second.ran.size() + first.ran.size(), whole.ran.size());
    ASSERT_TRUE(resumed.recommended);
    EXPECT_EQ(resumed.rungs[*resumed.recommended].title,
              expected.rungs[*expected.recommended].title);
    EXPECT_TRUE(resumed.met);
    ASSERT_EQ(resumed.decisions.size(), expected.decisions.size());
    for (std::size_t i = 0; i < expected.decisions.size(); ++i)
        EXPECT_EQ(resumed.decisions[i].text, expected.decisions[i].text);
}

TEST(Advisor, TheFrontHoldsWhatNothingBeats) {
    World world;
    world.goal.targets.minSpeedup = 50;
    const AdvisorReport report = world.climb();
    ASSERT_FALSE(report.front.empty());
    for (const std::size_t a : report.front)
        for (const AdvisorRung& other : report.rungs) {
            if (other.state != AdvisorRung::State::Finished || !other.trial.inFull() ||
                other.trial.recipe.steps.empty() || report.rungs[a].trial.recipe.steps.empty())
                continue;
            const auto value = [](const AdvisorRung& r, const char* m) {
                return r.metrics.at(m).value;
            };
            const AdvisorRung& own = report.rungs[a];
            EXPECT_FALSE(value(other, "kl_mean") < value(own, "kl_mean") &&
                         value(other, "decode_tokens_per_s") > value(own, "decode_tokens_per_s") &&
                         value(other, "weight_bytes") < value(own, "weight_bytes"));
        }
}

TEST(Advisor, ASpeedThroughDequantizationHoldsNoTarget) {
    World world;
    world.goal.targets.minSpeedup = 1.5;
    world.techniques.resize(1);
    AdvisorReport report = world.climb();
    EXPECT_TRUE(report.met);
    for (auto& [key, outcome] : world.known.outcomes)
        outcome.metrics.at("decode_tokens_per_s").native = false;
    report = advise(world.goal, world.techniques, world.known);
    EXPECT_FALSE(report.met);
}

TEST(Advisor, CandidatesOfThisBuildPassItsOwnValidation) {
    World world;
    world.techniques = techniqueDescriptors();
    world.goal.targets.minSpeedup = 50;
    world.climb();
    EXPECT_GT(world.ran.size(), 8u);
    for (const AdvisorTrial& trial : world.ran)
        for (const RecipeStep& step : trial.recipe.steps) {
            const Technique* technique = findTechnique(step.technique);
            ASSERT_NE(technique, nullptr) << step.technique;
            const ValidatedParams checked = validateParams(technique->descriptor(), step.params);
            EXPECT_TRUE(checked.problems.empty())
                << step.technique << " " << step.params.dump() << ": " << checked.problems.front();
        }
}

TEST(Advisor, WhatNeitherPruningNorQuantizingReachesBothMayReach) {
    World world;
    world.goal.targets.maxFileBytes = 3.5e6;  // of 16: the strongest quantization ends at 4.2
    world.goal.targets.maxPerplexityIncrease = 0.15;
    const AdvisorReport report = world.climb();
    ASSERT_TRUE(report.met) << report.verdict;
    std::set<std::string> steps;
    for (const RecipeStep& step : report.rungs[*report.recommended].trial.recipe.steps)
        steps.insert(step.technique);
    EXPECT_TRUE(steps.contains("prune") && steps.contains("ptq"));
}

TEST(AdvisorValues, LimitsAsPeopleWriteThem) {
    EXPECT_DOUBLE_EQ(limitFromText("2%").value(), 0.02);
    EXPECT_DOUBLE_EQ(limitFromText("2 GiB").value(), 2147483648.0);
    EXPECT_DOUBLE_EQ(limitFromText("1.5x").value(), 1.5);
    EXPECT_DOUBLE_EQ(limitFromText("+0.5").value(), 0.5);
    EXPECT_DOUBLE_EQ(limitFromText("900KB").value(), 900e3);
    EXPECT_DOUBLE_EQ(limitFromText("2 gib").value(), 2147483648.0);
    for (const char* wrong : {"", "two", "2 apples", "%", "nan", "inf"})
        EXPECT_FALSE(limitFromText(wrong)) << wrong;
}

}  // namespace
}  // namespace fettle
