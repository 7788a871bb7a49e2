// What a device does beside the model's passes, the backend on the emulator against the host:
// tokens drawn, inputs watched, zeros and codes of weights chosen.
#include "engine/backend/device_work.h"

#include <gtest/gtest.h>

#include <cmath>

#include "engine/backend/cpu_backend.h"
#include "engine/backend/split_backend.h"
#include "engine/decode/token_distribution.h"
#include "engine/prune/sparse_pruner.h"
#include "engine/quant/activation_report.h"
#include "engine/quant/gptq.h"
#include "engine/quant/low_rank.h"
#include "tests/kernels/kernel_data.h"
#include "tests/simt/emulated_backend.h"
#include "tests/simt/emulator/faults.h"
#include "tests/simt/model_checks.h"

namespace fettle {
namespace {

using kernels::test::randomFloats;
using simt::FaultScope;
using test::EmulatedBackend;
using test::quick;
using test::someIds;
using test::tinyModel;
using Floats = std::vector<float>;

// ---- decoding

/// Twenty tokens after a prompt, without drafts.
std::vector<std::int32_t> decoded(Backend& backend, const Model& model,
                                  const SamplingOptions& sampling) {
    NullProgress sink;
    RunControl control({}, nullptr, sink);
    Transformer transformer(model, backend);
    SpeculativeDecoder decoder(transformer, nullptr, nullptr, sampling, 32);
    decoder.begin(someIds(6, model.config.vocabularySize), control);
    while (decoder.text().size() < 26)
        decoder.next(1, control);
    return decoder.text();
}

TEST(DeviceWork, TokensAreDrawnOnTheDeviceAsTheHostDrawsThem) {
    const simt::OptionScope scope(quick());
    const Model model = tinyModel("llama");
    CpuBackend cpu(2);
    EmulatedBackend cuda(CudaBackend::kPieceBytes);
    for (const SamplingOptions& sampling :
         {SamplingOptions{}, SamplingOptions{1, 0, 1, 0, 7}, SamplingOptions{0.7, 12, 0.9, 0.02, 8},
          SamplingOptions{1.5, 0, 0.5, 0, 9}}) {
        const std::vector<std::int32_t> want = decoded(cpu, model, sampling);
        EXPECT_EQ(decoded(cuda, model, sampling), want) << sampling.seed;
        EXPECT_EQ(decoded(cuda, model, sampling), want) << "again";
    }
}

TEST(DeviceWork, LogitsStayOnTheDeviceWhereNoDraftNeedsThem) {
    const simt::OptionScope scope(quick());
    const Model model = tinyModel("llama");
    struct Counting : EmulatedBackend {
        using EmulatedBackend::EmulatedBackend;
        void download(void* host, const void* device, std::size_t bytes) override {
            most = std::max(most, bytes);
            EmulatedBackend::download(host, device, bytes);
        }
        std::size_t most = 0;
    };
    for (const SamplingOptions& sampling : {SamplingOptions{}, SamplingOptions{1, 0, 0.9, 0, 7}}) {
        Counting cuda(CudaBackend::kPieceBytes);
        decoded(cuda, model, sampling);
        EXPECT_LE(cuda.most, sizeof(kernels::RowSummary));
    }
    Counting cuda(CudaBackend::kPieceBytes);
    test::decode(cuda, model, true);  // greedy, with drafts
    EXPECT_LE(cuda.most, 8 * sizeof(kernels::RowSummary));
}

TEST(DeviceWork, SeveralDevicesDrawWhereTheHeadIs) {
    const simt::OptionScope scope(quick());
    const Model model = tinyModel("llama");
    EmulatedBackend one(CudaBackend::kPieceBytes);
    DeviceSummary first = test::emulatedDevice(), second = first;
    second.id = "cuda:1";
    SplitBackend two({first, second}, 2);
    const SamplingOptions sampling{0.8, 20, 0.95, 0, 3};
    EXPECT_EQ(decoded(two, model, sampling), decoded(one, model, sampling));
}

// ---- calibration

TEST(DeviceWork, InputsAreWatchedOnTheDeviceAsOnTheHost) {
    const simt::OptionScope scope(quick());
    const Model model = tinyModel("qwen3");
    NullProgress sink;
    RunControl control({}, nullptr, sink);
    CalibrationText text;
    text.sequences = {someIds(19, model.config.vocabularySize),
                      someIds(8, model.config.vocabularySize)};
    text.tokens = 27;
    CpuBackend cpu(2);
    EmulatedBackend cuda(CudaBackend::kPieceBytes);
    const auto want = summarizeActivations(model, text, cpu, control),
               got = summarizeActivations(model, text, cuda, control);
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t i = 0; i < want.size(); ++i) {
        EXPECT_EQ(got[i].readers, want[i].readers);
        EXPECT_EQ(got[i].tokens, want[i].tokens);
        EXPECT_EQ(got[i].channels, want[i].channels);
        // Numbers of the passes before differ in the order of sums.
        EXPECT_NEAR(got[i].rms, want[i].rms, 1e-3 * want[i].rms) << i;
        EXPECT_NEAR(got[i].largest, want[i].largest, 1e-2 * want[i].largest) << i;
        EXPECT_NEAR(got[i].kurtosis, want[i].kurtosis, 1e-2 * want[i].kurtosis) << i;
        std::int64_t counted = 0, moved = 0;
        for (int b = 0; b < kActivationBins; ++b) {
            const auto at = static_cast<std::size_t>(b);
            counted += got[i].histogram[at];
            moved += std::abs(got[i].histogram[at] - want[i].histogram[at]);
        }
        EXPECT_EQ(counted, got[i].tokens * got[i].channels);
        EXPECT_LE(moved, counted / 50) << i;
    }
}

// ---- zeros

TEST(DeviceWork, ZerosAreThoseOfTheHost) {
    const simt::OptionScope scope(quick());
    kernels::WorkerPool pool(2);
    EmulatedBackend cuda(CudaBackend::kPieceBytes);
    const std::int64_t rows = 7, cols = 130;
    Floats norm = randomFloats(cols, 4);
    for (float& n : norm)
        n = std::fabs(n);
    for (const bool weighted : {false, true})
        for (const SparsityTarget& target : {SparsityTarget{SparsityPattern::Unstructured, 0.37},
                                             SparsityTarget{SparsityPattern::Unstructured, 1},
                                             SparsityTarget{SparsityPattern::TwoFour, 0.5}}) {
            Floats want = randomFloats(rows * cols, 3);
            for (std::size_t i = 0; i < want.size(); i += 5)
                want[i] = 0.25F;  // ties
            Floats got = want;
            const Floats by = weighted ? norm : Floats();
            zeroSmallest(want, rows, cols, by, target, pool);
            zeroSmallest(got, cols, by, target, cuda);
            EXPECT_TRUE(simt::sameBits(got, want)) << target.ratio;
        }
}

TEST(DeviceWork, APrunedModelIsTheHosts) {
    const simt::OptionScope scope(quick());
    NullProgress sink;
    RunControl control({}, nullptr, sink);
    CpuBackend cpu(2);
    EmulatedBackend cuda(CudaBackend::kPieceBytes);
    SparseOptions options;
    options.method = SparsityMethod::Magnitude;
    options.target.ratio = 0.4;
    options.chosen = [](const std::string& name) { return name.find("ffn") != std::string::npos; };
    const auto pruned = [&](Backend& backend) {
        Model model = tinyModel("llama");
        std::vector<LayerMetric> metrics;
        pruneSparse(model, {}, options, backend, backend.pool(), control, metrics);
        return model;
    };
    const Model want = pruned(cpu), got = pruned(cuda);
    for (const auto& [name, weight] : want.weights)
        EXPECT_EQ(got.weight(name).toFloat(), weight.toFloat()) << name;
}

// ---- GPTQ

struct GptqProblem {
    std::int64_t rows = 9, cols = 192;
    Floats gram, power;
    Weight weight;

    GptqProblem() {
        const std::int64_t tokens = 400;
        const Floats x = randomFloats(tokens * cols, 11);
        gram.resize(static_cast<std::size_t>(cols * cols));
        for (std::int64_t t = 0; t < tokens; ++t)
            for (std::int64_t i = 0; i < cols; ++i)
                for (std::int64_t j = 0; j < cols; ++j)
                    gram[static_cast<std::size_t>(i * cols + j)] +=
                        x[static_cast<std::size_t>(t * cols + i)] *
                        (x[static_cast<std::size_t>(t * cols + j)] +
                         0.5F * x[static_cast<std::size_t>(t * cols + (j + 1) % cols)]) /
                        static_cast<float>(tokens);
        for (std::int64_t i = 0; i < cols; ++i) {
            for (std::int64_t j = 0; j < i; ++j) {
                float& low = gram[static_cast<std::size_t>(i * cols + j)];
                float& high = gram[static_cast<std::size_t>(j * cols + i)];
                low = high = (low + high) / 2;
            }
            gram[static_cast<std::size_t>(i * cols + i)] += 1;
            power.push_back(gram[static_cast<std::size_t>(i * cols + i)]);
        }
        weight = denseWeight(randomFloats(rows * cols, 12), {rows, cols});
    }

    GptqResult run(const char* scheme, WeightWorker* device, kernels::WorkerPool& pool) const {
        NullProgress sink;
        RunControl control({}, nullptr, sink);
        const GptqFactor factor = factorInputs(gram, cols, 0.01, true, pool, control);
        EXPECT_TRUE(factor.usable);
        GptqOptions options;
        options.scheme = *findQuantScheme(scheme);
        options.device = device;
        return quantizeGptq("w", weight, factor, power, options, pool, control);
    }
};

TEST(DeviceWork, GptqChoosesTheHostsCodes) {
    const simt::OptionScope scope(quick());
    kernels::WorkerPool pool(2);
    const GptqProblem problem;
    EmulatedBackend cuda(CudaBackend::kPieceBytes);
    for (const char* scheme : {"int4-g32", "int4-g32-asym", "int3-g64", "int8", "nvfp4", "fp8"}) {
        const GptqResult want = problem.run(scheme, nullptr, pool);
        const simt::Counters before = simt::counters();
        const GptqResult got = problem.run(scheme, &cuda, pool);
        EXPECT_EQ(simt::counters().launches - before.launches, 3U) << scheme;
        EXPECT_NEAR(got.loss, want.loss, 1e-4 * want.loss) << scheme;
        EXPECT_EQ(Weight(got.tensor).toFloat(), Weight(want.tensor).toFloat()) << scheme;
    }
    // Codes of a table, and scales that are not whole: the host's.
    for (const char* scheme : {"nf4"}) {
        const simt::Counters before = simt::counters();
        problem.run(scheme, &cuda, pool);
        EXPECT_EQ(simt::counters().launches, before.launches) << scheme;
    }
}

TEST(DeviceWork, WithoutRoomTheHostSweeps) {
    const simt::OptionScope scope(quick());
    kernels::WorkerPool pool(2);
    const GptqProblem problem;
    EmulatedBackend cuda;
    const FaultScope restore;
    simt::faults().memoryBytes = simt::deviceBytes() + 64 * 1024;
    const simt::Counters before = simt::counters();
    const GptqResult got = problem.run("int4-g32", &cuda, pool);
    EXPECT_EQ(simt::counters().launches, before.launches);
    EXPECT_EQ(Weight(got.tensor).toFloat(),
              Weight(problem.run("int4-g32", nullptr, pool).tensor).toFloat());
}

// The room that was free when the sweep began is gone in the middle of it.
TEST(DeviceWork, WhereOthersTakeTheRoomTheHostSweepsAndPruningSaysSo) {
    const simt::OptionScope scope(quick());
    kernels::WorkerPool pool(2);
    const GptqProblem problem;
    const std::vector<float> want = Weight(problem.run("int4-g32", nullptr, pool).tensor).toFloat();
    const FaultScope restore;
    simt::faults().memoryBytes = simt::deviceBytes() + (std::size_t{1} << 24);
    const auto square = static_cast<std::size_t>(problem.cols * problem.cols) * sizeof(float);
    // Nothing fits; the factor does; all but the last arrays do.
    for (const std::size_t left : {std::size_t{0}, square + 4096, square + 20000}) {
        EmulatedBackend cuda;
        simt::faults().takenBytes = simt::faults().memoryBytes - simt::deviceBytes() - left;
        EXPECT_EQ(Weight(problem.run("int4-g32", &cuda, pool).tensor).toFloat(), want) << left;
        simt::faults().takenBytes = 0;
        EXPECT_EQ(Weight(problem.run("int4-g32", &cuda, pool).tensor).toFloat(), want)
            << "the device is of use again";
    }
    EmulatedBackend cuda;
    simt::faults().takenBytes = simt::faults().memoryBytes - simt::deviceBytes();
    Floats weight = randomFloats(9 * 192, 3);
    const Floats before = weight;
    try {
        cuda.zeroSmallest(weight, 192, {}, 10);
        FAIL() << "there was room";
    } catch (const EngineError& error) {
        EXPECT_EQ(error.kind(), ErrorKind::OutOfMemory);
        EXPECT_NE(std::string(error.what()).find("cuda:0"), std::string::npos) << error.what();
    }
    EXPECT_EQ(weight, before) << "half pruned";
}

}  // namespace
}  // namespace fettle
