// Matrix products of every format at every instruction-set level against the plain twin, and the
// promises of matmul.h: exact integers, batch invariance, thread invariance.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "kernels/ops/matmul.h"
#include "kernels/reference/matmul.h"
#include "tests/kernels/kernel_data.h"
#include "tests/kernels/matmul_checks.h"
#include "tests/kernels/quant_budget.h"

namespace fettle::kernels {
namespace {

using test::FormatCase;
using test::IsaScope;
using test::OwnedWeight;
using test::product;
using test::worstError;

struct Shape {
    std::int64_t rows, cols;
};

bool fits(const FormatCase& c, std::int64_t cols) {
    const std::int64_t block = activationBlock(c.rounding());
    return (block == 0 || cols % block == 0) && cols % blockValues(c.format) == 0 &&
           (c.groupSize == 0 || cols % c.groupSize == 0);
}

class MatmulFormats : public testing::TestWithParam<FormatCase> {};

TEST_P(MatmulFormats, AgreesWithReferenceAtEveryLevel) {
    const FormatCase& c = GetParam();
    WorkerPool pool(2);
    const double budget = c.hasMin() ? budget::kSumWithMin : budget::kSum;
    for (const Shape s : {Shape{1, 32},
                          {3, 64},
                          {17, 96},
                          {255, 256},
                          {33, 640},
                          {49, 2048},
                          {16, 1280},
                          {37, 4096}}) {
        if (!fits(c, s.cols))
            continue;
        const OwnedWeight w = test::randomWeight(c, s.rows, s.cols, 11);
        const PackedWeight packed = PackedWeight::pack(w.view, pool);
        for (const std::int64_t m : {1, 2, 3, 4, 5, 8, 17, 64}) {
            const std::vector<float> x =
                test::randomFloats(m * s.cols, 5 + static_cast<std::uint32_t>(m), 2.0F);
            std::vector<double> want(static_cast<std::size_t>(m * s.rows));
            reference::matmul(w.view, x.data(), m, s.cols, want.data());
            for (const Isa isa : test::availableIsas()) {
                const IsaScope scope(isa);
                EXPECT_LT(worstError(w, x, m, product(packed, x, m, pool), want), budget)
                    << name(isa) << " " << s.rows << "x" << s.cols << " m=" << m;
            }
        }
    }
}

TEST_P(MatmulFormats, RoundingActivationsStaysWithinBudget) {
    const FormatCase& c = GetParam();
    WorkerPool pool(1);
    const OwnedWeight w = test::randomWeight(c, 64, 1024, 3);
    const std::vector<float> x = test::randomFloats(4 * 1024, 9);
    std::vector<double> want(4 * 64);
    reference::matmulExact(w.view, x.data(), 4, 1024, want.data());
    const double budget = budget::activations(c.rounding());
    EXPECT_LT(worstError(w, x, 4, product(PackedWeight::pack(w.view, pool), x, 4, pool), want),
              budget);
}

TEST_P(MatmulFormats, ResultDependsNeitherOnBatchNorOnThreads) {
    WorkerPool pool(3);
    const OwnedWeight w = test::randomWeight(GetParam(), 83, 1280, 21);
    const PackedWeight packed = PackedWeight::pack(w.view, pool);
    for (const Isa isa : test::availableIsas()) {
        SCOPED_TRACE(name(isa));
        const IsaScope scope(isa);
        test::expectIndependentRows(packed);
    }
}

TEST_P(MatmulFormats, BiasAccumulationAndStrides) {
    WorkerPool pool(2);
    const OwnedWeight w = test::randomWeight(GetParam(), 37, 256, 31);
    const PackedWeight packed = PackedWeight::pack(w.view, pool);
    for (const Isa isa : test::availableIsas()) {
        SCOPED_TRACE(name(isa));
        const IsaScope scope(isa);
        for (const std::int64_t m : {1, 3, 7})
            test::expectBiasAccumulationAndStrides(packed, m);
    }
}

TEST_P(MatmulFormats, ArgmaxIsThatOfTheProduct) {
    WorkerPool pool(2);
    const OwnedWeight w = test::randomWeight(GetParam(), 1237, 256, 41);
    const PackedWeight packed = PackedWeight::pack(w.view, pool);
    for (const Isa isa : test::availableIsas()) {
        SCOPED_TRACE(name(isa));
        const IsaScope scope(isa);
        for (const std::int64_t m : {1, 5, 8, 19, 70})
            test::expectArgmaxOfTheProduct(packed, m, m == 5 ? 2.0F : 0.0F);
    }
}

// Several threads find a largest value each.
TEST(MatmulArgmax, IsTheLowestOnTies) {
    constexpr std::int64_t rows = 40'003, cols = 32, m = 450;
    WorkerPool pool(3);
    OwnedWeight w = test::randomWeight({WeightFormat::F32}, rows, cols, 44);
    // Every 1,001st row is the same, and everything else zero.
    auto* values = reinterpret_cast<float*>(w.data.data());
    std::fill_n(values, rows * cols, 0.0F);
    for (std::int64_t row = 1000; row < rows; row += 1001)
        std::fill_n(values + row * cols, cols, 0.5F);
    const PackedWeight packed = PackedWeight::pack(w.view, pool);
    std::vector<float> x(static_cast<std::size_t>(m * cols));
    for (std::int64_t i = 0; i < m; ++i)
        std::fill_n(x.begin() + i * cols, cols, i % 2 == 0 ? 1.0F : -1.0F);
    Activations a;
    a.assign(x.data(), m, cols, cols);
    std::vector<std::int64_t> found(static_cast<std::size_t>(m), -1);
    matmulArgmax(packed, a, nullptr, 0, pool, found.data());
    for (std::int64_t i = 0; i < m; ++i)
        ASSERT_EQ(found[static_cast<std::size_t>(i)], i % 2 == 0 ? 1000 : 0) << "row " << i;
    std::fill(x.begin(), x.end(), std::numeric_limits<float>::quiet_NaN());
    a.assign(x.data(), m, cols, cols);
    matmulArgmax(packed, a, nullptr, 0, pool, found.data());
    EXPECT_EQ(found.front(), 0);
    const PackedWeight none;
    EXPECT_THROW(matmulArgmax(none, a, nullptr, 0, pool, found.data()), std::invalid_argument);
}

// q, k and v of a model with mixed precision: what one weight's activations look like is not what
// the next one's do.
TEST(MatmulTogether, GivesWhatEachAloneDoes) {
    using F = WeightFormat;
    WorkerPool pool(3);
    constexpr std::int64_t cols = 512;
    std::vector<OwnedWeight> weights;
    std::vector<PackedWeight> packed;
    for (const auto& [format, rows] : std::vector<std::pair<F, std::int64_t>>{{F::Q4_K, 96},
                                                                              {F::Q6_K, 33},
                                                                              {F::Q4_K, 500},
                                                                              {F::BF16, 17},
                                                                              {F::BF16, 256},
                                                                              {F::Int8Channel, 64},
                                                                              {F::Q8_0, 1},
                                                                              {F::Q4_0, 40},
                                                                              {F::Q4_0, 80},
                                                                              {F::Q4_0, 16},
                                                                              {F::Q4_0, 16},
                                                                              {F::Q4_0, 700}}) {
        weights.push_back(test::randomWeight({format}, rows, cols, 61));
        packed.push_back(PackedWeight::pack(weights.back().view, pool));
    }
    for (const std::int64_t m : {1, 2, 7, 8, 9, 30}) {
        const std::vector<float> x = test::randomFloats(m * cols, 62);
        std::vector<std::vector<float>> results, want;
        std::vector<MatmulTarget> targets;
        for (const PackedWeight& w : packed) {
            want.push_back(product(w, x, m, pool));
            results.emplace_back(want.back().size(), -1.0F);
        }
        for (std::size_t i = 0; i < packed.size(); ++i)
            targets.push_back({&packed[i], results[i].data(), packed[i].rows(), nullptr, false});
        Activations a;
        a.assign(x.data(), m, cols, cols);
        matmul(targets, a, pool);
        for (std::size_t i = 0; i < packed.size(); ++i)
            EXPECT_EQ(results[i], want[i]) << name(packed[i].format()) << " " << i << ", m=" << m;
    }
    const PackedWeight none;
    std::vector<float> y(1);
    Activations a;
    a.assign(y.data(), 1, cols, cols);
    const std::vector<MatmulTarget> bad{{&none, y.data(), 1, nullptr, false}};
    EXPECT_THROW(matmul(bad, a, pool), std::invalid_argument);
}

TEST_P(MatmulFormats, TouchesNothingBehindWhatItIsGiven) {
    WorkerPool pool(1);
    for (const std::int64_t rows : {16, 37}) {
        const OwnedWeight w = test::randomWeight(GetParam(), rows, 256, 51);
        const PackedWeight packed = PackedWeight::pack(w.view, pool);
        for (const Isa isa : test::availableIsas()) {
            SCOPED_TRACE(name(isa));
            const IsaScope scope(isa);
            for (std::int64_t m = 1; m <= 9; ++m)
                test::expectNothingBehindIsTouched(packed, m);
        }
    }
}

TEST_P(MatmulFormats, ZeroActivationsGiveZero) {
    const FormatCase& c = GetParam();
    WorkerPool pool(1);
    const OwnedWeight w = test::randomWeight(c, 18, 256, 41);
    const PackedWeight packed = PackedWeight::pack(w.view, pool);
    for (const Isa isa : test::availableIsas()) {
        const IsaScope scope(isa);
        for (const std::int64_t m : {1, 6})
            for (const float value : {0.0F, 1e-44F})
                for (const float y :
                     product(packed, std::vector<float>(static_cast<std::size_t>(m * 256), value),
                             m, pool))
                    ASSERT_NEAR(y, 0.0F, 1e-30F) << name(isa);
    }
}

TEST_P(MatmulFormats, NanInActivationsIsNotHidden) {
    WorkerPool pool(1);
    const OwnedWeight w = test::randomWeight(GetParam(), 16, 256, 43);
    const PackedWeight packed = PackedWeight::pack(w.view, pool);
    std::vector<float> x = test::randomFloats(256, 44);
    x[100] = NAN;
    for (const Isa isa : test::availableIsas()) {
        const IsaScope scope(isa);
        EXPECT_TRUE(std::isnan(product(packed, x, 1, pool)[3])) << name(isa);
    }
}

INSTANTIATE_TEST_SUITE_P(Matmul, MatmulFormats, testing::ValuesIn(test::allFormats()),
                         [](const auto& each) { return each.param.label(); });

/// Codes at both ends of their range, activations at +-127: every intermediate sum must be exact.
TEST(Matmul, ExtremeCodesAreExact) {
    WorkerPool pool(2);
    constexpr std::int64_t rows = 20, cols = 2048;
    std::vector<float> scales(rows, 1.0F);
    for (const int code : {-128, -127, 127}) {
        const std::vector<std::int8_t> codes(rows * cols, static_cast<std::int8_t>(code));
        WeightView w;
        w.format = WeightFormat::Int8Channel;
        w.rows = rows;
        w.cols = cols;
        w.data = codes.data();
        w.scales = scales.data();
        const PackedWeight packed = PackedWeight::pack(w, pool);
        for (const float sign : {1.0F, -1.0F}) {
            for (const std::int64_t m : {1, 9}) {
                const std::vector<float> x(static_cast<std::size_t>(m * cols), sign * 127.0F);
                for (const Isa isa : test::availableIsas()) {
                    const IsaScope scope(isa);
                    for (const float y : product(packed, x, m, pool))
                        ASSERT_EQ(y, sign * 127.0F * static_cast<float>(code) * cols)
                            << name(isa) << " m=" << m;
                }
            }
        }
    }
}

TEST(Matmul, ExtremeBlockCodesAreExact) {
    WorkerPool pool(1);
    constexpr std::int64_t cols = 256;
    for (const FormatCase& c : test::allFormats()) {
        if (c.plain() || c.format == WeightFormat::Int8Channel ||
            c.format == WeightFormat::Fp8Channel || isWidened(c.format))
            continue;
        for (const std::uint8_t byte :
             {std::uint8_t{0x00}, std::uint8_t{0xFF}, std::uint8_t{0x80}}) {
            OwnedWeight w = test::randomWeight(c, 16, cols, 51);
            std::fill(w.data.begin(), w.data.end(), byte);
            for (std::size_t at = 0; at < w.data.size() && blockValues(c.format) > 1;
                 at += blockBytes(c.format))
                for (const int offset : test::halfOffsets(c.format))
                    test::putHalf(w.data.data() + at + offset, 0.5F);
            const PackedWeight packed = PackedWeight::pack(w.view, pool);
            for (const float sign : {1.0F, -1.0F}) {
                const std::vector<float> x(cols * 5, sign * 127.0F);
                std::vector<double> want(16 * 5);
                reference::matmul(w.view, x.data(), 5, cols, want.data());
                for (const Isa isa : test::availableIsas()) {
                    const IsaScope scope(isa);
                    EXPECT_LT(worstError(w, x, 5, product(packed, x, 5, pool), want),
                              budget::kSumWithMin)
                        << c.label() << " " << name(isa) << " byte " << int{byte};
                }
            }
        }
    }
}

TEST(Matmul, LongRowsOfInt8StayExact) {
    WorkerPool pool(1);
    constexpr std::int64_t cols = 70000;  // more products than an int32 holds at the extremes
    const std::vector<std::int8_t> codes(cols, -128);
    const std::vector<float> x(cols * 5, 127.0F), scales(1, 1.0F);
    WeightView w;
    w.format = WeightFormat::Int8Channel;
    w.rows = 1;
    w.cols = cols;
    w.data = codes.data();
    w.scales = scales.data();
    const PackedWeight packed = PackedWeight::pack(w, pool);
    for (const Isa isa : test::availableIsas()) {
        const IsaScope scope(isa);
        for (const std::int64_t m : {1, 5})
            for (const float y : product(packed, x, m, pool))
                EXPECT_FLOAT_EQ(y, -128.0F * 127.0F * cols) << name(isa);
    }
}

TEST(Matmul, OddColumns) {
    WorkerPool pool(2);
    for (const WeightFormat f :
         {WeightFormat::F32, WeightFormat::F16, WeightFormat::BF16, WeightFormat::Int8Channel}) {
        for (const std::int64_t cols : {1, 7, 33, 131, 515}) {
            const OwnedWeight w = test::randomWeight({f}, 35, cols, 61);
            const PackedWeight packed = PackedWeight::pack(w.view, pool);
            for (const std::int64_t m : {1, 4, 14}) {
                const std::vector<float> x = test::randomFloats(m * cols, 62);
                std::vector<double> want(static_cast<std::size_t>(m * 35));
                reference::matmul(w.view, x.data(), m, cols, want.data());
                for (const Isa isa : test::availableIsas()) {
                    const IsaScope scope(isa);
                    EXPECT_LT(worstError(w, x, m, product(packed, x, m, pool), want), budget::kSum)
                        << name(f) << " " << name(isa) << " cols " << cols << " m " << m;
                }
            }
        }
    }
}

TEST(Matmul, QuantizedFormIsReusedAndRefreshed) {
    WorkerPool pool(1);
    const OwnedWeight q4 = test::randomWeight({WeightFormat::Q4_0}, 16, 256, 71);
    const OwnedWeight q6 = test::randomWeight({WeightFormat::Q6_K}, 16, 256, 72);
    const PackedWeight a = PackedWeight::pack(q4.view, pool), b = PackedWeight::pack(q6.view, pool);
    const std::vector<float> x = test::randomFloats(256, 73), other = test::randomFloats(256, 74);
    Activations shared;
    std::vector<float> y(16);
    for (const std::vector<float>* values : {&x, &other, &x}) {
        shared.assign(values->data(), 1, 256, 256);
        for (const PackedWeight* w : {&a, &b, &a}) {
            matmul(*w, shared, y.data(), 16, nullptr, false, pool);
            EXPECT_EQ(y, product(*w, *values, 1, pool));
        }
    }
}

TEST(Matmul, RefusesWhatDoesNotFit) {
    WorkerPool pool(1);
    OwnedWeight w = test::randomWeight({WeightFormat::Q4_0}, 16, 64, 81);
    w.view.cols = 48;
    EXPECT_THROW(PackedWeight::pack(w.view, pool), std::invalid_argument);
    OwnedWeight g =
        test::randomWeight({WeightFormat::Int4Group, 32, ScaleType::F16, false}, 16, 64, 81);
    g.view.groupSize = 24;
    EXPECT_THROW(PackedWeight::pack(g.view, pool), std::invalid_argument);
    w.view.cols = 64;
    const PackedWeight packed = PackedWeight::pack(w.view, pool);
    const std::vector<float> x(96);
    std::vector<float> y(16);
    Activations a;
    a.assign(x.data(), 1, 96, 96);
    EXPECT_THROW(matmul(packed, a, y.data(), 16, nullptr, false, pool), std::invalid_argument);
}

}  // namespace
}  // namespace fettle::kernels
