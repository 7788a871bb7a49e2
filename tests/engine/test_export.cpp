// Exports: round trips of every family in every format, codes kept bit by bit, what is refused,
// what is atomic.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>
#include <thread>

#include "engine/backend/cpu_backend.h"
#include "engine/core/error.h"
#include "engine/io/exporter.h"
#include "engine/io/gguf_quantize.h"
#include "engine/io/gguf_reader.h"
#include "engine/io/mapped_file.h"
#include "engine/io/safetensors_reader.h"
#include "engine/model/transformer.h"
#include "engine/quant/calibration.h"
#include "engine/quant/group_quantizer.h"
#include "engine/quant/rtn.h"
#include "engine/technique/kquant_codes.h"
#include "tests/support/fixtures.h"
#include "tests/support/model_files.h"

namespace fettle::test {
namespace {

/// Round to nearest, one scale per row or group, with scales of the given type.
Weight quantize(const Weight& weight, const QuantScheme& scheme, DType scaleType = DType::F16) {
    const std::vector<float> values = weight.toFloat();
    QuantizedTensor out;
    out.scheme = scheme;
    out.rows = weight.shape()[0];
    out.cols = weight.shape()[1];
    const bool eight = scheme.bits == 8;
    const std::int64_t group = scheme.groupSize > 0 ? scheme.groupSize : out.cols,
                       groups = out.cols / group;
    out.codes = eight ? Tensor::allocate(DType::I8, {out.rows, out.cols})
                      : Tensor::allocate(DType::I32, {out.rows, out.cols / 8});
    out.scales = Tensor::allocate(scaleType, {out.rows, groups});
    if (!scheme.symmetric)
        out.zeroPoints = Tensor::allocate(DType::I32, {(out.rows + 7) / 8, groups});
    for (std::int64_t r = 0; r < out.rows; ++r)
        for (std::int64_t g = 0; g < groups; ++g) {
            const float* x = values.data() + r * out.cols + g * group;
            float largest = 1e-6f;
            for (std::int64_t k = 0; k < group; ++k)
                largest = std::max(largest, std::fabs(x[k]));
            const std::uint16_t half = kernels::floatToHalf(largest / (eight ? 127.0f : 7.0f));
            const float scale = kernels::halfToFloat(half);
            if (scaleType == DType::F32)
                out.scales.mutableAs<float>()[r * groups + g] = scale * 1.0001f;  // no float16
            else
                out.scales.mutableAs<std::uint16_t>()[r * groups + g] = half;
            const int zero = scheme.symmetric ? 8 : 7;
            if (!scheme.symmetric)
                out.zeroPoints.mutableAs<std::uint32_t>()[r / 8 * groups + g] |= 7u
                                                                                 << (4 * (r % 8));
            for (std::int64_t k = 0; k < group; ++k) {
                const int code = static_cast<int>(std::lround(x[k] / scale));
                const std::int64_t at = r * out.cols + g * group + k;
                if (eight)
                    out.codes.mutableAs<std::int8_t>()[at] = static_cast<std::int8_t>(code);
                else
                    out.codes.mutableAs<std::uint32_t>()[at / 8] |=
                        static_cast<std::uint32_t>(std::min(15, std::max(0, code + zero)))
                        << (4 * (at % 8));
            }
        }
    return Weight(std::move(out));
}

/// Schemes whose codes are neither int8 nor int4, by the quantizer itself; parts of a fused tensor
/// share what it has one of.
Weight quantizeSmall(const Weight& weight, const QuantScheme& scheme) {
    const std::vector<float> values = weight.toFloat();
    const std::int64_t rows = weight.shape()[0], cols = weight.shape()[1];
    const float g = scheme.format == kernels::WeightFormat::NvFp4 ? 800.0f : 1.0f;
    const GroupQuantizer quantizer(scheme, ScaleSearch::Mse, DType::F16, g);
    const std::int64_t group = quantizer.groupSize(cols);
    std::vector<GroupGrid> grids;
    for (std::int64_t at = 0; at < rows * cols; at += group)
        grids.push_back(quantizer.gridOf(values.data() + at, nullptr, group));
    QuantizedTensor out =
        quantizeWithGrids(scheme, rows, cols, values.data(), grids.data(), DType::F16, g);
    if (scheme.activations == ActivationFormat::NvFp4)
        out.inputGlobalScale = 75;
    return Weight(std::move(out));
}

/// The linear weights of the layers under a scheme; the head is left alone.
Model quantized(Model model, const std::string& id, DType scaleType = DType::F16) {
    const QuantScheme scheme = *findQuantScheme(id);
    const bool integers = scheme.format == kernels::WeightFormat::Int8Channel ||
                          scheme.format == kernels::WeightFormat::Int4Group;
    for (const std::string& name : linearWeightNames(model.config)) {
        if (layerOf(name) < 0)
            continue;
        model.weights[name] = integers ? quantize(model.weight(name), scheme, scaleType)
                                       : quantizeSmall(model.weight(name), scheme);
        if (scheme.activations == ActivationFormat::Int8Tensor) {
            QuantizedTensor fixed = model.weight(name).quantized();
            fixed.inputGlobalScale = 0.03125F;
            model.weights[name] = Weight(std::move(fixed));
        }
    }
    return model;
}

Model tiny(const TempFolder& folder, const std::string& family) {
    writeFolder(folder / family, tinyParts(family));
    return loadModel(folder / family);
}

void expectAllPass(const ExportReport& report, const std::string& what) {
    EXPECT_GE(report.checks.size(), 5u) << what;
    for (const ExportCheck& check : report.checks)
        EXPECT_TRUE(check.passed) << what << ": " << check.name << ": " << check.detail;
}

bool hasCheck(const ExportReport& report, const std::string& name) {
    return std::any_of(report.checks.begin(), report.checks.end(),
                       [&](const ExportCheck& check) { return check.name == name; });
}

std::string refusal(const std::function<void()>& work, ErrorKind kind = ErrorKind::BadInput) {
    try {
        work();
    } catch (const EngineError& error) {
        EXPECT_EQ(error.kind(), kind) << error.what();
        return error.what();
    }
    return "";
}

ExportReport exportAndVerify(const Model& model, const std::string& format, const fs::path& out) {
    QuietControl quiet;
    ExportReport report = exportModel(model, format, out, quiet.control);
    verifyExport(model, report, quiet.control);
    expectAllPass(report, out.filename().string());
    return report;
}

class ExportTest : public ::testing::Test {
protected:
    TempFolder m_folder;
    QuietControl m_quiet;
};

TEST_F(ExportTest, EveryFamilyInEveryPlainFormat) {
    for (const char* family : {"llama", "qwen3", "gpt2", "gemma3"}) {
        const Model model = tiny(m_folder, family);
        for (const char* format : {"safetensors", "gguf-f16", "gguf-q8_0", "gguf-q4_0"})
            exportAndVerify(model, format, m_folder / (std::string(family) + "-" + format));
    }
}

TEST_F(ExportTest, FixturesInEveryPlainFormat) {
    FETTLE_NEED_FILE(fixture("llama-4m"));
    for (const char* name : {"llama-4m", "qwen3-draft-500k", "gpt2-random", "gemma3-random"}) {
        const Model model = loadModel(fixture(name));
        for (const char* format : {"safetensors", "gguf-f16", "gguf-q8_0", "gguf-q4_0"})
            exportAndVerify(model, format, m_folder / (std::string(name) + "-" + format));
    }
}

/// Rows of whole super-blocks, with a width that is a multiple of 256.
Model wide(const fs::path& folder, int layers, int width = 256) {
    nlohmann::json config = test::tinyConfig("llama");
    config["hidden_size"] = width;
    config["intermediate_size"] = 2 * width;
    config["num_hidden_layers"] = layers;
    test::FolderParts parts = test::tinyParts("llama");
    parts.config = config;
    parts.tensors = test::tinyTensors(config);
    test::writeFolder(folder / "wide", parts);
    return loadModel((folder / "wide").string());
}

CalibrationText randomText() {
    CalibrationText text;
    std::mt19937 rng(7);
    for (int s = 0; s < 64; ++s) {
        text.sequences.emplace_back();
        for (int i = 0; i < 16; ++i)
            text.sequences.back().push_back(static_cast<std::int32_t>(rng() % test::kVocabulary));
    }
    text.tokens = 64 * 16;
    return text;
}

TEST_F(ExportTest, KQuantsMixTypesAsLlamaCppDoes) {
    const Model model = wide(m_folder.path(), 8);
    ImportanceMatrix importance;
    for (const std::string& name : linearWeightNames(model.config)) {
        std::vector<float>& values = importance[name];
        values.assign(static_cast<std::size_t>(model.weight(name).shape().at(1)), 1.0f);
        values[3] = 50;
    }
    for (const auto& [format, base] :
         {std::pair{"gguf-q4_k_m", "Q4_K"}, {"gguf-q5_k_m", "Q5_K"}, {"gguf-q6_k", "Q6_K"}}) {
        const fs::path out = m_folder / (std::string(format) + ".gguf");
        QuietControl quiet;
        ExportReport report = exportModel(model, format, out, quiet.control, &importance);
        verifyExport(model, report, quiet.control);
        expectAllPass(report, format);
        const Model again = loadModel(out.string());
        // The first and last of eight layers, and every third between: 0, 3, 6, 7.
        for (const int layer : {0, 1, 2, 3, 4, 5, 6, 7}) {
            const std::string front = "layers." + std::to_string(layer) + ".";
            const bool six = layer == 0 || layer == 3 || layer == 6 || layer == 7;
            EXPECT_EQ(again.weight(front + "ffn.down.weight").typeName(), six ? "Q6_K" : base)
                << format << " " << layer;
            EXPECT_EQ(again.weight(front + "attn.q.weight").typeName(), base) << format;
        }
        EXPECT_EQ(again.weight("lm_head.weight").typeName(), "Q6_K");
        EXPECT_EQ(again.weight("embed.weight").typeName(), base);
    }
    const fs::path three = m_folder / "three.gguf";
    QuietControl quiet;
    ExportReport report = exportModel(model, "gguf-q3_k_m", three, quiet.control, &importance);
    verifyExport(model, report, quiet.control);
    expectAllPass(report, "gguf-q3_k_m");
    const Model again = loadModel(three.string());
    for (const auto& [name, type] : {std::pair{"layers.0.attn.v", "Q5_K"},
                                     {"layers.1.attn.v", "Q5_K"},
                                     {"layers.2.attn.v", "Q4_K"},
                                     {"layers.2.attn.o", "Q5_0"},  // rows that do not divide
                                     {"layers.0.ffn.down", "Q4_K"},
                                     {"layers.5.ffn.up", "Q3_K"},
                                     {"layers.5.attn.k", "Q3_K"},
                                     {"lm_head", "Q6_K"}})
        EXPECT_EQ(again.weight(std::string(name) + ".weight").typeName(), type) << name;
    // Rows that do not divide into 256.
    const Model narrow = tiny(m_folder, "llama");
    exportAndVerify(narrow, "gguf-q4_k_m", m_folder / "narrow.gguf");
    EXPECT_EQ(
        loadModel((m_folder / "narrow.gguf").string()).weight("layers.0.attn.q.weight").typeName(),
        "Q5_0");
}

TEST_F(ExportTest, ChoosingCodesUnderATextStopsWhenAsked) {
    class StopInTheMiddle : public NullProgress {
    public:
        void progress(const JobProgress& progress) override {
            // Reports come at most so often; who waits longer misses none, however fast the work.
            if (progress.fraction <= 0)
                return std::this_thread::sleep_for(std::chrono::milliseconds(110));
            if (!stop.stop_requested())
                asked = std::chrono::steady_clock::now();
            stop.request_stop();
        }
        std::stop_source stop;
        std::chrono::steady_clock::time_point asked;
    };
    const Model model = wide(m_folder.path(), 3);
    StopInTheMiddle sink;
    RunControl control(sink.stop.get_token(), nullptr, sink);
    control.beginPhase("Choosing codes", 1);
    CpuBackend backend(2);
    EXPECT_THROW(
        withKQuantCodes(model, kernels::WeightFormat::Q4_K, randomText(), backend, control),
        Cancelled);
    EXPECT_TRUE(sink.stop.stop_requested());
    EXPECT_LT(std::chrono::steady_clock::now() - sink.asked, std::chrono::milliseconds(200));
    for (const std::string& name : linearWeightNames(model.config))
        EXPECT_FALSE(model.weight(name).isQuantized()) << name;
}

TEST_F(ExportTest, KQuantCodesChosenUnderATextKeepTheModelCloser) {
    // Rows that divide into super-blocks, and rows that do not.
    for (const int width : {256, 192}) {
        const Model model = wide(m_folder.path(), 2, width);
        const CalibrationText text = randomText();
        QuietControl quiet;
        CpuBackend backend(2);
        const auto logits = [&](const Model& m) {
            constexpr std::size_t kSequences = 16, kEach = 16 * test::kVocabulary;
            Transformer transformer(m, backend);
            std::vector<float> out(kSequences * kEach);
            for (std::size_t i = 0; i < kSequences; ++i) {
                KvCache cache = transformer.makeCache(16);
                transformer.forward(text.sequences[i], cache);
                transformer.logits(0, 16, out.data() + i * kEach);
            }
            return out;
        };
        const std::vector<float> plain = logits(model);
        const auto distance = [&](const Model& m) {
            const std::vector<float> other = logits(m);
            double sum = 0;
            for (std::size_t i = 0; i < plain.size(); ++i)
                sum += (plain[i] - other[i]) * (plain[i] - other[i]);
            return sum;
        };
        for (const auto& [format, base] : {std::pair{"gguf-q3_k_m", kernels::WeightFormat::Q3_K},
                                           {"gguf-q4_k_m", kernels::WeightFormat::Q4_K},
                                           {"gguf-q5_k_m", kernels::WeightFormat::Q5_K},
                                           {"gguf-q6_k", kernels::WeightFormat::Q6_K}}) {
            EXPECT_EQ(kQuantBase(format), base);
            const Model chosen = withKQuantCodes(model, base, text, backend, quiet.control);
            const fs::path ours = m_folder / (std::string(format) + "-text.gguf"),
                           nearest = m_folder / (std::string(format) + "-nearest.gguf");
            exportModel(model, format, nearest, quiet.control);
            ExportReport report = exportModel(chosen, format, ours, quiet.control);
            verifyExport(chosen, report, quiet.control);
            expectAllPass(report, format);
            EXPECT_EQ(fs::file_size(ours), fs::file_size(nearest)) << format;
            const Model a = loadModel(ours.string()), b = loadModel(nearest.string());
            for (const std::string& name : linearWeightNames(model.config))
                EXPECT_EQ(a.weight(name).typeName(), b.weight(name).typeName())
                    << format << " " << name;
            EXPECT_LT(distance(a), 0.9 * distance(b)) << format;
        }
    }
    EXPECT_EQ(kQuantBase("gguf-q8_0"), std::nullopt);
}

TEST_F(ExportTest, PlainFolderHoldsTheSameBytes) {
    const Model model = tiny(m_folder, "gpt2");
    exportAndVerify(model, "safetensors", m_folder / "out");
    const auto before = readSafetensors(MappedFile::open(m_folder / "gpt2" / "model.safetensors"));
    const auto after = readSafetensors(MappedFile::open(m_folder / "out" / "model.safetensors"));
    ASSERT_EQ(before.size(), after.size());
    for (const auto& [name, stored] : before) {
        ASSERT_TRUE(after.count(name)) << name;
        EXPECT_EQ(after.at(name).tensor.shape(), stored.tensor.shape()) << name;
        EXPECT_EQ(
            std::memcmp(after.at(name).tensor.data(), stored.tensor.data(), stored.tensor.bytes()),
            0)
            << name;
    }
}

TEST_F(ExportTest, CompressedTensorsKeepCodes) {
    for (const char* family : {"llama", "qwen3", "gpt2", "gemma3"})
        for (const char* scheme :
             {"int8", "w8a16", "int4-g32", "int4-g32-asym", "int4-channel", "int4-g32-a8",
              "int4-g32-a4", "int8-static", "int3-g32", "int2-g32", "fp8", "nvfp4", "nvfp4-w4a16",
              "mxfp4", "mxfp4-w4a16", "mxfp8", "mxfp8-w8a16", "mxfp6-w6a16", "nf4-g32"}) {
            const std::string what = std::string(family) + "-" + scheme;
            const Model model = quantized(tiny(m_folder, family), scheme);
            const ExportReport report =
                exportAndVerify(model, "compressed-tensors", m_folder / what);
            EXPECT_TRUE(hasCheck(report, "codes identical")) << what;
            const Model again = loadModel(m_folder / what);
            for (const std::string& name : linearWeightNames(model.config)) {
                EXPECT_EQ(again.weight(name).typeName(), layerOf(name) >= 0 ? scheme : "BF16")
                    << what << " " << name;
            }
        }
}

TEST_F(ExportTest, ScalesOfSeveralRowsAreStoredOnce) {
    nlohmann::json config = test::tinyConfig("llama");
    config["hidden_size"] = 256;
    config["intermediate_size"] = 384;
    test::FolderParts parts = test::tinyParts("llama");
    parts.config = config;
    parts.tensors = test::tinyTensors(config);
    test::writeFolder(m_folder / "wide", parts);
    kernels::WorkerPool pool(2);
    for (const char* scheme : {"fp8-tensor", "fp8-block128"}) {
        Model model = loadModel((m_folder / "wide").string());
        for (const std::string& name : linearWeightNames(model.config))
            if (layerOf(name) >= 0) {
                RtnOptions options;
                options.scheme = *findQuantScheme(scheme);
                options.scaleType = DType::BF16;
                model.weights[name] = Weight(
                    quantizeRtn(name, model.weight(name), options, pool, m_quiet.control).tensor);
            }
        const ExportReport report = exportAndVerify(model, "compressed-tensors", m_folder / scheme);
        EXPECT_TRUE(hasCheck(report, "codes identical")) << scheme;
        const bool tensor = std::string(scheme) == "fp8-tensor";
        const auto tensors =
            readSafetensors(MappedFile::open(m_folder / scheme / "model.safetensors"));
        EXPECT_EQ(tensors.at("model.layers.0.mlp.down_proj.weight_scale").tensor.shape(),
                  tensor ? Shape{1} : (Shape{2, 3}));
        const nlohmann::json weights =
            readJson(m_folder / scheme /
                     "config.json")["quantization_config"]["config_groups"]["group_0"]["weights"];
        EXPECT_EQ(weights["strategy"], tensor ? "tensor" : "block");
        EXPECT_EQ(weights["block_structure"],
                  tensor ? nlohmann::json() : nlohmann::json::array({128, 128}));
        const Model again = loadModel((m_folder / scheme).string());
        for (const std::string& name : linearWeightNames(model.config))
            EXPECT_EQ(again.weight(name).toFloat(), model.weight(name).toFloat()) << name;
        exportAndVerify(model, "safetensors", m_folder / (std::string(scheme) + "-plain"));
    }
}

TEST_F(ExportTest, TheTypeOfKeysAndValuesIsRemembered) {
    Model model = quantized(tiny(m_folder, "llama"), "int4-g32");
    model.config.kvType = kernels::KvType::Fp8;
    exportAndVerify(model, "compressed-tensors", m_folder / "out");
    EXPECT_EQ(readJson(m_folder / "out" / "config.json")["kv_cache_type"], "fp8");
    Model again = loadModel((m_folder / "out").string());
    EXPECT_EQ(again.config.kvType, kernels::KvType::Fp8);
    again.config.kvType = kernels::KvType::F16;
    exportAndVerify(again, "compressed-tensors", m_folder / "out2");
    EXPECT_FALSE(readJson(m_folder / "out2" / "config.json").contains("kv_cache_type"));
}

TEST_F(ExportTest, CompressedTensorsDescribeThemselves) {
    const Model model = quantized(tiny(m_folder, "llama"), "int8");
    exportAndVerify(model, "compressed-tensors", m_folder / "out");
    const json config = readJson(m_folder / "out" / "config.json")["quantization_config"];
    EXPECT_EQ(config["quant_method"], "compressed-tensors");
    EXPECT_EQ(config["format"], "int-quantized");
    EXPECT_EQ(config["ignore"], json::array({"lm_head"}));
    const json group = config["config_groups"]["group_0"];
    EXPECT_EQ(group["targets"], json::array({"Linear"}));
    EXPECT_EQ(group["input_activations"]["strategy"], "token");
    EXPECT_EQ(group["input_activations"]["dynamic"], true);
    const auto tensors = readSafetensors(MappedFile::open(m_folder / "out" / "model.safetensors"));
    EXPECT_EQ(tensors.at("model.layers.0.self_attn.q_proj.weight").type, "I8");
    EXPECT_EQ(tensors.at("model.layers.0.self_attn.q_proj.weight_scale").tensor.shape(),
              (Shape{128, 1}));
    EXPECT_TRUE(fs::exists(m_folder / "out" / "tokenizer.json"));
}

TEST_F(ExportTest, SmallFloatsLieAsCompressedTensorsHasThem) {
    exportAndVerify(quantized(tiny(m_folder, "llama"), "nvfp4"), "compressed-tensors",
                    m_folder / "nv");
    const json config = readJson(m_folder / "nv" / "config.json")["quantization_config"];
    EXPECT_EQ(config["format"], "nvfp4-pack-quantized");
    const json group = config["config_groups"]["group_0"];
    EXPECT_EQ(group["weights"]["strategy"], "tensor_group");
    EXPECT_EQ(group["weights"]["group_size"], 16);
    EXPECT_EQ(group["input_activations"]["dynamic"], "local");
    EXPECT_FALSE(group["weights"].contains("scale_dtype"));
    const std::string q = "model.layers.0.self_attn.q_proj.";
    auto tensors = readSafetensors(MappedFile::open(m_folder / "nv" / "model.safetensors"));
    EXPECT_EQ(tensors.at(q + "weight_packed").type, "U8");
    EXPECT_EQ(tensors.at(q + "weight_scale").type, "F8_E4M3");
    EXPECT_EQ(*tensors.at(q + "weight_global_scale").tensor.as<float>(), 800.0f);
    EXPECT_EQ(*tensors.at(q + "input_global_scale").tensor.as<float>(), 75.0f);
    EXPECT_EQ(tensors.count(q + "weight_shape"), 0u);

    exportAndVerify(quantized(tiny(m_folder, "llama"), "mxfp4-w4a16"), "compressed-tensors",
                    m_folder / "mx");
    const json mx = readJson(m_folder / "mx" / "config.json")["quantization_config"];
    EXPECT_EQ(mx["format"], "mxfp4-pack-quantized");
    EXPECT_EQ(mx["config_groups"]["group_0"]["weights"]["scale_dtype"], "torch.uint8");
    EXPECT_TRUE(mx["config_groups"]["group_0"]["input_activations"].is_null());
    tensors = readSafetensors(MappedFile::open(m_folder / "mx" / "model.safetensors"));
    EXPECT_EQ(tensors.at(q + "weight_scale").type, "U8");

    exportAndVerify(quantized(tiny(m_folder, "llama"), "int3-g32"), "compressed-tensors",
                    m_folder / "i3");
    tensors = readSafetensors(MappedFile::open(m_folder / "i3" / "model.safetensors"));
    const std::int64_t* shape = tensors.at(q + "weight_shape").tensor.as<std::int64_t>();
    EXPECT_EQ(tensors.at(q + "weight_packed").tensor.shape(), (Shape{shape[0], shape[1] * 3 / 32}));
}

TEST_F(ExportTest, SmallFloatsBecomePlainElsewhere) {
    for (const char* scheme :
         {"int3-g32", "fp8", "nvfp4", "mxfp4", "mxfp8-w8a16", "mxfp6-w6a16", "nf4-g32"}) {
        const Model model = quantized(tiny(m_folder, "llama"), scheme);
        for (const char* format : {"safetensors", "gguf-f16", "gguf-q8_0", "gguf-q4_0"})
            exportAndVerify(model, format, m_folder / (std::string(scheme) + "-" + format));
    }
}

TEST_F(ExportTest, BadScalesOfSmallFloatsAreRefused) {
    Model model = quantized(tiny(m_folder, "llama"), "nvfp4");
    Tensor bad = Tensor::allocate(
        DType::F8E4M3, model.weight("layers.0.attn.q.weight").quantized().scales.shape());
    bad.mutableAs<std::uint8_t>()[3] = 0x7F;
    QuantizedTensor broken = model.weight("layers.0.attn.q.weight").quantized();
    broken.scales = bad;
    model.weights["layers.0.attn.q.weight"] = Weight(broken);
    EXPECT_NE(refusal([&] {
                  exportModel(model, "compressed-tensors", m_folder / "out", m_quiet.control);
              }).find("NaN"),
              std::string::npos);
}

TEST_F(ExportTest, MixedSchemesNameTheirModules) {
    const Model plain = tiny(m_folder, "llama");
    Model model = quantized(plain, "int4-g32");
    const std::string up = "layers.1.ffn.up.weight", down = "layers.0.ffn.down.weight";
    model.weights[up] = quantize(plain.weight(up), *findQuantScheme("int8"));
    model.weights[down] = plain.weight(down);
    exportAndVerify(model, "compressed-tensors", m_folder / "out");
    const json config = readJson(m_folder / "out" / "config.json")["quantization_config"];
    EXPECT_EQ(config["format"], "mixed-precision");
    EXPECT_EQ(config["config_groups"].size(), 2u);
    const Model again = loadModel(m_folder / "out");
    EXPECT_EQ(again.weight(up).typeName(), "int8");
    EXPECT_EQ(again.weight(down).typeName(), "BF16");
    EXPECT_EQ(again.weight("layers.0.attn.q.weight").typeName(), "int4-g32");
}

TEST_F(ExportTest, Gpt2WithPartsOfDifferentKindsIsWrittenPlain) {
    const Model plain = tiny(m_folder, "gpt2");
    Model model = quantized(plain, "int8");
    model.weights["layers.0.attn.k.weight"] = plain.weight("layers.0.attn.k.weight");
    QuietControl quiet;
    ExportReport report = exportModel(model, "compressed-tensors", m_folder / "out", quiet.control);
    verifyExport(model, report, quiet.control);
    expectAllPass(report, "mixed gpt2");
}

TEST_F(ExportTest, Int4BecomesQ4_0WithTheSameCodes) {
    const Model model = quantized(tiny(m_folder, "llama"), "int4-g32");
    const ExportReport report = exportAndVerify(model, "gguf-q4_0", m_folder / "out.gguf");
    const Model again = loadModel(m_folder / "out.gguf");
    for (const char* name : {"layers.0.attn.q.weight", "layers.1.ffn.down.weight"}) {
        EXPECT_EQ(again.weight(name).typeName(), "Q4_0");
        EXPECT_EQ(again.weight(name).toFloat(), model.weight(name).toFloat())
            << name;  // float16 scales: nothing is lost
    }
    for (const std::string& note : report.lossy)
        EXPECT_EQ(note.find("int4"), std::string::npos) << note;
    const ExportReport rounded =
        exportAndVerify(quantized(tiny(m_folder, "llama"), "int4-g32", DType::F32), "gguf-q4_0",
                        m_folder / "out2.gguf");
    EXPECT_TRUE(std::any_of(rounded.lossy.begin(), rounded.lossy.end(), [](const std::string& n) {
        return n.find("scales are rounded") != std::string::npos;
    }));
}

TEST_F(ExportTest, Int8BecomesQ8_0WithTheSameCodes) {
    const Model model = quantized(tiny(m_folder, "qwen3"), "int8");
    exportAndVerify(model, "gguf-q8_0", m_folder / "out.gguf");
    const Model again = loadModel(m_folder / "out.gguf");
    EXPECT_EQ(again.weight("layers.0.attn.k.weight").toFloat(),
              model.weight("layers.0.attn.k.weight").toFloat());
    exportAndVerify(model, "gguf-f16", m_folder / "f16.gguf");
    exportAndVerify(model, "safetensors", m_folder / "plain");
    EXPECT_FALSE(
        exportModel(model, "safetensors", m_folder / "plain", m_quiet.control).lossy.empty());
}

TEST_F(ExportTest, BlocksSurviveGgufAndBecomeFloatInFolders) {
    const Model model = tiny(m_folder, "gemma3");
    exportAndVerify(model, "gguf-q8_0", m_folder / "a.gguf");
    const Model blocks = loadModel(m_folder / "a.gguf");
    const ExportReport copy = exportAndVerify(blocks, "gguf-q8_0", m_folder / "b.gguf");
    EXPECT_TRUE(hasCheck(copy, "codes identical"));
    const ExportReport folder = exportAndVerify(blocks, "safetensors", m_folder / "folder");
    EXPECT_FALSE(folder.lossy.empty());
    const Model back = loadModel(m_folder / "folder");
    EXPECT_EQ(back.config.normOffset, 1);
    EXPECT_EQ(back.config.embeddingScale, blocks.config.embeddingScale);
    EXPECT_EQ(back.weight("layers.0.attn_norm.weight").toFloat(),
              model.weight("layers.0.attn_norm.weight").toFloat());
    EXPECT_EQ(back.tokenizer->encode("ABC!", true), model.tokenizer->encode("ABC!", true));
}

TEST_F(ExportTest, WorkingFormatFollowsTheWeights) {
    const Model plain = tiny(m_folder, "gemma3");
    EXPECT_EQ(writeModelFolder(plain, m_folder / "plain", m_quiet.control).format, "safetensors");
    ExportReport report =
        writeModelFolder(quantized(plain, "int4-g32"), m_folder / "packed", m_quiet.control);
    EXPECT_EQ(report.format, "compressed-tensors");
    EXPECT_EQ(report.bytes, fs::file_size(m_folder / "packed" / "model.safetensors") +
                                fs::file_size(m_folder / "packed" / "config.json") +
                                fs::file_size(m_folder / "packed" / "tokenizer.json"));
}

TEST_F(ExportTest, Llama3ScalingTravelsAsATensor) {
    FolderParts parts = tinyParts("llama");
    parts.config["rope_theta"] = 500000.0;
    parts.config["rope_scaling"] = {{"rope_type", "llama3"},
                                    {"factor", 8.0},
                                    {"low_freq_factor", 1.0},
                                    {"high_freq_factor", 4.0},
                                    {"original_max_position_embeddings", 8192}};
    writeFolder(m_folder / "l3", parts);
    const Model model = loadModel(m_folder / "l3");
    exportAndVerify(model, "gguf-f16", m_folder / "l3.gguf");
    EXPECT_EQ(loadModel(m_folder / "l3.gguf").config.layers[1].rope, model.config.layers[1].rope);
}

TEST_F(ExportTest, GemmaFoldsItsAttentionScale) {
    FolderParts parts = tinyParts("gemma3");
    parts.config["query_pre_attn_scalar"] = 128;  // a quarter of head_dim's
    writeFolder(m_folder / "g", parts);
    const Model model = loadModel(m_folder / "g");
    exportAndVerify(model, "gguf-f16", m_folder / "g.gguf");
    const Model again = loadModel(m_folder / "g.gguf");
    const float before = model.weight("layers.0.attn.q_norm.weight").toFloat()[3],
                after = again.weight("layers.0.attn.q_norm.weight").toFloat()[3];
    EXPECT_FLOAT_EQ(after * again.config.attentionScale,
                    (1 + before) * model.config.attentionScale);
}

TEST_F(ExportTest, ReferenceQuantizerIsTheGgufPackages) {
    // Values and bytes from gguf.quants.quantize (0.17).
    float values[32];
    for (int i = 0; i < 32; ++i)
        values[i] = static_cast<float>(i * i % 17 - 8) * 0.37f;
    std::byte q4[18], q8[34];
    encodeRow(kernels::WeightFormat::Q4_0, values, 32, q4);
    encodeRow(kernels::WeightFormat::Q8_0, values, 32, q8);
    std::string text4, text8;
    char hex[3];
    for (const std::byte b : q4) {
        std::snprintf(hex, sizeof hex, "%02x", static_cast<unsigned>(b));
        text4 += hex;
    }
    for (const std::byte b : q8) {
        std::snprintf(hex, sizeof hex, "%02x", static_cast<unsigned>(b));
        text8 += hex;
    }
    EXPECT_EQ(text4, "ec35100114499ff8822ffddddff2288ff994");
    EXPECT_EQ(text8, "f7258191c1107f00a16f4f4f6fa1007f10c1918191c1107f00a16f4f4f6fa1007f10");
}

TEST_F(ExportTest, ValuesBeyondFloat16AreRefusedByName) {
    FolderParts parts = tinyParts("llama");
    const std::string name = "model.layers.1.mlp.up_proj.weight";
    parts.tensors[name].bytes.replace(0, 2, raw(kernels::floatToBfloat16(1e6f)));
    writeFolder(m_folder / "big", parts);
    const Model model = loadModel(m_folder / "big");
    const std::string message =
        refusal([&] { exportModel(model, "gguf-f16", m_folder / "big.gguf", m_quiet.control); });
    EXPECT_NE(message.find("blk.1.ffn_up.weight"), std::string::npos) << message;
    EXPECT_FALSE(fs::exists(m_folder / "big.gguf"));
}

TEST_F(ExportTest, RefusesWhatCannotBeWritten) {
    const Model plain = tiny(m_folder, "llama");
    EXPECT_NE(refusal([&] {
                  exportModel(plain, "compressed-tensors", m_folder / "x", m_quiet.control);
              }).find("quantize it first"),
              std::string::npos);
    EXPECT_NE(refusal([&] { exportModel(plain, "pickle", m_folder / "x", m_quiet.control); },
                      ErrorKind::Usage)
                  .find("known are safetensors"),
              std::string::npos);
    Model zero = quantized(plain, "int8");
    QuantizedTensor broken = zero.weight("layers.0.attn.v.weight").quantized();
    broken.scales = Tensor::allocate(DType::F16, {broken.rows, 1});
    zero.weights["layers.0.attn.v.weight"] = Weight(broken);
    EXPECT_NE(refusal([&] {
                  exportModel(zero, "compressed-tensors", m_folder / "x", m_quiet.control);
              }).find("scale of zero"),
              std::string::npos);
    FolderParts sliding = tinyParts("qwen3");
    sliding.config["layer_types"] = {"sliding_attention", "full_attention"};
    sliding.config["sliding_window"] = 8;
    writeFolder(m_folder / "sliding", sliding);
    EXPECT_NE(refusal([&] {
                  exportModel(loadModel(m_folder / "sliding"), "gguf-f16", m_folder / "x",
                              m_quiet.control);
              }).find("sliding windows"),
              std::string::npos);
    EXPECT_FALSE(fs::exists(m_folder / "x"));
}

TEST_F(ExportTest, NeverReplacesAFolderThatIsNoModel) {
    const Model model = tiny(m_folder, "llama");
    writeFile(m_folder / "letters" / "to-mother.txt", "dear");
    refusal([&] { exportModel(model, "safetensors", m_folder / "letters", m_quiet.control); },
            ErrorKind::Usage);
    EXPECT_EQ(readFile(m_folder / "letters" / "to-mother.txt"), "dear");
    refusal([&] { exportModel(model, "gguf-f16", m_folder / "letters", m_quiet.control); },
            ErrorKind::Usage);
    refusal(
        [&] {
            exportModel(model, "safetensors", m_folder / "letters" / "to-mother.txt",
                        m_quiet.control);
        },
        ErrorKind::Usage);
    // A model's own folder may be replaced, even by itself, while it is mapped.
    exportModel(model, "safetensors", m_folder / "llama", m_quiet.control);
    EXPECT_NO_THROW(loadModel(m_folder / "llama"));
}

TEST_F(ExportTest, CancellingLeavesNothingAndKeepsTheOld) {
    const Model model = tiny(m_folder, "llama");
    writeFile(m_folder / "out.gguf", "the old one");
    std::stop_source stop;
    stop.request_stop();
    NullProgress sink;
    RunControl control(stop.get_token(), nullptr, sink);
    for (const char* format : {"gguf-f16", "safetensors"})
        EXPECT_THROW(
            exportModel(model, format,
                        m_folder / (std::string(format) == "safetensors" ? "new" : "out.gguf"),
                        control),
            Cancelled);
    EXPECT_EQ(readFile(m_folder / "out.gguf"), "the old one");
    std::size_t entries = 0;
    for ([[maybe_unused]] const auto& entry : fs::directory_iterator(m_folder.path()))
        ++entries;
    EXPECT_EQ(entries, 2u);
}

TEST_F(ExportTest, ADamagedExportFailsItsChecks) {
    const Model model = tiny(m_folder, "qwen3");
    QuietControl quiet;
    ExportReport report = exportModel(model, "gguf-f16", m_folder / "out.gguf", quiet.control);
    std::string bytes = readFile(m_folder / "out.gguf");
    bytes[bytes.size() - 3000] = static_cast<char>(bytes[bytes.size() - 3000] ^ 0x55);
    bytes[bytes.size() - 2999] = static_cast<char>(bytes[bytes.size() - 2999] ^ 0x22);
    writeFile(m_folder / "out.gguf", bytes);
    verifyExport(model, report, quiet.control);
    EXPECT_TRUE(std::any_of(report.checks.begin(), report.checks.end(),
                            [](const ExportCheck& check) { return !check.passed; }));
    fs::resize_file(m_folder / "out.gguf", 100);
    report.checks.clear();
    verifyExport(model, report, quiet.control);
    ASSERT_EQ(report.checks.size(), 1u);
    EXPECT_FALSE(report.checks[0].passed);
}

TEST_F(ExportTest, UnwritablePlacesAreErrorsOfTheDisk) {
    const Model model = tiny(m_folder, "llama");
    const std::string message = refusal(
        [&] { exportModel(model, "gguf-f16", "/proc/nowhere/model.gguf", m_quiet.control); },
        ErrorKind::Io);
    EXPECT_NE(message.find("/proc/nowhere"), std::string::npos) << message;
}

}  // namespace
}  // namespace fettle::test
