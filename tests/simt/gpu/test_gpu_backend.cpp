// Whole models on a device against the CPU; speculative decoding.
#include <gtest/gtest.h>

#include "engine/backend/cpu_backend.h"
#include "engine/core/error.h"
#include "tests/simt/model_checks.h"
#include "tests/simt/orders.h"
#include "tests/support/fixtures.h"

namespace fettle {
namespace {

class GpuModel : public ::testing::TestWithParam<test::ModelCase> {};

TEST_P(GpuModel, LogitsEqualTheCpus) {
    Model model = test::tinyModel(GetParam().family);
    if (!GetParam().scheme.empty())
        test::quantize(model, GetParam().scheme);
    CpuBackend cpu(2);
    const std::unique_ptr<Backend> cuda = makeBackend("cuda", 2);
    EXPECT_LE(test::largestDifference(test::logitsOf(*cuda, model, GetParam().tokens),
                                      test::logitsOf(cpu, model, GetParam().tokens)),
              GetParam().tolerance);
}
INSTANTIATE_TEST_SUITE_P(Families, GpuModel, ::testing::ValuesIn(test::modelCases()),
                         test::modelCaseName);

TEST(GpuWholeModel, FixtureGivesTheCpusLogits) {
    const auto folder = test::fixture("llama-4m");
    FETTLE_NEED_FILE(folder);
    const Model model = loadModel(folder.string());
    CpuBackend cpu(2);
    const std::unique_ptr<Backend> cuda = makeBackend("cuda", 2);
    for (const std::int64_t tokens : {3, 200})
        EXPECT_LE(test::largestDifference(test::logitsOf(*cuda, model, tokens),
                                          test::logitsOf(cpu, model, tokens)),
                  tokens > 32 ? 2e-2 : 1e-4)
            << tokens;
}

TEST(GpuWholeModel, SpeculativeTextIsThePlainText) {
    const Model model = test::tinyModel("llama");
    const std::unique_ptr<Backend> cuda = makeBackend("cuda", 2);
    EXPECT_EQ(test::decode(*cuda, model, true), test::decode(*cuda, model, false));
}

TEST(GpuWholeModel, SplitOverTwoDevicesItGivesTheBitsOfOne) {
    const std::vector<DeviceSummary> devices = listDevices();
    if (devices.size() < 3 || !devices[1].usable || !devices[2].usable ||
        devices[1].isa != devices[2].isa)
        GTEST_SKIP() << "needs two devices of a kind";
    const Model model = test::tinyModel("llama");
    const std::unique_ptr<Backend> one = makeBackend("cuda:0", 2);
    const std::unique_ptr<Backend> two = makeBackend("cuda:0,cuda:1", 2);
    for (const std::int64_t tokens : {5, 40})
        EXPECT_TRUE(simt::sameBits(test::logitsOf(*two, model, tokens),
                                   test::logitsOf(*one, model, tokens)))
            << tokens;
}

TEST(GpuWholeModel, MoreThanTheDeviceHasIsSaid) {
    const std::unique_ptr<Backend> cuda = makeBackend("cuda", 2);
    try {
        cuda->allocate(std::size_t{1} << 46);
        FAIL() << "64 TiB were granted";
    } catch (const EngineError& error) {
        EXPECT_EQ(error.kind(), ErrorKind::OutOfMemory);
    }
    EXPECT_NE(cuda->allocate(1 << 20), nullptr);
}

}  // namespace
}  // namespace fettle
