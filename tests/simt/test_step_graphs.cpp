// Decoding from graphs: the same bits as launch by launch, and what sends a step off early.
#include "engine/backend/step_graphs.h"

#include <gtest/gtest.h>

#include "engine/core/error.h"
#include "tests/simt/emulated_backend.h"
#include "tests/simt/emulator/faults.h"
#include "tests/simt/model_checks.h"

namespace fettle {
namespace {

using test::EmulatedBackend;

using simt::FaultScope;

/// Logits of `steps` tokens, one after the other, after a prompt of 4.
std::vector<float> decoded(EmulatedBackend& cuda, const Model& model, std::int64_t steps) {
    Transformer transformer(model, cuda);
    KvCache cache = transformer.makeCache(4 + steps);
    const std::vector<std::int32_t> ids = test::someIds(4 + steps, model.config.vocabularySize);
    const std::span<const std::int32_t> all(ids);
    transformer.forward(all.first(4), cache);
    std::vector<float> logits;
    for (std::int64_t i = 4; i < 4 + steps; ++i) {
        transformer.forward(all.subspan(static_cast<std::size_t>(i), 1), cache);
        const float* last = transformer.lastLogits();
        logits.insert(logits.end(), last, last + model.config.vocabularySize);
    }
    return logits;
}

std::vector<float> decodedDirectly(const Model& model, std::int64_t steps) {
    EmulatedBackend cuda;
    cuda.playSteps(false);
    const std::uint64_t before = simt::counters().graphs;
    const std::vector<float> logits = decoded(cuda, model, steps);
    EXPECT_EQ(simt::counters().graphs, before);
    return logits;
}

TEST(StepGraphs, DecodingFromAGraphGivesTheSameBits) {
    const simt::OptionScope scope(test::quick());
    for (const auto& [family, scheme] :
         {std::pair{"llama", "int4-g32"}, {"qwen3", "int8"}, {"gpt2", ""}, {"gemma3", "fp8"}}) {
        Model model = test::tinyModel(family);
        if (*scheme)
            test::quantize(model, scheme);
        EmulatedBackend cuda;
        const std::uint64_t before = simt::counters().graphs;
        const std::vector<float> played = decoded(cuda, model, 6);
        EXPECT_TRUE(simt::sameBits(played, decodedDirectly(model, 6))) << family;
        const StepGraphs::Counts& counts = cuda.steps().counts();
        EXPECT_EQ(counts.made, 1) << family;
        EXPECT_EQ(counts.played, 5) << family << ": all but the first";
        EXPECT_EQ(counts.direct, 2) << family << ": the prompt and the first token";
        EXPECT_EQ(simt::counters().graphs - before, 5U) << family;
        EXPECT_EQ(cuda.steps().reason(), "") << family;
    }
}

TEST(StepGraphs, OnlyLaunchesThatDependOnThePositionChange) {
    const simt::OptionScope scope(test::quick());
    const Model model = test::tinyModel("llama");
    EmulatedBackend cuda;
    decoded(cuda, model, 6);
    const StepGraphs::Counts& counts = cuda.steps().counts();
    // Four steps after the graph was made: two rotations, the cache and the attention's parts.
    EXPECT_EQ(counts.changedCalls, 4 * 4 * model.config.layerCount());
}

TEST(StepGraphs, AGraphWhoseArgumentsStayedOldGivesOtherText) {
    const simt::OptionScope scope(test::quick());
    const FaultScope restore;
    const Model model = test::tinyModel("llama");
    const std::vector<float> want = decodedDirectly(model, 6);
    simt::faults().staleGraphs = true;
    EmulatedBackend cuda;
    EXPECT_FALSE(simt::sameBits(decoded(cuda, model, 6), want));
}

TEST(StepGraphs, ContextsThatCrossAPartOfTheAttentionStayRight) {
    const simt::OptionScope scope(test::quick());
    const Model model = test::tinyModel("llama");
    // Over the border at 256 positions, where the grid and the workspace grow; before lie zeros.
    std::vector<std::string> reasons;
    const auto across = [&](EmulatedBackend& cuda) {
        reasons.clear();
        Transformer transformer(model, cuda);
        KvCache cache = transformer.makeCache(260);
        cache.advance(252);
        std::vector<float> logits;
        for (const std::int32_t id : test::someIds(8, model.config.vocabularySize)) {
            transformer.forward(std::vector<std::int32_t>{id}, cache);
            reasons.push_back(cuda.steps().reason());
            const float* last = transformer.lastLogits();
            logits.insert(logits.end(), last, last + model.config.vocabularySize);
        }
        return logits;
    };
    EmulatedBackend direct, cuda;
    direct.playSteps(false);
    const std::vector<float> want = across(direct);
    EXPECT_TRUE(simt::sameBits(across(cuda), want));
    for (const std::size_t step : {0, 4})
        EXPECT_NE(reasons[step].find("memory"), std::string::npos) << step << reasons[step];
    EXPECT_EQ(reasons[1], "the first step of its kind");
    // Launch by launch go the first step, in which memory is reserved, the next, which is
    // remembered, and the one at the border, which needs more memory.
    EXPECT_EQ(cuda.steps().counts().direct, 3);
    EXPECT_EQ(cuda.steps().counts().played, 5);
    EXPECT_EQ(cuda.steps().counts().made, 1);
}

TEST(StepGraphs, SpeculativeTextIsThePlainText) {
    const simt::OptionScope scope(test::quick());
    const Model model = test::tinyModel("llama");
    EmulatedBackend direct(CudaBackend::kPieceBytes), cuda(CudaBackend::kPieceBytes);
    direct.playSteps(false);
    const std::vector<std::int32_t> plain = test::decode(direct, model, false);
    EXPECT_EQ(test::decode(cuda, model, false), plain);
    EXPECT_GT(cuda.steps().counts().played, 10);
    EXPECT_EQ(test::decode(cuda, model, true), plain);
}

TEST(StepGraphs, WithoutGraphsTheReasonIsSaid) {
    const simt::OptionScope scope(test::quick());
    const FaultScope restore;
    const Model model = test::tinyModel("llama");
    const std::vector<float> want = decodedDirectly(model, 6);
    simt::faults().noGraphs = true;
    EmulatedBackend cuda;
    EXPECT_TRUE(simt::sameBits(decoded(cuda, model, 6), want));
    EXPECT_EQ(cuda.steps().counts().played, 0);
    EXPECT_EQ(cuda.steps().reason(), "no graph could be made: operation not supported");
}

TEST(StepGraphs, ReadingInTheMiddleOfAStepSendsItOff) {
    const simt::OptionScope scope(test::quick());
    const Model model = test::tinyModel("llama");
    EmulatedBackend cuda;
    Transformer transformer(model, cuda);
    KvCache cache = transformer.makeCache(4);
    std::vector<float> sums;
    transformer.observeBlocks([&](std::int64_t, const float* x, std::int64_t rows) {
        float sum = 0;
        for (std::int64_t i = 0; i < rows * model.config.hiddenSize; ++i)
            sum += x[i];
        sums.push_back(sum);
    });
    for (int step = 0; step < 3; ++step) {
        cache.truncate(0);
        transformer.forward(std::vector<std::int32_t>{5}, cache);
        EXPECT_EQ(cuda.steps().reason(), "it copies from the device");
    }
    EXPECT_EQ(cuda.steps().counts().played, 0);
    ASSERT_EQ(sums.size(), 3 * static_cast<std::size_t>(model.config.layerCount() + 1));
    const auto third = static_cast<std::ptrdiff_t>(sums.size() / 3);
    EXPECT_TRUE(std::equal(sums.begin(), sums.begin() + third, sums.begin() + third));
    EXPECT_NE(sums[0], sums[1]);
}

TEST(StepGraphs, ACancelledStepLeavesNothingBehind) {
    const simt::OptionScope scope(test::quick());
    const Model model = test::tinyModel("llama");
    EmulatedBackend cuda;
    Transformer transformer(model, cuda);
    KvCache cache = transformer.makeCache(8);
    NullProgress sink;
    std::stop_source stop;
    RunControl control(stop.get_token(), nullptr, sink);
    const std::vector<std::int32_t> ids = {3};
    transformer.forward(ids, cache, &control);
    stop.request_stop();
    EXPECT_THROW(transformer.forward(ids, cache, &control), Cancelled);
    EXPECT_FALSE(cuda.steps().recording());
    EXPECT_EQ(kernels::cuda::launchRecorder, nullptr);
    const std::uint64_t before = simt::counters().launches;
    cuda.synchronize();
    EXPECT_EQ(simt::counters().launches, before);
}

TEST(StepGraphs, ALostDeviceIsSaid) {
    const simt::OptionScope scope(test::quick());
    const FaultScope restore;
    const Model model = test::tinyModel("llama");
    EmulatedBackend cuda;
    decoded(cuda, model, 4);
    simt::faults().lost = true;
    try {
        decoded(cuda, model, 4);
        FAIL() << "not noticed";
    } catch (const EngineError& error) {
        EXPECT_EQ(error.kind(), ErrorKind::Device);
    }
}

}  // namespace
}  // namespace fettle
