// Layers that ptq leaves on disk: the same bits as without them, and from wherever it was stopped.
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "engine/backend/cpu_backend.h"
#include "engine/io/weight_file.h"
#include "engine/technique/layer_checkpoints.h"
#include "engine/technique/ptq.h"
#include "tests/support/model_files.h"

namespace fettle {
namespace {

/// Asks for a stop when the progress first says `at`, or when phase number `phase` begins, and
/// keeps what is said.
class StopAt : public NullProgress {
public:
    explicit StopAt(std::string at = {}, int phase = 0) : m_at(std::move(at)), m_phase(phase) {}
    void progress(const JobProgress& progress) override {
        details.push_back(progress.detail);
        m_begun += progress.detail.empty();
        if ((!m_at.empty() && progress.detail.find(m_at) != std::string::npos) ||
            (m_phase > 0 && m_begun == m_phase))
            stop.request_stop();
        // Reports come at most so often; who waits longer misses none, however fast the work is.
        else if (!m_at.empty())
            std::this_thread::sleep_for(std::chrono::milliseconds(110));
    }
    void log(JobLog::Level, const std::string& text) override { logs.push_back(text); }
    bool said(const std::string& text) const {
        return std::any_of(logs.begin(), logs.end(), [&](const std::string& line) {
            return line.find(text) != std::string::npos;
        });
    }

    std::stop_source stop;
    std::vector<std::string> details, logs;

private:
    std::string m_at;
    int m_phase;
    int m_begun = 0;
};

bool same(const Tensor& a, const Tensor& b) {
    return a.bytes() == b.bytes() && std::memcmp(a.data(), b.data(), a.bytes()) == 0;
}

class LayerFiles : public ::testing::Test {
protected:
    void SetUp() override {
        nlohmann::json config = test::tinyConfig("llama");
        config["num_hidden_layers"] = 4;
        test::FolderParts parts = test::tinyParts("llama");
        parts.config = config;
        parts.tensors = test::tinyTensors(config);
        test::writeFolder(folder / "model", parts);
        model = loadModel((folder / "model").string());
        std::string text;
        std::mt19937 rng(3);
        for (int i = 0; i < 2000; ++i)
            text += static_cast<char>('A' + rng() % 26);
        test::writeFile(folder / "text.txt", text);
    }

    Model quantize(const nlohmann::json& params, bool calibrate, const std::string& checkpoints,
                   StopAt& sink, std::vector<LayerMetric>* layers = nullptr) {
        const ValidatedParams validated = validateParams(Ptq().descriptor(), params);
        EXPECT_TRUE(validated.problems.empty());
        RunInputs inputs;
        if (calibrate)
            inputs.calibration = (folder / "text.txt").string();
        MeasureOptions measure;
        measure.context = 16;
        RunControl control(sink.stop.get_token(), nullptr, sink);
        std::vector<LayerMetric> own;
        std::vector<Measurement> metrics;
        TechniqueContext context{
            model, backend, backend.pool(),         inputs, measure, validated.params,
            1,     control, layers ? *layers : own, metrics};
        if (!checkpoints.empty())
            context.checkpointFolder = (folder / checkpoints).string();
        control.beginPhase("Quantizing", 1);
        return Ptq().apply(model, context);
    }
    static void expectSame(const Model& a, const Model& b) {
        ASSERT_EQ(a.weights.size(), b.weights.size());
        for (const auto& [name, weight] : a.weights) {
            const Weight& other = b.weight(name);
            ASSERT_EQ(weight.isQuantized(), other.isQuantized()) << name;
            if (!weight.isQuantized()) {
                EXPECT_TRUE(same(weight.dense(), other.dense())) << name;
                continue;
            }
            const QuantizedTensor &x = weight.quantized(), &y = other.quantized();
            EXPECT_EQ(x.scheme, y.scheme) << name;
            EXPECT_TRUE(same(x.codes, y.codes)) << name;
            EXPECT_TRUE(same(x.scales, y.scales)) << name;
            EXPECT_TRUE(same(x.zeroPoints, y.zeroPoints)) << name;
            EXPECT_EQ(x.globalScale, y.globalScale) << name;
            EXPECT_EQ(x.inputGlobalScale, y.inputGlobalScale) << name;
        }
    }

    test::TempFolder folder;
    CpuBackend backend{2};
    Model model;
};

TEST_F(LayerFiles, AStoppedRunGoesOnAtItsLayerToTheSameBits) {
    struct Case {
        const char* params;
        bool calibrate;
    };
    for (const Case& c :
         {Case{R"({"scheme":"int4-g32","method":"gptq","calibration_tokens":512})", true},
          Case{R"({"scheme":"int8","method":"auto","calibration_tokens":512})", true},
          Case{R"({"scheme":"int4-g32-asym","method":"gptq","calibration_tokens":512})", true},
          Case{R"({"scheme":"int8-static","method":"auto","calibration_tokens":512})", true},
          Case{R"({"scheme":"nvfp4","method":"awq","calibration_tokens":512})", true},
          Case{R"({"scheme":"int3-g32","method":"rotate","calibration_tokens":512})", true},
          Case{R"({"scheme":"fp8","method":"rtn","calibration_tokens":512})", true},
          Case{R"({"scheme":"mxfp6-w6a16","method":"rtn"})", false},
          Case{R"({"scheme":"nf4","method":"rtn","rotate":true})", false}}) {
        const nlohmann::json params = nlohmann::json::parse(c.params);
        StopAt plain;
        std::vector<LayerMetric> wantedMetrics;
        const Model wanted = quantize(params, c.calibrate, "", plain, &wantedMetrics);

        const std::string files = "files-" + fingerprint(std::string(c.params));
        // Without text every weight is a phase, behind two others: seven to a layer.
        StopAt stopped(c.calibrate ? "layer 3 of 4" : "", c.calibrate ? 0 : 2 + 14 + 1);
        EXPECT_THROW(quantize(params, c.calibrate, files, stopped), Cancelled) << c.params;
        EXPECT_TRUE(std::filesystem::exists(folder / files / "layer-1.safetensors")) << c.params;
        EXPECT_FALSE(std::filesystem::exists(folder / files / "layer-2.safetensors")) << c.params;

        StopAt again;
        std::vector<LayerMetric> metrics;
        const Model resumed = quantize(params, c.calibrate, files, again, &metrics);
        EXPECT_TRUE(again.said("goes on after layer 2")) << c.params;
        expectSame(wanted, resumed);
        ASSERT_EQ(metrics.size(), wantedMetrics.size()) << c.params;
        for (std::size_t i = 0; i < metrics.size(); ++i) {
            EXPECT_EQ(metrics[i].tensor, wantedMetrics[i].tensor);
            EXPECT_EQ(metrics[i].name, wantedMetrics[i].name);
            EXPECT_EQ(metrics[i].value, wantedMetrics[i].value) << metrics[i].tensor;
        }

        // Finished layers are views of their files.
        const Weight& last = resumed.weight("layers.3.ffn.down.weight");
        EXPECT_TRUE(last.quantized().codes.mapped()) << c.params;
        StopAt finished;
        expectSame(wanted, quantize(params, c.calibrate, files, finished));
        EXPECT_TRUE(finished.said("goes on after layer 4")) << c.params;
    }
}

TEST_F(LayerFiles, OtherParametersAndDamagedFilesAreWorkedOutAgain) {
    const nlohmann::json params = {{"scheme", "int4-g32"}, {"method", "rtn"}};
    StopAt sink;
    quantize(params, false, "files", sink);
    StopAt other;
    const Model eight = quantize({{"scheme", "int8"}, {"method", "rtn"}}, false, "files", other);
    EXPECT_FALSE(other.said("goes on"));
    EXPECT_EQ(eight.weight("layers.0.attn.q.weight").quantized().scheme.id, "int8");

    StopAt wantedSink;
    const Model wanted = quantize(params, false, "", wantedSink);
    StopAt fresh;
    quantize(params, false, "files", fresh);
    std::filesystem::resize_file(folder / "files" / "layer-1.safetensors", 100);
    StopAt damaged;
    expectSame(wanted, quantize(params, false, "files", damaged));
    EXPECT_FALSE(damaged.said("goes on"));
    EXPECT_TRUE(damaged.said("layer-1.safetensors"));
}

TEST_F(LayerFiles, ProgressNamesTheLayerItsErrorAndTheTimeLeft) {
    StopAt sink("no such layer");
    quantize({{"scheme", "int4-g32"}, {"method", "gptq"}, {"calibration_tokens", 512}}, true, "",
             sink);
    const auto last = std::find_if(sink.details.rbegin(), sink.details.rend(),
                                   [](const std::string& d) { return d.starts_with("layer "); });
    ASSERT_NE(last, sink.details.rend());
    EXPECT_NE(last->find(" of 4, output error "), std::string::npos) << *last;
    EXPECT_NE(last->find(" left"), std::string::npos) << *last;
}

TEST(WeightFiles, AreReadBackAsTheyWere) {
    const test::TempFolder folder;
    WeightFile file;
    file.state = {{"answer", 42}};
    Tensor dense = Tensor::allocate(DType::BF16, {3, 5});
    for (std::int64_t i = 0; i < 15; ++i)
        dense.mutableAs<std::uint16_t>()[i] = kernels::floatToBfloat16(static_cast<float>(i));
    file.weights.emplace("plain", Weight(dense));
    writeWeightFile(folder / "w.safetensors", file);
    const auto back = readWeightFile(folder / "w.safetensors");
    ASSERT_TRUE(back);
    EXPECT_EQ(back->state, file.state);
    EXPECT_TRUE(same(back->weights.at("plain").dense(), dense));
    EXPECT_FALSE(readWeightFile(folder / "none.safetensors"));
    test::writeFile(folder / "bad.safetensors", "not one");
    EXPECT_THROW(readWeightFile(folder / "bad.safetensors"), EngineError);
}

}  // namespace
}  // namespace fettle
