// The training engine on a device against the CPU's.
#include <gtest/gtest.h>

#include "tests/simt/train_checks.h"

namespace fettle {
namespace {

class GpuTraining : public ::testing::TestWithParam<test::TrainCase> {};

TEST_P(GpuTraining, GivesTheCpusLossesAndWeights) {
    const std::unique_ptr<Backend> cuda = makeBackend("cuda", 2);
    test::expectTheCpusTraining(GetParam(), *cuda, true);
}
INSTANTIATE_TEST_SUITE_P(Cases, GpuTraining, ::testing::ValuesIn(test::trainCases()),
                         test::trainCaseName);

TEST(GpuTrainingRun, ResumedRunsEndWithTheSameBits) {
    const std::unique_ptr<Backend> cuda = makeBackend("cuda", 2);
    test::expectResumedRunsEndWithTheSameBits(*cuda);
}

}  // namespace
}  // namespace fettle
