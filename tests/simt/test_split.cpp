// A model whose layers lie on two emulated devices gives what it gives on one.
#include <gtest/gtest.h>

#include <random>

#include "engine/backend/byte_ranges.h"
#include "engine/backend/split_backend.h"
#include "engine/core/error.h"
#include "engine/eval/text_scores.h"
#include "tests/simt/emulated_backend.h"
#include "tests/simt/emulator/faults.h"
#include "tests/simt/model_checks.h"

namespace fettle {
namespace {

using test::EmulatedBackend;
using test::logitsOf;

struct EmulatedSplit : SplitBackend {
    explicit EmulatedSplit(std::size_t pieceBytes = 0)
        : SplitBackend({test::emulatedDevice(), second()}, 2, pieceBytes) {}
    static DeviceSummary second() {
        DeviceSummary device = test::emulatedDevice();
        device.id = "cuda:1";
        return device;
    }
};

TEST(ByteRanges, AreWhatAddingAndRemovingLeave) {
    std::mt19937 rng(3);
    ByteRanges ranges;
    std::vector<bool> plain(64);
    for (int turn = 0; turn < 2000; ++turn) {
        ByteRange range = {rng() % 64, rng() % 65};
        const bool add = rng() % 2;
        add ? ranges.add(range) : ranges.remove(range);
        for (std::size_t i = range.begin; i < range.end; ++i)
            plain[i] = add;
        range = {rng() % 64, 0};
        range.end = range.begin + rng() % (65 - range.begin);
        std::vector<bool> seen(64);
        for (const ByteRange& part : ranges.within(range))
            for (std::size_t i = part.begin; i < part.end; ++i) {
                ASSERT_TRUE(plain[i]);
                seen[i] = true;
            }
        for (const ByteRange& gap : ranges.missing(range))
            for (std::size_t i = gap.begin; i < gap.end; ++i) {
                ASSERT_FALSE(plain[i]);
                ASSERT_FALSE(seen[i]);
                seen[i] = true;
            }
        for (std::size_t i = range.begin; i < range.end; ++i)
            ASSERT_TRUE(seen[i]) << i;
    }
}

class Split : public ::testing::TestWithParam<test::ModelCase> {};

/// Of two layers the first device has one, the second the other and the head.
struct UnevenDevices {
    UnevenDevices() {
        simt::faults().memoryBytes = 100 << 20;
        simt::faults().secondBytes = 200 << 20;
    }
    simt::FaultScope restore;  // of what was before
};

TEST_P(Split, GivesTheBitsOfOneDevice) {
    const simt::OptionScope scope(test::quick());
    const UnevenDevices devices;
    Model model = test::tinyModel(GetParam().family);
    if (!GetParam().scheme.empty())
        test::quantize(model, GetParam().scheme);
    EmulatedBackend one;
    EmulatedSplit two;
    const std::vector<float> want = logitsOf(one, model, GetParam().tokens);
    EXPECT_TRUE(simt::sameBits(logitsOf(two, model, GetParam().tokens), want));
    EXPECT_GT(two.movedBytes(), 0U);
}
INSTANTIATE_TEST_SUITE_P(Families, Split, ::testing::ValuesIn(test::modelCases()),
                         test::modelCaseName);

TEST(SplitModel, LayersFollowTheFreeMemory) {
    const simt::OptionScope scope(test::quick());
    const simt::FaultScope restore;
    simt::faults().memoryBytes = 300 << 20;
    simt::faults().secondBytes = 100 << 20;
    EmulatedSplit split;
    EXPECT_EQ(split.firstLayers(7), (std::vector<std::int64_t>{0, 6, 7}));
    EXPECT_EQ(split.firstLayers(31), (std::vector<std::int64_t>{0, 24, 31}));
    EXPECT_EQ(split.device().id, "cuda:0,cuda:1");
    simt::faults().secondBytes = 300 << 20;
    EmulatedSplit even;
    EXPECT_EQ(even.firstLayers(2), (std::vector<std::int64_t>{0, 2, 2}));
    EXPECT_EQ(even.firstLayers(9), (std::vector<std::int64_t>{0, 5, 9}));
}

TEST(SplitModel, EachDeviceHoldsItsLayersAndTheirCache) {
    const simt::OptionScope scope(test::quick());
    const UnevenDevices devices;
    const Model model = test::tinyModel("llama");
    EmulatedSplit split;
    ASSERT_EQ(split.firstLayers(2), (std::vector<std::int64_t>{0, 1, 2}));
    Transformer transformer(model, split);
    const std::size_t first = simt::deviceBytes(0), second = simt::deviceBytes(1);
    EXPECT_GT(first, 0U);
    EXPECT_GT(second, first) << "the head is there too";
    KvCache cache = transformer.makeCache(64);
    EXPECT_EQ(simt::deviceBytes(), first + second) << "nothing is used yet";
    transformer.forward(test::someIds(5, model.config.vocabularySize), cache);
    const std::uint64_t moved = split.movedBytes();
    const auto state = static_cast<std::uint64_t>(model.config.hiddenSize) * sizeof(float);
    transformer.forward(std::vector<std::int32_t>{3}, cache);
    EXPECT_EQ(split.movedBytes() - moved, state) << "one token's state goes over, and no more";
    EXPECT_EQ(split.peakBytes(), *split.part(0).peakBytes() + *split.part(1).peakBytes());
}

TEST(SplitModel, EachDeviceDecodesFromGraphsOfItsOwn) {
    const simt::OptionScope scope(test::quick());
    const UnevenDevices devices;
    const Model model = test::tinyModel("llama");
    EmulatedSplit split;
    Transformer transformer(model, split);
    KvCache cache = transformer.makeCache(16);
    transformer.forward(test::someIds(4, model.config.vocabularySize), cache);
    for (int token = 0; token < 6; ++token)
        transformer.forward(std::vector<std::int32_t>{token}, cache);
    for (const std::size_t part : {0U, 1U})
        EXPECT_GE(split.part(part).steps().counts().played, 4)
            << part << ": " << split.part(part).steps().reason();
}

TEST(SplitModel, SpeculativeTextIsThePlainTextOfOneDevice) {
    const simt::OptionScope scope(test::quick());
    const Model model = test::tinyModel("llama");
    const UnevenDevices devices;
    EmulatedBackend one(CudaBackend::kPieceBytes);
    EmulatedSplit two(CudaBackend::kPieceBytes);
    const std::vector<std::int32_t> plain = test::decode(one, model, false);
    EXPECT_EQ(test::decode(two, model, false), plain);
    EXPECT_EQ(test::decode(two, model, true), plain);
}

TEST(SplitModel, EvaluationAndWorkOnLayersGiveTheSame) {
    const simt::OptionScope scope(test::quick());
    const Model model = test::tinyModel("qwen3");
    Model small = model;
    test::quantize(small, "int4-g32");
    NullProgress sink;
    RunControl control({}, nullptr, sink);
    TextWindow window;
    window.ids = test::someIds(20, model.config.vocabularySize);
    window.firstScored = 1;
    const auto results = [&](Backend& backend) {
        Transformer optimized(small, backend), baseline(model, backend);
        const TextScores scores = scoreText(optimized, &baseline, {window}, control);
        std::vector<float> all(scores.nll.begin(), scores.nll.end());
        all.insert(all.end(), scores.kl.begin(), scores.kl.end());
        // One layer's weights changed, and a pass layer by layer.
        optimized.replaceLinear("layers.1.ffn.down.weight",
                                model.weight("layers.1.ffn.down.weight"));
        const TextScores changed = scoreText(optimized, nullptr, {window}, control);
        all.insert(all.end(), changed.nll.begin(), changed.nll.end());
        Transformer layers(model, backend, Transformer::LayerByLayer{});
        std::vector<float> x(window.ids.size() * static_cast<std::size_t>(model.config.hiddenSize));
        layers.embedTokens(window.ids, x.data());
        for (std::int64_t i = 0; i < model.config.layerCount(); ++i) {
            layers.prepareLayer(model, i, &control);
            for (const auto half : {Transformer::Half::Attention, Transformer::Half::FeedForward})
                layers.runHalf(i, half, x.data(), static_cast<std::int64_t>(window.ids.size()));
        }
        all.insert(all.end(), x.begin(), x.end());
        return all;
    };
    const UnevenDevices devices;
    EmulatedBackend one;
    EmulatedSplit two;
    EXPECT_TRUE(simt::sameBits(results(two), results(one)));
    EXPECT_GT(two.movedBytes(), 0U);
}

TEST(SplitModel, ACopyThatDoesNotWaitIsNoticed) {
    const simt::OptionScope scope(test::quick());
    const simt::FaultScope restore;
    simt::faults().noWaits = true;
    const Model model = test::tinyModel("llama");
    EmulatedSplit split;
    EXPECT_THROW(logitsOf(split, model, 5), simt::Finding);
}

TEST(SplitModel, MemoryOfTheWrongDeviceIsNoticed) {
    EmulatedBackend one;
    const std::unique_ptr<DeviceBuffer> x = one.allocate(64);
    simt::currentDevice() = 1;
    EXPECT_THROW(one.softcap(static_cast<float*>(x->data()), 1.0F, 4), simt::Finding);
    simt::currentDevice() = 0;
    one.softcap(static_cast<float*>(x->data()), 1.0F, 4);
}

}  // namespace
}  // namespace fettle
