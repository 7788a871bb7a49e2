// Products of bfloat16: against the plain twin on rounded activations, and the promises of
// matmul.h.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/ops/matmul.h"
#include "kernels/reference/matmul.h"
#include "tests/kernels/kernel_data.h"
#include "tests/kernels/quant_budget.h"

namespace fettle::kernels {
namespace {

using test::Fenced;
using test::IsaScope;
using test::OwnedWeight;

std::vector<float> product(const PackedWeight& w, const std::vector<float>& x, std::int64_t m,
                           WorkerPool& pool) {
    Activations a;
    a.assign(x.data(), m, w.cols(), w.cols());
    std::vector<float> y(static_cast<std::size_t>(m * w.rows()), -77.0F);
    matmul(w, a, y.data(), w.rows(), nullptr, false, pool);
    return y;
}

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
        std::vector<float> weights(static_cast<std::size_t>(cols));
        for (const std::int64_t m : {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 25, 64, 400}) {
            const std::vector<float> x =
                test::randomFloats(m * cols, 5 + static_cast<std::uint32_t>(m), 2.0F);
            std::vector<double> want(static_cast<std::size_t>(m * rows));
            reference::matmul(w.view, rounded(x).data(), m, cols, want.data());
            const std::vector<float> got = product(packed, x, m, pool);
            for (std::int64_t n = 0; n < rows; ++n) {
                dequantizeRow(w.view, n, weights.data());
                const double weight = test::norm(weights.data(), cols);
                for (std::int64_t i = 0; i < m; ++i) {
                    const auto at = static_cast<std::size_t>(i * rows + n);
                    const double size = weight * test::norm(x.data() + i * cols, cols) + 1e-30;
                    ASSERT_LT(std::fabs(got[at] - want[at]) / size, budget::kSum)
                        << rows << "x" << cols << " m=" << m << " " << i << "," << n;
                }
            }
        }
    }
}

TEST_F(Bfloat16Products, DependNeitherOnBatchNorOnThreads) {
    WorkerPool one(1), three(3);
    constexpr std::int64_t rows = 83, cols = 1281, m = 41;
    const OwnedWeight w = test::randomWeight({WeightFormat::BF16}, rows, cols, 21);
    const PackedWeight packed = PackedWeight::pack(w.view, three, Products::BFloat16);
    const std::vector<float> x = test::randomFloats(m * cols, 22);
    const std::vector<float> whole = product(packed, x, m, three);
    EXPECT_EQ(whole, product(packed, x, m, one));
    for (const std::int64_t part : {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13})
        for (std::int64_t i = 0; i + part <= m; i += part) {
            const std::vector<float> some(x.begin() + i * cols, x.begin() + (i + part) * cols);
            const std::vector<float> y = product(packed, some, part, three);
            ASSERT_TRUE(std::equal(y.begin(), y.end(), whole.begin() + i * rows))
                << "rows " << i << " to " << i + part;
        }
}

TEST_F(Bfloat16Products, BiasAccumulationAndStrides) {
    WorkerPool pool(2);
    constexpr std::int64_t rows = 37, cols = 250, yStride = 50, xStride = 300;
    const OwnedWeight w = test::randomWeight({WeightFormat::BF16}, rows, cols, 31);
    const PackedWeight packed = PackedWeight::pack(w.view, pool, Products::BFloat16);
    const std::vector<float> bias = test::randomFloats(rows, 32);
    for (const std::int64_t m : {1, 3, 7, 20}) {
        const std::vector<float> x = test::randomFloats(m * xStride, 33);
        Activations a;
        a.assign(x.data(), m, cols, xStride);
        std::vector<float> plain(static_cast<std::size_t>(m * yStride), 5.0F), all = plain;
        matmul(packed, a, plain.data(), yStride, nullptr, false, pool);
        matmul(packed, a, all.data(), yStride, bias.data(), true, pool);
        for (std::int64_t i = 0; i < m; ++i)
            for (std::int64_t n = 0; n < yStride; ++n) {
                const auto at = static_cast<std::size_t>(i * yStride + n);
                const float want =
                    n < rows ? 5.0F + (plain[at] + bias[static_cast<std::size_t>(n)]) : 5.0F;
                ASSERT_EQ(all[at], want) << "m=" << m << " " << i << "," << n;
            }
    }
}

TEST_F(Bfloat16Products, TouchNothingBehindWhatTheyAreGiven) {
    WorkerPool pool(1);
    for (const std::int64_t cols : {64, 75})
        for (const std::int64_t rows : {16, 37}) {
            const OwnedWeight w = test::randomWeight({WeightFormat::BF16}, rows, cols, 51);
            const PackedWeight packed = PackedWeight::pack(w.view, pool, Products::BFloat16);
            for (std::int64_t m = 1; m <= 14; ++m) {
                const std::vector<float> x = test::randomFloats(m * cols, 52);
                Fenced in(x.size()), out(static_cast<std::size_t>(m * rows));
                std::copy(x.begin(), x.end(), in.data());
                Activations a;
                a.assign(in.data(), m, cols, cols);
                matmul(packed, a, out.data(), rows, nullptr, false, pool);
                const std::vector<float> want = product(packed, x, m, pool);
                for (std::int64_t i = 0; i < m * rows; ++i)
                    ASSERT_EQ(out.data()[i], want[static_cast<std::size_t>(i)])
                        << "m=" << m << " output " << i;
            }
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
