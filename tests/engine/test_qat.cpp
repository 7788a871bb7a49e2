// The techniques qat and qad through whole recipes: what they gain, what they say, what they
// refuse.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <map>
#include <thread>

#include "engine/backend/cpu_backend.h"
#include "engine/job/recipe_runner.h"
#include "engine/technique/quantized_training.h"
#include "engine/train/optimizer.h"
#include "tests/support/model_files.h"

namespace fettle {
namespace {

using nlohmann::json;

class Report : public NullProgress {
public:
    void series(const SeriesPoint& point) override { curves[point.name][point.step] = point.value; }
    void log(JobLog::Level level, const std::string& text) override {
        lines.push_back(text);
        if (level == JobLog::Level::Warning)
            warnings.push_back(text);
    }
    std::map<std::string, std::map<double, double>> curves;
    std::vector<std::string> lines, warnings;
};

class QuantizedTraining : public ::testing::Test {
protected:
    void SetUp() override {
        test::writeFolder(folder / "model", test::tinyParts("llama"));
        std::string text;
        for (int i = 0; i < 300; ++i)
            text += std::string("ABCDEFGHIJ").substr(0, static_cast<std::size_t>(4 + i % 5)) +
                    std::to_string(i % 10) + "QRSTUVWX=" + std::to_string(i % 10) + "\n\n";
        test::writeFile(folder / "train.txt", text);
        test::writeFile(folder / "evaluate.txt", "ABCD1QRSTUVWX=1\n\nABCDEF3QRSTUVWX=3\n\n");
    }

    static json training(const json& more = json::object()) {
        json params = {{"tokens", 3000}, {"batch_tokens", 64},      {"learning_rate", 3e-3},
                       {"context", 16},  {"validation_share", 0.1}, {"evaluate_every", 10}};
        if (!more.empty())
            params.update(more);
        return params;
    }
    RunResult run(const std::vector<RecipeStep>& steps, std::stop_token stop = {}) {
        RunRequest request;
        request.modelPath = (folder / "model").string();
        request.recipe.name = "test";
        request.recipe.steps = steps;
        request.recipe.seed = 1;
        request.inputs = inputs;
        request.measure.context = 16;
        request.measure.speed = false;
        request.artifactFolder = (folder / "artifact").string();
        RunControl control(stop, &gate, report);
        return runRecipe(request, backend, control);
    }
    std::string errorOf(const std::vector<RecipeStep>& steps) {
        try {
            run(steps);
        } catch (const EngineError& error) {
            EXPECT_EQ(error.kind(), ErrorKind::Usage);
            return error.what();
        }
        return "no error";
    }
    static double metric(const RunResult& result, const std::string& name) {
        for (const Measurement& m : result.metrics)
            if (m.name == name)
                return m.value;
        ADD_FAILURE() << "no metric " << name;
        return 0;
    }

    test::TempFolder folder;
    CpuBackend backend{2};
    PauseGate gate;
    Report report;
    RunInputs inputs{"", (folder / "train.txt").string(), (folder / "evaluate.txt").string(), "",
                     ""};
    const RecipeStep ptq{"ptq", {{"scheme", "int4-g32"}}};
};

TEST_F(QuantizedTraining, GoesOnFromPtqAndSaysWhatItWonBack) {
    const RunResult result = run({ptq, {"qat", training()}});
    ASSERT_EQ(result.steps.size(), 2u);
    ASSERT_TRUE(result.artifact);
    EXPECT_EQ(result.artifact->format, "compressed-tensors");
    const Model artifact = loadModel(result.artifact->path);
    EXPECT_EQ(artifact.weight("layers.0.attn.q.weight").quantized().scheme.id, "int4-g32");
    // Documents are packed whole: a batch may end up to one context short of its 64 tokens.
    EXPECT_LE(metric(result, "training_tokens"), 3000 + 64);
    EXPECT_GE(metric(result, "training_tokens"), 3000 * (64 - 16) / 64);
    const double before = metric(result, "validation_perplexity_quantized"),
                 now = metric(result, "validation_perplexity"),
                 full = metric(result, "validation_perplexity_original");
    EXPECT_LT(now, before);
    EXPECT_NEAR(metric(result, "recovery"), recoveredShare(before, full, now), 1e-6);
    EXPECT_DOUBLE_EQ(report.curves["recovery"].at(0), 0);
    EXPECT_EQ(report.curves["recovery"].size(), report.curves["validation_perplexity"].size());
    EXPECT_NEAR(report.curves["validation_perplexity"].at(0), before, 1e-6);
    for (const char* name : {"train_loss", "learning_rate", "gradient_norm", "tokens_per_second"})
        EXPECT_FALSE(report.curves[name].empty()) << name;
    std::size_t changed = 0;
    for (const LayerMetric& m : result.layerMetrics)
        changed += m.name == "codes_changed" && m.value > 0;
    EXPECT_EQ(changed, 14u) << "every linear weight of two layers";
}

TEST_F(QuantizedTraining, QuantizesFirstWhereNothingIs) {
    const RunResult named = run({{"qat", training({{"scheme", "int8"}})}});
    EXPECT_EQ(
        loadModel(named.artifact->path).weight("layers.0.attn.q.weight").quantized().scheme.id,
        "int8");
    // Rows of 64 have no groups of 128: as in ptq, smaller ones are taken.
    const RunResult plain = run({{"qat", training()}});
    EXPECT_TRUE(loadModel(plain.artifact->path).weight("layers.0.attn.q.weight").isQuantized());
}

TEST_F(QuantizedTraining, GoesOnFromAStoredModel) {
    run({ptq});
    std::filesystem::rename(folder / "artifact", folder / "quantized");
    std::filesystem::remove_all(folder / "model");
    std::filesystem::rename(folder / "quantized", folder / "model");
    const RunResult result = run({{"qat", training()}});
    EXPECT_LT(metric(result, "validation_perplexity"),
              metric(result, "validation_perplexity_quantized"));
}

TEST_F(QuantizedTraining, DistillationApproachesItsTeacher) {
    // Two bits, so that there is something to win back.
    const RecipeStep coarse{"ptq", {{"scheme", "int2-g32"}}};
    const RunResult result = run({coarse, {"qad", training()}});
    const auto& kl = report.curves["validation_kl"];
    ASSERT_GT(kl.size(), 2u);
    EXPECT_GT(kl.begin()->second, 0);
    EXPECT_LT(kl.rbegin()->second, 0.5 * kl.begin()->second);
    EXPECT_LT(metric(result, "kl_mean"), kl.begin()->second);
    EXPECT_EQ(report.curves["validation_loss"].at(0), kl.begin()->second)
        << "the divergence alone is minimized";
}

TEST_F(QuantizedTraining, TheTeacherMayBeAnotherModel) {
    test::FolderParts other = test::tinyParts("qwen3");
    test::writeFolder(folder / "teacher", other);
    inputs.teacher = (folder / "teacher").string();
    run({ptq, {"qad", training()}});
    const auto& kl = report.curves["validation_kl"];
    EXPECT_LT(kl.rbegin()->second, kl.begin()->second);
}

TEST_F(QuantizedTraining, RefusesATeacherWithAnotherVocabulary) {
    test::FolderParts other = test::tinyParts("llama");
    other.tokenizer = test::tokenizerJson();
    const std::size_t at = other.tokenizer.find("\"A B\"");
    ASSERT_NE(at, std::string::npos);
    // Two tokens trade their numbers.
    json tokenizer = json::parse(other.tokenizer);
    json& vocabulary = tokenizer["model"]["vocab"];
    const std::string first = vocabulary.begin().key(),
                      second = std::next(vocabulary.begin()).key();
    std::swap(vocabulary[first], vocabulary[second]);
    other.tokenizer = tokenizer.dump();
    test::writeFolder(folder / "teacher", other);
    const std::string error =
        errorOf({ptq, {"qad", training({{"teacher", (folder / "teacher").string()}})}});
    EXPECT_NE(error.find("does not share the vocabulary"), std::string::npos) << error;
    EXPECT_NE(error.find("teacher"), std::string::npos) << error;
}

TEST_F(QuantizedTraining, RefusesWhatContradictsItself) {
    EXPECT_NE(errorOf({ptq, {"qat", training({{"scheme", "int8"}})}}).find("quantized already"),
              std::string::npos);
    inputs.train.clear();
    EXPECT_NE(errorOf({ptq, {"qat", training()}}).find("training text"), std::string::npos);
}

TEST_F(QuantizedTraining, StopsWhenEnoughIsWonBack) {
    const RecipeStep coarse{"ptq", {{"scheme", "int2-g32"}}};
    run({coarse, {"qad", training({{"target_recovery", 20.0}, {"evaluate_every", 2}})}});
    const auto& kl = report.curves["validation_kl"];
    EXPECT_LE(kl.rbegin()->second, 0.8 * kl.begin()->second);
    // It stops at the first validation that shows it, before the 3000 / 64 steps are done.
    EXPECT_GT(std::next(kl.rbegin())->second, 0.8 * kl.begin()->second);
    EXPECT_LT(kl.rbegin()->first, 3000 / 64);
}

TEST_F(QuantizedTraining, CancelsWithin200Milliseconds) {
    std::stop_source stop;
    double asked = 0;
    std::thread other([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(1500));
        asked = steadySeconds();
        stop.request_stop();
    });
    EXPECT_THROW(run({ptq, {"qad", training({{"tokens", 100000000}})}}, stop.get_token()),
                 Cancelled);
    const double heard = steadySeconds();
    other.join();
    EXPECT_LT(heard - asked, 0.2);
}

TEST_F(QuantizedTraining, ANetworkDoesNotDivergeFromItself) {
    const Model model = loadModel((folder / "model").string());
    Network student(model, backend.pool()), teacher(model, backend.pool());
    TrainBatch batch;
    batch.add(model.tokenizer->encode("ABCDEFG1QRSTUVWX", false));
    for (const float temperature : {1.0F, 3.0F}) {
        TrainLoss loss;
        loss.crossEntropy = 0;
        loss.distillation = 1;
        loss.temperature = temperature;
        student.zeroGrads();
        const LossSums sums = student.accumulate(batch, loss, 1.0F, &teacher, nullptr);
        EXPECT_NEAR(sums.distillation, 0, 1e-6);
        for (const float g : student.grads())
            ASSERT_NEAR(g, 0, 1e-5);
    }
}

TEST_F(QuantizedTraining, EstimatesGrowWithTokensAndTeacher) {
    const Model model = loadModel((folder / "model").string());
    const ModelFacts facts = factsOf(model);
    const MachineSpeed speed;
    const auto estimate = [&](const char* id, json more) {
        const Technique* technique = findTechnique(id);
        const ValidatedParams params = validateParams(technique->descriptor(), training(more));
        EXPECT_TRUE(params.problems.empty());
        return technique->estimate(facts, params.params, inputs, speed);
    };
    const StepEstimate qat = estimate("qat", {}), longer = estimate("qat", {{"tokens", 6000}}),
                       qad = estimate("qad", {}),
                       thrifty = estimate("qat", {{"save_memory", true}});
    EXPECT_TRUE(qat.problems.empty());
    EXPECT_GT(longer.seconds, 1.5 * qat.seconds);
    EXPECT_GT(qad.seconds, qat.seconds);
    EXPECT_GT(qad.peakBytes, qat.peakBytes);
    EXPECT_LT(thrifty.peakBytes, qat.peakBytes);
    EXPECT_LT(qat.output.bytes(), facts.bytes()) << "it is quantized on the way";
    inputs.train.clear();
    EXPECT_FALSE(estimate("qat", {}).problems.empty());
}

TEST(LearningRate, GrowsWithWhatRoundingCostAndFallsWithSize) {
    const double usual = automaticLearningRate(4e6, std::nullopt);
    EXPECT_DOUBLE_EQ(usual, 3e-4);
    EXPECT_DOUBLE_EQ(automaticLearningRate(16e6, std::nullopt), usual / 2);
    EXPECT_DOUBLE_EQ(automaticLearningRate(4e6, -0.01), usual / 4);  // better than the original
    EXPECT_DOUBLE_EQ(automaticLearningRate(4e6, 5.0), 4 * usual);
    double last = 0;
    for (const double lost : {0.02, 0.04, 0.1, 0.3, 0.8}) {
        const double rate = automaticLearningRate(4e6, lost);
        EXPECT_GT(rate, last);
        last = rate;
    }
}

TEST(Recovery, IsAShareOfWhatWasLost) {
    EXPECT_DOUBLE_EQ(recoveredShare(12, 10, 12), 0);
    EXPECT_DOUBLE_EQ(recoveredShare(12, 10, 10.5), 75);
    EXPECT_DOUBLE_EQ(recoveredShare(12, 10, 9), 150);
    EXPECT_DOUBLE_EQ(recoveredShare(10, 10, 9), 0) << "nothing was lost";
}

}  // namespace
}  // namespace fettle
