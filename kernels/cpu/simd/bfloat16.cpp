// Rounding to bfloat16 and back. Plain loops: every level's compiler makes vectors of them.
#include "kernels/cpu/simd/train_tables.h"

namespace fettle::kernels::FETTLE_SIMD {
namespace {

/// What floatToBfloat16 (weight_format.h) makes of a number, in the upper half.
inline std::uint32_t rounded(float value) {
    std::uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return bits + 0x7FFFU + (bits >> 16 & 1U);
}
inline float asFloat(std::uint32_t bits) {
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

}  // namespace

void roundToBfloat16(const float* x, std::int64_t count, float* out, std::uint16_t* kept) {
    // out may be x; no element meets another one.
    if (kept) {
#pragma GCC ivdep
        for (std::int64_t i = 0; i < count; ++i) {
            const std::uint32_t bits = rounded(x[i]);
            out[i] = asFloat(bits & 0xFFFF0000U);
            kept[i] = static_cast<std::uint16_t>(bits >> 16);
        }
        return;
    }
#pragma GCC ivdep
    for (std::int64_t i = 0; i < count; ++i)
        out[i] = asFloat(rounded(x[i]) & 0xFFFF0000U);
}

void widenBfloat16(const std::uint16_t* x, std::int64_t count, float* out) {
#pragma GCC ivdep
    for (std::int64_t i = 0; i < count; ++i)
        out[i] = asFloat(static_cast<std::uint32_t>(x[i]) << 16);
}

}  // namespace fettle::kernels::FETTLE_SIMD
