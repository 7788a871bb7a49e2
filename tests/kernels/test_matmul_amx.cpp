// The AMX products on emulated tiles against the AVX-512 level, bit for bit; on a processor with
// AMX also the real tiles.
#include <gtest/gtest.h>

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
        if (!c.plain() && c.format != WeightFormat::Q3_K && c.format != WeightFormat::Q6_K &&
            c.format != WeightFormat::NvFp4 && c.format != WeightFormat::Fp8Channel &&
            !isWidened(c.format))  // those stay with AVX-512
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

}  // namespace
}  // namespace fettle::kernels
