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

struct Mini {
    const char* name;
    int exponentBits, mantissaBits, bias, codes;  // codes: finite ones above and with zero
    float (*decode)(std::uint8_t);
    std::uint8_t (*encode)(float);
};
const Mini kMinis[] = {{"E5M2", 5, 2, 15, 0x7C, e5m2ToFloat, floatToE5m2},
                       {"E2M3", 2, 3, 1, 0x20, e2m3ToFloat, floatToE2m3},
                       {"E3M2", 3, 2, 3, 0x20, e3m2ToFloat, floatToE3m2}};

TEST(MiniFloats, EveryCodeFollowsTheDefinitionAndSurvives) {
    for (const Mini& m : kMinis) {
        const int sign = 1 << (m.exponentBits + m.mantissaBits);
        for (int code = 0; code < m.codes; ++code) {
            const int exponent = code >> m.mantissaBits,
                      mantissa = code & ((1 << m.mantissaBits) - 1);
            const double want = exponent ? std::ldexp((1 << m.mantissaBits) + mantissa,
                                                      exponent - m.bias - m.mantissaBits)
                                         : std::ldexp(mantissa, 1 - m.bias - m.mantissaBits);
            const auto plus = static_cast<std::uint8_t>(code),
                       minus = static_cast<std::uint8_t>(code | sign);
            EXPECT_EQ(m.decode(plus), want) << m.name << " " << code;
            EXPECT_EQ(m.decode(minus), -want) << m.name << " " << code;
            EXPECT_EQ(m.encode(m.decode(plus)), plus) << m.name;
            EXPECT_EQ(m.encode(m.decode(minus)), minus) << m.name;
        }
    }
    EXPECT_EQ(e2m3ToFloat(0x1F), kLargestE2m3);
    EXPECT_EQ(e3m2ToFloat(0x1F), kLargestE3m2);
    EXPECT_EQ(e5m2ToFloat(0x7B), kLargestE5m2);
    EXPECT_EQ(e5m2ToFloat(0x7C), kInfinity);
    EXPECT_EQ(e5m2ToFloat(0xFC), -kInfinity);
    for (const int nan : {0x7D, 0x7E, 0x7F, 0xFF})
        EXPECT_TRUE(std::isnan(e5m2ToFloat(static_cast<std::uint8_t>(nan))));
}

TEST(MiniFloats, TiesGoToTheEvenCodeAndNeighboursToTheNearest) {
    for (const Mini& m : kMinis)
        for (int code = 0; code + 1 < m.codes; ++code) {
            const float low = m.decode(static_cast<std::uint8_t>(code)),
                        high = m.decode(static_cast<std::uint8_t>(code + 1)),
                        middle = low + (high - low) / 2;
            EXPECT_EQ(m.encode(middle), code % 2 ? code + 1 : code) << m.name << " " << code;
            EXPECT_EQ(m.encode(std::nextafter(middle, low)), code) << m.name << " " << code;
            EXPECT_EQ(m.encode(std::nextafter(middle, high)), code + 1) << m.name << " " << code;
        }
}

TEST(MiniFloats, SaturateAndSayWhatIsNoNumber) {
    for (const float large : {1e6F, kInfinity}) {
        EXPECT_EQ(floatToE2m3(large), 0x1F);
        EXPECT_EQ(floatToE2m3(-large), 0x3F);
        EXPECT_EQ(floatToE3m2(large), 0x1F);
        EXPECT_EQ(floatToE5m2(large), 0x7B);
        EXPECT_EQ(floatToE5m2(-large), 0xFB);
    }
    EXPECT_EQ(floatToE2m3(std::nanf("")) & 0x1F, 0x1F);
    EXPECT_EQ(floatToE5m2(std::nanf("")) & 0x7F, 0x7F);
    EXPECT_EQ(floatToE2m3(1e-40F), 0);
}

TEST(Nf4, EveryCodeSurvivesAndNeighboursGoToTheNearest) {
    EXPECT_EQ(kNf4[7], 0.0F);
    for (int code = 0; code < 16; ++code) {
        EXPECT_EQ(floatToNf4(kNf4[code]), code);
        if (code == 15)
            continue;
        EXPECT_LT(kNf4[code], kNf4[code + 1]);
        const float middle = (kNf4[code] + kNf4[code + 1]) / 2;
        EXPECT_EQ(floatToNf4(std::nextafter(middle, -2.0F)), code);
        EXPECT_EQ(floatToNf4(std::nextafter(middle, 2.0F)), code + 1);
    }
    EXPECT_EQ(floatToNf4(-5), 0);
    EXPECT_EQ(floatToNf4(5), 15);
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
