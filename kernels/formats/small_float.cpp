#include "kernels/formats/small_float.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace fettle::kernels {

const std::int8_t kTwiceE2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

const float kNf4[16] = {-1.0F,
                        -0.6961928009986877F,
                        -0.5250730514526367F,
                        -0.39491748809814453F,
                        -0.28444138169288635F,
                        -0.18477343022823334F,
                        -0.09105003625154495F,
                        0.0F,
                        0.07958029955625534F,
                        0.16093020141124725F,
                        0.24611230194568634F,
                        0.33791524171829224F,
                        0.44070982933044434F,
                        0.5626170039176941F,
                        0.7229568362236023F,
                        1.0F};

namespace {

/// The value of a sign, exponent bits and mantissa bits without codes for infinity and NaN.
float miniToFloat(unsigned code, int exponentBits, int mantissaBits, int bias) {
    const unsigned mantissa = code & ((1u << mantissaBits) - 1);
    const int exponent = static_cast<int>(code >> mantissaBits & ((1u << exponentBits) - 1));
    const float magnitude = exponent == 0
                                ? std::ldexp(static_cast<float>(mantissa), 1 - bias - mantissaBits)
                                : std::ldexp(static_cast<float>(mantissa + (1u << mantissaBits)),
                                             exponent - bias - mantissaBits);
    return code >> (exponentBits + mantissaBits) & 1 ? -magnitude : magnitude;
}

/// The nearest code, ties to even, `largest` beyond it.
std::uint8_t floatToMini(float value, int exponentBits, int mantissaBits, int bias, float largest) {
    const unsigned sign = std::signbit(value) ? 1u << (exponentBits + mantissaBits) : 0u;
    // Not min(): NaN ends at the largest too.
    const float magnitude = std::fabs(value) < largest ? std::fabs(value) : largest;
    int exponent = 0;
    std::frexp(magnitude, &exponent);
    // Of the binade, or of the subnormals; frexp says nothing about zero.
    exponent = magnitude > 0 ? std::max(exponent - 1, 1 - bias) : 1 - bias;
    const float steps =
        std::nearbyint(std::ldexp(magnitude, mantissaBits - exponent));  // up to the next binade
    // Counting on through the binades counts through the codes.
    const auto code =
        static_cast<unsigned>(static_cast<int>(steps) + ((exponent - 1 + bias) << mantissaBits));
    return static_cast<std::uint8_t>(sign | code);
}

}  // namespace

float e5m2ToFloat(std::uint8_t code) {
    return std::bit_cast<float>(
        (static_cast<std::uint32_t>(code & 0x80u) << 24) |
        ((code & 0x7Fu) > 0x7C ? 0x7FC00000u
         : (code & 0x7Fu) == 0x7C
             ? 0x7F800000u
             : std::bit_cast<std::uint32_t>(miniToFloat(code & 0x7Fu, 5, 2, 15))));
}

std::uint8_t floatToE5m2(float value) {
    if (std::isnan(value))
        return static_cast<std::uint8_t>(std::signbit(value) ? 0xFF : 0x7F);
    return floatToMini(value, 5, 2, 15, kLargestE5m2);
}

float e2m3ToFloat(std::uint8_t code) {
    return miniToFloat(code & 0x3Fu, 2, 3, 1);
}

std::uint8_t floatToE2m3(float value) {
    return floatToMini(value, 2, 3, 1, kLargestE2m3);
}

float e3m2ToFloat(std::uint8_t code) {
    return miniToFloat(code & 0x3Fu, 3, 2, 3);
}

std::uint8_t floatToE3m2(float value) {
    return floatToMini(value, 3, 2, 3, kLargestE3m2);
}

std::uint8_t floatToNf4(float value) {
    std::uint8_t code = 0;
    while (code < 15 && !(value <= (kNf4[code] + kNf4[code + 1]) / 2))
        ++code;
    return code;
}

float e4m3ToFloat(std::uint8_t code) {
    const std::uint32_t sign = static_cast<std::uint32_t>(code & 0x80u) << 24;
    const std::uint32_t magnitude = code & 0x7Fu;
    if (magnitude == 0x7F)
        return std::bit_cast<float>(sign | 0x7FC00000u);
    if (magnitude < 8)  // zero and subnormals
        return std::bit_cast<float>(
            sign | std::bit_cast<std::uint32_t>(static_cast<float>(magnitude) * kSmallestE4m3));
    return std::bit_cast<float>(sign | ((magnitude << 20) + (120u << 23)));
}

std::uint8_t floatToE4m3(float value) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = bits >> 24 & 0x80u, magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u)
        return static_cast<std::uint8_t>(sign | 0x7Fu);
    if (magnitude < 0x3C800000u) {
        // Below 2^-6: adding 2^14 leaves the result, in units of 2^-9, at the end of the mantissa.
        const float shifted = std::bit_cast<float>(magnitude) + 16384.0F;
        return static_cast<std::uint8_t>(sign |
                                         (std::bit_cast<std::uint32_t>(shifted) - 0x46800000u));
    }
    const std::uint32_t rounded = magnitude + 0x7FFFFu + (magnitude >> 20 & 1u);
    const std::uint32_t code = (rounded >> 20) - (120u << 3);
    return static_cast<std::uint8_t>(sign | std::min(code, 0x7Eu));
}

float e2m1ToFloat(std::uint8_t code) {
    const float magnitude = 0.5F * static_cast<float>(kTwiceE2m1[code & 7]);
    return code & 8 ? -magnitude : magnitude;  // 8 is minus zero
}

std::uint8_t floatToE2m1(float value) {
    const float magnitude = std::fabs(value);
    // Halfway to the next value belongs to the even code; NaN passes every test and ends at 6.
    constexpr float kUpTo[7] = {0.25F, 0.75F, 1.25F, 1.75F, 2.5F, 3.5F, 5.0F};
    std::uint8_t code = 0;
    while (code < 7 && !(magnitude < kUpTo[code] || (magnitude == kUpTo[code] && code % 2 == 0)))
        ++code;
    return static_cast<std::uint8_t>(code | (std::signbit(value) ? 8 : 0));
}

float e8m0ToFloat(std::uint8_t code) {
    if (code == 0xFF)
        return std::bit_cast<float>(0x7FC00000u);
    return std::bit_cast<float>(code == 0 ? 0x00400000u : static_cast<std::uint32_t>(code) << 23);
}

std::uint8_t floorE8m0(float value) {
    const std::uint32_t exponent = std::bit_cast<std::uint32_t>(value) >> 23 & 0xFFu;
    return static_cast<std::uint8_t>(std::min(exponent, 254u));
}

}  // namespace fettle::kernels
