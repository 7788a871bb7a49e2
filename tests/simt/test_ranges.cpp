// Ranges for profilers: what a model's passes mark, that each range ends, also when the work fails.
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/core/error.h"
#include "engine/eval/text_scores.h"
#include "tests/simt/emulated_backend.h"
#include "tests/simt/emulator/faults.h"
#include "tests/simt/emulator/ranges.h"
#include "tests/simt/model_checks.h"

namespace fettle {
namespace {

using test::EmulatedBackend;

struct ProfilerScope {
    explicit ProfilerScope(bool there) {
        simt::profiler() = {};
        simt::profiler().there = there;
    }
    ~ProfilerScope() { simt::profiler() = {}; }
    ProfilerScope(const ProfilerScope&) = delete;
    ProfilerScope& operator=(const ProfilerScope&) = delete;
};

/// "evaluation(prefill(layer_0 layer_1))"
std::string tree() {
    std::string text;
    int depth = -1;
    for (const simt::SeenRange& range : simt::profiler().ranges) {
        if (range.depth > depth)
            text += depth < 0 ? "" : "(";
        else
            text += std::string(static_cast<std::size_t>(depth - range.depth), ')') + " ";
        std::string name = range.name;
        std::replace(name.begin(), name.end(), ' ', '_');
        text += name;
        depth = range.depth;
    }
    return text + std::string(static_cast<std::size_t>(std::max(depth, 0)), ')');
}

void expectAllEnded() {
    EXPECT_TRUE(simt::profiler().open.empty());
    EXPECT_EQ(simt::profiler().strayEnds, 0);
    for (const simt::SeenRange& range : simt::profiler().ranges)
        EXPECT_TRUE(range.ended) << range.name;
}

TEST(CudaRanges, PassesAndLayersNestAndEnd) {
    const simt::OptionScope scope(test::quick());
    const Model model = test::tinyModel("llama");
    ASSERT_EQ(model.config.layerCount(), 2);
    EmulatedBackend cuda;
    Transformer transformer(model, cuda);
    const ProfilerScope profiler(true);
    KvCache cache = transformer.makeCache(8);
    transformer.forward(test::someIds(5, model.config.vocabularySize), cache);
    transformer.forward(std::vector<std::int32_t>{3}, cache);
    EXPECT_EQ(tree(), "prefill(layer_0 layer_1) decode(layer_0 layer_1)");
    expectAllEnded();
}

TEST(CudaRanges, AnEvaluationHoldsItsPasses) {
    const simt::OptionScope scope(test::quick());
    const Model model = test::tinyModel("llama");
    EmulatedBackend cuda;
    Transformer transformer(model, cuda);
    NullProgress sink;
    RunControl control({}, nullptr, sink);
    TextWindow window;
    window.ids = test::someIds(6, model.config.vocabularySize);
    window.firstScored = 1;
    const ProfilerScope profiler(true);
    scoreText(transformer, nullptr, {window}, control);
    EXPECT_EQ(tree(), "evaluation(prefill(layer_0 layer_1))");
    expectAllEnded();
}

TEST(CudaRanges, EndWhenTheWorkFails) {
    const simt::OptionScope scope(test::quick());
    const Model model = test::tinyModel("llama");
    EmulatedBackend cuda;
    Transformer transformer(model, cuda);
    KvCache cache = transformer.makeCache(64);
    const ProfilerScope profiler(true);
    const simt::FaultScope restore;
    simt::faults().noBlas = true;
    EXPECT_THROW(transformer.forward(test::someIds(40, model.config.vocabularySize), cache),
                 EngineError);
    EXPECT_EQ(tree(), "prefill(layer_0)");
    expectAllEnded();
}

TEST(CudaRanges, WithoutAProfilerNothingIsCalled) {
    const simt::OptionScope scope(test::quick());
    const Model model = test::tinyModel("llama");
    EmulatedBackend cuda;
    const ProfilerScope profiler(false);
    test::logitsOf(cuda, model, 5);
    EXPECT_EQ(simt::profiler().calls, 0);
}

TEST(CudaRanges, AProfilerThatComesBetweenSeesNoEndWithoutBeginning) {
    EmulatedBackend cuda;
    const ProfilerScope profiler(false);
    {
        const RangeScope range(cuda, "prefill");
        simt::profiler().there = true;
    }
    EXPECT_EQ(simt::profiler().strayEnds, 0);
}

}  // namespace
}  // namespace fettle
