// Small floats in device code, and the scales that activations get before they are rounded to them:
// kernels/formats/small_float.h and activation_format.h.
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/formats/activation_format.h"

namespace fettle::kernels::cuda {

constexpr float kFlat = 0x1p-100F;  // 127 / amax would overflow; such values count as zero
constexpr float kLargestFp8 = 448.0F, kSmallestFp8 = 0x1p-9F, kLargestFp4 = 6.0F;

/// E4M3 (three bits of mantissa, exponents from -6) and E2M1 (one bit, from 0): rounding to even
/// within a binade, whose step is constant.
template <int Mantissa, int LowestExponent>
__device__ __forceinline__ float roundFloat(float x, float largest) {
    const float magnitude = fminf(fabsf(x), largest);
    int exponent = static_cast<int>(floatToBits(magnitude) >> 23) - 127;
    if (exponent < LowestExponent)
        exponent = LowestExponent;
    const float step = bitsToFloat(static_cast<unsigned>(exponent - Mantissa + 127) << 23);
    return copysignf(fminf(rintf(magnitude / step) * step, largest), x);
}
__device__ __forceinline__ float roundFp8(float x) {
    return roundFloat<3, -6>(x, kLargestFp8);
}
__device__ __forceinline__ float roundFp4(float x) {
    return roundFloat<1, 0>(x, kLargestFp4);
}

/// The code of a magnitude up to 448, rounded to even; as floatToE4m3().
__device__ __forceinline__ unsigned e4m3Of(float value) {
    const unsigned bits = floatToBits(value), sign = bits >> 24 & 0x80U;
    const unsigned magnitude = bits & 0x7fffffffU;
    // Below 2^-6: adding 2^14 leaves the result, in units of 2^-9, at the end of the mantissa.
    if (magnitude < 0x3c800000U)
        return sign | (floatToBits(bitsToFloat(magnitude) + 16384.0F) - 0x46800000U);
    const unsigned rounded = magnitude + 0x7ffffU + (magnitude >> 20 & 1U);
    const unsigned code = (rounded >> 20) - (120U << 3);
    return sign | (code < 0x7eU ? code : 0x7eU);
}
/// The value of E4M3: its bits are those of a float16 2^8 times smaller, but for NaN.
__device__ __forceinline__ float fromE4m3(int code) {
    const unsigned bits = static_cast<unsigned>(code);
    const float value =
        256.0F * fromHalf(static_cast<std::uint16_t>((bits & 0x80U) << 8 | (bits & 0x7fU) << 7));
    return (bits & 0x7fU) == 0x7fU ? NAN : value;
}
/// The E2M1 code of a value, rounded to even.
__device__ __forceinline__ unsigned e2m1Of(float value) {
    const unsigned bits = floatToBits(roundFp4(value)), magnitude = bits & 0x7fffffffU;
    // 0 and 0.5 are their own doubles; above, the code is exponent and first bit of the mantissa.
    const unsigned code =
        magnitude < 0x3f800000U ? (magnitude != 0 ? 1U : 0U) : (magnitude >> 22) - (126U << 1);
    return (bits >> 28 & 8U) | code;
}

/// The magnitude, and infinity for NaN, which a maximum would drop.
__device__ __forceinline__ float magnitudeOf(float x) {
    return x != x ? INFINITY : fabsf(x);
}

/// The byte that stands for the scale of a block whose largest magnitude is `amax`, of formats that
/// store one: E4M3 under `globalScale` (NvFp4), a power of two (MxFp4, MxFp8). NaN for a block that
/// holds NaN or an infinity (amax is not finite).
template <ActivationFormat Format>
__device__ __forceinline__ unsigned scaleByteOf(float amax, float globalScale) {
    if constexpr (Format == ActivationFormat::NvFp4) {
        if (!(amax < INFINITY))
            return 0x7fU;
        return e4m3Of(fminf(fmaxf(globalScale * (amax / kLargestFp4), kSmallestFp8), kLargestFp8));
    } else {
        if (!(amax < INFINITY))
            return 0xffU;
        // What is added to the mantissa first, and the exponent of the type's largest value: see
        // activation_format.cpp.
        constexpr bool four = Format == ActivationFormat::MxFp4;
        constexpr unsigned room = four ? 1U << 21 : (1U << 21) - 1;
        const int exponent = static_cast<int>((floatToBits(amax) + room) >> 23) - (four ? 2 : 8);
        return static_cast<unsigned>(exponent < 0 ? 0 : exponent > 254 ? 254 : exponent);
    }
}
template <ActivationFormat Format>
__device__ __forceinline__ float valueOfScaleByte(unsigned byte, float globalScale) {
    if constexpr (Format == ActivationFormat::NvFp4)
        return fromE4m3(static_cast<int>(byte)) / globalScale;
    if (byte == 0xffU)
        return NAN;
    return bitsToFloat(byte == 0 ? 1U << 22 : byte << 23);
}

/// What the values of a block are divided by before they are rounded; NaN for a block that holds
/// NaN or an infinity.
template <ActivationFormat Format>
__device__ __forceinline__ float scaleOf(float amax, float globalScale) {
    using F = ActivationFormat;
    if constexpr (Format == F::NvFp4 || Format == F::MxFp4 || Format == F::MxFp8)
        return valueOfScaleByte<Format>(scaleByteOf<Format>(amax, globalScale), globalScale);
    if (!(amax < INFINITY))
        return NAN;
    if constexpr (Format == F::Int8Tensor)
        return globalScale;
    constexpr float most = Format == F::Fp8Token      ? kLargestFp8
                           : Format == F::Int4Group32 ? 7.0F
                                                      : 127.0F;
    return amax < kFlat ? 0.0F : amax / most;
}

}  // namespace fettle::kernels::cuda
