// Arrays of float32 rounded to bfloat16 and back, on every level.
#include "kernels/ops/bfloat16.h"

#include <gtest/gtest.h>

#include <bit>
#include <limits>

#include "kernels/cpu/isa.h"
#include "kernels/formats/weight_format.h"
#include "tests/kernels/kernel_data.h"

namespace fettle::kernels {
namespace {

TEST(Bfloat16, RoundsAsTheFormatDoesOnEveryLevel) {
    WorkerPool pool(2);
    std::vector<float> x = test::randomFloats(40000, 5, 30.0F);
    const float some[] = {0.0F,
                          -0.0F,
                          1.00390625F,  // in the middle of two, the even one below
                          1.01171875F,  // the even one above
                          1e-40F,
                          3.4e38F,  // overflows
                          std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()};
    std::copy(std::begin(some), std::end(some), x.begin());
    const auto bitsOf = [](float v) { return std::bit_cast<std::uint32_t>(v); };
    for (const Isa isa : test::availableIsas()) {
        const test::IsaScope scope(isa);
        for (const std::size_t count :
             {std::size_t{0}, std::size_t{1}, std::size_t{9}, std::size_t{33}, x.size()}) {
            std::vector<float> out(count + 1, 7.0F), wide(count + 1, 7.0F);
            std::vector<std::uint16_t> kept(count + 1, 9);
            const auto n = static_cast<std::int64_t>(count);
            roundToBfloat16(x.data(), n, out.data(), kept.data(), pool);
            widenBfloat16(kept.data(), n, wide.data(), pool);
            for (std::size_t i = 0; i < count; ++i) {
                ASSERT_EQ(kept[i], floatToBfloat16(x[i])) << i << " " << x[i];
                ASSERT_EQ(bitsOf(out[i]), bitsOf(bfloat16ToFloat(kept[i]))) << i;
                ASSERT_EQ(bitsOf(wide[i]), bitsOf(out[i])) << i;
            }
            EXPECT_EQ(out[count], 7.0F);
            EXPECT_EQ(wide[count], 7.0F);
            EXPECT_EQ(kept[count], 9);
            std::vector<float> place(x.begin(), x.begin() + n);
            roundToBfloat16(place.data(), n, place.data(), nullptr, pool);
            for (std::size_t i = 0; i < count; ++i)
                ASSERT_EQ(bitsOf(place[i]), bitsOf(out[i])) << "in place, " << i;
        }
    }
}

}  // namespace
}  // namespace fettle::kernels
