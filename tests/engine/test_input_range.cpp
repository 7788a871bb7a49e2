#include "engine/quant/input_range.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace fettle {
namespace {

std::vector<float> normalValues(std::size_t count, std::uint32_t seed) {
    std::mt19937 rng(seed);
    std::normal_distribution<float> normal(0, 1);
    std::vector<float> x(count);
    for (float& value : x)
        value = normal(rng);
    return x;
}

MagnitudeHistogram histogramOf(const std::vector<float>& x) {
    MagnitudeHistogram histogram;
    histogram.add(x.data(), static_cast<std::int64_t>(x.size()));
    return histogram;
}

std::int64_t countOf(const MagnitudeHistogram& histogram) {
    return std::accumulate(histogram.counts().begin(), histogram.counts().end(), std::int64_t{0});
}

TEST(InputRange, PercentilesOfARampAreItsEdges) {
    std::vector<float> ramp(MagnitudeHistogram::kBins);
    for (std::size_t i = 0; i < ramp.size(); ++i)
        ramp[i] = (i % 2 ? -1.0F : 1.0F) * (static_cast<float>(i) + 0.5F) / 1024;
    ramp.back() = 2;  // the width of a bin is that of a step
    const MagnitudeHistogram histogram = histogramOf(ramp);
    EXPECT_EQ(histogram.range(RangeSearch::Percentile, 127, 50), 1.0F);
    EXPECT_EQ(histogram.range(RangeSearch::Percentile, 127, 75), 1.5F);
    EXPECT_EQ(histogram.range(RangeSearch::Percentile, 127, 100), 2.0F);
    EXPECT_EQ(histogram.range(RangeSearch::Largest, 127, 50), 2.0F);
    // Zeros are values too.
    std::vector<float> half(ramp);
    half.resize(2 * ramp.size(), 0.0F);
    EXPECT_EQ(histogramOf(half).range(RangeSearch::Percentile, 127, 75), 1.0F);
}

TEST(InputRange, LeastSquaredErrorOfAGaussianIsTheOptimalUniformQuantizers) {
    // Max (1960): 256 levels of a normal distribution lie 0.0308 apart, 16 levels 0.3352.
    const MagnitudeHistogram histogram = histogramOf(normalValues(1 << 18, 1));
    EXPECT_NEAR(histogram.range(RangeSearch::Mse, 127, 0), 3.95F, 0.08F);
    EXPECT_NEAR(histogram.range(RangeSearch::Mse, 7, 0), 2.55F, 0.08F);
}

TEST(InputRange, DivergenceClipsWhatHardlyEverHappens) {
    std::vector<float> x = normalValues(1 << 16, 2);
    x[7] = 60;
    const MagnitudeHistogram histogram = histogramOf(x);
    const float range = histogram.range(RangeSearch::Entropy, 127, 0);
    EXPECT_GT(range, 3.0F);
    EXPECT_LT(range, 15.0F);
    EXPECT_EQ(histogram.range(RangeSearch::Largest, 127, 0), 60.0F);
    // Evenly spread values lose by any clipping.
    std::vector<float> even(1 << 16);
    for (std::size_t i = 0; i < even.size(); ++i)
        even[i] = static_cast<float>(i + 1) / static_cast<float>(even.size());
    EXPECT_GT(histogramOf(even).range(RangeSearch::Entropy, 127, 0), 0.97F);
}

TEST(InputRange, TheHistogramGrowsWithWhatComes) {
    MagnitudeHistogram histogram;
    const std::vector<float> zeros(64, 0.0F);
    histogram.add(zeros.data(), 64);
    EXPECT_EQ(histogram.range(RangeSearch::Entropy, 127, 99), 0) << "nothing to scale by yet";
    const std::vector<float> small = normalValues(1000, 3);
    histogram.add(small.data(), 1000);
    const double width = histogram.binWidth();
    std::vector<float> large = normalValues(1000, 4);
    for (float& value : large)
        value *= 1000;
    large[5] = std::numeric_limits<float>::quiet_NaN();
    large[6] = -std::numeric_limits<float>::infinity();
    histogram.add(large.data(), 1000);
    EXPECT_EQ(countOf(histogram), 1998);
    EXPECT_GT(histogram.binWidth(), width);
    EXPECT_LE(histogram.counts().size(), 8u * MagnitudeHistogram::kBins + 1);
    EXPECT_NEAR(histogram.range(RangeSearch::Percentile, 127, 100), histogram.largest(), 1e-3);
    // About half of all values are small ones.
    EXPECT_LT(histogram.range(RangeSearch::Percentile, 127, 45), 10.0F);
}

TEST(InputRange, ScalesAreThoseOfTheFormat) {
    using A = kernels::ActivationFormat;
    EXPECT_EQ(inputScaleFor(A::Int8Tensor, 12.7F), 12.7F / 127);
    EXPECT_EQ(inputScaleFor(A::Int8Tensor, 0), 1);
    EXPECT_EQ(inputScaleFor(A::NvFp4, 12), 448.0F * 6 / 12);
    EXPECT_EQ(inputScaleFor(A::Int8Token, 12), 1);
}

}  // namespace
}  // namespace fettle
