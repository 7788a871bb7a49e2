// Arrays of finite floats rounded to bfloat16, in forms that compilers turn into vectors.
#pragma once

#include <bit>
#include <cstdint>

namespace fettle {

/// As kernels::floatToBfloat16 rounds a finite number: to nearest, ties to even.
inline std::uint32_t bfloat16Bits(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    return bits + 0x7FFFU + (bits >> 16 & 1U);
}

/// out may be x itself.
inline void roundToBfloat16(const float* x, std::int64_t count, float* out) {
    for (std::int64_t i = 0; i < count; ++i)
        out[i] = std::bit_cast<float>(bfloat16Bits(x[i]) & 0xFFFF0000U);
}

/// Of numbers that bfloat16 has: nothing is lost.
inline void packBfloat16(const float* x, std::int64_t count, std::uint16_t* out) {
    for (std::int64_t i = 0; i < count; ++i)
        out[i] = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x[i]) >> 16);
}

inline void unpackBfloat16(const std::uint16_t* x, std::int64_t count, float* out) {
    for (std::int64_t i = 0; i < count; ++i)
        out[i] = std::bit_cast<float>(static_cast<std::uint32_t>(x[i]) << 16);
}

}  // namespace fettle
