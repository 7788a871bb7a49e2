// Structured pruning: what is cut equals what is set to zero, what is planted as dead goes first,
// what stays is refitted as well as it can be, and what results is a plain model.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/backend/cpu_backend.h"
#include "engine/io/exporter.h"
#include "engine/prune/channel_pruner.h"
#include "engine/prune/importance.h"
#include "engine/prune/pruner.h"
#include "engine/prune/shape_search.h"
#include "engine/prune/width_pruner.h"
#include "engine/technique/prune_settings.h"
#include "engine/technique/technique.h"
#include "tests/engine/families.h"
#include "tests/support/model_files.h"

namespace fettle {
namespace {

constexpr std::int64_t kLength = 24;

std::string inLayer(std::int64_t layer, const char* rest) {
    return "layers." + std::to_string(layer) + "." + rest;
}

class Pruning : public ::testing::Test {
protected:
    Pruning() {
        std::mt19937 rng(7);
        for (int s = 0; s < 24; ++s) {
            text.sequences.emplace_back();
            for (int i = 0; i < kLength; ++i)
                text.sequences.back().push_back(
                    static_cast<std::int32_t>(rng() % test::kVocabulary));
        }
        text.tokens = 24 * kLength;
    }
    Model tiny(const std::string& family) {
        const auto path = folder / family;
        test::writeFolder(path, test::tinyParts(family));
        return loadModel(path.string());
    }
    std::vector<float> logits(const Model& model) {
        Transformer transformer(model, backend);
        KvCache cache = transformer.makeCache(kLength, kernels::KvType::F32);
        transformer.forward(text.sequences.front(), cache);
        std::vector<float> out(kLength * test::kVocabulary);
        transformer.logits(0, kLength, out.data());
        return out;
    }
    /// Largest difference of logits, of their range.
    double distance(const Model& a, const Model& b) {
        const std::vector<float> x = logits(a), y = logits(b);
        const auto [low, high] = std::minmax_element(x.begin(), x.end());
        double largest = 0;
        for (std::size_t i = 0; i < x.size(); ++i)
            largest = std::max(largest, std::fabs(static_cast<double>(x[i]) - y[i]));
        return largest / (*high - *low);
    }
    /// Rows and columns of a weight set to `value`.
    void fill(Model& model, const std::string& name, const std::vector<std::int64_t>& rows,
              const std::vector<std::int64_t>& cols, float value) {
        if (!model.has(name))
            return;
        const Weight weight = model.weight(name);
        std::vector<float> values = weight.toFloat();
        const std::int64_t width = weight.shape().back(), height = weight.elements() / width;
        for (std::int64_t r = 0; r < height; ++r)
            for (std::int64_t c = 0; c < width; ++c)
                if (std::count(rows.begin(), rows.end(), r) ||
                    std::count(cols.begin(), cols.end(), c))
                    values[static_cast<std::size_t>(r * width + c)] = value;
        model.weights[name] = weightLike(weight, values);
    }
    WidthResult width(const Model& model, const WidthOptions& options) {
        return pruneWidth(model, text, options, backend, pool, control, nullptr);
    }
    PrunedShape narrower(const Model& model) {
        PrunedShape shape = shapeOf(model.config);
        shape.feedForward = 64;
        if (model.config.architecture != "gpt2") {
            shape.heads = 2;
            shape.kvHeads = 1;
        }
        return shape;
    }
    Model apply(const Model& model, nlohmann::json params, const std::string& calibration) {
        const Technique* prune = findTechnique("prune");
        const ValidatedParams valid = validateParams(prune->descriptor(), params);
        EXPECT_TRUE(valid.problems.empty()) << valid.problems.front();
        RunInputs inputs;
        inputs.calibration = calibration;
        MeasureOptions measure;
        measure.context = kLength;
        TechniqueContext context{model,        backend, pool,    inputs,       measure,
                                 valid.params, 1,       control, layerMetrics, metrics};
        return prune->apply(model, context);
    }
    std::string calibrationFile() {
        std::string content;
        std::mt19937 rng(3);
        for (int i = 0; i < 3000; ++i)
            content += static_cast<char>('!' + rng() % 60);
        test::writeFile(folder / "calibration.txt", content);
        return (folder / "calibration.txt").string();
    }

    test::TempFolder folder;
    CpuBackend backend{1};  // models this small wait longer for a second thread than they work
    kernels::WorkerPool& pool = backend.pool();
    NullProgress sink;
    RunControl control{{}, nullptr, sink};
    CalibrationText text;
    std::vector<LayerMetric> layerMetrics;
    std::vector<Measurement> metrics;
};

TEST_F(Pruning, RemovingNothingChangesNothing) {
    for (const std::string& family : kFamilies) {
        const Model model = tiny(family);
        const Model same = pruneModel(model, keepAll(model.config), control);
        EXPECT_EQ(logits(model), logits(same)) << family;
        EXPECT_EQ(same.parameters(), model.parameters());
        EXPECT_EQ(logits(apply(model, {{"method", "ffn"}, {"ratio", 0}}, calibrationFile())),
                  logits(model))
            << family;
    }
}

TEST_F(Pruning, TheOrderOfNeuronsAndGroupsMeansNothing) {
    for (const std::string& family : kFamilies) {
        const Model model = tiny(family);
        PruningPlan plan = keepAll(model.config);
        for (auto& neurons : plan.neurons)
            std::reverse(neurons.begin(), neurons.end());
        if (family != "gpt2") {
            plan.kvHeads[0] = {1, 0};
            plan.heads[0] = {2, 3, 0, 1};
        }
        EXPECT_LT(distance(model, pruneModel(model, plan, control)), 1e-5) << family;
    }
}

TEST_F(Pruning, WhatIsCutEqualsWhatIsSetToZero) {
    for (const std::string& family : kFamilies)
        for (const bool compensate : {true, false}) {
            const Model model = tiny(family);
            WidthOptions options;
            options.shape = narrower(model);
            options.compensate = compensate;
            const WidthResult result = width(model, options);
            const Model cut = pruneModel(result.model, result.plan, control);
            EXPECT_EQ(shapeOf(cut.config), options.shape) << family;
            EXPECT_GT(distance(model, cut), 1e-3) << family;
            EXPECT_LT(distance(result.model, cut), 1e-5) << family << compensate;
        }
}

TEST_F(Pruning, HeadsOfAGroupMayGoWithoutTheirKeys) {
    const Model model = tiny("llama");
    WidthOptions options;
    options.shape = shapeOf(model.config);
    options.shape.heads = 2;
    const WidthResult result = width(model, options);
    for (const auto& heads : result.plan.heads) {
        ASSERT_EQ(heads.size(), 2U);
        EXPECT_LT(heads[0], 2);  // one of each group of two
        EXPECT_GE(heads[1], 2);
    }
    EXPECT_LT(distance(result.model, pruneModel(result.model, result.plan, control)), 1e-5);
}

TEST_F(Pruning, DeadNeuronsAndHeadsGoFirstByEveryMeasure) {
    const std::vector<std::int64_t> dead{3, 17, 18, 40, 95};
    for (const std::string& family : kFamilies) {
        Model model = tiny(family);
        const bool gpt2 = family == "gpt2";
        for (std::int64_t i = 0; i < model.config.layerCount(); ++i) {
            for (const char* name : {"ffn.gate.weight", "ffn.up.weight", "ffn.up.bias"})
                fill(model, inLayer(i, name), name[7] == 'b' ? std::vector<std::int64_t>{} : dead,
                     name[7] == 'b' ? dead : std::vector<std::int64_t>{}, 0);
            if (!gpt2)  // values of the second group
                for (std::int64_t r = 32; r < 64; ++r)
                    fill(model, inLayer(i, "attn.v.weight"), {r}, {}, 0);
        }
        const UnitScores magnitude = magnitudeScores(model, control);
        const UnitScores taylor = taylorScores(model, text, pool, control);
        for (const Importance importance : {Importance::Reconstruction, Importance::Activation,
                                            Importance::Magnitude, Importance::Taylor}) {
            WidthOptions options;
            options.shape = shapeOf(model.config);
            options.shape.feedForward -= static_cast<std::int64_t>(dead.size());
            const bool weightsOnly = importance == Importance::Magnitude;
            if (!gpt2 && !weightsOnly) {  // the norms of o do not tell
                options.shape.heads = 2;
                options.shape.kvHeads = 1;
            }
            options.importance = importance;
            options.scores = weightsOnly                        ? &magnitude
                             : importance == Importance::Taylor ? &taylor
                                                                : nullptr;
            const WidthResult result = width(model, options);
            for (const auto& neurons : result.plan.neurons)
                for (const std::int64_t n : dead)
                    ASSERT_EQ(std::count(neurons.begin(), neurons.end(), n), 0)
                        << family << " " << static_cast<int>(importance) << " " << n;
            if (!gpt2 && !weightsOnly) {
                EXPECT_EQ(result.plan.kvHeads[0], std::vector<std::int64_t>{0}) << family;
            }
            EXPECT_LT(distance(model, pruneModel(result.model, result.plan, control)), 0.02)
                << family << " " << static_cast<int>(importance);
        }
    }
}

TEST_F(Pruning, WhatStaysIsRefittedByLeastSquares) {
    constexpr std::int64_t rows = 5, cols = 24;
    std::mt19937 rng(11);
    std::normal_distribution<float> normal;
    std::vector<float> w(rows * cols), x(200 * cols), gram(cols * cols, 0.0F);
    for (float& v : w)
        v = normal(rng);
    for (std::int64_t t = 0; t < 200; ++t)
        for (std::int64_t c = 0; c < cols; ++c)  // neighbours are alike
            x[static_cast<std::size_t>(t * cols + c)] =
                normal(rng) + (c > 0 ? 0.8F * x[static_cast<std::size_t>(t * cols + c - 1)] : 0.0F);
    for (std::int64_t t = 0; t < 200; ++t)
        for (std::int64_t a = 0; a < cols; ++a)
            for (std::int64_t b = 0; b < cols; ++b)
                gram[static_cast<std::size_t>(a * cols + b)] +=
                    x[static_cast<std::size_t>(t * cols + a)] *
                    x[static_cast<std::size_t>(t * cols + b)] / 200;
    for (const std::int64_t unit : {1, 4}) {
        UnitOptions options;
        options.width = unit;
        options.damping = 1e-6;
        const UnitResult refit = removeUnits(w, rows, gram, cols, 8 / unit, options, pool, control);
        ASSERT_EQ(refit.kept.size(), static_cast<std::size_t>((cols - 8) / unit));
        // The error is orthogonal to every input that stays.
        for (std::int64_t r = 0; r < rows; ++r)
            for (const std::int64_t u : refit.kept)
                for (std::int64_t c = u * unit; c < (u + 1) * unit; ++c) {
                    double product = 0;
                    for (std::int64_t j = 0; j < cols; ++j)
                        product += (static_cast<double>(w[static_cast<std::size_t>(r * cols + j)]) -
                                    refit.weight[static_cast<std::size_t>(r * cols + j)]) *
                                   gram[static_cast<std::size_t>(j * cols + c)];
                    EXPECT_NEAR(product, 0, 2e-3);
                }
        options.compensate = false;
        const UnitResult plain = removeUnits(w, rows, gram, cols, 8 / unit, options, pool, control);
        EXPECT_LT(refit.relativeError, 0.9 * plain.relativeError);
    }
}

TEST_F(Pruning, OfTwoNeuronsThatSayTheSameOneGoesForFree) {
    constexpr std::int64_t cols = 8;
    std::vector<float> w(3 * cols, 1.0F), gram(cols * cols, 0.0F);
    for (std::int64_t i = 0; i < cols; ++i)
        gram[static_cast<std::size_t>(i * cols + i)] = 1;
    gram[1] = gram[cols] = 1;  // inputs 0 and 1 are one
    UnitOptions options;
    options.damping = 1e-4;
    const UnitResult result = removeUnits(w, 3, gram, cols, 1, options, pool, control);
    const bool zero = result.kept.front() == 0;
    EXPECT_EQ(result.kept.size(), 7U);
    EXPECT_NE(zero, result.kept[zero ? 1 : 0] == 1);
    EXPECT_NEAR(result.weight[zero ? 0 : 1], 2, 1e-3);
    EXPECT_LT(result.relativeError, 1e-3);
}

TEST_F(Pruning, TheFormulaCountsWhatIsThere) {
    for (const std::string& family : kFamilies) {
        const Model model = tiny(family);
        const auto has = [&](const std::string& name) { return model.has(name); };
        EXPECT_EQ(parameterCount(model.config, has), static_cast<std::int64_t>(model.parameters()))
            << family;
        for (const PruneAxis axis :
             {PruneAxis::FeedForward, PruneAxis::Heads, PruneAxis::Channels, PruneAxis::Layers}) {
            if (family == "gpt2" && axis == PruneAxis::Heads)
                continue;
            ShapeRules rules;
            rules.axis = axis;
            const PrunedShape shape = shapeForRatio(model.config, rules, 0.5);
            PruningPlan plan = keepAll(model.config);
            plan.layers = allIndices(shape.layers);
            plan.channels = allIndices(shape.hidden);
            for (std::size_t i = 0; i < plan.neurons.size(); ++i) {
                plan.neurons[i] = allIndices(shape.feedForward);
                plan.heads[i] = allIndices(shape.heads);
                plan.kvHeads[i] = allIndices(shape.kvHeads);
            }
            const Model cut = pruneModel(model, plan, control);
            EXPECT_LT(cut.parameters(), model.parameters()) << family << static_cast<int>(axis);
            EXPECT_EQ(parameterCount(cut.config, has), static_cast<std::int64_t>(cut.parameters()))
                << family << static_cast<int>(axis);
        }
    }
}

TEST_F(Pruning, ChannelsThatCarryNothingAreGoneWithoutATrace) {
    const std::vector<std::int64_t> dead{0, 5, 6, 30, 31, 32, 33, 60};
    for (const std::string family : {"llama", "qwen3"}) {
        Model model = tiny(family);
        fill(model, "embed.weight", {}, dead, 0);
        for (std::int64_t i = 0; i < 2; ++i) {
            fill(model, inLayer(i, "attn.o.weight"), dead, {}, 0);
            fill(model, inLayer(i, "ffn.down.weight"), dead, {}, 0);
        }
        const ChannelStatistics statistics = observeChannels(model, text, backend, control);
        PruningPlan plan = keepAll(model.config);
        plan.channels.clear();
        for (std::int64_t c = 0; c < 64; ++c) {
            if (statistics.activation[static_cast<std::size_t>(c)] > 0)
                plan.channels.push_back(c);
        }
        ASSERT_EQ(plan.channels.size(), 64 - dead.size());
        Model cut = pruneModel(model, plan, control);
        EXPECT_GT(distance(model, cut), 0.01) << "the norms divide by another mean";
        rescaleNorms(cut, model.config, plan, statistics);
        EXPECT_LT(distance(model, cut), 0.01) << family;  // norms are stored in bfloat16
    }
}

TEST_F(Pruning, GemmasEmbeddingKeepsItsScale) {
    const Model model = tiny("gemma3");
    const ChannelStatistics statistics = observeChannels(model, text, backend, control);
    PruningPlan plan = keepAll(model.config);
    plan.channels = allIndices(32);
    Model cut = pruneModel(model, plan, control);
    rescaleNorms(cut, model.config, plan, statistics);
    EXPECT_NE(cut.config.embeddingScale, model.config.embeddingScale);
    std::vector<float> before(64), after(32);
    Transformer(model, backend).embedTokens(std::vector<std::int32_t>{5}, before.data());
    Transformer(cut, backend).embedTokens(std::vector<std::int32_t>{5}, after.data());
    for (std::size_t i = 0; i < after.size(); ++i)
        EXPECT_NEAR(after[i], before[i], 0.01 * std::fabs(before[i]) + 1e-4);
}

TEST_F(Pruning, LayersThatDoNothingGoFirst) {
    for (const std::string& family : kFamilies) {
        Model model = tiny(family);
        const std::int64_t idle = model.config.layerCount() - 2;
        std::vector<std::int64_t> all = allIndices(64);
        for (const char* name :
             {"attn.o.weight", "ffn.down.weight", "attn.o.bias", "ffn.down.bias"})
            fill(model, inLayer(idle, name), all, {}, 0);
        Transformer transformer(model, backend);
        for (const LayerImportance by : {LayerImportance::Influence, LayerImportance::Loss}) {
            const LayerChoice choice = chooseLayers(transformer, text, 1, by, control);
            EXPECT_NEAR(choice.importance[static_cast<std::size_t>(idle)], 0, 1e-5);
            const auto least =
                std::min_element(choice.importance.begin(), choice.importance.end()) -
                choice.importance.begin();
            EXPECT_EQ(std::count(choice.kept.begin(), choice.kept.end(), least), 0) << family;
            if (by == LayerImportance::Loss && least != idle)
                continue;  // a random model may be better without one of its layers
            PruningPlan plan = keepAll(model.config);
            plan.layers = choice.kept;
            const Model cut = pruneModel(model, plan, control);
            EXPECT_EQ(cut.config.layerCount(), model.config.layerCount() - 1);
            EXPECT_LT(distance(model, cut), 1e-5) << family;
        }
    }
}

TEST_F(Pruning, NamedLayersGoWhateverTheyMatter) {
    for (const std::string family : {"llama", "gpt2"}) {
        const Model model = tiny(family);
        ASSERT_GE(model.config.layerCount(), 2);
        const auto prune = [](const nlohmann::json& drop) {
            nlohmann::json params = validateParams(findTechnique("prune")->descriptor(),
                                                   {{"method", "layers"}, {"drop", drop}})
                                        .params;
            return PruneSettings(params);
        };
        using List = std::vector<std::string>;
        EXPECT_EQ(prune(List{"1", "0", "1"}).drop, (std::vector<std::int64_t>{0, 1}));
        EXPECT_FALSE(prune(List{"0"}).needsText());
        EXPECT_THROW(prune(List{"one"}), EngineError);
        EXPECT_THROW(prune(List{"-1"}), EngineError);
        const Model cut =
            apply(model, {{"method", "layers"}, {"drop", std::vector<std::string>{"0"}}}, "");
        EXPECT_EQ(cut.config.layerCount(), model.config.layerCount() - 1);
        // Layer 1 is the first one now, as it was.
        EXPECT_EQ(cut.weight(inLayer(0, "attn.o.weight")).toFloat(),
                  model.weight(inLayer(1, "attn.o.weight")).toFloat());
        nlohmann::json all = nlohmann::json::array();
        for (std::int64_t layer = 0; layer < model.config.layerCount(); ++layer)
            all.push_back(std::to_string(layer));
        EXPECT_THROW(apply(model, {{"method", "layers"}, {"drop", all}}, ""), EngineError);
        EXPECT_THROW(
            apply(model, {{"method", "layers"}, {"drop", std::vector<std::string>{"99"}}}, ""),
            EngineError);
    }
}

TEST_F(Pruning, ThePrunedModelIsAPlainModelOfItsFamily) {
    const std::string calibration = calibrationFile();
    for (const std::string& family : kFamilies)
        for (const char* method : {"width", "ffn", "channels", "layers"}) {
            const Model model = tiny(family);
            const Model cut =
                apply(model, {{"method", method}, {"ratio", 0.4}, {"multiple", 8}}, calibration);
            EXPECT_LT(cut.parameters(), model.parameters()) << family << method;
            const auto out = folder / (family + method);
            writeModelFolder(cut, out, control);
            const Model back = loadModel(out.string());
            EXPECT_EQ(shapeOf(back.config), shapeOf(cut.config));
            EXPECT_EQ(logits(back), logits(cut)) << family << method;
            if (family == "gemma3" && std::string(method) == "layers")
                continue;  // what is left of its pattern may not be one that GGUF can tell
            const auto gguf = folder / (family + method + ".gguf");
            exportModel(cut, "gguf-f16", gguf, control);
            EXPECT_LT(distance(cut, loadModel(gguf.string())), 0.02) << family << method;
        }
}

TEST_F(Pruning, SlidingWindowsStayWithTheirLayers) {
    const Model model = tiny("gemma3");  // sliding, full, sliding
    PruningPlan plan = keepAll(model.config);
    plan.layers = {1, 2};
    const Model cut = pruneModel(model, plan, control);
    EXPECT_EQ(cut.config.layers[0].slidingWindow, 0);
    EXPECT_EQ(cut.config.layers[1].slidingWindow, 8);
    EXPECT_NE(cut.config.layers[0].rope.theta, cut.config.layers[1].rope.theta);
}

TEST_F(Pruning, LlamaKeepsAWidthThatItsHeadsDivide) {
    // transformers does not load anything else
    ModelConfig config = tiny("llama").config;
    config.heads = 8;
    config.kvHeads = 4;
    config.hiddenSize = 256;
    ShapeRules rules;
    rules.axis = PruneAxis::Heads;
    std::vector<std::int64_t> heads;
    for (const PrunedShape& shape : shapesAlong(config, rules))
        heads.push_back(shape.heads);
    EXPECT_EQ(heads, (std::vector<std::int64_t>{8, 4, 2}));
    rules.axis = PruneAxis::Width;
    const auto shapes =
        shapesWithin(config, rules, 300, [](const PrunedShape& s) { return s.hidden + s.heads; });
    EXPECT_FALSE(shapes.empty());
    for (const PrunedShape& shape : shapes)
        EXPECT_EQ(shape.hidden % shape.heads, 0) << shape.hidden << " / " << shape.heads;
    config.architecture = "qwen3";
    rules.axis = PruneAxis::Heads;
    EXPECT_EQ(shapesAlong(config, rules).size(), 4U);
}

TEST_F(Pruning, ParametersThatAreAskedForAreNotExceeded) {
    const std::string calibration = calibrationFile();
    const Model model = tiny("llama");
    const auto whole = static_cast<std::int64_t>(model.parameters());
    for (const char* method : {"width", "ffn", "heads", "layers"}) {
        const std::int64_t limit = whole * (std::string(method) == "heads" ? 9 : 7) / 10;
        const Model cut =
            apply(model, {{"method", method}, {"target_parameters", limit}, {"multiple", 8}},
                  calibration);
        EXPECT_LE(static_cast<std::int64_t>(cut.parameters()), limit) << method;
        EXPECT_GT(static_cast<std::int64_t>(cut.parameters()), limit / 3) << method;
    }
    EXPECT_THROW(apply(model, {{"method", "ffn"}, {"target_parameters", 10}}, calibration),
                 EngineError);
}

TEST_F(Pruning, RoundsEndAtTheSameSizeAndTellWhatTheyFound) {
    const std::string calibration = calibrationFile();
    const Model model = tiny("llama");
    const Model once =
        apply(model, {{"method", "ffn"}, {"ratio", 0.5}, {"multiple", 8}}, calibration);
    EXPECT_FALSE(layerMetrics.empty());
    const Model slowly =
        apply(model, {{"method", "ffn"}, {"ratio", 0.5}, {"multiple", 8}, {"iterations", 3}},
              calibration);
    EXPECT_EQ(shapeOf(once.config), shapeOf(slowly.config));
    layerMetrics.clear();
    apply(model, {{"method", "heads"}, {"ratio", 0.5}}, calibration);
    const auto heads = std::count_if(layerMetrics.begin(), layerMetrics.end(), [](const auto& m) {
        return m.name == "importance" && m.tensor.find("attn.group.") != std::string::npos;
    });
    EXPECT_EQ(heads, 2 * 2);
}

TEST_F(Pruning, ASpeedThatIsAskedForIsMeasured) {
    const std::string calibration = calibrationFile();
    const Model model = tiny("llama");
    // Every shape is fast enough for the one, none for the other, whatever else the machine does.
    for (const char* method : {"ffn", "width"}) {
        const Model whole =
            apply(model, {{"method", method}, {"target_speedup", 0.01}}, calibration);
        EXPECT_EQ(shapeOf(whole.config), shapeOf(model.config)) << method;
    }
    EXPECT_THROW(apply(model, {{"method", "ffn"}, {"target_speedup", 20}}, calibration),
                 EngineError);
}

TEST_F(Pruning, RefusesWhatCannotBe) {
    const std::string calibration = calibrationFile();
    EXPECT_THROW(apply(tiny("gpt2"), {{"method", "heads"}, {"ratio", 0.5}}, calibration),
                 EngineError);
    EXPECT_THROW(apply(tiny("llama"), {{"method", "ffn"}}, ""), EngineError);
    EXPECT_THROW(
        apply(tiny("llama"), {{"method", "ffn"}, {"importance", "influence"}}, calibration),
        EngineError);
    const Model byNorm = apply(
        tiny("llama"),
        {{"method", "ffn"}, {"importance", "magnitude"}, {"compensate", false}, {"ratio", 0.5}},
        "");
    EXPECT_EQ(byNorm.config.feedForwardSize, 64);
}

}  // namespace
}  // namespace fettle
