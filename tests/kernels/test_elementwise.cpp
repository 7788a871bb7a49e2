#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "kernels/ops/elementwise.h"
#include "kernels/reference/elementwise.h"
#include "tests/kernels/kernel_data.h"
#include "tests/kernels/quant_budget.h"

namespace fettle::kernels {
namespace {

using test::IsaScope;

const std::vector<std::int64_t> kCounts = {1, 3, 15, 16, 17, 64, 255, 640, 2049};

void expectClose(const std::vector<float>& got, const std::vector<float>& want, double budget,
                 const std::string& what) {
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t i = 0; i < got.size(); ++i)
        ASSERT_NEAR(got[i], want[i],
                    budget * std::max(1.0, std::fabs(static_cast<double>(want[i]))))
            << what << " at " << i;
}

/// Runs an in-place op on x and its twin on a copy, at every level.
void comparePointwise(const std::function<void(std::vector<float>&)>& fast,
                      const std::function<void(std::vector<float>&)>& plain, float spread,
                      const std::string& what) {
    for (const std::int64_t count : kCounts) {
        const std::vector<float> x = test::randomFloats(count, 7, spread);
        std::vector<float> want = x;
        plain(want);
        for (const Isa isa : test::availableIsas()) {
            const IsaScope scope(isa);
            std::vector<float> got = x;
            fast(got);
            expectClose(got, want, budget::kElementwise,
                        what + " " + name(isa) + " " + std::to_string(count));
        }
    }
}

std::int64_t sizeOf(const std::vector<float>& x) {
    return static_cast<std::int64_t>(x.size());
}

TEST(Elementwise, Activations) {
    for (const float spread : {0.01F, 1.0F, 30.0F}) {
        const auto up = [](const std::vector<float>& x) {
            return test::randomFloats(sizeOf(x), 8);
        };
        comparePointwise([&](auto& x) { siluMul(x.data(), up(x).data(), sizeOf(x)); },
                         [&](auto& x) { reference::siluMul(x.data(), up(x).data(), sizeOf(x)); },
                         spread, "silu");
        comparePointwise(
            [&](auto& x) { geluTanhMul(x.data(), up(x).data(), sizeOf(x)); },
            [&](auto& x) { reference::geluTanhMul(x.data(), up(x).data(), sizeOf(x)); }, spread,
            "geluMul");
        comparePointwise([](auto& x) { geluTanh(x.data(), sizeOf(x)); },
                         [](auto& x) { reference::geluTanh(x.data(), sizeOf(x)); }, spread, "gelu");
        comparePointwise([](auto& x) { softcap(x.data(), 30.0F, sizeOf(x)); },
                         [](auto& x) { reference::softcap(x.data(), 30.0F, sizeOf(x)); },
                         10 * spread, "softcap");
        comparePointwise([&](auto& x) { add(x.data(), up(x).data(), sizeOf(x)); },
                         [&](auto& x) { reference::add(x.data(), up(x).data(), sizeOf(x)); },
                         spread, "add");
        comparePointwise([](auto& x) { scale(x.data(), 0.37F, sizeOf(x)); },
                         [](auto& x) { reference::scale(x.data(), 0.37F, sizeOf(x)); }, spread,
                         "scale");
    }
}

TEST(Elementwise, ExtremesStayFiniteWhereTheyShould) {
    for (const Isa isa : test::availableIsas()) {
        const IsaScope scope(isa);
        std::vector<float> x = {-1e30F, -200.0F, -88.0F, 0.0F, 88.0F, 200.0F, 1e30F}, gelu = x,
                           capped = x;
        const std::vector<float> ones(x.size(), 1.0F);
        siluMul(x.data(), ones.data(), sizeOf(x));
        geluTanh(gelu.data(), sizeOf(gelu));
        softcap(capped.data(), 50.0F, sizeOf(capped));
        for (std::size_t i = 0; i < x.size(); ++i) {
            const float in = i < 3 ? 0.0F : std::vector<float>{0.0F, 88.0F, 200.0F, 1e30F}[i - 3];
            EXPECT_NEAR(x[i] / std::max(1.0F, in), in / std::max(1.0F, in), 1e-6) << name(isa) << i;
            EXPECT_NEAR(gelu[i] / std::max(1.0F, in), in / std::max(1.0F, in), 1e-6)
                << name(isa) << i;
            EXPECT_LE(std::fabs(capped[i]), 50.0F);
        }
        std::vector<float> nan(17, NAN);
        geluTanh(nan.data(), 17);
        EXPECT_TRUE(std::isnan(nan[0]) && std::isnan(nan[16]));
    }
}

TEST(Elementwise, Norms) {
    for (const std::int64_t cols : kCounts) {
        constexpr std::int64_t rows = 3;
        const std::int64_t xStride = cols + 5, yStride = cols + 2;
        std::vector<float> x = test::randomFloats(rows * xStride, 3, 4.0F);
        const std::vector<float> w = test::randomFloats(cols, 4), b = test::randomFloats(cols, 5);
        for (float& v : x)
            v += 2;
        for (const Isa isa : test::availableIsas()) {
            const IsaScope scope(isa);
            for (const float* bias : {b.data(), static_cast<const float*>(nullptr)}) {
                std::vector<float> got(static_cast<std::size_t>(rows * yStride), 9.0F), want = got;
                layerNorm(x.data(), xStride, w.data(), bias, 1e-5F, rows, cols, got.data(),
                          yStride);
                reference::layerNorm(x.data(), xStride, w.data(), bias, 1e-5F, rows, cols,
                                     want.data(), yStride);
                // With one column the variance is 0 and the result is the rounding error over
                // sqrt(eps).
                expectClose(got, want, cols == 1 ? 1e-3 : 4e-6,
                            std::string("layerNorm ") + name(isa));
            }
            for (const float offset : {0.0F, 1.0F}) {
                std::vector<float> got(static_cast<std::size_t>(rows * yStride), 9.0F), want = got;
                rmsNorm(x.data(), xStride, w.data(), offset, 1e-6F, rows, cols, got.data(),
                        yStride);
                reference::rmsNorm(x.data(), xStride, w.data(), offset, 1e-6F, rows, cols,
                                   want.data(), yStride);
                expectClose(got, want, 2e-6, std::string("rmsNorm ") + name(isa));
            }
            std::vector<float> inPlace = x, apart(x.size());
            rmsNorm(inPlace.data(), xStride, w.data(), 0, 1e-6F, rows, cols, inPlace.data(),
                    xStride);
            rmsNorm(x.data(), xStride, w.data(), 0, 1e-6F, rows, cols, apart.data(), xStride);
            for (std::int64_t r = 0; r < rows; ++r)
                for (std::int64_t c = 0; c < cols; ++c)
                    EXPECT_EQ(inPlace[static_cast<std::size_t>(r * xStride + c)],
                              apart[static_cast<std::size_t>(r * xStride + c)]);
        }
    }
}

TEST(Elementwise, NormOfZerosIsZero) {
    for (const Isa isa : test::availableIsas()) {
        const IsaScope scope(isa);
        const std::vector<float> x(100, 0.0F), w(100, 2.0F);
        std::vector<float> y(100, 1.0F);
        rmsNorm(x.data(), 100, w.data(), 1, 1e-6F, 1, 100, y.data(), 100);
        EXPECT_EQ(y, x) << name(isa);
    }
}

TEST(Elementwise, Rope) {
    for (const std::int64_t headDim : {2, 6, 32, 64, 80, 128, 256}) {
        std::vector<float> cosSin(static_cast<std::size_t>(headDim));
        for (std::int64_t i = 0; i < headDim / 2; ++i) {
            const double angle = 37 * std::pow(10000.0, -2.0 * static_cast<double>(i) /
                                                            static_cast<double>(headDim));
            cosSin[static_cast<std::size_t>(i)] = static_cast<float>(std::cos(angle));
            cosSin[static_cast<std::size_t>(headDim / 2 + i)] = static_cast<float>(std::sin(angle));
        }
        std::vector<float> want = test::randomFloats(3 * headDim, 6);
        const std::vector<float> x = want;
        reference::rope(want.data(), 3, headDim, cosSin.data());
        for (const Isa isa : test::availableIsas()) {
            const IsaScope scope(isa);
            std::vector<float> got = x;
            rope(got.data(), 3, headDim, cosSin.data());
            expectClose(got, want, budget::kElementwise, name(isa));
        }
    }
    float x = 0;
    EXPECT_THROW(rope(&x, 1, 1, &x), std::invalid_argument);
}

TEST(Elementwise, LogitSummary) {
    for (const std::int64_t count : {1, 5, 16, 63, 64, 1000, 1024, 1025, 32000, 262144}) {
        std::vector<float> x = test::randomFloats(count, 17, 5.0F);
        const RowSummary want = reference::summarizeLogits(x.data(), count);
        for (const Isa isa : test::availableIsas()) {
            const IsaScope scope(isa);
            const RowSummary got = summarizeLogits(x.data(), count);
            EXPECT_EQ(got.argmax, want.argmax) << name(isa) << count;
            EXPECT_EQ(argmax(x.data(), count), want.argmax) << name(isa) << count;
            EXPECT_NEAR(got.logSumExp, want.logSumExp, 2e-6) << name(isa) << count;
        }
        // Ties go to the lowest index; shifting by a large number must not overflow.
        std::fill(x.begin(), x.end(), 3000.0F);
        for (const Isa isa : test::availableIsas()) {
            const IsaScope scope(isa);
            const RowSummary got = summarizeLogits(x.data(), count);
            EXPECT_EQ(got.argmax, 0);
            EXPECT_EQ(argmax(x.data(), count), 0);
            EXPECT_NEAR(got.logSumExp, 3000 + std::log(static_cast<double>(count)), 3e-4);
        }
    }
    EXPECT_THROW(summarizeLogits(nullptr, 0), std::invalid_argument);
    EXPECT_THROW(argmax(nullptr, 0), std::invalid_argument);
}

TEST(Elementwise, KlDivergence) {
    for (const std::int64_t count : {2, 17, 1000, 40000}) {
        const std::vector<float> p = test::randomFloats(count, 18, 4.0F);
        const std::vector<float> noise = test::randomFloats(count, 19, 0.05F);
        std::vector<float> q = p;
        for (std::size_t i = 0; i < q.size(); ++i)
            q[i] += noise[i];
        const float pSum = reference::summarizeLogits(p.data(), count).logSumExp;
        const float qSum = reference::summarizeLogits(q.data(), count).logSumExp;
        const double want = reference::klDivergence(p.data(), pSum, q.data(), qSum, count);
        for (const Isa isa : test::availableIsas()) {
            const IsaScope scope(isa);
            EXPECT_NEAR(klDivergence(p.data(), pSum, q.data(), qSum, count), want,
                        1e-4 * want + 1e-8)
                << name(isa);
            EXPECT_NEAR(klDivergence(p.data(), pSum, p.data(), pSum, count), 0, 1e-9) << name(isa);
        }
    }
    // A logit of -infinity has probability 0 and adds nothing.
    const float inf = std::numeric_limits<float>::infinity();
    const std::vector<float> p = {1.0F, -inf, 2.0F}, q = {1.0F, 5.0F, 2.0F};
    for (const Isa isa : test::availableIsas()) {
        const IsaScope scope(isa);
        EXPECT_TRUE(std::isfinite(klDivergence(p.data(), 2.3F, q.data(), 5.1F, 3))) << name(isa);
    }
}

}  // namespace
}  // namespace fettle::kernels
