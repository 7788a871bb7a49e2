// Work that goes through a model layer by layer: the same numbers as a whole pass, statistics
// against plain sums, folds that change nothing, and what the methods of ptq gain.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/backend/cpu_backend.h"
#include "engine/quant/calibration.h"
#include "engine/quant/input_scales.h"
#include "engine/quant/sensitivity.h"
#include "engine/technique/ptq_layers.h"
#include "tests/engine/families.h"
#include "tests/support/model_files.h"

namespace fettle {
namespace {

CalibrationText randomText(std::size_t sequences, std::size_t length) {
    CalibrationText text;
    std::mt19937 rng(7);
    for (std::size_t s = 0; s < sequences; ++s) {
        text.sequences.emplace_back();
        for (std::size_t i = 0; i < length; ++i)
            text.sequences.back().push_back(static_cast<std::int32_t>(rng() % test::kVocabulary));
    }
    text.tokens = static_cast<std::int64_t>(sequences * length);
    return text;
}

class LayerwiseWork : public ::testing::Test {
protected:
    Model tiny(const std::string& family) {
        const auto path = folder / family;
        test::writeFolder(path, test::tinyParts(family));
        return loadModel(path.string());
    }
    std::vector<float> logits(const Model& model) {
        Transformer transformer(model, backend);
        KvCache cache = transformer.makeCache(16, kernels::KvType::F32);
        transformer.forward(text.sequences.front(), cache);
        std::vector<float> out(16 * test::kVocabulary);
        transformer.logits(0, 16, out.data());
        return out;
    }
    test::TempFolder folder;
    CpuBackend backend{2};
    NullProgress sink;
    RunControl control{{}, nullptr, sink};
    CalibrationText text = randomText(24, 16);
};

TEST_F(LayerwiseWork, HalvesMakeTheSameHiddenStatesAsAWholePass) {
    for (const std::string& family : kFamilies) {
        const Model model = tiny(family);
        Transformer whole(model, backend), parts(model, backend, Transformer::LayerByLayer{});
        const std::vector<std::int32_t>& ids = text.sequences.front();
        KvCache cache = whole.makeCache(16);
        whole.forward(ids, cache);
        const std::int64_t width = model.config.hiddenSize;
        std::vector<float> x(ids.size() * static_cast<std::size_t>(width));
        parts.embedTokens(ids, x.data());
        for (std::int64_t i = 0; i < model.config.layerCount(); ++i) {
            parts.prepareLayer(model, i, nullptr);
            parts.runHalf(i, Transformer::Half::Attention, x.data(), 16);
            parts.runHalf(i, Transformer::Half::FeedForward, x.data(), 16);
        }
        const float* last = parts.finalInput(x.data(), 16);
        for (std::int64_t i = 0; i < 16 * width; ++i)
            ASSERT_EQ(last[i], whole.hiddenStates()[i]) << family << " " << i;
    }
}

TEST_F(LayerwiseWork, StatisticsAreThoseOfPlainSumsWhateverTheThreads) {
    constexpr std::int64_t cols = 48, tokens = 70;
    std::mt19937 rng(3);
    std::normal_distribution<float> normal;
    std::vector<float> x(cols * tokens);
    for (float& value : x)
        value = normal(rng);
    kernels::WorkerPool one(1), three(3);
    std::vector<InputStatistics> both;
    for (kernels::WorkerPool* pool : {&one, &three}) {
        InputCollector collector(cols, tokens, true, 10, *pool);
        collector.add(x.data(), 33);
        collector.add(x.data() + 33 * cols, tokens - 33);
        both.push_back(collector.finish());
    }
    EXPECT_EQ(both[0].gram, both[1].gram);
    const InputStatistics& s = both[0];
    EXPECT_EQ(s.sampleRows, 10);
    EXPECT_EQ(s.sample.size(), static_cast<std::size_t>(10 * cols));
    for (std::int64_t i = 0; i < cols; ++i) {
        double magnitude = 0, largest = 0;
        for (std::int64_t j = 0; j < cols; ++j) {
            double product = 0;
            for (std::int64_t t = 0; t < tokens; ++t)
                product += static_cast<double>(x[static_cast<std::size_t>(t * cols + i)]) *
                           x[static_cast<std::size_t>(t * cols + j)] / tokens;
            ASSERT_NEAR(s.gram[static_cast<std::size_t>(i * cols + j)], product, 1e-5);
            if (i == j) {
                ASSERT_NEAR(s.meanSquare[static_cast<std::size_t>(i)], product, 1e-5);
            }
        }
        for (std::int64_t t = 0; t < tokens; ++t) {
            const double value = std::fabs(x[static_cast<std::size_t>(t * cols + i)]);
            magnitude += value / tokens;
            largest = std::max(largest, value);
        }
        ASSERT_NEAR(s.meanMagnitude[static_cast<std::size_t>(i)], magnitude, 1e-5);
        ASSERT_EQ(s.maximum[static_cast<std::size_t>(i)], static_cast<float>(largest));
    }
}

TEST_F(LayerwiseWork, FoldedScalesLeaveTheModelAsItIs) {
    for (const std::string& family : kFamilies) {
        const Model model = tiny(family);
        const ModelConfig& c = model.config;
        Model folded = model;
        std::mt19937 rng(5);
        std::uniform_real_distribution<float> scale(0.25f, 4.0f);
        const auto draw = [&](std::int64_t count) {
            std::vector<float> s(static_cast<std::size_t>(count));
            for (float& value : s)
                value = scale(rng);
            return s;
        };
        const bool gated = c.feedForward != FeedForwardKind::GeluTanh;
        std::vector<float> s = draw(c.hiddenSize);
        for (const char* name : {"attn.q.weight", "attn.k.weight", "attn.v.weight"})
            scaleColumns(folded, std::string("layers.0.") + name, s);
        divideNorm(folded, "layers.0.attn_norm", s);
        s = draw(c.hiddenSize);
        for (const char* name : {"ffn.gate.weight", "ffn.up.weight"})
            if (gated || std::string(name) != "ffn.gate.weight")
                scaleColumns(folded, std::string("layers.0.") + name, s);
        divideNorm(folded, "layers.0.ffn_norm", s);
        if (gated) {
            s = draw(c.feedForwardSize);
            scaleColumns(folded, "layers.0.ffn.down.weight", s);
            divideRows(folded, "layers.0.ffn.up.weight", s);
        }
        const std::vector<float> before = logits(model), after = logits(folded);
        double largest = 0;
        for (const float value : before)
            largest = std::max<double>(largest, std::fabs(value));
        for (std::size_t i = 0; i < before.size(); ++i)
            ASSERT_NEAR(before[i], after[i], 1e-4 * largest) << family;
    }
}

TEST_F(LayerwiseWork, SmoothQuantTamesAPlantedOutlier) {
    constexpr std::int64_t cols = 64, rows = 48, tokens = 128;
    std::mt19937 rng(11);
    std::normal_distribution<float> normal;
    std::vector<float> x(cols * tokens);
    for (std::size_t i = 0; i < x.size(); ++i)
        x[i] = normal(rng) * (i % cols == 5 ? 100.0f : 1.0f);
    Tensor w = Tensor::allocate(DType::F32, {rows, cols});
    for (std::int64_t i = 0; i < rows * cols; ++i)
        w.mutableAs<float>()[i] = normal(rng) * (i % cols == 5 ? 0.01f : 1.0f);
    kernels::WorkerPool pool(2);
    InputCollector collector(cols, tokens, false, tokens, pool);
    collector.add(x.data(), tokens);
    const InputStatistics statistics = collector.finish();
    InputScaleOptions options;
    options.scaling = InputScaling::SmoothQuant;
    options.scheme = *findQuantScheme("int8");
    const InputScales found =
        searchInputScales({Weight(w)}, statistics, options, backend, pool, control);
    ASSERT_FALSE(found.scales.empty());
    EXPECT_LT(found.loss, found.plainLoss / 10);
}

TEST_F(LayerwiseWork, AFixedExponentIsTakenAsItIs) {
    constexpr std::int64_t cols = 64;
    kernels::WorkerPool pool(2);
    std::mt19937 rng(13);
    std::normal_distribution<float> normal;
    std::vector<float> x(cols * 64);
    for (std::size_t i = 0; i < x.size(); ++i)
        x[i] = normal(rng) * (i % cols < 4 ? 8.0f : 1.0f);
    Tensor w = Tensor::allocate(DType::F32, {32, cols});
    for (std::int64_t i = 0; i < 32 * cols; ++i)
        w.mutableAs<float>()[i] = normal(rng);
    InputCollector collector(cols, 64, false, 64, pool);
    collector.add(x.data(), 64);
    const InputStatistics statistics = collector.finish();
    InputScaleOptions options;
    options.scaling = InputScaling::SmoothQuant;
    options.scheme = *findQuantScheme("int8");
    std::vector<float> columnMaxima(cols, 0);
    for (std::int64_t i = 0; i < 32 * cols; ++i) {
        float& most = columnMaxima[static_cast<std::size_t>(i % cols)];
        most = std::max(most, std::fabs(w.as<float>()[i]));
    }
    options.exponent = 0.3;
    const InputScales found =
        searchInputScales({Weight(w)}, statistics, options, backend, pool, control);
    EXPECT_EQ(found.exponent, 0.3);
    ASSERT_EQ(found.scales.size(), static_cast<std::size_t>(cols));
    for (std::size_t j = 1; j < found.scales.size(); ++j) {
        const auto rule = [&](std::size_t c) {
            return std::pow(statistics.maximum[c], 0.3) / std::pow(columnMaxima[c], 0.7);
        };
        EXPECT_NEAR(found.scales[j] / found.scales[0], rule(j) / rule(0), 1e-4 * rule(j) / rule(0));
    }
}

TEST_F(LayerwiseWork, ChosenScalesAreNeverWorseThanNone) {
    constexpr std::int64_t cols = 64;
    kernels::WorkerPool pool(2);
    std::mt19937 rng(13);
    std::normal_distribution<float> normal;
    std::vector<float> x(cols * 64);
    for (std::size_t i = 0; i < x.size(); ++i)
        x[i] = normal(rng) * (i % cols < 4 ? 8.0f : 1.0f);
    Tensor w = Tensor::allocate(DType::F32, {32, cols});
    for (std::int64_t i = 0; i < 32 * cols; ++i)
        w.mutableAs<float>()[i] = normal(rng);
    InputCollector collector(cols, 64, false, 64, pool);
    collector.add(x.data(), 64);
    const InputStatistics statistics = collector.finish();
    InputScaleOptions options;
    options.scheme = *findQuantScheme("int4-g32");
    for (std::int64_t j = 0; j < cols; ++j)
        options.classes.push_back(j % 32);
    const InputScales found =
        searchInputScales({Weight(w)}, statistics, options, backend, pool, control);
    EXPECT_LE(found.loss, found.plainLoss);
    for (std::size_t j = 0; j < found.scales.size(); ++j)
        EXPECT_EQ(found.scales[j], found.scales[j % 32]);
}

TEST_F(LayerwiseWork, GptqKeepsOutputsCloserInEveryFamily) {
    for (const std::string& family : kFamilies) {
        const Model model = tiny(family);
        RunInputs inputs;
        MeasureOptions measure;
        const nlohmann::json params;
        std::vector<double> errors;
        for (const bool gptq : {false, true}) {
            std::vector<LayerMetric> layers;
            std::vector<Measurement> metrics;
            TechniqueContext context{model,  backend, backend.pool(), inputs, measure,
                                     params, 1,       control,        layers, metrics};
            Model quantized = model;
            LayerwiseOptions options;
            options.gptq = gptq;
            options.follow = false;  // what is compared is the error on the inputs at hand
            options.schemeOf = [](const std::string& name) {
                return layerOf(name) < 0 ? std::nullopt : findQuantScheme("int4-g32");
            };
            const std::size_t count = quantizeLayerwise(quantized, text, options, context);
            EXPECT_EQ(count, (family == "gpt2" ? 6u : 7u) *
                                 static_cast<std::size_t>(model.config.layerCount()));
            double sum = 0;
            for (const LayerMetric& metric : layers)
                if (metric.name == "relative_output_error")
                    sum += metric.value * metric.value;
            errors.push_back(sum);
        }
        EXPECT_LT(errors[1], errors[0]) << family;
    }
}

TEST_F(LayerwiseWork, EverySchemeGoesThroughEveryMethod) {
    const Model model = tiny("llama");
    RunInputs inputs;
    MeasureOptions measure;
    const nlohmann::json params;
    const auto run = [&](const char* scheme, bool gptq, bool awq, double& error) {
        std::vector<LayerMetric> layers;
        std::vector<Measurement> metrics;
        TechniqueContext context{model,  backend, backend.pool(), inputs, measure,
                                 params, 1,       control,        layers, metrics};
        Model quantized = model;
        LayerwiseOptions options;
        options.gptq = gptq;
        options.follow = false;  // what is compared is the error on the inputs at hand
        if (awq)
            options.scaling = InputScaling::Awq;
        options.schemeOf = [&](const std::string& name) {
            return layerOf(name) < 0 ? std::nullopt : findQuantScheme(scheme);
        };
        quantizeLayerwise(quantized, text, options, context);
        error = 0;
        for (const LayerMetric& metric : layers)
            if (metric.name == "relative_output_error")
                error += metric.value * metric.value;
        return quantized;
    };
    for (const char* scheme :
         {"int4-g32-a8", "int4-g32-a4", "int4-g32-asym", "int3-g32", "int2-g32", "fp8", "nvfp4",
          "nvfp4-w4a16", "mxfp4", "w8a16", "int8-static"}) {
        double nearest, gptq, awq;
        run(scheme, false, false, nearest);
        const Model quantized = run(scheme, true, false, gptq);
        EXPECT_LT(gptq, nearest) << scheme;
        run(scheme, false, true, awq);
        EXPECT_TRUE(std::isfinite(awq)) << scheme;
        for (const float value : logits(quantized))
            ASSERT_TRUE(std::isfinite(value)) << scheme;
    }
    double error;
    const Model nv = run("nvfp4", true, false, error);
    const auto of = [&](const char* name) -> const QuantizedTensor& {
        return nv.weight(std::string("layers.0.") + name + ".weight").quantized();
    };
    for (const auto& [a, b] :
         {std::pair{"attn.q", "attn.k"}, {"attn.q", "attn.v"}, {"ffn.gate", "ffn.up"}}) {
        EXPECT_EQ(of(a).globalScale, of(b).globalScale);
        EXPECT_EQ(of(a).inputGlobalScale, of(b).inputGlobalScale);
    }
    EXPECT_NE(of("attn.q").inputGlobalScale, of("attn.o").inputGlobalScale);
    EXPECT_NE(of("attn.q").globalScale, 1);
}

TEST_F(LayerwiseWork, TellsWhatEachWeightAloneCosts) {
    const Model model = tiny("qwen3");
    RunInputs inputs;
    MeasureOptions measure;
    const nlohmann::json params;
    std::vector<LayerMetric> layers;
    std::vector<Measurement> metrics;
    std::map<std::string, Weight> unquantized;
    TechniqueContext context{model,  backend, backend.pool(), inputs, measure,
                             params, 1,       control,        layers, metrics};
    context.unquantized = &unquantized;
    Model quantized = model;
    LayerwiseOptions options;
    options.gptq = true;
    options.schemeOf = [](const std::string& name) {
        return layerOf(name) < 0 || name.ends_with("attn.o.weight") ? std::nullopt
                                                                    : findQuantScheme("int2-g32");
    };
    quantizeLayerwise(quantized, text, options, context);
    SensitivityOptions scored;
    scored.scaleType = options.scaleType;
    scored.eligible = [](const std::string&) { return true; };
    const std::vector<UnitDivergence> units =
        unitDivergences(model, quantized, text, scored, backend, backend.pool(), control);
    // q, k, v together; gate and up together; down.
    ASSERT_EQ(units.size(), 3U * static_cast<std::size_t>(model.config.layerCount()));
    for (const UnitDivergence& unit : units) {
        EXPECT_GT(unit.nearest, 0) << unit.weights.front();
        EXPECT_GT(unit.chosen, 0) << unit.weights.front();
        EXPECT_NE(unit.nearest, unit.chosen);
    }
    EXPECT_EQ(units[0].weights,
              (std::vector<std::string>{"layers.0.attn.q.weight", "layers.0.attn.k.weight",
                                        "layers.0.attn.v.weight"}));
    // The last unit's divergence as it comes out of two whole passes.
    Model one = model;
    for (const std::string& name : units.back().weights)
        one.weights[name] = quantized.weight(name);
    Transformer before(model, backend), after(one, backend);
    double sum = 0;
    std::int64_t tokens = 0;
    for (const std::vector<std::int32_t>& ids : text.sequences) {
        std::vector<float> p(ids.size() * test::kVocabulary), q = p;
        for (auto& [transformer, out] : {std::pair{&before, &p}, {&after, &q}}) {
            KvCache cache = transformer->makeCache(static_cast<std::int64_t>(ids.size()));
            transformer->forward(ids, cache);
            transformer->logits(0, static_cast<std::int64_t>(ids.size()), out->data());
        }
        for (std::size_t t = 0; t < ids.size(); ++t, ++tokens) {
            double zp = 0, zq = 0, kl = 0;
            for (std::size_t v = 0; v < test::kVocabulary; ++v) {
                zp += std::exp(static_cast<double>(p[t * test::kVocabulary + v]));
                zq += std::exp(static_cast<double>(q[t * test::kVocabulary + v]));
            }
            for (std::size_t v = 0; v < test::kVocabulary; ++v) {
                const double a = p[t * test::kVocabulary + v] - std::log(zp),
                             b = q[t * test::kVocabulary + v] - std::log(zq);
                kl += std::exp(a) * (a - b);
            }
            sum += kl;
        }
    }
    EXPECT_NEAR(units.back().chosen, sum / static_cast<double>(tokens),
                0.01 * units.back().chosen + 1e-7);
}

TEST_F(LayerwiseWork, FixedScalesOfActivationsComeFromTheText) {
    const Model model = tiny("llama");
    RunInputs inputs;
    MeasureOptions measure;
    const nlohmann::json params;
    const auto quantized = [&](RangeSearch search, double percentile) {
        std::vector<LayerMetric> layers;
        std::vector<Measurement> metrics;
        TechniqueContext context{model,  backend, backend.pool(), inputs, measure,
                                 params, 1,       control,        layers, metrics};
        Model out = model;
        LayerwiseOptions options;
        options.inputRange = search;
        options.inputPercentile = percentile;
        options.schemeOf = [](const std::string& name) {
            return layerOf(name) < 0 ? std::nullopt : findQuantScheme("int8-static");
        };
        quantizeLayerwise(out, text, options, context);
        return out;
    };
    const Model whole = quantized(RangeSearch::Largest, 0);
    const auto scaleOf = [](const Model& m, const char* name) {
        return m.weight(std::string("layers.0.") + name + ".weight").quantized().inputGlobalScale;
    };
    Transformer transformer(model, backend, Transformer::LayerByLayer{});
    transformer.prepareLayer(model, 0, nullptr);
    CalibrationStream stream(transformer, text, backend.pool(), control);
    const InputStatistics seen = stream.collect(0, Transformer::Half::Attention, false, false, 0);
    EXPECT_FLOAT_EQ(scaleOf(whole, "attn.q"),
                    *std::max_element(seen.maximum.begin(), seen.maximum.end()) / 127);
    EXPECT_EQ(scaleOf(whole, "attn.q"), scaleOf(whole, "attn.v"));
    EXPECT_NE(scaleOf(whole, "attn.q"), scaleOf(whole, "attn.o"));
    const Model clipped = quantized(RangeSearch::Percentile, 90);
    EXPECT_LT(scaleOf(clipped, "attn.q"), 0.8F * scaleOf(whole, "attn.q"));
    const auto distance = [&](const Model& m) {
        const std::vector<float> a = logits(model), b = logits(m);
        double sum = 0;
        for (std::size_t i = 0; i < a.size(); ++i)
            sum += (a[i] - b[i]) * (a[i] - b[i]);
        return sum;
    };
    EXPECT_LT(distance(whole), distance(clipped)) << "a tenth of all inputs is clipped";
    EXPECT_GT(distance(whole), 0);
}

TEST_F(LayerwiseWork, BiasesTakeUpTheMeanErrorOfTheOutputs) {
    const Model model = tiny("gpt2");
    RunInputs inputs;
    MeasureOptions measure;
    const nlohmann::json params;
    const auto quantized = [&](bool correct) {
        std::vector<LayerMetric> layers;
        std::vector<Measurement> metrics;
        TechniqueContext context{model,  backend, backend.pool(), inputs, measure,
                                 params, 1,       control,        layers, metrics};
        Model out = model;
        LayerwiseOptions options;
        options.correctBias = correct;
        options.schemeOf = [](const std::string& name) {
            return layerOf(name) < 0 ? std::nullopt : findQuantScheme("int3-g32");
        };
        quantizeLayerwise(out, text, options, context);
        return out;
    };
    // Of the first layer's queries, keys and values the inputs are the plain model's.
    Transformer transformer(model, backend, Transformer::LayerByLayer{});
    transformer.prepareLayer(model, 0, nullptr);
    CalibrationStream stream(transformer, text, backend.pool(), control);
    const std::vector<float> mean =
        stream.collect(0, Transformer::Half::Attention, false, false, 0).mean;
    const auto meanErrors = [&](const Model& m, const std::string& name) {
        const std::vector<float> plain = model.weight(name + ".weight").toFloat(),
                                 rounded = m.weight(name + ".weight").toFloat(),
                                 plainBias = model.weight(name + ".bias").toFloat(),
                                 bias = m.weight(name + ".bias").toFloat();
        double sum = 0;
        for (std::size_t r = 0; r < bias.size(); ++r) {
            double error = static_cast<double>(bias[r]) - plainBias[r];
            for (std::size_t j = 0; j < mean.size(); ++j)
                error += (static_cast<double>(rounded[r * mean.size() + j]) -
                          plain[r * mean.size() + j]) *
                         mean[j];
            sum += error * error;
        }
        return std::sqrt(sum / static_cast<double>(bias.size()));
    };
    const Model corrected = quantized(true), left = quantized(false);
    for (const char* name : {"layers.0.attn.q", "layers.0.attn.k", "layers.0.attn.v"}) {
        EXPECT_GT(meanErrors(left, name), 1e-4) << name;
        EXPECT_LT(meanErrors(corrected, name), 1e-3 * meanErrors(left, name)) << name;
    }
    EXPECT_EQ(left.weight("layers.0.attn.q.bias").toFloat(),
              model.weight("layers.0.attn.q.bias").toFloat());
}

TEST_F(LayerwiseWork, CalibrationIsDrawnBySeedAndToldWhenItOverlaps) {
    const Model model = tiny("llama");
    std::string lines;
    for (int i = 0; i < 40; ++i)
        lines += std::string(60, static_cast<char>('A' + i % 26)) + std::to_string(i) + "\n";
    test::writeFile(folder / "a.txt", lines);
    test::writeFile(folder / "b.txt",
                    "nothing of the kind stands in this text, not a single line\n");
    const std::string path = (folder / "a.txt").string();
    const auto draw = [&](std::uint64_t seed) {
        return sampleCalibration(*model.tokenizer, path, 128, 16, seed);
    };
    EXPECT_EQ(draw(1).sequences, draw(1).sequences);
    EXPECT_NE(draw(1).sequences, draw(2).sequences);
    EXPECT_EQ(draw(1).tokens, 128);
    EXPECT_EQ(textOverlap(path, path), 1);
    EXPECT_EQ(textOverlap(path, (folder / "b.txt").string()), 0);
    test::writeFile(folder / "bad.jsonl", "{\"text\": \"fine\"}\n{\"words\": 1}\n");
    try {
        sampleCalibration(*model.tokenizer, (folder / "bad.jsonl").string(), 128, 16, 1);
        FAIL();
    } catch (const EngineError& error) {
        EXPECT_NE(std::string(error.what()).find("line 2"), std::string::npos);
    }
}

}  // namespace
}  // namespace fettle
