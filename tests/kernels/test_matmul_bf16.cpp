// Products of bfloat16: against the plain twin on rounded activations, and the promises of
// matmul.h.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/ops/matmul.h"
#include "kernels/reference/matmul.h"
#include "tests/kernels/kernel_data.h"
#include "tests/kernels/matmul_checks.h"
#include "tests/kernels/quant_budget.h"

namespace fettle::kernels {
namespace {

using test::IsaScope;
using test::OwnedWeight;
using test::product;
using test::worstError;

std::vector<float> rounded(std::vector<float> x) {
    for (float& value : x)
        value = bfloat16ToFloat(floatToBfloat16(value));
    return x;
}

class Bfloat16Products : public ::testing::Test {
protected:
    void SetUp() override {
        if (!hasBf16Products())
            GTEST_SKIP() << "this processor has no products of bfloat16";
    }
};

TEST_F(Bfloat16Products, AgreeWithReference) {
    WorkerPool pool(2);
    for (const auto& [rows, cols] : std::vector<std::pair<std::int64_t, std::int64_t>>{
             {1, 1}, {3, 2}, {17, 31}, {255, 64}, {33, 97}, {49, 2048}, {130, 1281}}) {
        const OwnedWeight w = test::randomWeight({WeightFormat::BF16}, rows, cols, 11);
        const PackedWeight packed = PackedWeight::pack(w.view, pool, Products::BFloat16);
        EXPECT_TRUE(packed.native());
        for (const std::int64_t m : {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 25, 64, 400}) {
            const std::vector<float> x =
                test::randomFloats(m * cols, 5 + static_cast<std::uint32_t>(m), 2.0F);
            std::vector<double> want(static_cast<std::size_t>(m * rows));
            reference::matmul(w.view, rounded(x).data(), m, cols, want.data());
            EXPECT_LT(worstError(w, x, m, product(packed, x, m, pool), want), budget::kSum)
                << rows << "x" << cols << " m=" << m;
        }
    }
}

TEST_F(Bfloat16Products, DependNeitherOnBatchNorOnThreads) {
    WorkerPool pool(3);
    const OwnedWeight w = test::randomWeight({WeightFormat::BF16}, 83, 1281, 21);
    test::expectIndependentRows(PackedWeight::pack(w.view, pool, Products::BFloat16));
}

TEST_F(Bfloat16Products, BiasAccumulationAndStrides) {
    WorkerPool pool(2);
    const OwnedWeight w = test::randomWeight({WeightFormat::BF16}, 37, 250, 31);
    const PackedWeight packed = PackedWeight::pack(w.view, pool, Products::BFloat16);
    for (const std::int64_t m : {1, 3, 7, 20})
        test::expectBiasAccumulationAndStrides(packed, m);
}

TEST_F(Bfloat16Products, ArgmaxIsThatOfTheProduct) {
    WorkerPool pool(2);
    const OwnedWeight w = test::randomWeight({WeightFormat::BF16}, 1237, 250, 41);
    const PackedWeight packed = PackedWeight::pack(w.view, pool, Products::BFloat16);
    for (const std::int64_t m : {1, 8, 20})
        test::expectArgmaxOfTheProduct(packed, m, 0);
}

TEST_F(Bfloat16Products, TouchNothingBehindWhatTheyAreGiven) {
    WorkerPool pool(1);
    for (const std::int64_t cols : {64, 75})
        for (const std::int64_t rows : {16, 37}) {
            const OwnedWeight w = test::randomWeight({WeightFormat::BF16}, rows, cols, 51);
            const PackedWeight packed = PackedWeight::pack(w.view, pool, Products::BFloat16);
            for (std::int64_t m = 1; m <= 14; ++m)
                test::expectNothingBehindIsTouched(packed, m);
        }
}

TEST_F(Bfloat16Products, NotANumberStaysOne) {
    WorkerPool pool(1);
    const OwnedWeight w = test::randomWeight({WeightFormat::BF16}, 20, 64, 41);
    const PackedWeight packed = PackedWeight::pack(w.view, pool, Products::BFloat16);
    std::vector<float> x = test::randomFloats(3 * 64, 42);
    x[70] = NAN;
    const std::vector<float> y = product(packed, x, 3, pool);
    for (std::size_t n = 0; n < 20; ++n) {
        EXPECT_FALSE(std::isnan(y[n]));
        EXPECT_TRUE(std::isnan(y[20 + n]));
        EXPECT_FALSE(std::isnan(y[40 + n]));
    }
}

TEST_F(Bfloat16Products, LeaveOtherWeightsAlone) {
    WorkerPool pool(2);
    const std::vector<float> x = test::randomFloats(3 * 256, 52);
    for (const WeightFormat format : {WeightFormat::F32, WeightFormat::F16, WeightFormat::Q8_0,
                                      WeightFormat::Q4_K, WeightFormat::Int8Channel}) {
        const OwnedWeight w = test::randomWeight({format}, 40, 256, 51);
        EXPECT_EQ(product(PackedWeight::pack(w.view, pool, Products::BFloat16), x, 3, pool),
                  product(PackedWeight::pack(w.view, pool), x, 3, pool))
            << name(format);
    }
}

TEST(Bfloat16ProductsElsewhere, AreRefused) {
    WorkerPool pool(1);
    const OwnedWeight w = test::randomWeight({WeightFormat::BF16}, 4, 32, 61);
    const IsaScope scope(Isa::Baseline);
    EXPECT_THROW(PackedWeight::pack(w.view, pool, Products::BFloat16), std::invalid_argument);
}

}  // namespace
}  // namespace fettle::kernels
