// The AMX products on emulated tiles: integers against the AVX-512 level bit for bit, bfloat16 and
// float32 against plain sums; on a processor with AMX also the real tiles.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "kernels/cpu/amx/permission.h"
#include "kernels/ops/gemm.h"
#include "kernels/ops/matmul.h"
#include "kernels/reference/matmul.h"
#include "tests/kernels/emulated/amx_tiles.h"
#include "tests/kernels/kernel_data.h"
#include "tests/kernels/matmul_checks.h"
#include "tests/kernels/quant_budget.h"

namespace fettle::kernels {
namespace {

using test::FormatCase;
using test::IsaScope;

class MatmulAmx : public testing::TestWithParam<FormatCase> {
protected:
    void SetUp() override {
        if (bestIsa() < Isa::Avx512Vnni)
            GTEST_SKIP()
                << "the emulated tiles are compiled for AVX-512, which this processor lacks";
    }
};

TEST_P(MatmulAmx, EqualsAvx512BitForBit) {
    const FormatCase& c = GetParam();
    WorkerPool pool(2);
    alignas(64) static std::uint8_t scratch[kMatmulScratch];
    const long before = emulatedAmxProducts();
    struct Shape {
        std::int64_t rows, cols, m;
    };
    for (const Shape s : {Shape{16, 32, 9},
                          {17, 96, 16},
                          {40, 544, 17},
                          {33, 768, 31},
                          {64, 512, 32},
                          {50, 1280, 33},
                          {32, 2048, 48},
                          {48, 800, 391},
                          {16, 4096, 70}}) {
        if (s.cols % blockValues(c.format) != 0 || (c.groupSize != 0 && s.cols % c.groupSize != 0))
            continue;
        const test::OwnedWeight w = test::randomWeight(c, s.rows, s.cols, 71);
        const PackedWeight packed = PackedWeight::pack(w.view, pool);
        const std::vector<float> x = test::randomFloats(s.m * s.cols, 72);
        const std::vector<float> bias = test::randomFloats(s.rows, 73);
        Activations a;
        a.assign(x.data(), s.m, s.cols, s.cols);
        std::vector<float> want(static_cast<std::size_t>(s.m * s.rows), 3.0F), got = want;
        {
            const IsaScope scope(Isa::Avx512Vnni);
            matmul(packed, a, want.data(), s.rows, bias.data(), true, pool);
        }
        const Activations::Quantized& q = a.startsFor(packed.layout(), pool);
        MatmulArgs args = {};
        args.weight = reinterpret_cast<const std::uint8_t*>(packed.data());
        args.layout = &packed.layout();
        args.ints = {
            q.codes.data(),  q.codeStride, q.scales.data(), q.weightedSums.data(), q.sums.data(),
            q.starts.data(), s.m};
        args.m = s.m;
        args.y = got.data();
        args.yStride = s.rows;
        args.bias = bias.data();
        args.accumulate = true;
        ASSERT_TRUE(emulatedAmxPanels(args, 0, packed.layout().panels, scratch));
        ASSERT_EQ(emulatedAmxFault(), nullptr) << emulatedAmxFault();
        ASSERT_EQ(got, want) << s.rows << "x" << s.cols << " m=" << s.m;
    }
    EXPECT_GT(emulatedAmxProducts(), before);
}

std::vector<FormatCase> tileFormats() {
    std::vector<FormatCase> all;
    for (const FormatCase& c : test::allFormats())
        // What has scales every 32 values, of weights or activations, stays with AVX-512.
        if (c.format == WeightFormat::Int8Channel && c.rounding() != ActivationFormat::Int8Group32)
            all.push_back(c);
    return all;
}

INSTANTIATE_TEST_SUITE_P(Matmul, MatmulAmx, testing::ValuesIn(tileFormats()),
                         [](const auto& each) { return each.param.label(); });

TEST(MatmulAmxHardware, TilesMultiplyRight) {
    if (bestIsa() < Isa::Amx)
        GTEST_SKIP() << "this processor or operating system offers no AMX";
    EXPECT_TRUE(requestTiles());
    EXPECT_TRUE(amx::tilesMultiplyRight());
}

struct GemmCase {
    std::int64_t m, n, k;
    bool transposed, accumulate;
    bool rowsOfB = false;  ///< b as [k, n], else as [n, k]
};

std::vector<float> product(const GemmKernels& kernels, const GemmCase& c,
                           const std::vector<float>& a, const std::vector<float>& b,
                           std::vector<float> out) {
    const std::int64_t panels = (c.n + kernels.width - 1) / kernels.width;
    const std::int64_t stride = kernels.panelFloats(c.k);
    // What lies behind the last step of a panel must not count.
    GemmScratch scratch;
    const auto floats = static_cast<std::size_t>(panels * stride + 16 * kernels.width);
    float* const packed = scratch.room(floats);
    std::fill_n(packed, floats, std::numeric_limits<float>::quiet_NaN());
    for (std::int64_t p = 0; p < panels; ++p) {
        const GemmPack piece = {b.data() + p * kernels.width * (c.rowsOfB ? 1 : c.k),
                                c.rowsOfB ? 1 : c.k,
                                c.rowsOfB ? c.n : 1,
                                std::min(kernels.width, c.n - p * kernels.width),
                                c.k,
                                packed + p * stride};
        kernels.pack(&piece);
    }
    const GemmBlock block = {c.m,
                             c.n,
                             c.k,
                             a.data(),
                             c.transposed ? 1 : c.k,
                             c.transposed ? c.m : 1,
                             packed,
                             stride,
                             out.data(),
                             c.n + 2,
                             c.accumulate};
    kernels.block(&block);
    return out;
}

class GemmAmx : public testing::TestWithParam<GemmCase> {
protected:
    void SetUp() override {
        if (!hasBf16Products())
            GTEST_SKIP() << "the factors are packed with AVX512_BF16, which this processor lacks";
    }
    /// On emulated tiles; `hardware` are the same kernels on the processor's.
    void expectSums(const std::function<EmulatedGemm()>& emulated, const GemmKernels& hardware,
                    const std::function<double(float)>& factor, double tolerance) {
        const GemmCase& c = GetParam();
        const std::vector<float> a = test::randomFloats(c.m * c.k, 1),
                                 b = test::randomFloats(c.n * c.k, 2),
                                 start = test::randomFloats(c.m * (c.n + 2), 3);
        const EmulatedGemm before = emulated();
        const std::vector<float> got = product(before.kernels, c, a, b, start);
        const EmulatedGemm after = emulated();
        ASSERT_EQ(after.fault, nullptr) << after.fault;
        EXPECT_GT(after.products, before.products);
        double error = 0, signal = 0;
        for (std::int64_t i = 0; i < c.m; ++i)
            for (std::int64_t j = 0; j < c.n + 2; ++j) {
                const auto at = static_cast<std::size_t>(i * (c.n + 2) + j);
                double want = c.accumulate || j >= c.n ? start[at] : 0;
                for (std::int64_t k = 0; k < c.k && j < c.n; ++k)
                    want +=
                        factor(
                            a[static_cast<std::size_t>(c.transposed ? k * c.m + i : i * c.k + k)]) *
                        factor(b[static_cast<std::size_t>(c.rowsOfB ? k * c.n + j : j * c.k + k)]);
                error += std::pow(got[at] - want, 2);
                signal += want * want;
            }
        EXPECT_LT(std::sqrt(error / signal), tolerance);
        if (hasBf16Tiles()) {
            EXPECT_EQ(product(hardware, c, a, b, start), got)
                << "the processor's tiles and the emulated ones";
        }
    }
};

TEST_P(GemmAmx, TilesOfBfloat16GiveTheSumsOfRoundedFactors) {
    expectSums(
        emulatedBf16Gemm, gemmKernels(true, 32, 32),
        [](float x) {
            std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
            bits = (bits + 0x7FFFU + (bits >> 16 & 1U)) & 0xFFFF0000U;
            return static_cast<double>(std::bit_cast<float>(bits));
        },
        2e-7 * std::sqrt(static_cast<double>(GetParam().k)));
}

TEST_P(GemmAmx, TilesGiveTheSumsOfFloat32ToItsLastBits) {
    // One rounding of a float32 is 2^-24 at most; those of a chain add up like a random walk.
    expectSums(
        emulatedSplitGemm, gemmKernels(false, 32, 32),
        [](float x) { return static_cast<double>(x); },
        0x1p-24 * std::sqrt(static_cast<double>(GetParam().k + 1)));
}

TEST(GemmAmxParts, AddUpToTheNumberAndWhatIsNotFiniteStaysSo) {
    if (!hasBf16Products())
        GTEST_SKIP() << "this processor has no AVX512_BF16";
    // Times one, in a product of a single step: every bit of a number must come through.
    const GemmCase c{16, 32, 1, false, false, false};
    std::vector<float> a = test::randomFloats(c.m, 5, 3.0F), b(32, 1.0F), start(16 * 34, 0.0F);
    a[0] = 16777215.0F;
    a[1] = -1.9999999F;
    a[2] = 3.0e38F;
    a[3] = 1.0e-30F;
    a[4] = std::numeric_limits<float>::quiet_NaN();
    a[5] = std::bit_cast<float>(0x7FFFFFFFU);
    a[6] = std::numeric_limits<float>::infinity();
    a[7] = -0.0F;
    const std::vector<float> got = product(emulatedSplitGemm().kernels, c, a, b, start);
    for (std::size_t i = 0; i < 16; ++i) {
        if (std::isfinite(a[i]))
            EXPECT_EQ(got[i * 34], a[i]) << i;
        else
            EXPECT_FALSE(std::isfinite(got[i * 34])) << i;
    }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, GemmAmx,
    testing::Values(GemmCase{1, 1, 1, false, false}, GemmCase{16, 32, 32, false, true},
                    GemmCase{17, 33, 31, false, false}, GemmCase{33, 40, 65, true, true},
                    GemmCase{129, 64, 514, false, true}, GemmCase{150, 31, 1030, true, false},
                    GemmCase{30, 45, 77, false, false, true},
                    GemmCase{40, 64, 300, true, true, true}));

// Products with BF16 weights on emulated tiles: activations rounded, and kept to their last bit.
class MatmulBf16Tiles : public testing::TestWithParam<Products> {
protected:
    void SetUp() override {
        if (!hasBf16Products())
            GTEST_SKIP() << "rows are packed with AVX512_BF16, which this processor lacks";
    }
};

std::vector<float> onEmulatedTiles(const PackedWeight& packed, const std::vector<float>& x,
                                   std::int64_t m, const std::vector<float>& bias, float start) {
    const PackedLayout& l = packed.layout();
    const TileKernels kernels = emulatedTileKernels();
    const std::int64_t perRow = l.cols / 2 * l.tileParts;
    alignas(64) static std::uint8_t scratch[kMatmulScratch];
    // What lies behind the last row is read, and must not count.
    std::vector<std::uint32_t> pairs(static_cast<std::size_t>(m * perRow + kTileSlack),
                                     0x7FC07FC0U);
    for (std::int64_t i = 0; i < m; ++i) {
        const std::int64_t row = i % l.tileRows,
                           rows = std::min<std::int64_t>(l.tileRows, m - i + row);
        kernels.packRow(x.data() + i * l.cols, l.cols, l.tileParts,
                        pairs.data() + (i - row) * perRow + row * 16, rows * l.tileParts * 16,
                        rows * 16);
    }
    std::vector<float> y(static_cast<std::size_t>(m * l.rows), start);
    MatmulArgs args = {};
    args.weight = reinterpret_cast<const std::uint8_t*>(packed.data());
    args.layout = &l;
    args.pairs = pairs.data();
    args.pairStride = perRow;
    args.m = m;
    args.y = y.data();
    args.yStride = l.rows;
    args.bias = bias.data();
    args.accumulate = true;
    kernels.panels(&args, 0, l.panels, scratch);
    return y;
}

TEST_P(MatmulBf16Tiles, GiveTheSumsOfTheirFactors) {
    WorkerPool pool(2);
    struct Shape {
        std::int64_t rows, cols;
    };
    for (const Shape s : {Shape{1, 32}, {16, 64}, {17, 96}, {40, 544}, {70, 512}, {150, 160}}) {
        const test::OwnedWeight w = test::randomWeight({WeightFormat::BF16}, s.rows, s.cols, 71);
        const PackedWeight packed = PackedWeight::pack(w.view, pool, GetParam());
        for (const std::int64_t m : {1, 2, 5, 6, 8, 10, 11, 15, 16, 17, 31, 32, 33, 48, 70}) {
            const std::vector<float> x = test::randomFloats(m * s.cols, 72, 2.0F),
                                     bias = test::randomFloats(s.rows, 73);
            std::vector<float> factors = x;
            if (GetParam() == Products::BFloat16)
                for (float& value : factors)
                    value = bfloat16ToFloat(floatToBfloat16(value));
            std::vector<double> want(static_cast<std::size_t>(m * s.rows));
            reference::matmul(w.view, factors.data(), m, s.cols, want.data());
            for (std::size_t i = 0; i < want.size(); ++i)
                want[i] += 3.0 + bias[i % static_cast<std::size_t>(s.rows)];
            const std::vector<float> got = onEmulatedTiles(packed, x, m, bias, 3.0F);
            ASSERT_EQ(emulatedBf16Fault(), nullptr) << emulatedBf16Fault();
            // Half of what plain float32 sums may stray: three parts lose nothing.
            EXPECT_LT(test::worstError(w, x, m, got, want), budget::kSum / 2)
                << s.rows << "x" << s.cols << " m=" << m;
            if (hasBf16Tiles()) {
                std::vector<float> y(got.size(), 3.0F);
                Activations a;
                a.assign(x.data(), m, s.cols, s.cols);
                matmul(packed, a, y.data(), s.rows, bias.data(), true, pool);
                ASSERT_EQ(y, got) << "the processor's tiles and the emulated ones, m=" << m;
            }
        }
    }
}

TEST_P(MatmulBf16Tiles, KeepEveryBitOfAnActivationThatIsNotRounded) {
    WorkerPool pool(1);
    constexpr std::int64_t cols = 32;
    const std::vector<std::uint16_t> ones(cols, 0x3F80);
    WeightView w;
    w.format = WeightFormat::BF16;
    w.rows = 1;
    w.cols = cols;
    w.data = ones.data();
    const PackedWeight packed = PackedWeight::pack(w, pool, GetParam());
    for (const float value : {16777215.0F, -1.9999999F, 3.0e38F, 1.0e-30F, 0.1F, -0.0F}) {
        std::vector<float> x(cols, 0.0F);
        x[7] = value;
        const float want =
            GetParam() == Products::Float32 ? value : bfloat16ToFloat(floatToBfloat16(value));
        EXPECT_EQ(onEmulatedTiles(packed, x, 1, {0.0F}, 0.0F)[0], want) << value;
    }
    for (const float value :
         {std::numeric_limits<float>::quiet_NaN(), std::bit_cast<float>(0x7FFFFFFFU),
          std::numeric_limits<float>::infinity()}) {
        std::vector<float> x(cols, 1.0F);
        x[7] = value;
        EXPECT_FALSE(std::isfinite(onEmulatedTiles(packed, x, 1, {0.0F}, 0.0F)[0])) << value;
    }
}

INSTANTIATE_TEST_SUITE_P(Arithmetic, MatmulBf16Tiles,
                         testing::Values(Products::Float32, Products::BFloat16),
                         [](const auto& each) {
                             return each.param == Products::Float32 ? "ThreeParts" : "Rounded";
                         });

TEST(MatmulAmxHardware, TilesOfBfloat16MultiplyRight) {
    if (bestIsa() < Isa::Amx || !hasBf16Products())
        GTEST_SKIP() << "this processor or operating system offers no AMX";
    EXPECT_TRUE(hasBf16Tiles());
    const IsaScope scope(Isa::Avx512Vnni);
    EXPECT_FALSE(hasBf16Tiles());
}

}  // namespace
}  // namespace fettle::kernels
