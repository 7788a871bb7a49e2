// Every code of the small floats, and every rounding decision between two of them.
#include "kernels/formats/small_float.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace fettle::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(E4m3, ValuesFollowTheDefinition) {
    for (int code = 0; code < 0x7F; ++code) {
        const int exponent = code >> 3, mantissa = code & 7;
        const double want =
            exponent ? std::ldexp(8 + mantissa, exponent - 10) : std::ldexp(mantissa, -9);
        EXPECT_EQ(e4m3ToFloat(static_cast<std::uint8_t>(code)), want) << code;
        EXPECT_EQ(e4m3ToFloat(static_cast<std::uint8_t>(code | 0x80)), -want) << code;
    }
    EXPECT_EQ(e4m3ToFloat(0x7E), 448.0F);
    EXPECT_TRUE(std::isnan(e4m3ToFloat(0x7F)));
    EXPECT_TRUE(std::isnan(e4m3ToFloat(0xFF)));
    EXPECT_TRUE(std::signbit(e4m3ToFloat(0x80)));
}

TEST(E4m3, EveryCodeSurvives) {
    for (int code = 0; code < 256; ++code) {
        const auto byte = static_cast<std::uint8_t>(code);
        EXPECT_EQ(floatToE4m3(e4m3ToFloat(byte)), byte) << code;
    }
}

TEST(E4m3, TiesGoToTheEvenCodeAndNeighboursToTheNearest) {
    for (int code = 0; code < 0x7E; ++code) {
        const float low = e4m3ToFloat(static_cast<std::uint8_t>(code)),
                    high = e4m3ToFloat(static_cast<std::uint8_t>(code + 1)),
                    middle = low + (high - low) / 2;
        EXPECT_EQ(floatToE4m3(middle), code % 2 ? code + 1 : code) << code;
        EXPECT_EQ(floatToE4m3(std::nextafter(middle, low)), code) << code;
        EXPECT_EQ(floatToE4m3(std::nextafter(middle, high)), code + 1) << code;
        EXPECT_EQ(floatToE4m3(-middle), (code % 2 ? code + 1 : code) | 0x80) << code;
    }
}

TEST(E4m3, AgreesWithASearchOfTheNearest) {
    for (int i = 0; i < 40000; ++i) {
        const float x = std::ldexp(1 + static_cast<float>(i % 997) / 997, i % 26 - 14);
        int best = 0;
        for (int code = 1; code < 0x7F; ++code) {
            const float distance = std::fabs(e4m3ToFloat(static_cast<std::uint8_t>(code)) - x);
            const float least = std::fabs(e4m3ToFloat(static_cast<std::uint8_t>(best)) - x);
            if (distance < least || (distance == least && code % 2 == 0))
                best = code;
        }
        ASSERT_EQ(floatToE4m3(x), best) << x;
    }
}

TEST(E4m3, SaturatesAndKeepsNan) {
    EXPECT_EQ(floatToE4m3(448.0F), 0x7E);
    EXPECT_EQ(floatToE4m3(464.0F), 0x7E);
    EXPECT_EQ(floatToE4m3(1000.0F), 0x7E);
    EXPECT_EQ(floatToE4m3(-kInfinity), 0xFE);
    EXPECT_EQ(floatToE4m3(kInfinity), 0x7E);
    EXPECT_EQ(floatToE4m3(std::nanf("")) & 0x7F, 0x7F);
    EXPECT_EQ(e4m3ToFloat(floatToE4m3(300.0F)), 288.0F);
    EXPECT_EQ(floatToE4m3(0x1p-10F), 0);
    EXPECT_EQ(floatToE4m3(std::nextafter(0x1p-10F, 1.0F)), 1);
    EXPECT_EQ(e4m3ToFloat(floatToE4m3(1.0625F)), 1.0F);
    EXPECT_EQ(e4m3ToFloat(floatToE4m3(1.1875F)), 1.25F);
    EXPECT_EQ(floatToE4m3(-0.0F), 0x80);
    EXPECT_EQ(floatToE4m3(1e-40F), 0);
}

TEST(E2m1, ValuesTiesAndSaturation) {
    const float values[8] = {0, 0.5F, 1, 1.5F, 2, 3, 4, 6};
    for (int code = 0; code < 16; ++code) {
        const auto byte = static_cast<std::uint8_t>(code);
        EXPECT_EQ(e2m1ToFloat(byte), code < 8 ? values[code] : -values[code - 8]);
        EXPECT_EQ(floatToE2m1(e2m1ToFloat(byte)), byte);
        EXPECT_EQ(e2m1ToFloat(static_cast<std::uint8_t>(code | 0xF0)), e2m1ToFloat(byte));
        EXPECT_EQ(static_cast<float>(kTwiceE2m1[code]), 2 * e2m1ToFloat(byte));
    }
    for (int code = 0; code < 7; ++code) {
        const float middle = (values[code] + values[code + 1]) / 2;
        const int even = code % 2 ? code + 1 : code;
        EXPECT_EQ(floatToE2m1(middle), even);
        EXPECT_EQ(floatToE2m1(-middle), even | 8);
        EXPECT_EQ(floatToE2m1(std::nextafter(middle, 0.0F)), code);
        EXPECT_EQ(floatToE2m1(std::nextafter(middle, 9.0F)), code + 1);
    }
    for (const float large : {6.0F, 7.0F, 100.0F, kInfinity}) {
        EXPECT_EQ(floatToE2m1(large), 7);
        EXPECT_EQ(floatToE2m1(-large), 15);
    }
    EXPECT_EQ(floatToE2m1(std::nanf("")) & 7, 7);
    EXPECT_EQ(floatToE2m1(-0.0F), 8);
}

TEST(E8m0, EveryCodeIsItsPowerOfTwo) {
    for (int code = 0; code < 255; ++code) {
        const auto byte = static_cast<std::uint8_t>(code);
        const float value = e8m0ToFloat(byte);
        EXPECT_EQ(value, std::ldexp(1.0F, code - 127)) << code;
        EXPECT_EQ(floorE8m0(value), byte) << code;
        if (code > 0) {
            EXPECT_EQ(floorE8m0(std::nextafter(2 * value, 0.0F)), byte) << code;
        }
    }
    EXPECT_TRUE(std::isnan(e8m0ToFloat(255)));
    EXPECT_EQ(floorE8m0(std::numeric_limits<float>::max()), 254);
}

}  // namespace
}  // namespace fettle::kernels
