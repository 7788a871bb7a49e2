// A network that trains in the numbers of its deployed form: it starts as exactly that model, what
// it exports computes what it computed, and its gradients are those of the numbers it used.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/backend/cpu_backend.h"
#include "engine/quant/rtn.h"
#include "engine/technique/ptq_layers.h"
#include "engine/train/optimizer.h"
#include "tests/engine/families.h"
#include "tests/support/fixtures.h"
#include "tests/support/model_files.h"
#include "tests/support/network_state.h"

namespace fettle {
namespace {

std::vector<std::int32_t> randomIds(std::size_t count, std::uint32_t seed) {
    std::mt19937 rng(seed);
    std::vector<std::int32_t> ids(count);
    for (std::int32_t& id : ids)
        id = static_cast<std::int32_t>(rng() % test::kVocabulary);
    return ids;
}

class QuantizedNetwork : public ::testing::Test {
protected:
    Model tiny(const std::string& family) {
        const auto path = folder / family;
        test::writeFolder(path, test::tinyParts(family));
        return loadModel(path.string());
    }
    /// As ptq does it. `method`: rtn, awq, smoothquant or gptq; the head too where it is `head`.
    Model quantized(const Model& model, const std::string& scheme, const std::string& method,
                    bool head = false) {
        CalibrationText text;
        for (std::uint32_t s = 0; s < 8; ++s)
            text.sequences.push_back(randomIds(16, s));
        text.tokens = 8 * 16;
        LayerwiseOptions options;
        if (method == "awq")
            options.scaling = InputScaling::Awq;
        if (method == "smoothquant")
            options.scaling = InputScaling::SmoothQuant;
        options.gptq = method == "gptq";
        options.schemeOf = [&](const std::string& name) {
            return name == "lm_head.weight" && !head ? std::nullopt : findQuantScheme(scheme);
        };
        Model out = model;
        if (head && model.config.tiedEmbeddings) {
            out.weights["lm_head.weight"] = model.weight("embed.weight");
            out.config.tiedEmbeddings = false;
        }
        const RunInputs inputs;
        const MeasureOptions measure;
        const nlohmann::json params = nlohmann::json::object();
        std::vector<LayerMetric> layers;
        std::vector<Measurement> metrics;
        TechniqueContext context{model,  backend, backend.pool(), inputs, measure,
                                 params, 1,       control,        layers, metrics};
        before.clear();
        context.unquantized = &before;
        quantizeLayerwise(out, text, options, context);
        return out;
    }
    std::vector<float> deployedLogits(const Model& model) { return deployedLogits(model, ids); }
    std::vector<float> deployedLogits(const Model& model, const std::vector<std::int32_t>& prompt) {
        Transformer transformer(model, backend);
        KvCache cache = transformer.makeCache(16, kernels::KvType::F32);
        transformer.forward(prompt, cache);
        std::vector<float> out(16 * test::kVocabulary);
        transformer.logits(0, 16, out.data());
        return out;
    }
    /// |a - b| / |b|
    static double distance(const std::vector<float>& a, const std::vector<float>& b) {
        double error = 0, signal = 0;
        for (std::size_t i = 0; i < b.size(); ++i) {
            error += std::pow(static_cast<double>(a[i]) - b[i], 2);
            signal += std::pow(static_cast<double>(b[i]), 2);
        }
        return std::sqrt(error / signal);
    }
    /// The network computes the numbers of `deployed`. Their sums differ in the last bit, and an
    /// input that lies on the border between two codes then takes the other one: one of so many
    /// steps now and then. So most prompts agree to float32 rounding, and all of them to a few such
    /// steps.
    void expectSameNumbers(Network& network, const Model& deployed, const std::string& what) {
        std::vector<double> distances;
        for (std::uint32_t seed = 99; seed < 104; ++seed) {
            const std::vector<std::int32_t> prompt = randomIds(16, seed);
            distances.push_back(distance(network.logits(prompt), deployedLogits(deployed, prompt)));
        }
        std::sort(distances.begin(), distances.end());
        EXPECT_LT(distances[2], kClose) << what;
        EXPECT_LT(distances.back(), kFewSteps) << what;
    }
    static constexpr double kClose = 1e-3;
    static constexpr double kFewSteps = 2e-2;

    test::TempFolder folder;
    CpuBackend backend{1};  // models this small wait longer for a second thread than they work
    NullProgress sink;
    RunControl control{{}, nullptr, sink};
    std::vector<std::int32_t> ids = randomIds(16, 99);
    std::map<std::string, Weight> before;  ///< what the last quantized() found
};

struct Case {
    const char* scheme;
    const char* method;
    bool head;
};
const std::vector<Case> kCases = {{"int8", "rtn", false},
                                  {"int8", "smoothquant", true},
                                  {"int4-g32", "rtn", true},
                                  {"int4-g32", "awq", false},
                                  {"int4-g32", "gptq", false},
                                  {"w8a16", "rtn", false},
                                  {"int3-g32", "gptq", true},
                                  {"int2-g32", "rtn", false},
                                  {"int4-g32-a8", "rtn", false},
                                  {"int4-g32-asym", "gptq", true},
                                  {"int8-static", "smoothquant", true},
                                  {"int4-g32-a4", "rtn", true},
                                  {"fp8", "rtn", true},
                                  {"nvfp4", "rtn", true},
                                  {"nvfp4-w4a16", "rtn", false},
                                  {"mxfp4", "rtn", true},
                                  {"fp8-tensor", "rtn", true},
                                  {"mxfp8", "rtn", true},
                                  {"mxfp8-w8a16", "rtn", false},
                                  {"mxfp6-w6a16", "rtn", true},
                                  {"nf4-g32", "rtn", true},
                                  {"nf4-g32", "gptq", false}};

TEST_F(QuantizedNetwork, StartsAsTheQuantizedModelInEveryFamily) {
    for (const std::string& family : kFamilies) {
        const Model model = tiny(family);
        for (const Case& c : kCases) {
            const Model start = quantized(model, c.scheme, c.method, c.head);
            Network network(start, backend.pool());
            network.quantize(start, before, {});
            const std::vector<float> want = deployedLogits(start);
            expectSameNumbers(network, start, family + " " + c.scheme + " " + c.method);
            // The weights themselves are equal bit for bit.
            const Model back = network.toModel(start);
            for (const auto& [name, weight] : start.weights)
                ASSERT_EQ(back.weight(name).toFloat(), weight.toFloat())
                    << family << " " << c.scheme << " " << c.method << " " << name;
            EXPECT_EQ(deployedLogits(back), want);
        }
    }
}

TEST_F(QuantizedNetwork, ExportsExactlyWhatItTrained) {
    for (const std::string& family : kFamilies) {
        const Model model = tiny(family);
        for (const Case& c : kCases) {
            const Model start = quantized(model, c.scheme, c.method, c.head);
            for (const ScaleLearning learning :
                 {ScaleLearning::None, ScaleLearning::Scale, ScaleLearning::Step}) {
                if (test::kSanitized && learning != ScaleLearning::Step)
                    continue;
                Network network(start, backend.pool());
                network.quantize(start, before, {learning, 1});
                Optimizer optimizer(network, {}, backend.pool());
                TrainBatch batch;
                batch.add(randomIds(16, 5));
                batch.add(randomIds(12, 6));
                const double loss = network.evaluate(batch, {}, nullptr, nullptr).crossEntropy;
                for (int step = 0; step < 12; ++step) {
                    network.accumulate(batch, {}, 1.0F / static_cast<float>(batch.scored()),
                                       nullptr, nullptr);
                    optimizer.step(3e-3F);
                }
                EXPECT_LT(network.evaluate(batch, {}, nullptr, nullptr).crossEntropy, loss)
                    << family << " " << c.scheme;
                const Model trained = network.toModel(start);
                expectSameNumbers(network, trained,
                                  family + " " + c.scheme + " " + c.method + " learning " +
                                      std::to_string(static_cast<int>(learning)));
                EXPECT_GT(distance(network.logits(ids), deployedLogits(start)), 1e-2)
                    << "something was trained";
                for (const std::string& name : linearWeightNames(start.config))
                    if (start.has(name) && start.weight(name).isQuantized()) {
                        EXPECT_EQ(trained.weight(name).quantized().scheme,
                                  start.weight(name).quantized().scheme);
                    }
            }
        }
    }
}

TEST_F(QuantizedNetwork, ScalesThatRowsShareStayAndCodesAreStoredAsTheyWereTrained) {
    constexpr std::int64_t rows = 200, cols = 256;
    Tensor values = Tensor::allocate(DType::F32, {rows, cols});
    std::mt19937 rng(3);
    std::normal_distribution<float> normal;
    for (std::int64_t i = 0; i < rows * cols; ++i)
        values.mutableAs<float>()[i] = normal(rng) * (i / cols < 128 ? 1.0f : 20.0f);
    RtnOptions options;
    options.scheme = *findQuantScheme("fp8-block128");
    const QuantizedTensor start =
        quantizeRtn("w", Weight(values), options, backend.pool(), control).tensor;
    FakeQuantizer quantizer("w", start, ScaleLearning::Step);
    EXPECT_EQ(quantizer.learning(), ScaleLearning::None);
    std::vector<float> moved(values.as<float>(), values.as<float>() + rows * cols),
        deployed(moved.size());
    quantizer.quantize(moved.data(), nullptr, deployed.data(), backend.pool());
    EXPECT_EQ(deployed, Weight(start).toFloat());
    for (float& value : moved)
        value += 0.05f * normal(rng);
    quantizer.quantize(moved.data(), nullptr, deployed.data(), backend.pool());
    EXPECT_NE(deployed, Weight(start).toFloat());
    const QuantizedTensor packed = quantizer.pack(moved.data(), nullptr, backend.pool());
    EXPECT_EQ(Weight(packed).toFloat(), deployed);
    EXPECT_EQ(packed.scheme.id, "fp8-block128");
}

TEST_F(QuantizedNetwork, GradientsAreThoseOfTheNumbersItUsed) {
    // A plain network that holds the deployed numbers has the same gradients, as long as inputs are
    // not rounded: a float format for the inputs does not exist here, so the scheme's rounding of
    // inputs is as fine as it gets (8 bits) and the gradients agree about as well.
    const Model start = quantized(tiny("llama"), "int8", "rtn");
    Network network(start, backend.pool()), plain(start, backend.pool());
    network.quantize(start, before, {ScaleLearning::Scale, 1});
    TrainBatch batch;
    batch.add(ids);
    network.accumulate(batch, {}, 1.0F / 15, nullptr, nullptr);
    plain.accumulate(batch, {}, 1.0F / 15, nullptr, nullptr);
    for (const char* name : {"layers.0.attn.k.weight", "layers.1.ffn.down.weight",
                             "layers.1.attn.o.weight", "final_norm.weight", "embed.weight"}) {
        const TrainParameter& p = network.parameter(name);
        const float *got = network.grads().data() + p.offset,
                    *want = plain.grads().data() + plain.parameter(name).offset;
        EXPECT_LT(distance({got, got + p.count()}, {want, want + p.count()}), 0.05) << name;
    }
    // The gradient of a scale is that of its weights along themselves: dL/dp = <dL/dw^, w^>.
    const TrainParameter& w = network.parameter("layers.0.attn.k.weight");
    const TrainParameter& p = network.parameter("layers.0.attn.k.weight.scale");
    EXPECT_EQ(p.rows, w.rows);
    EXPECT_EQ(p.cols, 1);
    const std::vector<float> used = start.weight("layers.0.attn.k.weight").toFloat();
    const std::vector<float> grads = test::gradsOf(network);
    network.finishGradients();
    for (std::int64_t r = 0; r < w.rows; ++r) {
        double along = 0;
        for (std::int64_t c = 0; c < w.cols; ++c)
            along +=
                static_cast<double>(grads[static_cast<std::size_t>(w.offset + r * w.cols + c)]) *
                used[static_cast<std::size_t>(r * w.cols + c)];
        EXPECT_NEAR(network.grads()[static_cast<std::size_t>(p.offset + r)], along,
                    1e-4 * std::fabs(along) + 1e-6);
    }
}

TEST_F(QuantizedNetwork, MasterWeightsAreTheOriginalsWithinTheirCodes) {
    const Model model = tiny("llama");
    const Model start = quantized(model, "int4-g32", "rtn");
    Network network(start, backend.pool());
    network.quantize(start, before, {});
    std::size_t equal = 0, all = 0;
    for (const std::string& name : linearWeightNames(start.config)) {
        if (!start.has(name) || !start.weight(name).isQuantized())
            continue;
        const std::vector<float> original = model.weight(name).toFloat();
        const TrainParameter& p = network.parameter(name);
        for (std::size_t i = 0; i < original.size(); ++i)
            equal += network.values()[static_cast<std::size_t>(p.offset) + i] == original[i];
        all += original.size();
    }
    EXPECT_EQ(equal, all) << "rounded to nearest: every original has the code it was given";
    // GPTQ gives other codes than the nearest; those weights have moved, no further than needed.
    const Model gptq = quantized(model, "int4-g32", "gptq");
    Network second(gptq, backend.pool());
    second.quantize(gptq, before, {});
    const std::string name = "layers.0.ffn.up.weight";
    const std::vector<float> original = before.at(name).toFloat(),
                             codes = gptq.weight(name).toFloat();
    const TrainParameter& p = second.parameter(name);
    std::size_t moved = 0;
    for (std::size_t i = 0; i < original.size(); ++i) {
        const float value = second.values()[static_cast<std::size_t>(p.offset) + i];
        moved += value != original[i];
        EXPECT_LE(std::fabs(value - original[i]), std::fabs(codes[i] - original[i]) * 1.0001F);
    }
    EXPECT_GT(moved, 0u);
    EXPECT_LT(moved, original.size() / 2);
}

TEST_F(QuantizedNetwork, TrainsFromAStoredModelToo) {
    Model start = quantized(tiny("qwen3"), "int4-g32", "rtn");
    before.clear();
    Network network(start, backend.pool());
    network.quantize(start, before, {});
    EXPECT_LT(distance(network.logits(ids), deployedLogits(start)), kClose);
}

TEST_F(QuantizedNetwork, MicroBatchesAndThreadsChangeNothing) {
    const Model start = quantized(tiny("gemma3"), "int4-g32", "rtn");
    std::vector<std::vector<float>> results;
    for (const int threads : {1, 3}) {
        kernels::WorkerPool pool(threads);
        Network network(start, pool);
        network.quantize(start, before, {});
        Optimizer optimizer(network, {}, pool);
        for (int step = 0; step < 3; ++step) {
            for (const std::uint32_t seed : {1u, 2u}) {
                TrainBatch batch;
                batch.add(randomIds(16, seed));
                network.accumulate(batch, {}, 1.0F / 30, nullptr, nullptr);
            }
            optimizer.step(1e-3F);
        }
        results.push_back(network.values());
    }
    EXPECT_EQ(results[0], results[1]);
}

TEST_F(QuantizedNetwork, RefusesWhatItCannotTrain) {
    const Model plain = tiny("llama");
    Network network(plain, backend.pool());
    try {
        network.quantize(plain, {}, {});
        FAIL() << "nothing is quantized";
    } catch (const EngineError& error) {
        EXPECT_EQ(error.kind(), ErrorKind::Usage);
        EXPECT_NE(std::string(error.what()).find("no weight of the model is quantized"),
                  std::string::npos);
    }
}

}  // namespace
}  // namespace fettle
