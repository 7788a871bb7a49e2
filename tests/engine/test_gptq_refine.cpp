// Coordinate descent behind GPTQ, and targets that make up for the layers before: the identities
// they promise.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/core/random.h"
#include "engine/quant/calibration.h"
#include "engine/quant/cholesky.h"
#include "engine/quant/gptq.h"

namespace fettle {
namespace {

std::vector<float> normals(std::int64_t count, std::uint64_t seed) {
    std::vector<float> values(static_cast<std::size_t>(count));
    Philox random(seed);
    for (float& value : values)
        value = static_cast<float>(std::sqrt(-2 * std::log(1 - random.uniform())) *
                                   std::cos(2 * M_PI * random.uniform()));
    return values;
}

Weight asMatrix(const std::vector<float>& values, std::int64_t rows, std::int64_t cols) {
    Tensor tensor = Tensor::allocate(DType::F32, {rows, cols});
    std::copy(values.begin(), values.end(), tensor.mutableAs<float>());
    return Weight(tensor);
}

/// Inputs whose neighbours are alike [tokens, cols].
std::vector<float> alikeInputs(std::int64_t tokens, std::int64_t cols, std::uint64_t seed) {
    std::vector<float> x = normals(tokens * cols, seed);
    for (std::int64_t t = 0; t < tokens; ++t)
        for (std::int64_t j = 1; j < cols; ++j)
            x[static_cast<std::size_t>(t * cols + j)] +=
                0.9f * x[static_cast<std::size_t>(t * cols + j - 1)];
    return x;
}

/// Mean of a b^T over tokens.
std::vector<float> meanProduct(const std::vector<float>& a, const std::vector<float>& b,
                               std::int64_t tokens, std::int64_t cols) {
    std::vector<float> out(static_cast<std::size_t>(cols * cols));
    for (std::int64_t i = 0; i < cols; ++i)
        for (std::int64_t j = 0; j < cols; ++j) {
            double sum = 0;
            for (std::int64_t t = 0; t < tokens; ++t)
                sum += static_cast<double>(a[static_cast<std::size_t>(t * cols + i)]) *
                       b[static_cast<std::size_t>(t * cols + j)];
            out[static_cast<std::size_t>(i * cols + j)] =
                static_cast<float>(sum / static_cast<double>(tokens));
        }
    return out;
}

class Refining : public ::testing::Test {
protected:
    static constexpr std::int64_t kRows = 37, kCols = 256, kTokens = 600;
    kernels::WorkerPool pool{2};
    NullProgress sink;
    RunControl control{{}, nullptr, sink};
    std::vector<float> x = alikeInputs(kTokens, kCols, 3);
    std::vector<float> gram = meanProduct(x, x, kTokens, kCols);
    std::vector<float> w = normals(kRows * kCols, 9);

    GptqResult quantize(const char* scheme, int passes, kernels::WorkerPool& with) {
        std::vector<float> power;
        for (std::int64_t j = 0; j < kCols; ++j)
            power.push_back(gram[static_cast<std::size_t>(j * kCols + j)]);
        const GptqFactor factor = factorInputs(gram, kCols, 0.01, true, with, control);
        EXPECT_TRUE(factor.usable);
        GptqOptions options;
        options.scheme = *findQuantScheme(scheme);
        options.refinePasses = passes;
        options.gram = &gram;
        return quantizeGptq("w", asMatrix(w, kRows, kCols), factor, power, options, with, control);
    }
    /// tr(R H R^T), H damped as the factor is.
    double lossOf(const QuantizedTensor& tensor) {
        double mean = 0;
        for (std::int64_t j = 0; j < kCols; ++j)
            mean += gram[static_cast<std::size_t>(j * kCols + j)] / static_cast<double>(kCols);
        const std::vector<float> q = Weight(tensor).toFloat();
        double sum = 0;
        for (std::int64_t r = 0; r < kRows; ++r)
            for (std::int64_t i = 0; i < kCols; ++i)
                for (std::int64_t j = 0; j < kCols; ++j)
                    sum += (static_cast<double>(w[static_cast<std::size_t>(r * kCols + i)]) -
                            q[static_cast<std::size_t>(r * kCols + i)]) *
                           (gram[static_cast<std::size_t>(i * kCols + j)] +
                            (i == j ? 0.01 * mean : 0)) *
                           (static_cast<double>(w[static_cast<std::size_t>(r * kCols + j)]) -
                            q[static_cast<std::size_t>(r * kCols + j)]);
        return sum;
    }
};

TEST_F(Refining, LowersTheErrorOfTheOutputsAndSaysByHowMuch) {
    for (const char* scheme :
         {"int4-g32", "int4-g128", "int4-g32-asym", "int3-g64", "int2-g32", "int8", "fp8", "nvfp4",
          "mxfp4", "nf4", "mxfp6-w6a16", "mxfp8-w8a16"}) {
        const GptqResult plain = quantize(scheme, 0, pool), once = quantize(scheme, 1, pool),
                         twice = quantize(scheme, 3, pool);
        EXPECT_NEAR(plain.loss, lossOf(plain.tensor), 2e-3 * plain.loss) << scheme;
        EXPECT_NEAR(twice.loss, lossOf(twice.tensor), 5e-3 * plain.loss) << scheme;
        EXPECT_LT(once.loss, plain.loss * 1.0001) << scheme;
        EXPECT_LE(twice.loss, once.loss * 1.0001) << scheme;
    }
    EXPECT_LT(quantize("int3-g64", 3, pool).loss, 0.97 * quantize("int3-g64", 0, pool).loss);
}

TEST_F(Refining, DoesNotDependOnThreads) {
    kernels::WorkerPool five(5);
    const GptqResult a = quantize("int4-g32", 2, pool), b = quantize("int4-g32", 2, five);
    EXPECT_EQ(Weight(a.tensor).toFloat(), Weight(b.tensor).toFloat());
}

TEST(SolveRows, UndoesTheProduct) {
    kernels::WorkerPool pool(2);
    NullProgress sink;
    RunControl control({}, nullptr, sink);
    constexpr std::int64_t n = 150, rows = 21;
    const std::vector<float> x = alikeInputs(400, n, 5);
    std::vector<float> h = meanProduct(x, x, 400, n);
    const std::vector<float> want = normals(rows * n, 8);
    std::vector<float> b(want.size());
    for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t j = 0; j < n; ++j) {
            double sum = 0;
            for (std::int64_t k = 0; k < n; ++k)
                sum += static_cast<double>(want[static_cast<std::size_t>(r * n + k)]) *
                       h[static_cast<std::size_t>(k * n + j)];
            b[static_cast<std::size_t>(r * n + j)] = static_cast<float>(sum);
        }
    ASSERT_TRUE(choleskyInPlace(h.data(), n, pool, control));
    solveRowsInPlace(h.data(), n, b.data(), rows, pool, control);
    for (std::size_t i = 0; i < b.size(); ++i)
        ASSERT_NEAR(b[i], want[i], 2e-3);
}

TEST(OutputFollowing, TargetGivesThePlainOutputsFromTheInputsAtHand) {
    kernels::WorkerPool pool(2);
    NullProgress sink;
    RunControl control({}, nullptr, sink);
    constexpr std::int64_t cols = 48, rows = 20, tokens = 500;
    const std::vector<float> plain = alikeInputs(tokens, cols, 1);
    std::vector<float> x = plain;  // what lossy layers have made of it: shrunk, and noisy
    const std::vector<float> noise = normals(tokens * cols, 2);
    for (std::size_t i = 0; i < x.size(); ++i)
        x[i] = 0.9f * x[i] + 0.2f * noise[i];
    std::vector<float> lost(x.size());
    for (std::size_t i = 0; i < x.size(); ++i)
        lost[i] = plain[i] - x[i];
    const std::vector<float> w = normals(rows * cols, 4);
    const std::vector<float> gram = meanProduct(x, x, tokens, cols);
    InputDrift drift;
    drift.product = meanProduct(lost, x, tokens, cols);
    const OutputFollower follower(gram, std::move(drift), cols, 1e-6, pool, control);
    const std::vector<float> target = follower.target(w).weights;
    const auto missed = [&](const std::vector<float>& weights) {
        double sum = 0;
        for (std::int64_t t = 0; t < tokens; ++t)
            for (std::int64_t r = 0; r < rows; ++r) {
                double d = 0;
                for (std::int64_t j = 0; j < cols; ++j)
                    d += static_cast<double>(w[static_cast<std::size_t>(r * cols + j)]) *
                             plain[static_cast<std::size_t>(t * cols + j)] -
                         static_cast<double>(weights[static_cast<std::size_t>(r * cols + j)]) *
                             x[static_cast<std::size_t>(t * cols + j)];
                sum += d * d;
            }
        return sum;
    };
    EXPECT_LT(missed(target), 0.95 * missed(w));
    // The least squares answer: no small step in any direction gets closer.
    const double best = missed(target);
    for (const std::size_t i : {0U, 100U, 500U, 900U})
        for (const float step : {-0.01f, 0.01f}) {
            std::vector<float> other = target;
            other[i] += step;
            EXPECT_GT(missed(other), best);
        }
}

/// Inputs that have lost what nothing in them tells of (`noise`), or a fixed share of themselves.
double trustOf(bool noise, std::int64_t tokens, std::int64_t cols) {
    kernels::WorkerPool pool(2);
    NullProgress sink;
    RunControl control({}, nullptr, sink);
    const std::vector<float> x = normals(tokens * cols, 1), other = normals(tokens * cols, 2);
    std::vector<float> plain(x.size());
    for (std::size_t i = 0; i < x.size(); ++i)
        plain[i] = noise ? x[i] + 0.1f * other[i] : 1.1f * x[i];
    InputCollector collector(cols, tokens, true, 0, pool);
    constexpr std::int64_t together = 50;
    for (std::int64_t t = 0; t < tokens; t += together)
        collector.add(x.data() + t * cols, std::min(together, tokens - t), plain.data() + t * cols);
    InputStatistics statistics = collector.finish();
    EXPECT_GT(statistics.drift.heldRows, tokens / 20);
    const OutputFollower follower(statistics.gram, std::move(statistics.drift), cols, 1e-3, pool,
                                  control);
    return follower.target(normals(40 * cols, 3)).trust;
}

TEST(OutputFollowing, WhatTokensHeldBackDoNotBearOutIsNotFollowed) {
    EXPECT_LT(trustOf(true, 400, 128), 0.05);  // a third of the noise would be learned by heart
    EXPECT_GT(trustOf(false, 400, 128), 0.95);
}

}  // namespace
}  // namespace fettle
