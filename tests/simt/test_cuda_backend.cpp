// The whole backend on the emulated device: models of every family against the CPU, speculative
// decoding, evaluation, and what is said when the device fails.
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/backend/cpu_backend.h"
#include "engine/core/error.h"
#include "engine/eval/text_scores.h"
#include "engine/eval/throughput.h"
#include "kernels/reference/matmul.h"
#include "tests/kernels/kernel_data.h"
#include "tests/kernels/quant_budget.h"
#include "tests/simt/device_weight.h"
#include "tests/simt/emulated_backend.h"
#include "tests/simt/emulator/faults.h"
#include "tests/simt/model_checks.h"
#include "tests/simt/orders.h"
#include "tests/support/fixtures.h"

namespace fettle {
namespace {

using simt::FaultScope;

using test::decode;
using test::EmulatedBackend;
using test::largestDifference;
using test::logitsOf;
using test::quantize;
using test::quick;
using test::someIds;
using test::tinyModel;

class CudaLinear : public ::testing::TestWithParam<kernels::test::FormatCase> {};

/// What a product may differ by from exactly the scheme's, relative to |x| |w|.
double linearBudget(const kernels::test::FormatCase& format, bool native, bool many) {
    using F = kernels::WeightFormat;
    if (format.format == F::F32)
        return kernels::budget::kSum;
    if (many && format.format == F::BF16)
        return 1e-3;  // bfloat16 activations
    if (many && native && kernels::test::hasGroupsOf32(format))
        return kernels::budget::kActivationGroup;  // float16, where the CPU rounds to int8
    if (many && (!native || format.format == F::F16))
        return 2e-4;  // float16 weights or activations
    return format.hasMin() ? kernels::budget::kSumWithMin : kernels::budget::kSum;
}

TEST_P(CudaLinear, EveryFormatMultipliesAsItsSchemeSays) {
    const simt::OptionScope scope(quick());
    EmulatedBackend cuda;
    const std::int64_t rows = 37, cols = 512;
    const kernels::test::OwnedWeight w = kernels::test::randomWeight(GetParam(), rows, cols, 5);
    const std::unique_ptr<DeviceWeight> weight = cuda.prepareWeight(w.view);
    for (const std::int64_t tokens : {3, 40, 130}) {
        const std::vector<float> x = kernels::test::randomFloats(tokens * cols, 6);
        std::vector<double> want(static_cast<std::size_t>(tokens * rows));
        kernels::reference::matmul(w.view, x.data(), tokens, cols, want.data());
        const auto input = uploaded(cuda, x);
        const auto output = cuda.allocate(want.size() * sizeof(float));
        const LinearTarget target{weight.get(), static_cast<float*>(output->data()), rows, nullptr,
                                  false};
        cuda.linear(static_cast<const float*>(input->data()), tokens, cols, cols, {&target, 1});
        std::vector<float> got(want.size());
        cuda.download(got.data(), output->data(), got.size() * sizeof(float));
        const double budget =
            linearBudget(GetParam(), weight->native(), tokens > CudaBackend::kFewTokens);
        std::vector<float> row(static_cast<std::size_t>(cols));
        for (std::int64_t r = 0; r < rows; ++r) {
            kernels::dequantizeRow(w.view, r, row.data());
            const double size = kernels::test::norm(row.data(), cols);
            for (std::int64_t t = 0; t < tokens; ++t)
                ASSERT_NEAR(got[static_cast<std::size_t>(t * rows + r)],
                            want[static_cast<std::size_t>(t * rows + r)],
                            budget * size * kernels::test::norm(x.data() + t * cols, cols))
                    << tokens << " tokens, row " << r << ", token " << t;
        }
    }
}
std::string linearName(const ::testing::TestParamInfo<kernels::test::FormatCase>& format) {
    return format.param.label();
}
INSTANTIATE_TEST_SUITE_P(Formats, CudaLinear, ::testing::ValuesIn(kernels::test::allFormats()),
                         linearName);

class CudaModel : public ::testing::TestWithParam<test::ModelCase> {};

TEST_P(CudaModel, LogitsEqualTheCpus) {
    const simt::OptionScope scope(quick());
    Model model = tinyModel(GetParam().family);
    if (!GetParam().scheme.empty())
        quantize(model, GetParam().scheme);
    CpuBackend cpu(2);
    EmulatedBackend cuda;
    const std::vector<float> want = logitsOf(cpu, model, GetParam().tokens);
    const std::vector<float> got = logitsOf(cuda, model, GetParam().tokens);
    EXPECT_LE(largestDifference(got, want), GetParam().tolerance);
}

INSTANTIATE_TEST_SUITE_P(Families, CudaModel, ::testing::ValuesIn(test::modelCases()),
                         test::modelCaseName);

TEST(CudaWholeModel, FixtureGivesTheCpusLogitsAndEveryOrderTheSameBits) {
    const auto folder = test::fixture("llama-4m");
    FETTLE_NEED_FILE(folder);
    const Model model = loadModel(folder.string());
    CpuBackend cpu(2);
    const std::vector<float> want = logitsOf(cpu, model, 3);
    std::vector<float> first;
    for (const simt::Order order : {simt::Order::Plain, simt::Order::Reverse}) {
        const simt::OptionScope scope(quick(order));
        EmulatedBackend cuda;
        const std::vector<float> got = logitsOf(cuda, model, 3);
        EXPECT_LE(largestDifference(got, want), 1e-4);
        if (first.empty())
            first = got;
        EXPECT_TRUE(simt::sameBits(got, first)) << simt::name(order);
    }
}

TEST(CudaWholeModel, SpeculativeTextIsThePlainTextAndTheCpus) {
    const simt::OptionScope scope(quick());
    const Model model = tinyModel("llama");
    CpuBackend cpu(2);
    EmulatedBackend cuda(CudaBackend::kPieceBytes);
    const std::vector<std::int32_t> plain = decode(cuda, model, false);
    EXPECT_EQ(decode(cuda, model, true), plain);
    EXPECT_EQ(decode(cpu, model, true), plain);
}

TEST(CudaWholeModel, WhatIsWidenedIsNotCalledNative) {
    const simt::OptionScope scope(quick());
    EmulatedBackend cuda;
    for (const auto& [scheme, native] : {std::pair{"int8", true},
                                         {"int4-g32", true},
                                         {"int3-g32", true},
                                         {"w8a16", false},
                                         {"fp8", false},
                                         {"nvfp4", false}}) {
        Model model = tinyModel("llama");
        quantize(model, scheme);
        EXPECT_EQ(Transformer(model, cuda).native(), native) << scheme;
    }
}

TEST(CudaWholeModel, FormatsStayPackedButForOddWidths) {
    const simt::OptionScope scope(quick());
    EmulatedBackend cuda;
    for (const kernels::test::FormatCase& format : kernels::test::allFormats()) {
        if (format.plain())
            continue;
        const kernels::test::OwnedWeight w = kernels::test::randomWeight(format, 16, 512, 5);
        const double bits =
            static_cast<double>(8 * cuda.prepareWeight(w.view)->bytes()) / (16 * 512);
        const double canonical =
            static_cast<double>(8 * (w.data.size() + w.scales.size())) / (16 * 512);
        // Zero points become bytes, Q3_K's codes four bits; sections begin at multiples of 256.
        EXPECT_LT(bits, canonical + 1.4) << format.label();
    }
    // 48 columns: in float16, and as the scheme says all the same.
    const kernels::test::OwnedWeight odd = kernels::test::randomWeight(
        {kernels::WeightFormat::NvFp4, 16, kernels::ScaleType::E4M3, false}, 16, 48, 5);
    const std::unique_ptr<DeviceWeight> held = cuda.prepareWeight(odd.view);
    EXPECT_EQ(held->bytes(), std::size_t{16 * 48 * 2});
    EXPECT_FALSE(held->native());
}

TEST(CudaWholeModel, EvaluationAndTimingRunOnTheDevice) {
    const simt::OptionScope scope(quick());
    const Model model = tinyModel("llama");
    Model small = model;
    quantize(small, "int4-g32");
    NullProgress sink;
    RunControl control({}, nullptr, sink);
    TextWindow window;
    window.ids = someIds(24, model.config.vocabularySize);
    window.firstScored = 1;
    const auto scores = [&](Backend& backend) {
        Transformer optimized(small, backend), baseline(model, backend);
        return scoreText(optimized, &baseline, {window}, control);
    };
    CpuBackend cpu(2);
    EmulatedBackend cuda;
    const TextScores want = scores(cpu), got = scores(cuda);
    ASSERT_EQ(got.nll.size(), want.nll.size());
    for (std::size_t i = 0; i < got.nll.size(); ++i) {
        EXPECT_NEAR(got.nll[i], want.nll[i], 0.02);
        EXPECT_NEAR(got.kl[i], want.kl[i], 0.02);
    }
    Transformer transformer(model, cuda);
    const std::vector<Measurement> metrics = measureThroughput(transformer, {4, 3, 1}, control);
    const auto peak = std::find_if(metrics.begin(), metrics.end(),
                                   [](const Measurement& m) { return m.name == "peak_bytes"; });
    EXPECT_GT(peak->value, static_cast<double>(transformer.weightBytes()));
    EXPECT_LT(peak->value, 10e6);  // of the device, not of the process
    EXPECT_NE(peak->protocol.find("device=cuda:0"), std::string::npos);
}

TEST(CudaWholeModel, CopiesAreMadeBeforeTheirMemoryIsUsedAgain) {
    EmulatedBackend cuda;
    const std::size_t count = 3 << 20;  // 12 MB: several turns through the pinned memory
    std::vector<float> values(count), back(count);
    for (std::size_t i = 0; i < count; ++i)
        values[i] = static_cast<float>(i);
    const std::unique_ptr<DeviceBuffer> buffer = uploaded(cuda, values);
    std::fill(values.begin(), values.end(), 0.0F);
    cuda.download(back.data(), buffer->data(), count * sizeof(float));
    for (std::size_t i = 0; i < count; ++i)
        ASSERT_EQ(back[i], static_cast<float>(i));
}

template <class Body>
EngineError errorOf(Body body) {
    try {
        body();
    } catch (const EngineError& error) {
        return error;
    }
    return EngineError(ErrorKind::Internal, "no error");
}

TEST(CudaFailure, OutOfMemorySaysHowMuchAndWhatToChange) {
    const FaultScope restore;
    const simt::OptionScope scope(quick());
    simt::faults().memoryBytes = 100000;
    const Model model = tinyModel("llama");
    const EngineError error = errorOf([&] {
        EmulatedBackend cuda;
        Transformer transformer(model, cuda);
        transformer.makeCache(1 << 20);
    });
    EXPECT_EQ(error.kind(), ErrorKind::OutOfMemory);
    EXPECT_NE(std::string(error.what()).find("cuda:0"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("smaller context"), std::string::npos);
    EXPECT_EQ(simt::deviceBytes(), 0U) << "memory stayed behind";
}

TEST(CudaFailure, ALostDeviceEndsTheJobWithItsName) {
    const FaultScope restore;
    const simt::OptionScope scope(quick());
    const Model model = tinyModel("llama");
    EmulatedBackend cuda;
    Transformer transformer(model, cuda);
    simt::faults().lost = true;
    const EngineError error = errorOf([&] {
        KvCache cache = transformer.makeCache(4);
        const std::vector<std::int32_t> ids = {1, 2, 3};
        transformer.forward(ids, cache);
        transformer.lastLogits();
    });
    EXPECT_EQ(error.kind(), ErrorKind::Device);
    EXPECT_NE(std::string(error.what()).find("unspecified launch failure"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("emulated device"), std::string::npos);
}

TEST(CudaFailure, WithoutTheLibraryOfProductsItsNameIsSaid) {
    const FaultScope restore;
    const simt::OptionScope scope(quick());
    simt::faults().noBlas = true;
    const Model model = tinyModel("llama");
    EmulatedBackend cuda;
    const EngineError error = errorOf([&] { logitsOf(cuda, model, 40); });
    EXPECT_EQ(error.kind(), ErrorKind::Device);
    EXPECT_NE(std::string(error.what()).find("cuBLAS"), std::string::npos);
}

TEST(CudaFailure, ShapesTheKernelsDoNotTakeAreNamed) {
    EmulatedBackend cuda;
    const std::unique_ptr<DeviceBuffer> x = cuda.allocate(4096);
    const EngineError error = errorOf([&] {
        cuda.rope(static_cast<float*>(x->data()), 1, 3, 1, 3, static_cast<float*>(x->data()));
    });
    EXPECT_EQ(error.kind(), ErrorKind::Device);
    EXPECT_NE(std::string(error.what()).find("--device cpu"), std::string::npos);
}

}  // namespace
}  // namespace fettle
