// Scores of single units: against the model with that unit replaced, and against each other.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <numeric>
#include <random>

#include "engine/backend/cpu_backend.h"
#include "engine/eval/text_scores.h"
#include "engine/quant/rtn.h"
#include "engine/quant/sensitivity.h"
#include "tests/support/fixtures.h"
#include "tests/support/model_files.h"

namespace fettle {
namespace {

double meanOf(const std::vector<double>& values) {
    return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

/// Correlation of the ranks of a and b.
double spearman(const std::vector<double>& a, const std::vector<double>& b) {
    const auto ranks = [](const std::vector<double>& values) {
        std::vector<std::size_t> order(values.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::sort(order.begin(), order.end(),
                  [&](std::size_t x, std::size_t y) { return values[x] < values[y]; });
        std::vector<double> rank(values.size());
        for (std::size_t i = 0; i < order.size(); ++i)
            rank[order[i]] = static_cast<double>(i);
        return rank;
    };
    const std::vector<double> x = ranks(a), y = ranks(b);
    const double middle = static_cast<double>(x.size() - 1) / 2;
    double xy = 0, xx = 0, yy = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        xy += (x[i] - middle) * (y[i] - middle);
        xx += (x[i] - middle) * (x[i] - middle);
        yy += (y[i] - middle) * (y[i] - middle);
    }
    return xy / std::sqrt(xx * yy);
}

SensitivityOptions optionsFor(std::initializer_list<const char*> schemes, SensitivityScore score) {
    SensitivityOptions options;
    for (const char* id : schemes)
        options.schemes.push_back(*findQuantScheme(id));
    options.score = score;
    options.eligible = [](const std::string&) { return true; };
    return options;
}

class Sensitivity : public ::testing::Test {
protected:
    Model tiny(const std::string& family) {
        const auto path = folder / family;
        test::writeFolder(path, test::tinyParts(family));
        return loadModel(path.string());
    }
    CalibrationText randomText() {
        CalibrationText text;
        std::mt19937 rng(7);
        for (int s = 0; s < 4; ++s) {
            text.sequences.emplace_back();
            for (int i = 0; i < 24; ++i)
                text.sequences.back().push_back(
                    static_cast<std::int32_t>(rng() % test::kVocabulary));
        }
        text.tokens = 96;
        return text;
    }
    /// Mean square of each input of a linear weight.
    std::vector<float> inputPower(const Model& model, const CalibrationText& text,
                                  const std::string& weight) {
        Transformer transformer(model, backend);
        std::vector<double> sums;
        transformer.observeLinears([&](const std::string& name, const float* x, std::int64_t rows,
                                       std::int64_t cols, std::int64_t stride) {
            sums.resize(name == weight ? static_cast<std::size_t>(cols) : sums.size());
            for (std::int64_t r = 0; name == weight && r < rows; ++r)
                for (std::int64_t c = 0; c < cols; ++c)
                    sums[static_cast<std::size_t>(c)] +=
                        static_cast<double>(x[r * stride + c]) * x[r * stride + c];
        });
        for (const std::vector<std::int32_t>& ids : text.sequences) {
            KvCache cache = transformer.makeCache(static_cast<std::int64_t>(ids.size()));
            transformer.forward(ids, cache);
        }
        std::vector<float> power;
        for (const double sum : sums)
            power.push_back(static_cast<float>(sum / static_cast<double>(text.tokens)));
        return power;
    }
    test::TempFolder folder;
    CpuBackend backend{2};
    NullProgress sink;
    RunControl control{{}, nullptr, sink};
};

TEST_F(Sensitivity, DivergenceIsThatOfTheModelWithTheUnitReplaced) {
    for (const char* family : {"llama", "qwen3", "gpt2", "gemma3"}) {
        const Model model = tiny(family);
        const CalibrationText text = randomText();
        const std::vector<AllocationUnit> units =
            measureSensitivity(model, text, optionsFor({"int4-g32"}, SensitivityScore::Divergence),
                               backend, backend.pool(), control);
        ASSERT_GE(units.size(), 8U) << family;
        for (const AllocationUnit& unit : units) {
            ASSERT_EQ(unit.choices.size(), 2U) << unit.name;
            EXPECT_EQ(unit.choices[1].loss, 0);
            EXPECT_GT(unit.choices[1].bytes, unit.choices[0].bytes);
            EXPECT_GT(unit.choices[0].loss, 0) << family << " " << unit.name;
        }
        // The same weights in a model of its own, scored as every model is.
        const AllocationUnit& unit = units[5];
        const std::vector<float> power = inputPower(model, text, unit.weights.front());
        Model replaced = model;
        for (const std::string& name : unit.weights) {
            RtnOptions rtn;
            rtn.scheme = *findQuantScheme("int4-g32");
            rtn.inputPower = &power;
            replaced.weights[name] =
                Weight(quantizeRtn(name, model.weight(name), rtn, backend.pool(), control).tensor);
        }
        Transformer before(model, backend), after(replaced, backend);
        std::vector<TextWindow> windows;
        for (const std::vector<std::int32_t>& ids : text.sequences) {
            TextWindow window;
            window.ids = ids;
            window.firstScored = 1;
            window.ids.push_back(0);  // whose prediction is not scored, as sensitivity scores all
            windows.push_back(window);
        }
        const double whole = meanOf(scoreText(after, &before, windows, control).kl);
        EXPECT_NEAR(unit.choices[0].loss, whole, 1e-3 * whole + 1e-8) << family << " " << unit.name;
    }
}

TEST_F(Sensitivity, FewerBitsLoseMoreByEveryScore) {
    const Model model = tiny("llama");
    for (const SensitivityScore score :
         {SensitivityScore::Divergence, SensitivityScore::Fisher, SensitivityScore::Hessian}) {
        double int8 = 0, int4 = 0;
        for (const AllocationUnit& unit :
             measureSensitivity(model, randomText(), optionsFor({"int4-g32", "int8"}, score),
                                backend, backend.pool(), control)) {
            int4 += unit.choices[0].loss;
            int8 += unit.choices[1].loss;
        }
        EXPECT_GT(int4, 4 * int8);
        EXPECT_GT(int8, 0);
    }
}

TEST_F(Sensitivity, ExcludedWeightsAreNoUnits) {
    SensitivityOptions options = optionsFor({"int4-g32"}, SensitivityScore::Fisher);
    options.eligible = [](const std::string& name) { return name == "layers.1.attn.k.weight"; };
    const std::vector<AllocationUnit> units =
        measureSensitivity(tiny("llama"), randomText(), options, backend, backend.pool(), control);
    ASSERT_EQ(units.size(), 1U);
    EXPECT_EQ(units[0].weights, std::vector<std::string>{"layers.1.attn.k.weight"});
    options.eligible = [](const std::string&) { return false; };
    EXPECT_THROW(
        measureSensitivity(tiny("llama"), randomText(), options, backend, backend.pool(), control),
        EngineError);
}

TEST_F(Sensitivity, FisherRanksUnitsOfATrainedModelAsDivergenceDoes) {
    const auto path = test::fixture("llama-4m");
    if (!std::filesystem::exists(path))
        GTEST_SKIP() << "the reference models are not here";
    if (test::kSanitized)
        GTEST_SKIP() << "a question of statistics; the small models run the same code";
    const Model model = loadModel(path.string());
    const CalibrationText text = sampleCalibration(
        *model.tokenizer, test::fixture("texts/calibration.txt").string(), 512, 128, 1);
    std::map<SensitivityScore, std::vector<double>> losses;
    for (const SensitivityScore score :
         {SensitivityScore::Divergence, SensitivityScore::Fisher, SensitivityScore::Hessian})
        for (const AllocationUnit& unit : measureSensitivity(
                 model, text, optionsFor({"int4-g128"}, score), backend, backend.pool(), control))
            losses[score].push_back(unit.choices[0].loss);
    EXPECT_GT(spearman(losses[SensitivityScore::Divergence], losses[SensitivityScore::Fisher]),
              0.8);
}

}  // namespace
}  // namespace fettle
