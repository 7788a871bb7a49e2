// The training engine on the emulated device: steps against the CPU's, whole runs, checkpoints,
// techniques, and what happens where the device does not do.
#include <gtest/gtest.h>

#include "engine/backend/cpu_backend.h"
#include "engine/job/train_model.h"
#include "engine/technique/technique.h"
#include "kernels/cuda/fake_quant.h"
#include "kernels/cuda/round_activations.h"
#include "tests/simt/emulated_backend.h"
#include "tests/simt/emulator/device_array.h"
#include "tests/simt/emulator/faults.h"
#include "tests/simt/train_checks.h"

namespace fettle {
namespace {

class DeviceTraining : public ::testing::TestWithParam<test::TrainCase> {};

TEST_P(DeviceTraining, GivesTheCpusLossesAndWeights) {
    const simt::OptionScope scope(test::quick());
    test::EmulatedBackend backend;
    test::expectTheCpusTraining(GetParam(), backend, false);
}
INSTANTIATE_TEST_SUITE_P(Cases, DeviceTraining, ::testing::ValuesIn(test::trainCases()),
                         test::trainCaseName);

// Where single inputs take other codes, numbers of whole steps tell less: the rounding itself has
// the CPU's bits.
class DeviceRounding : public DeviceTraining {};

TEST_P(DeviceRounding, OfWeightsAndInputsIsTheCpus) {
    const simt::OptionScope scope(test::quick());
    kernels::WorkerPool pool(1);
    test::TrainSetup setup(GetParam(), pool);
    ASSERT_TRUE(setup.network().quantized());
    const std::vector<float>& values = std::as_const(setup.network()).values();
    for (const Network::QuantizedParameter& q : setup.network().quantizers()) {
        const TrainParameter& p = setup.network().parameters()[q.parameter];
        FakeQuantizer quantizer = q.quantizer;
        std::vector<float> want(static_cast<std::size_t>(p.count()));
        const std::vector<float> none(quantizer.startScales().size(), 0.0F);
        quantizer.quantize(values.data() + p.offset, none.data(), want.data(), pool);
        simt::DeviceArray<float> w(
            {values.begin() + p.offset, values.begin() + p.offset + p.count()}),
            step(quantizer.startScales()), shift(quantizer.shifts()), got(want.size());
        kernels::cuda::FakeQuantArgs args;
        args.lowest = quantizer.grid().lowest;
        args.highest = quantizer.grid().highest;
        args.smallest = quantizer.grid().smallest;
        args.magic = quantizer.grid().magic;
        args.spacing = quantizer.grid().spacing;
        args.w = w.data();
        args.groups = static_cast<std::int64_t>(quantizer.startScales().size());
        args.group = quantizer.groupSize();
        args.step = args.scale = step.data();
        args.shift = quantizer.shifts().empty() ? nullptr : shift.data();
        ASSERT_EQ(kernels::cuda::fakeQuantize(args, got.data(), nullptr), kernels::cuda::kSuccess);
        ASSERT_EQ(got.values(), want) << p.name;

        const QuantizedTensor& start = quantizer.start();
        if (quantizer.activations().none())
            continue;
        const std::int64_t rows = 5;
        std::vector<float> x(static_cast<std::size_t>(rows * p.cols)), rounded(x.size());
        for (std::size_t i = 0; i < x.size(); ++i)
            x[i] = std::sin(static_cast<float>(i * i % 1013)) * static_cast<float>(i % 7);
        kernels::fakeQuantActivations(quantizer.activations(), x.data(), p.cols, rows, p.cols,
                                      rounded.data(), pool);
        simt::DeviceArray<float> in(x), out(x.size());
        ASSERT_EQ(kernels::cuda::roundActivations(start.scheme.kernelActivations(p.cols),
                                                  start.inputGlobalScale, in.data(), p.cols, rows,
                                                  p.cols, out.data(), nullptr),
                  kernels::cuda::kSuccess);
        ASSERT_EQ(out.values(), rounded) << p.name;
    }
}
INSTANTIATE_TEST_SUITE_P(Cases, DeviceRounding, ::testing::ValuesIn(test::quantizedTrainCases()),
                         test::trainCaseName);

class DeviceTrainingRun : public ::testing::Test {
protected:
    DeviceTrainingRun() {
        test::writeFolder(folder / "model", test::tinyParts("gpt2"));
        test::writeFile(folder / "text.txt", test::trainingText());
    }
    TrainRequest request(const std::string& out) {
        TrainRequest request;
        request.model = (folder / "model").string();
        request.out = (folder / out).string();
        request.data.path = (folder / "text.txt").string();
        request.data.context = request.data.batchTokens = 16;
        request.data.validationTokens = 32;
        request.trainer.tokens = 64;
        request.trainer.batchTokens = 16;
        request.trainer.rate.peak = 3e-3F;
        request.trainer.evaluateEvery = 4;
        return request;
    }
    /// What the technique makes of `model` in a recipe that began with `original`.
    Model apply(const std::string& technique, const Model& original, const Model& model,
                const nlohmann::json& params) {
        const Technique* const found = findTechnique(technique);
        const ValidatedParams valid = validateParams(found->descriptor(), params);
        EXPECT_TRUE(valid.problems.empty()) << valid.problems.front();
        RunInputs inputs;
        inputs.train = (folder / "text.txt").string();
        MeasureOptions measure;
        measure.context = 16;
        TechniqueContext context{original,     backend, backend.pool(), inputs,       measure,
                                 valid.params, 1,       control,        layerMetrics, metrics};
        context.cacheFolder = (folder / "cache").string();
        return found->apply(model, context);
    }
    /// One narrow layer, which the emulator is done with soon.
    Model narrow(unsigned seed = 1) {
        test::FolderParts parts = test::tinyParts("llama");
        parts.config["num_hidden_layers"] = 1;
        parts.config["hidden_size"] = parts.config["intermediate_size"] = 32;
        parts.config["num_attention_heads"] = parts.config["num_key_value_heads"] = 1;
        parts.tensors = test::tinyTensors(parts.config, seed);
        const auto at = folder / ("narrow" + std::to_string(seed));
        test::writeFolder(at, parts);
        return loadModel(at.string());
    }
    std::string protocol() const {
        for (const Measurement& m : metrics)
            if (m.name == "training_tokens")
                return m.protocol;
        return "";
    }

    const simt::OptionScope quick{test::quick()};
    test::TempFolder folder;
    test::EmulatedBackend backend{CudaBackend::kPieceBytes};
    test::Said said;
    RunControl control{{}, nullptr, said};
    std::vector<LayerMetric> layerMetrics;
    std::vector<Measurement> metrics;
    const nlohmann::json fewTokens = {
        {"tokens", 48}, {"batch_tokens", 16}, {"context", 16}, {"learning_rate", 1e-3}};
};

TEST_F(DeviceTrainingRun, ResumedRunsEndWithTheSameBits) {
    test::expectResumedRunsEndWithTheSameBits(backend);
}

TEST_F(DeviceTrainingRun, ACheckpointOfTheCpuIsAnotherRuns) {
    TrainerOptions options;
    options.tokens = options.batchTokens = 16;
    options.checkpointFolder = (folder / "checkpoints").string();
    CpuBackend cpu(2);
    const test::DeviceRun first = test::trainOnDevice(cpu, folder, options, nullptr);
    EXPECT_FALSE(first.said.has("trains on")) << first.said.all();
    const test::DeviceRun second = test::trainOnDevice(backend, folder, options, nullptr);
    EXPECT_TRUE(second.said.has("is of a run with another model, text or setting"))
        << second.said.all();
}

TEST_F(DeviceTrainingRun, TrainWritesTheModelAndSaysWhere) {
    const TrainReport onDevice = trainModel(request("device"), backend, control);
    EXPECT_EQ(onDevice.device, "cuda:0 (emulated device)");
    EXPECT_EQ(toJson(onDevice).at("device"), "cuda:0 (emulated device)");
    EXPECT_TRUE(said.has("train trains on cuda:0 (emulated device)")) << said.all();
    CpuBackend cpu(2);
    const TrainReport onCpu = trainModel(request("cpu"), cpu, control);
    EXPECT_EQ(onCpu.device, "cpu");
    EXPECT_EQ(onDevice.outcome.steps, onCpu.outcome.steps);
    EXPECT_NEAR(onDevice.outcome.trainLoss, onCpu.outcome.trainLoss, 1e-4);
    EXPECT_NEAR(onDevice.outcome.best.perplexity, onCpu.outcome.best.perplexity, 1e-2);
    kernels::WorkerPool pool(1);
    const Network start(loadModel(request("").model), pool), device(loadModel(onDevice.path), pool),
        host(loadModel(onCpu.path), pool);
    // With the usual epsilon the first updates are signs of gradients, however small.
    EXPECT_LT(test::rootMeanSquare(device.values(), host.values()),
              0.05 * test::rootMeanSquare(start.values(), host.values()));
}

TEST_F(DeviceTrainingRun, TooLittleMemoryEndsInOneMessageAndTheNextRunWorks) {
    const std::size_t before = simt::deviceBytes();
    simt::faults().memoryBytes = before + (std::size_t{1} << 20);
    test::EmulatedBackend tight;  // a piece a buffer
    const auto restore = [] {
        simt::faults().memoryBytes = std::numeric_limits<std::size_t>::max();
    };
    try {
        trainModel(request("device"), tight, control);
        ADD_FAILURE() << "a megabyte was enough";
    } catch (const EngineError& error) {
        EXPECT_EQ(error.kind(), ErrorKind::OutOfMemory);
        const std::string text = error.what();
        EXPECT_EQ(text.find("train: not enough memory; fewer micro-tokens"), 0U) << text;
        EXPECT_NE(text.find("cuda:0: not enough device memory for a buffer of"), std::string::npos)
            << text;
    }
    restore();
    EXPECT_EQ(simt::deviceBytes(), before) << "nothing of the run is left";
    EXPECT_EQ(trainModel(request("device"), tight, control).outcome.steps, 4);
}

TEST_F(DeviceTrainingRun, QatTrainsThere) {
    nlohmann::json params = fewTokens;
    params["scheme"] = "int4-g32";
    params["tokens"] = 1000;  // the least there is
    params["batch_tokens"] = 256;
    params["evaluate_every"] = 1000;
    params["validation_share"] = 0.02;
    const Model model = narrow();
    const Model trained = apply("qat", model, model, params);
    EXPECT_TRUE(said.has("qat trains on cuda:0 (emulated device)")) << said.all();
    EXPECT_EQ(protocol(), "trained on cuda:0 (emulated device)");
    EXPECT_EQ(trained.weight("layers.0.attn.q.weight").quantized().scheme.id, "int4-g32");
}

TEST_F(DeviceTrainingRun, DistillTrainsThereOnWhatTheTeacherSaidThere) {
    nlohmann::json params = fewTokens;
    params["teacher_cache"] = "on";
    params["teacher_top"] = 8;
    apply("distill", narrow(1), narrow(2), params);
    EXPECT_TRUE(said.has("distill trains on cuda:0 (emulated device)")) << said.all();
    EXPECT_TRUE(said.has("distill: the teacher's predictions for")) << said.all();
    EXPECT_EQ(protocol(), "trained on cuda:0 (emulated device)");
}

TEST_F(DeviceTrainingRun, WhatTheDeviceDoesNotDoStaysOnTheCpuAndSaysSo) {
    nlohmann::json params = fewTokens;
    params["hidden_weight"] = 0.5;
    const Model model = narrow();
    apply("distill", model, model, params);
    EXPECT_TRUE(
        said.has("warning: distill trains on the CPU, not on cuda:0 (emulated device): "
                 "hidden states are compared on the CPU only"))
        << said.all();
    EXPECT_EQ(protocol(), "trained on cpu");
}

}  // namespace
}  // namespace fettle
