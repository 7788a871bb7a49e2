// Activations to int8: scale = amax / 127, code = x * (127 / amax) rounded to even, within [-127, 127].
#include "kernels/cpu/simd/tables.h"

namespace fettle::kernels::FETTLE_SIMD {
namespace {

/// Largest magnitude, as its bits: they order like the values, and the maximum of integers vectorizes.
FETTLE_INLINE float largest(const float* x, std::int64_t count) {
    std::uint32_t bits = 0;
    for (std::int64_t i = 0; i < count; ++i) {
        std::uint32_t b;
        __builtin_memcpy(&b, x + i, 4);
        b &= 0x7FFFFFFFu;
        bits = b > bits ? b : bits;
    }
    float amax;
    __builtin_memcpy(&amax, &bits, 4);
    return amax;
}

FETTLE_INLINE std::int32_t roundCodes(const float* x, std::int64_t count, float inverse, std::int8_t* codes) {
    std::int32_t sum = 0;
    for (std::int64_t i = 0; i < count; ++i) {
        // Adding 1.5 * 2^23 leaves the integer nearest to x, ties to even, in the low bits of the mantissa.
        const float shifted = x[i] * inverse + 12582912.0F;
        std::int32_t bits;
        __builtin_memcpy(&bits, &shifted, 4);
        const std::int32_t code = bits - 0x4B400000;
        codes[i] = static_cast<std::int8_t>(code);
        sum += code;
    }
    return sum;
}

}  // namespace

void quantizeRow(const float* x, std::int64_t count, std::int64_t group, std::int8_t* codes, float* scales,
                 std::int32_t* sums, float* weightedSums, std::int32_t* halfSums) {
    const bool small = group == 32;
    for (std::int64_t g = 0, k = 0; k < count; ++g, k += group) {
        const float amax = small ? largest(x + k, 32) : largest(x + k, group);
        const bool flat = amax < 0x1p-100F;  // 127 / amax would overflow; such values are as good as zero
        const float inverse = flat ? 0.0F : 127.0F / amax;
        scales[g] = flat ? 0.0F : amax / 127.0F;
        if (small) {
            halfSums[2 * g] = roundCodes(x + k, 16, inverse, codes + k);
            halfSums[2 * g + 1] = roundCodes(x + k + 16, 16, inverse, codes + k + 16);
            sums[g] = halfSums[2 * g] + halfSums[2 * g + 1];
        } else {
            sums[g] = roundCodes(x + k, group, inverse, codes + k);
        }
        weightedSums[g] = scales[g] * static_cast<float>(sums[g]);
    }
}

}  // namespace fettle::kernels::FETTLE_SIMD
