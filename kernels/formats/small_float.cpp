#include "kernels/formats/small_float.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace fettle::kernels {

const std::int8_t kTwiceE2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

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
