// Kernels of sampling, calibration, pruning and GPTQ against plain twins, in every thread order.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "kernels/cuda/gptq.h"
#include "kernels/cuda/observe.h"
#include "kernels/cuda/sampling.h"
#include "kernels/cuda/sparsity.h"
#include "kernels/reference/sampling.h"
#include "kernels/reference/weights.h"
#include "tests/kernels/kernel_data.h"
#include "tests/simt/emulator/device_array.h"
#include "tests/simt/mutations.h"
#include "tests/simt/orders.h"

namespace fettle::kernels {
namespace {

using simt::DeviceArray;
using simt::inEveryOrder;
using test::randomFloats;
using Floats = std::vector<float>;

// ---- sampling

std::vector<std::int32_t> draw(const Floats& logits, std::int64_t count,
                               const cuda::SamplingRule& rule, const Floats& random) {
    const auto rows = static_cast<std::int64_t>(random.size());
    DeviceArray<float> x(logits), u(random);
    DeviceArray<std::int32_t> ids(random.size());
    EXPECT_EQ(cuda::sampleTokens(x.data(), static_cast<std::int64_t>(logits.size()) / rows, rows,
                                 count, rule, u.data(), ids.data(), nullptr),
              cuda::kSuccess);
    return ids.values();
}

struct SamplingCase {
    cuda::SamplingRule rule;
    std::int64_t count;
};

TEST(CudaSampling, DrawsWhatTheRuleLeavesByItsShare) {
    const SamplingCase cases[] = {{{1.0F, 1.0F, 0.0F, 0}, 700},   {{0.7F, 1.0F, 0.0F, 12}, 1300},
                                  {{1.3F, 0.9F, 0.0F, 0}, 257},   {{1.0F, 1.0F, 0.05F, 0}, 2049},
                                  {{0.9F, 0.8F, 0.1F, 40}, 5000}, {{2.0F, 0.5F, 0.0F, 3}, 31},
                                  {{1.0F, 0.3F, 0.2F, 1}, 64},    {{1.0F, 0.9F, 0.1F, 5}, 1}};
    for (const auto& [rule, count] : cases) {
        const Floats random = {0.0F, 0.11F, 0.5F, 0.77F, 0.999999F};
        const auto rows = static_cast<std::int64_t>(random.size()), stride = count + 3;
        const Floats logits = randomFloats(rows * stride, 5, 3.0F);
        const auto ids =
            inEveryOrder([&, &r = rule, n = count] { return draw(logits, n, r, random); });
        for (std::int64_t r = 0; r < rows; ++r) {
            const reference::LeftTokens left =
                reference::leftTokens(logits.data() + r * stride, count, rule.temperature,
                                      rule.topK, rule.topP, rule.minP);
            const std::int64_t id = ids[static_cast<std::size_t>(r)];
            const auto at = std::find(left.ids.begin(), left.ids.end(), id);
            ASSERT_NE(at, left.ids.end()) << id << " of " << count << " was ruled out";
            const double before =
                std::accumulate(left.p.begin(), left.p.begin() + (at - left.ids.begin()), 0.0);
            const double after = before + left.p[static_cast<std::size_t>(at - left.ids.begin())];
            const double u = random[static_cast<std::size_t>(r)];
            EXPECT_LE(before, u + 2e-6) << count;
            EXPECT_GE(after, u - 2e-6) << count;
        }
    }
}

/// Every token that can be drawn is, and no other.
std::vector<std::int32_t> drawable(const Floats& logits, const cuda::SamplingRule& rule) {
    Floats random, rows;
    for (int i = 0; i < 64; ++i) {
        random.push_back(static_cast<float>(i) / 64);
        rows.insert(rows.end(), logits.begin(), logits.end());
    }
    std::vector<std::int32_t> ids =
        draw(rows, static_cast<std::int64_t>(logits.size()), rule, random);
    EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end())) << "larger random numbers, larger ids";
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    return ids;
}

TEST(CudaSampling, OfEquallyLikelyTokensTheLowerIdsStay) {
    using Ids = std::vector<std::int32_t>;
    const Floats equal(10, -2.5F);
    EXPECT_EQ(drawable(equal, {1, 1, 0, 3}), (Ids{0, 1, 2}));
    EXPECT_EQ(drawable(equal, {1, 0.5F, 0, 0}), (Ids{0, 1, 2, 3, 4}));
    EXPECT_EQ(drawable(equal, {1, 0.5F, 0, 4}), (Ids{0, 1}));
    EXPECT_EQ(drawable(equal, {1, 1, 1, 0}), (Ids{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
    // Three of the likelier kind, the rest ties of the second, in places beyond a thread's own.
    Floats two(600, 0.0F);
    two[5] = two[310] = two[599] = 1.0F;
    EXPECT_EQ(drawable(two, {1, 1, 0, 5}), (Ids{0, 1, 5, 310, 599}));
    EXPECT_EQ(drawable(two, {1, 1, 0.5F, 5}), (Ids{5, 310, 599}));
    // Of no probability: never.
    Floats masked(40, -INFINITY);
    masked[7] = 1;
    masked[33] = 1;
    EXPECT_EQ(drawable(masked, {1, 1, 0, 0}), (Ids{7, 33}));
    EXPECT_EQ(drawable(masked, {1, 0.99F, 0, 30}), (Ids{7, 33}));
    EXPECT_EQ(cuda::sampleTokens(nullptr, 1, 1, 1, {0, 1, 0, 0}, nullptr, nullptr, nullptr),
              cuda::kInvalidValue);
}

// ---- calibration

TEST(CudaObserve, CountsHalfOctavesAndSumsChannels) {
    for (const std::int64_t cols : {1, 31, 128, 300}) {
        const std::int64_t rows = 37, stride = cols + 2;
        Floats x = randomFloats(rows * stride, 5, 2.0F);
        // Edges of bins and their neighbours, zeros, what lies beyond.
        for (std::int64_t r = 0; r < rows; ++r) {
            const float edge = std::exp2(static_cast<float>(r - 18) / 2);
            x[static_cast<std::size_t>(r * stride)] =
                r % 3 == 0 ? edge : std::nextafter(edge, r % 3 == 1 ? 0.0F : INFINITY);
        }
        x[0] = 0;
        x[static_cast<std::size_t>(stride)] = 1e-30F;
        x[static_cast<std::size_t>(2 * stride)] = -1e30F;
        struct Result {
            Floats largest;
            std::vector<double> squares, fourths;
            std::vector<unsigned long long> histogram;
        } got;
        inEveryOrder([&] {
            DeviceArray<float> dx(x),
                largest(Floats(static_cast<std::size_t>(cols), 0.5F));  // of an earlier call
            DeviceArray<double> squares(std::vector<double>(static_cast<std::size_t>(cols), 1.0)),
                fourths(std::vector<double>(static_cast<std::size_t>(cols), 2.0));
            DeviceArray<unsigned long long> histogram(
                std::vector<unsigned long long>(cuda::kObservedBins, 7));
            EXPECT_EQ(
                cuda::observe(dx.data(), stride, rows, cols,
                              {largest.data(), squares.data(), fourths.data(), histogram.data()},
                              nullptr),
                cuda::kSuccess);
            got = {largest.values(), squares.values(), fourths.values(), histogram.values()};
            std::vector<double> all(got.squares);
            all.insert(all.end(), got.fourths.begin(), got.fourths.end());
            all.insert(all.end(), got.largest.begin(), got.largest.end());
            all.insert(all.end(), got.histogram.begin(), got.histogram.end());
            return all;
        });
        std::vector<unsigned long long> histogram(cuda::kObservedBins, 7);
        for (std::int64_t c = 0; c < cols; ++c) {
            float largest = 0.5F;
            double squares = 1, fourths = 2;
            for (std::int64_t r = 0; r < rows; ++r) {
                const float value = std::fabs(x[static_cast<std::size_t>(r * stride + c)]);
                largest = std::max(largest, value);
                squares += static_cast<double>(value) * value;
                fourths += std::pow(static_cast<double>(value), 4);
                const double bin =
                    value > 0 ? std::floor(2 * std::log2(static_cast<double>(value))) + 32 : 0;
                ++histogram[static_cast<std::size_t>(std::clamp(bin, 0.0, 63.0))];
            }
            EXPECT_EQ(got.largest[static_cast<std::size_t>(c)], largest);
            EXPECT_NEAR(got.squares[static_cast<std::size_t>(c)], squares, 1e-14 * squares);
            EXPECT_NEAR(got.fourths[static_cast<std::size_t>(c)], fourths, 1e-13 * fourths);
        }
        EXPECT_EQ(got.histogram, histogram) << cols;
    }
}

// ---- pruning

TEST(CudaSparsity, ZerosAreThoseOfTheReference) {
    for (const bool weighted : {false, true}) {
        for (const std::int64_t cols : {1, 2, 3, 64, 143, 700}) {
            const std::int64_t rows = 9;
            Floats w = randomFloats(rows * cols, 3), norm = randomFloats(cols, 4);
            for (float& n : norm)
                n = std::fabs(n);
            for (std::size_t i = 0; i < w.size(); i += 7)
                w[i] = i % 2 ? 0.5F : -0.5F;  // ties
            w[0] = 0;
            const auto withNorm = [&](auto run) {
                DeviceArray<float> dw(w), dn(norm);
                return run(dw, weighted ? dn.data() : nullptr);
            };
            for (const std::int64_t zeros : {std::int64_t{0}, cols / 3, cols / 2 + 1, cols}) {
                Floats want = w;
                reference::zeroSmallest(want.data(), weighted ? norm.data() : nullptr, rows, cols,
                                        zeros);
                EXPECT_EQ(inEveryOrder([&] {
                              return withNorm([&](DeviceArray<float>& dw, const float* n) {
                                  EXPECT_EQ(
                                      cuda::zeroSmallest(dw.data(), n, rows, cols, zeros, nullptr),
                                      cuda::kSuccess);
                                  return dw.values();
                              });
                          }),
                          want)
                    << zeros << " of " << cols;
            }
            Floats want = w;
            reference::zeroTwoOfFour(want.data(), weighted ? norm.data() : nullptr, rows, cols);
            EXPECT_EQ(inEveryOrder([&] {
                          return withNorm([&](DeviceArray<float>& dw, const float* n) {
                              EXPECT_EQ(cuda::zeroTwoOfFour(dw.data(), n, rows, cols, nullptr),
                                        cuda::kSuccess);
                              return dw.values();
                          });
                      }),
                      want)
                << cols;
        }
    }
}

TEST(CudaSparsity, RefusesWhatRowsDoNotHave) {
    EXPECT_EQ(cuda::zeroSmallest(nullptr, nullptr, 1, 4, 5, nullptr), cuda::kInvalidValue);
    EXPECT_EQ(cuda::zeroSmallest(nullptr, nullptr, 0, 4, 2, nullptr), cuda::kSuccess);
    EXPECT_EQ(cuda::zeroTwoOfFour(nullptr, nullptr, 0, 4, nullptr), cuda::kSuccess);
    EXPECT_EQ(cuda::zeroTwoOfFour(nullptr, nullptr, -1, 4, nullptr), cuda::kInvalidValue);
}

TEST(CudaSparsity, TheCompressedFormStandsForTheSameWeights) {
    const std::int64_t rows = 5, cols = 112;
    Floats w = randomFloats(rows * cols, 3);
    for (float& value : w)
        value = halfToFloat(floatToHalf(value));
    reference::zeroTwoOfFour(w.data(), nullptr, rows, cols);
    for (std::size_t i = 0; i < 64; ++i)
        w[i] = 0;
    w[6] = 1;  // one in four, at each place
    w[8] = 2;
    w[13] = 3;
    w[19] = 4;
    const auto compressed = [&](const Floats& from, unsigned refusals) {
        DeviceArray<float> dw(from);
        DeviceArray<std::uint16_t> values(from.size() / 2), places(from.size() / 16);
        DeviceArray<unsigned> refused(std::vector<unsigned>{0});
        EXPECT_EQ(cuda::compressTwoOfFour(dw.data(), rows, cols, values.data(), places.data(),
                                          refused.data(), nullptr),
                  cuda::kSuccess);
        EXPECT_EQ(refused.values()[0], refusals);
        std::vector<std::uint16_t> all = values.values(), more = places.values();
        all.insert(all.end(), more.begin(), more.end());
        return all;
    };
    const auto all = inEveryOrder([&] { return compressed(w, 0); });
    const std::uint16_t* const places = all.data() + rows * cols / 2;
    EXPECT_EQ(reference::expandTwoOfFour(all.data(), places, rows, cols), w);
    for (std::int64_t i = 0; i < rows * cols / 4; ++i) {
        const int both = places[i / 4] >> (4 * (i % 4)) & 15;
        EXPECT_LT(both & 3, both >> 2) << "places of four number " << i << " do not ascend";
    }
    Floats dense = w;
    std::fill_n(dense.begin() + 100, 3, 1.0F);
    std::fill_n(dense.begin() + 200, 4, 1.0F);
    compressed(dense, 2);
    EXPECT_EQ(cuda::compressTwoOfFour(nullptr, 1, 40, nullptr, nullptr, nullptr, nullptr),
              cuda::kInvalidValue);
}

// ---- GPTQ

struct GptqProblem {
    std::int64_t rows, cols, group;
    Floats weights, lower, scales, shifts;
    std::vector<std::int64_t> order;

    GptqProblem(std::int64_t r, std::int64_t c, std::int64_t g, bool asymmetric)
        : rows(r),
          cols(c),
          group(g),
          weights(randomFloats(r * c, 3)),
          lower(randomFloats(c * c, 4)) {
        for (std::int64_t j = 0; j < cols; ++j)
            for (std::int64_t i = 0; i < cols; ++i) {
                float& u = lower[static_cast<std::size_t>(j * cols + i)];
                u = i > j ? 0 : i == j ? 1 + std::fabs(u) : 0.2F * u;
            }
        for (std::int64_t i = 0; i < rows * (cols / group); ++i) {
            scales.push_back(0.2F + 0.01F * static_cast<float>(i % 7));
            shifts.push_back(asymmetric ? static_cast<float>(i % 5 - 2) : 0.0F);
        }
        order.resize(static_cast<std::size_t>(cols));
        std::iota(order.begin(), order.end(), 0);
        std::shuffle(order.begin(), order.end(), std::mt19937(5));
    }

    /// Errors, codes and losses behind each other, by blocks of `width` columns.
    std::vector<double> run(std::int64_t width, bool ordered) const {
        DeviceArray<float> w(weights), u(lower), s(scales), z(shifts), errors(weights.size()),
            codes(weights.size());
        DeviceArray<std::int64_t> o(order);
        DeviceArray<double> losses(std::vector<double>(static_cast<std::size_t>(rows), 0.0));
        for (std::int64_t begin = 0; begin < cols; begin += width) {
            cuda::GptqBlock b;
            b.weights = w.data();
            b.lower = u.data();
            b.order = ordered ? o.data() : nullptr;
            b.grid = integerGrid(-8, 7);
            b.scales = s.data();
            b.shifts = z.data();
            b.errors = errors.data();
            b.codes = codes.data();
            b.losses = losses.data();
            b.rows = rows;
            b.cols = cols;
            b.group = group;
            b.begin = begin;
            b.width = std::min(width, cols - begin);
            b.sumStride = width + 1;
            const Floats before = begin > 0 ? errors.values() : Floats();
            Floats sums(static_cast<std::size_t>(rows * b.sumStride));
            for (std::int64_t r = 0; r < rows && begin > 0; ++r)
                for (std::int64_t j = 0; j < b.width; ++j)
                    for (std::int64_t i = 0; i < begin; ++i)
                        sums[static_cast<std::size_t>(r * b.sumStride + j)] +=
                            before[static_cast<std::size_t>(r * cols + i)] *
                            lower[static_cast<std::size_t>((begin + j) * cols + i)];
            DeviceArray<float> dSums(sums);
            b.sums = begin > 0 ? dSums.data() : nullptr;
            EXPECT_EQ(cuda::gptqBlock(b, nullptr), cuda::kSuccess);
            simt::finishDevice();
        }
        std::vector<double> all;
        for (const Floats& part : {errors.values(), codes.values()})
            all.insert(all.end(), part.begin(), part.end());
        const std::vector<double> lost = losses.values();
        all.insert(all.end(), lost.begin(), lost.end());
        return all;
    }
};

TEST(CudaGptq, IsTheSweepOfTheReferenceWhateverTheBlock) {
    struct Shape {
        std::int64_t rows, cols, group;
        bool asymmetric, ordered;
    };
    for (const Shape& shape : {Shape{7, 96, 32, false, false}, Shape{5, 128, 32, true, true},
                               Shape{1, 40, 40, false, true}, Shape{9, 1, 1, true, false}}) {
        const GptqProblem problem(shape.rows, shape.cols, shape.group, shape.asymmetric);
        reference::GptqSweep want;
        want.rows = shape.rows;
        want.cols = shape.cols;
        want.group = shape.group;
        want.lowest = -8;
        want.highest = 7;
        want.run(problem.weights.data(), problem.lower.data(),
                 shape.ordered ? problem.order.data() : nullptr, problem.scales.data(),
                 problem.shifts.data());
        const std::size_t size = problem.weights.size();
        for (const std::int64_t width : {64, 17, 1}) {
            const std::vector<double> got =
                inEveryOrder([&] { return problem.run(width, shape.ordered); });
            // None of these targets lies so near the middle of two codes that sums in float32 take
            // the other.
            for (std::size_t i = 0; i < size; ++i) {
                ASSERT_NEAR(got[i], want.errors[i], 2e-6) << width << " at " << i;
                ASSERT_EQ(got[size + i], want.codes[i]) << width << " at " << i;
            }
            for (std::size_t r = 0; r < want.losses.size(); ++r)
                ASSERT_NEAR(got[2 * size + r], want.losses[r], 1e-4 * want.losses[r]);
        }
    }
    cuda::GptqBlock b;
    b.rows = 1;
    b.cols = b.group = 96;
    b.width = 65;
    EXPECT_EQ(cuda::gptqBlock(b, nullptr), cuda::kInvalidValue);
    b.begin = 64;
    b.width = 32;  // without the sums of the columns before
    EXPECT_EQ(cuda::gptqBlock(b, nullptr), cuda::kInvalidValue);
}

#ifndef FETTLE_ON_GPU
TEST(CudaAlgorithmMutation, EveryBarrierIsNeededAndMissed) {
    const Floats logits = randomFloats(600, 3);
    simt::expectEveryBarrierNeeded("sampleTokens", [&] {
        return draw(logits, 600, {1, 0.9F, 0, 40}, {0.4F});
    });
    simt::expectEveryBarrierNeeded("zeroSmallest", [&] {
        DeviceArray<float> w(logits);
        cuda::zeroSmallest(w.data(), nullptr, 1, 600, 250, nullptr);
        return w.values();
    });
}
#endif

}  // namespace
}  // namespace fettle::kernels
