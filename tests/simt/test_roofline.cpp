// The roofline's counts against what the emulated device executed for the same calls.
#include "engine/backend/roofline.h"

#include <gtest/gtest.h>

#include "engine/backend/code_products.h"
#include "engine/backend/planning_backend.h"
#include "engine/eval/roofline_prediction.h"
#include "tests/simt/emulated_backend.h"
#include "tests/simt/model_checks.h"

namespace fettle {
namespace {

/// Launches, and the operations that the emulator counts too.
struct Executed {
    std::uint64_t launches = 0, dp4a = 0, tensor = 0, library = 0;
    bool operator==(const Executed&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Executed& e) {
    return out << e.launches << " launches, " << e.dp4a << " dp4a, " << e.tensor << " tensor, "
               << e.library << " library operations";
}

Executed planned(const std::vector<KernelWork>& launches) {
    Executed sum;
    for (const KernelWork& work : launches) {
        if (work.kernel == "library product") {
            sum.library += static_cast<std::uint64_t>(work.operations());
            continue;
        }
        ++sum.launches;
        sum.dp4a += static_cast<std::uint64_t>(work.dp4a);
        sum.tensor += static_cast<std::uint64_t>(work.half);
    }
    return sum;
}

Executed counted(const simt::Counters& before) {
    const simt::Counters& now = simt::counters();
    return {now.launches - before.launches, (now.dp4a - before.dp4a) * 8,
            (now.mma - before.mma) * 4096, now.libraryOperations - before.libraryOperations};
}

class Roofline : public ::testing::TestWithParam<test::ModelCase> {};

TEST_P(Roofline, CountsWhatTheDeviceExecutes) {
    const simt::OptionScope scope(test::quick());
    Model model = test::tinyModel(GetParam().family);
    if (!GetParam().scheme.empty())
        test::quantize(model, GetParam().scheme);
    test::EmulatedBackend cuda;
    PlanningBackend plan;
    Transformer executed(model, cuda), predicted(model, plan);
    KvCache cache = executed.makeCache(GetParam().tokens + 1);
    KvCache plannedCache = predicted.makeCache(GetParam().tokens + 1);
    plan.take();
    for (const std::int64_t tokens : {GetParam().tokens, std::int64_t{1}}) {
        const std::vector<std::int32_t> ids = test::someIds(tokens, model.config.vocabularySize);
        const simt::Counters before = simt::counters();
        executed.forward(ids, cache);
        executed.likeliestLast();
        predicted.forward(ids, plannedCache);
        predicted.likeliestLast();
        EXPECT_EQ(planned(plan.take()), counted(before)) << tokens << " tokens";
    }
    EXPECT_EQ(predicted.weightBytes(), executed.weightBytes());
    EXPECT_EQ(predicted.native(), executed.native());
}
TEST(RooflineModel, WhatADeviceMultipliesAsCodesIsCountedAsItsUnits) {
    const simt::OptionScope scope(test::quick());
    struct Case {
        const char* scheme;
        const char* isa;
        double KernelWork::*unit;  // null: widened
    };
    for (const Case& c :
         {Case{"fp8", "sm_89", &KernelWork::fp8}, Case{"fp8", "sm_86", nullptr},
          Case{"nvfp4", "sm_100", &KernelWork::fp4}, Case{"nvfp4", "sm_90", nullptr},
          Case{"mxfp8", "sm_120", &KernelWork::fp8}, Case{"mxfp8", "sm_89", nullptr}}) {
        Model model = test::tinyModel("llama");
        test::quantize(model, c.scheme);
        test::EmulatedBackend cuda(c.isa);
        PlanningBackend plan(capabilityOf(c.isa));
        Transformer executed(model, cuda), predicted(model, plan);
        KvCache cache = executed.makeCache(141), plannedCache = predicted.makeCache(141);
        const std::vector<std::int32_t> ids = test::someIds(140, model.config.vocabularySize);
        EXPECT_EQ(predicted.native(), executed.native()) << c.scheme << " " << c.isa;
        EXPECT_EQ(executed.native(), c.unit != nullptr);
        plan.take();
        const simt::Counters before = simt::counters();
        executed.forward(ids, cache);
        executed.likeliestLast();
        predicted.forward(ids, plannedCache);
        predicted.likeliestLast();
        const std::vector<KernelWork> launches = plan.take();
        EXPECT_EQ(planned(launches), counted(before)) << c.scheme << " on " << c.isa;
        double floats = 0, unit = 0;
        for (const KernelWork& work : launches) {
            floats += work.fp8 + work.fp4;
            unit += c.unit ? work.*c.unit : 0;
        }
        EXPECT_EQ(floats, unit);
        EXPECT_EQ(floats > 0, c.unit != nullptr);
    }
}

TEST(RooflineModel, DevicesThatDifferInWhatTheyMultiplyGetPlansOfTheirOwn) {
    NullProgress sink;
    RunControl control({}, nullptr, sink);
    const auto plansOf = [&](const char* scheme) {
        Model model = test::tinyModel("llama");
        test::quantize(model, scheme);
        return predictRoofline(model, 160, control).plans;
    };
    EXPECT_EQ(plansOf("int8").size(), 1U);
    const auto fp8 = plansOf("fp8");
    ASSERT_EQ(fp8.size(), 2U);
    EXPECT_EQ(fp8[0].devices.size(), 1U);
    EXPECT_STREQ(fp8[0].devices[0].name, "A100");
    EXPECT_EQ(fp8[1].devices.size(), 5U);
    const auto nvfp4 = plansOf("nvfp4");
    ASSERT_EQ(nvfp4.size(), 2U);
    ASSERT_EQ(nvfp4[1].devices.size(), 2U);
    EXPECT_STREQ(nvfp4[1].devices[0].name, "B200");
    EXPECT_STREQ(nvfp4[1].devices[1].name, "RTX 5090");
    EXPECT_GT(nvfp4[0].prompt.total.bytes, nvfp4[1].prompt.total.bytes);
    EXPECT_EQ(nvfp4[0].decode.total.bytes, nvfp4[1].decode.total.bytes);
    for (const DevicePeaks& device : knownPeaks()) {
        EXPECT_EQ(device.fp8 > 0, device.capability >= kFp8Capability) << device.name;
        EXPECT_EQ(device.fp4 > 0, device.capability >= kBlockScaledCapability) << device.name;
    }
}

INSTANTIATE_TEST_SUITE_P(Families, Roofline, ::testing::ValuesIn(test::modelCases()),
                         test::modelCaseName);

TEST(RooflineModel, TheSlowerOfMemoryAndArithmeticDecides) {
    const DevicePeaks& a100 = knownPeaks().front();
    KernelWork work;
    work.kernel = "a copy";
    work.read = work.written = 2039e9 / 2;
    EXPECT_DOUBLE_EQ(predictedSeconds(work, a100), 1.0);
    work.half = 624e12;
    EXPECT_DOUBLE_EQ(predictedSeconds(work, a100), 2.0);
    // 64 integer multiply-adds a clock on 108 multiprocessors at 1.41 GHz, 8 operations each.
    EXPECT_NEAR(a100.dp4a, 64.0 * 108 * 1.41e9 * 8, 1e12);
}

TEST(RooflineModel, ADecodedTokenReadsEveryWeightOnceAndTheCache) {
    Model model = test::tinyModel("llama");
    test::quantize(model, "int4-g32");
    NullProgress sink;
    RunControl control({}, nullptr, sink);
    const PlanPrediction near = predictRoofline(model, 8, control).plans.at(0);
    const PlanPrediction far = predictRoofline(model, 108, control).plans.at(0);
    PlanningBackend plan;
    const auto weights = static_cast<double>(Transformer(model, plan).weightBytes());
    EXPECT_GT(near.decode.total.bytes, weights);
    EXPECT_LT(near.decode.total.bytes, 2.5 * weights);  // a tiny model: activations count
    const ModelConfig& c = model.config;
    const double cache =
        100.0 * 2 * 2 * static_cast<double>(c.layerCount() * c.kvHeads * c.headDim);
    EXPECT_DOUBLE_EQ(far.decode.total.bytes - near.decode.total.bytes, cache);
    ASSERT_EQ(near.devices.size(), 6U);
    double launches = 0;
    for (const KernelPrediction& kernel : near.decode.kernels)
        launches += static_cast<double>(kernel.launches);
    EXPECT_EQ(launches, static_cast<double>(near.decode.total.launches));
}

}  // namespace
}  // namespace fettle
