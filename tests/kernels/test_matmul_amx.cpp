// The AMX products on emulated tiles: integers against the AVX-512 level bit for bit, bfloat16
// against plain sums; on a processor with AMX also the real tiles.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "kernels/cpu/amx/permission.h"
#include "kernels/ops/matmul.h"
#include "tests/kernels/emulated/amx_tiles.h"
#include "tests/kernels/kernel_data.h"

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

struct Bf16Case {
    std::int64_t m, n, k;
    bool transposed, accumulate;
};

std::vector<float> bf16Product(const GemmKernels& kernels, const Bf16Case& c,
                               const std::vector<float>& a, const std::vector<float>& b,
                               std::vector<float> out) {
    const std::int64_t panels = (c.n + kernels.width - 1) / kernels.width;
    const std::int64_t stride = (c.k + 1) / 2 * kernels.width;
    // What lies behind the last step of a panel must not count.
    std::vector<float> packed(static_cast<std::size_t>(panels * stride + 16 * kernels.width),
                              std::numeric_limits<float>::quiet_NaN());
    for (std::int64_t p = 0; p < panels; ++p) {
        const GemmPack piece = {b.data() + p * kernels.width * c.k,
                                c.k,
                                1,
                                std::min(kernels.width, c.n - p * kernels.width),
                                c.k,
                                packed.data() + p * stride};
        kernels.pack(&piece);
    }
    const GemmBlock block = {c.m,
                             c.n,
                             c.k,
                             a.data(),
                             c.transposed ? 1 : c.k,
                             c.transposed ? c.m : 1,
                             packed.data(),
                             stride,
                             out.data(),
                             c.n + 2,
                             c.accumulate};
    kernels.block(&block);
    return out;
}

class GemmAmx : public testing::TestWithParam<Bf16Case> {};

TEST_P(GemmAmx, TilesOfBfloat16GiveTheSumsOfRoundedFactors) {
    if (!hasBf16Products())
        GTEST_SKIP() << "the factors are packed with AVX512_BF16, which this processor lacks";
    const Bf16Case& c = GetParam();
    const std::vector<float> a = test::randomFloats(c.m * c.k, 1),
                             b = test::randomFloats(c.n * c.k, 2),
                             start = test::randomFloats(c.m * (c.n + 2), 3);
    const EmulatedGemm before = emulatedBf16Gemm();
    const std::vector<float> got = bf16Product(before.kernels, c, a, b, start);
    const EmulatedGemm after = emulatedBf16Gemm();
    ASSERT_EQ(after.fault, nullptr) << after.fault;
    EXPECT_GT(after.products, before.products);
    const auto rounded = [](float x) {
        std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
        bits = (bits + 0x7FFFU + (bits >> 16 & 1U)) & 0xFFFF0000U;
        return static_cast<double>(std::bit_cast<float>(bits));
    };
    for (std::int64_t i = 0; i < c.m; ++i)
        for (std::int64_t j = 0; j < c.n + 2; ++j) {
            const auto at = static_cast<std::size_t>(i * (c.n + 2) + j);
            double want = c.accumulate || j >= c.n ? start[at] : 0;
            for (std::int64_t k = 0; k < c.k && j < c.n; ++k)
                want +=
                    rounded(a[static_cast<std::size_t>(c.transposed ? k * c.m + i : i * c.k + k)]) *
                    rounded(b[static_cast<std::size_t>(j * c.k + k)]);
            ASSERT_NEAR(got[at], want, 1e-5 * std::sqrt(static_cast<double>(c.k)) + 1e-6)
                << i << ", " << j;
        }
    if (!hasBf16Tiles())
        return;
    EXPECT_EQ(bf16Product(gemmKernels(true), c, a, b, start), got)
        << "the processor's tiles and the emulated ones";
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, GemmAmx,
    testing::Values(Bf16Case{1, 1, 1, false, false}, Bf16Case{16, 32, 32, false, true},
                    Bf16Case{17, 33, 31, false, false}, Bf16Case{33, 40, 65, true, true},
                    Bf16Case{129, 64, 514, false, true}, Bf16Case{150, 31, 1030, true, false}));

TEST(MatmulAmxHardware, TilesOfBfloat16MultiplyRight) {
    if (bestIsa() < Isa::Amx || !hasBf16Products())
        GTEST_SKIP() << "this processor or operating system offers no AMX";
    EXPECT_TRUE(hasBf16Tiles());
    const IsaScope scope(Isa::Avx512Vnni);
    EXPECT_FALSE(hasBf16Tiles());
}

}  // namespace
}  // namespace fettle::kernels
