// Low-rank corrections: the best of their rank, under inputs too, and the same whatever the
// threads; what they gain as part of ptq, and that products, files and exports keep them.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/backend/cpu_backend.h"
#include "engine/core/error.h"
#include "engine/core/random.h"
#include "engine/io/exporter.h"
#include "engine/io/strict_json.h"
#include "engine/io/weight_file.h"
#include "engine/quant/low_rank.h"
#include "engine/technique/ptq_layers.h"
#include "tests/engine/families.h"
#include "tests/support/model_files.h"

namespace fettle {
namespace {

constexpr std::int64_t kRows = 48, kCols = 80;

std::vector<float> uniform(std::int64_t count, std::uint64_t seed) {
    Philox random(seed);
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values)
        value = static_cast<float>(2 * random.uniform() - 1);
    return values;
}

float& at(std::vector<float>& m, std::int64_t row, std::int64_t cols, std::int64_t col) {
    return m[static_cast<std::size_t>(row * cols + col)];
}

/// A matrix whose singular values are 1, 0.8, 0.64, ...: cosines are orthogonal to each other.
std::vector<float> decaying() {
    std::vector<float> e(kRows * kCols, 0);
    for (std::int64_t k = 0; k < kRows; ++k)
        for (std::int64_t r = 0; r < kRows; ++r)
            for (std::int64_t c = 0; c < kCols; ++c) {
                const auto wave = [&](std::int64_t i, std::int64_t n) {
                    return std::sqrt((k == 0 ? 1.0 : 2.0) / static_cast<double>(n)) *
                           std::cos(M_PI * (static_cast<double>(i) + 0.5) * static_cast<double>(k) /
                                    static_cast<double>(n));
                };
                at(e, r, kCols, c) += static_cast<float>(std::pow(0.8, static_cast<double>(k)) *
                                                         wave(r, kRows) * wave(c, kCols));
            }
    return e;
}

std::vector<float> leftOf(std::vector<float> e, const LowRank& low) {
    for (std::int64_t r = 0; r < kRows; ++r)
        for (std::int64_t k = 0; k < low.rank; ++k)
            for (std::int64_t c = 0; c < kCols; ++c)
                at(e, r, kCols, c) -= low.out[static_cast<std::size_t>(r * low.rank + k)] *
                                      low.in[static_cast<std::size_t>(k * kCols + c)];
    return e;
}

double power(const std::vector<float>& e) {
    double sum = 0;
    for (const float value : e)
        sum += static_cast<double>(value) * value;
    return sum;
}

/// trace(E H E^T)
double power(const std::vector<float>& e, const std::vector<float>& gram) {
    double sum = 0;
    for (std::int64_t r = 0; r < kRows; ++r)
        for (std::int64_t i = 0; i < kCols; ++i)
            for (std::int64_t j = 0; j < kCols; ++j)
                sum += static_cast<double>(e[static_cast<std::size_t>(r * kCols + i)]) *
                       gram[static_cast<std::size_t>(i * kCols + j)] *
                       e[static_cast<std::size_t>(r * kCols + j)];
    return sum;
}

/// Inputs of which one in eight is large.
std::vector<float> unevenGram() {
    const std::int64_t tokens = 200;
    std::vector<float> x = uniform(tokens * kCols, 5), gram(kCols * kCols, 0);
    for (std::int64_t t = 0; t < tokens; ++t) {
        for (std::int64_t j = 0; j < kCols; j += 8)
            at(x, t, kCols, j) *= 20;
        for (std::int64_t i = 0; i < kCols; ++i)
            for (std::int64_t j = 0; j < kCols; ++j)
                at(gram, i, kCols, j) +=
                    at(x, t, kCols, i) * at(x, t, kCols, j) / static_cast<float>(tokens);
    }
    return gram;
}

class LowRankWork : public ::testing::Test {
protected:
    Model tiny(const std::string& family) {
        const auto path = folder / family;
        if (!std::filesystem::exists(path))
            test::writeFolder(path, test::tinyParts(family));
        return loadModel(path.string());
    }
    Model quantized(const std::string& family, const char* scheme, bool gptq, std::int64_t rank,
                    double* error = nullptr) {
        const Model model = tiny(family);
        RunInputs inputs;
        MeasureOptions measure;
        const nlohmann::json params;
        std::vector<LayerMetric> layers;
        std::vector<Measurement> metrics;
        TechniqueContext context{model,  backend, backend.pool(), inputs, measure,
                                 params, 1,       control,        layers, metrics};
        CalibrationText text;
        std::mt19937 rng(7);
        for (int s = 0; s < 24; ++s) {
            text.sequences.emplace_back();
            for (int i = 0; i < 16; ++i)
                text.sequences.back().push_back(
                    static_cast<std::int32_t>(rng() % test::kVocabulary));
        }
        text.tokens = 24 * 16;
        LayerwiseOptions options;
        options.gptq = gptq;
        options.follow = false;  // what is compared is the error on the inputs at hand
        options.lowRank = rank;
        options.scaleType = DType::BF16;
        options.schemeOf = [&](const std::string& name) {
            return layerOf(name) < 0 ? std::nullopt : findQuantScheme(scheme);
        };
        Model out = model;
        quantizeLayerwise(out, text, options, context);
        for (const LayerMetric& metric : layers)
            if (error && metric.name == "relative_output_error")
                *error += metric.value * metric.value;
        return out;
    }
    std::vector<float> logits(const Model& model) {
        Transformer transformer(model, backend);
        KvCache cache = transformer.makeCache(16, kernels::KvType::F32);
        const std::vector<std::int32_t> ids = {3, 1, 4, 1, 5, 9, 2, 6};
        transformer.forward(ids, cache);
        std::vector<float> out(8 * test::kVocabulary);
        transformer.logits(0, 8, out.data());
        return out;
    }
    test::TempFolder folder;
    CpuBackend backend{2};
    NullProgress sink;
    RunControl control{{}, nullptr, sink};
};

TEST_F(LowRankWork, LeavesWhatTheSmallestSingularValuesHold) {
    const std::vector<float> e = decaying();
    double left = power(e);
    for (const std::int64_t rank : {1, 4, 16}) {
        const LowRank low = lowRankOf(e, kRows, kCols, {}, rank, backend.pool(), control);
        ASSERT_EQ(low.rank, rank);
        left = 0;
        for (std::int64_t k = rank; k < kRows; ++k)
            left += std::pow(0.64, static_cast<double>(k));
        EXPECT_NEAR(power(leftOf(e, low)) / left, 1, 0.01) << rank;
    }
    EXPECT_LT(power(leftOf(e, lowRankOf(e, kRows, kCols, {}, 1000, backend.pool(), control))),
              1e-6 * power(e));
    EXPECT_EQ(lowRankOf(std::vector<float>(kRows * kCols, 0.0F), kRows, kCols, {}, 4,
                        backend.pool(), control)
                  .in,
              std::vector<float>(4 * kCols, 0.0F));
}

TEST_F(LowRankWork, ServesTheInputsThatAreThere) {
    const std::vector<float> e = uniform(kRows * kCols, 9), gram = unevenGram();
    const LowRank plain = lowRankOf(e, kRows, kCols, {}, 6, backend.pool(), control),
                  aware = lowRankOf(e, kRows, kCols, gram, 6, backend.pool(), control);
    EXPECT_LT(power(leftOf(e, aware), gram), 0.7 * power(leftOf(e, plain), gram));
    EXPECT_GT(power(leftOf(e, aware)), power(leftOf(e, plain)));
    kernels::WorkerPool one(1), three(3);
    const LowRank a = lowRankOf(e, kRows, kCols, gram, 6, one, control),
                  b = lowRankOf(e, kRows, kCols, gram, 6, three, control);
    EXPECT_EQ(a.in, b.in);
    EXPECT_EQ(a.out, b.out);
}

TEST_F(LowRankWork, BringsOutputsCloserWithEveryMethod) {
    for (const bool gptq : {false, true}) {
        double before = 0, small = 0, large = 0;
        quantized("llama", "int2-g32", gptq, 0, &before);
        quantized("llama", "int2-g32", gptq, 4, &small);
        const Model model = quantized("llama", "int2-g32", gptq, 16, &large);
        EXPECT_LT(small, 0.9 * before) << gptq;
        EXPECT_LT(large, 0.7 * small) << gptq;
        EXPECT_TRUE(model.hasLowRank());
        const Weight& q = model.weight("layers.0.attn.q.weight");
        EXPECT_EQ(q.quantized().lowRankIn.shape(), (Shape{16, q.shape()[1]}));
        EXPECT_EQ(q.quantized().lowRankOut.shape(), (Shape{q.shape()[0], 16}));
        EXPECT_GT(q.bitsPerWeight(), 2.5);
    }
}

TEST_F(LowRankWork, IsMultipliedBesideTheCodes) {
    for (const std::string& family : kFamilies) {
        // Its products take inputs as they are, so that plain weights of the same values are its
        // measure.
        const Model model = quantized(family, "mxfp8-w8a16", false, 3);
        Model plain = model;
        for (auto& [name, weight] : plain.weights)
            if (weight.isQuantized())
                weight = denseWeight(weight.toFloat(), weight.shape());
        const std::vector<float> a = logits(model), b = logits(plain);
        float largest = 0;
        for (const float value : b)
            largest = std::max(largest, std::fabs(value));
        for (std::size_t i = 0; i < a.size(); ++i)
            ASSERT_NEAR(a[i], b[i], 2e-5 * largest) << family << " " << i;
        Model without = model;
        for (auto& [name, weight] : without.weights)
            if (weight.hasLowRank()) {
                QuantizedTensor bare = weight.quantized();
                bare.lowRankIn = bare.lowRankOut = {};
                weight = Weight(bare);
            }
        EXPECT_NE(logits(without), a) << family;
        EXPECT_LT(Transformer(without, backend).weightBytes(),
                  Transformer(model, backend).weightBytes());
    }
}

TEST_F(LowRankWork, IsKeptByFilesAndExports) {
    for (const std::string& family : kFamilies) {
        const Model model = quantized(family, "int4-g32", true, 4);
        const auto out = folder / (family + "-out");
        ExportReport report = exportModel(model, "compressed-tensors", out, control);
        verifyExport(model, report, control);
        for (const ExportCheck& check : report.checks)
            EXPECT_TRUE(check.passed) << family << " " << check.name << " " << check.detail;
        const Model again = loadModel(out.string());
        EXPECT_EQ(logits(again), logits(model)) << family;
        const nlohmann::json config = readJsonObject(out / "adapter" / "adapter_config.json");
        EXPECT_EQ(config.at("peft_type"), "LORA");
        EXPECT_EQ(config.at("r"), config.at("lora_alpha"));

        WeightFile file;
        file.state = nlohmann::json::object();
        file.weights.emplace("q", model.weight("layers.0.attn.q.weight"));
        writeWeightFile(folder / "weights", file);
        const std::optional<WeightFile> read = readWeightFile(folder / "weights");
        EXPECT_EQ(read->weights.at("q").toFloat(), file.weights.at("q").toFloat());

        // Formats without a place for it take the sum.
        for (const char* format : {"safetensors", "gguf-q8_0"}) {
            if (family == "gpt2" && std::string(format) != "safetensors")
                continue;
            ExportReport folded = exportModel(model, format, folder / (family + format), control);
            verifyExport(model, folded, control);
            for (const ExportCheck& check : folded.checks)
                EXPECT_TRUE(check.passed) << format << " " << check.name << " " << check.detail;
        }
    }
}

TEST_F(LowRankWork, RefusesAnAdapterThatDoesNotFit) {
    const Model model = quantized("llama", "int4-g32", true, 4);
    const auto out = folder / "out", weights = out / "adapter" / "adapter_model.safetensors";
    exportModel(model, "compressed-tensors", out, control);
    const auto refusal = [&] {
        try {
            loadModel(out.string());
        } catch (const EngineError& error) {
            EXPECT_EQ(error.kind(), ErrorKind::BadInput);
            return std::string(error.what());
        }
        return std::string("loaded");
    };
    const Model other = quantized("gpt2", "int4-g32", true, 4);
    exportModel(other, "compressed-tensors", folder / "other", control);
    std::filesystem::copy_file(folder / "other" / "adapter" / "adapter_model.safetensors", weights,
                               std::filesystem::copy_options::overwrite_existing);
    EXPECT_NE(refusal().find("adapter_model.safetensors"), std::string::npos) << refusal();
    test::writeFile(weights, "junk");
    EXPECT_NE(refusal().find("adapter_model.safetensors"), std::string::npos) << refusal();
    nlohmann::json config = readJsonObject(out / "config.json");
    config["low_rank_adapter"] = "../somewhere";
    test::writeFile(out / "config.json", config.dump());
    EXPECT_NE(refusal().find("low_rank_adapter"), std::string::npos) << refusal();
}

}  // namespace
}  // namespace fettle
