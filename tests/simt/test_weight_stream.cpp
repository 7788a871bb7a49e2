// Models larger than the device: weights that stay on the host and are copied for every pass.
#include "engine/backend/weight_stream.h"

#include <gtest/gtest.h>

#include "engine/core/error.h"
#include "engine/eval/throughput.h"
#include "tests/simt/emulated_backend.h"
#include "tests/simt/emulator/faults.h"
#include "tests/simt/model_checks.h"

namespace fettle {
namespace {

using test::EmulatedBackend;

using simt::FaultScope;

TEST(WeightStream, AModelThatDoesNotFitGivesTheSameBits) {
    const simt::OptionScope scope(test::quick());
    for (const char* scheme : {"int8", "int4-g32", "fp8"}) {
        Model model = test::tinyModel("llama");
        if (*scheme)
            test::quantize(model, scheme);
        for (const std::int64_t tokens : {5, 40}) {
            EmulatedBackend whole, part, none;
            const std::vector<float> want = test::logitsOf(whole, model, tokens);
            EXPECT_EQ(whole.weightStream().hostBytes(), 0U);
            EXPECT_EQ(whole.device().reason, "");
            part.weightBudget(Transformer(model, whole).weightBytes() / 2);
            none.weightBudget(0);
            EXPECT_TRUE(simt::sameBits(test::logitsOf(part, model, tokens), want)) << scheme;
            EXPECT_TRUE(simt::sameBits(test::logitsOf(none, model, tokens), want)) << scheme;
            EXPECT_GT(none.weightStream().ahead(), 0);
        }
    }
}

TEST(WeightStream, FromTheSecondPassOnTheNextWeightIsOnItsWay) {
    const simt::OptionScope scope(test::quick());
    const Model model = test::tinyModel("llama");
    EmulatedBackend cuda;
    cuda.weightBudget(0);
    Transformer transformer(model, cuda);
    KvCache cache = transformer.makeCache(8);
    const auto pass = [&] {
        transformer.forward(std::vector<std::int32_t>{7}, cache);
        transformer.lastLogits();
    };
    pass();
    const auto weights = static_cast<std::int64_t>(linearWeightNames(model.config).size()) +
                         (model.config.tiedEmbeddings ? 1 : 0);
    EXPECT_EQ(cuda.weightStream().late(), weights);
    EXPECT_EQ(cuda.weightStream().ahead(), 0);
    pass();  // which learns that the first weight follows the last
    pass();
    EXPECT_EQ(cuda.weightStream().late(), weights + 1);
    EXPECT_EQ(cuda.weightStream().ahead(), 2 * weights - 1);
    EXPECT_EQ(cuda.steps().counts().played, 0);
    EXPECT_EQ(cuda.steps().reason(), "it copies weights to the device");
}

TEST(WeightStream, DeviceMemoryIsThatOfTwoWeights) {
    const simt::OptionScope scope(test::quick());
    const Model model = test::tinyModel("llama");
    const auto peakOf = [&](std::optional<std::uint64_t> budget) {
        EmulatedBackend cuda;
        if (budget)
            cuda.weightBudget(*budget);
        test::logitsOf(cuda, model, 5);
        return *cuda.peakBytes();
    };
    EmulatedBackend cuda;
    Transformer transformer(model, cuda);
    std::uint64_t largest = 0;
    for (const auto& [name, weight] : model.weights)
        largest = std::max<std::uint64_t>(largest, weight.view().rows * weight.view().cols * 2);
    EXPECT_LT(peakOf(0), peakOf({}) - transformer.weightBytes() + 2 * largest + 100000);
    EXPECT_LT(peakOf(0), peakOf({}));
}

TEST(WeightStream, WhatDoesNotFitIsSaid) {
    const simt::OptionScope scope(test::quick());
    const FaultScope restore;
    const Model model = test::tinyModel("llama");
    std::uint64_t weights = 0;
    {
        EmulatedBackend cuda;
        weights = Transformer(model, cuda).weightBytes();
    }
    simt::faults().memoryBytes = weights;  // four fifths of which weights may take
    EmulatedBackend cuda;
    Transformer transformer(model, cuda);
    EXPECT_GT(cuda.weightStream().hostBytes(), 0U);
    EXPECT_LT(cuda.weightStream().hostBytes(), weights / 2);
    EXPECT_NE(cuda.device().reason.find("copied from the host for every pass"), std::string::npos);
}

TEST(WeightStream, MeasurementsSayIt) {
    const simt::OptionScope scope(test::quick());
    const Model model = test::tinyModel("llama");
    NullProgress sink;
    RunControl control({}, nullptr, sink);
    EmulatedBackend cuda;
    cuda.weightBudget(0);
    {
        Transformer transformer(model, cuda);
        for (const Measurement& metric : measureThroughput(transformer, {4, 3, 1}, control))
            EXPECT_NE(metric.protocol.find("copied from the host"), std::string::npos)
                << metric.name;
    }
    EXPECT_EQ(cuda.device().reason, "");
    EXPECT_EQ(cuda.weightStream().hostBytes(), 0U);
}

TEST(WeightStream, StreamsThatDoNotWaitForEachOtherAreNoticed) {
    const simt::OptionScope scope(test::quick());
    const FaultScope restore;
    const Model model = test::tinyModel("llama");
    EmulatedBackend whole;
    const std::vector<float> want = test::logitsOf(whole, model, 5);
    simt::faults().noWaits = true;
    EmulatedBackend cuda;
    cuda.weightBudget(0);
    try {
        EXPECT_FALSE(simt::sameBits(test::logitsOf(cuda, model, 5), want))
            << "products came before the copies they wait for";
    } catch (const simt::Finding& finding) {
        EXPECT_EQ(finding.defect(), simt::Defect::Race) << finding.what();
    }
}

TEST(WeightStream, ACopyOverWhatAKernelMayStillReadIsARace) {
    const simt::OptionScope scope(test::quick());
    namespace cuda = kernels::cuda;
    EmulatedBackend backend;  // one buffer a piece
    const auto buffer = backend.allocate(64);
    cuda::Stream compute = nullptr, copies = nullptr;
    cuda::Event read = nullptr;
    cuda::createStream(&compute);
    cuda::createCopyStream(&copies);
    cuda::createEvent(&read);
    const std::vector<float> host(16, 1.0F);
    auto* values = static_cast<float*>(buffer->data());
    const auto copy = [&] { return cuda::copyToDevice(values, host.data(), 64, copies); };
    backend.add(values, values, 16);
    EXPECT_THROW(copy(), simt::Finding);
    cuda::record(read, compute);
    cuda::streamWaits(copies, read);
    EXPECT_EQ(copy(), cuda::kSuccess);
    backend.add(values, values, 16);
    EXPECT_THROW(copy(), simt::Finding) << "the event lies before the second kernel";
    // A copy is done when it is waited for, not before.
    std::vector<float> back(16);
    backend.download(back.data(), values, 64);
    EXPECT_EQ(back[0], 0.0F);
    cuda::synchronize(copies);
    backend.download(back.data(), values, 64);
    EXPECT_EQ(back[0], 1.0F);
    cuda::destroyEvent(read);
    cuda::destroyStream(copies);
    cuda::destroyStream(compute);
}

}  // namespace
}  // namespace fettle
