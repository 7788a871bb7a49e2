// exp and tanh on sixteen lanes, accurate to a few units of the last place, and partial loads. Simd
// files only.
#pragma once

#include "kernels/cpu/simd/vec16.h"

namespace fettle::kernels::FETTLE_SIMD {

/// What is smaller yet would be a denormal number, which some processors take a hundred times as
/// long to make and to multiply.
constexpr float kLeastExponent = -87.0F;

/// e^x: x = n ln 2 + r, then Cephes' expf polynomial in r. 0 below kLeastExponent, infinity above
/// 88.72, NaN kept.
FETTLE_INLINE F32x16 exp(F32x16 power) {
    const F32x16 x = min(setF(89.0F), max(setF(kLeastExponent), power));
    const F32x16 n = roundEven(mul(x, setF(1.44269504088896341F)));
    const F32x16 r =
        fma(n, setF(2.12194440e-4F), fma(n, setF(-0.693359375F), x));  // ln 2 in two pieces
    F32x16 p = setF(1.9875691500e-4F);
    p = fma(p, r, setF(1.3981999507e-3F));
    p = fma(p, r, setF(8.3334519073e-3F));
    p = fma(p, r, setF(4.1665795894e-2F));
    p = fma(p, r, setF(1.6666665459e-1F));
    p = fma(p, r, setF(5.0000001201e-1F));
    p = add(fma(p, mul(r, r), r), setF(1.0F));
    return selectLess(power, setF(kLeastExponent), zeroF(), timesPowerOfTwo(p, n));
}

/// tanh x: Cephes' polynomial below 0.625, 1 - 2 / (e^2|x| + 1) above.
FETTLE_INLINE F32x16 tanh(F32x16 x) {
    const F32x16 magnitude = abs(x), square = mul(x, x);
    F32x16 p = setF(-5.70498872745e-3F);
    p = fma(p, square, setF(2.06390887954e-2F));
    p = fma(p, square, setF(-5.37397155531e-2F));
    p = fma(p, square, setF(1.33314422036e-1F));
    p = fma(p, square, setF(-3.33332819422e-1F));
    const F32x16 small = fma(mul(p, square), x, x);
    const F32x16 e = exp(add(magnitude, magnitude));
    const F32x16 large = sub(setF(1.0F), div(setF(2.0F), add(e, setF(1.0F))));
    return selectLess(magnitude, setF(0.625F), small, withSign(large, x));
}

/// The first `count` < 16 lanes; the others hold `rest`.
FETTLE_INLINE F32x16 loadPart(const float* p, std::int64_t count, float rest) {
    float lane[16];
    for (int i = 0; i < 16; ++i)
        lane[i] = i < count ? p[i] : rest;
    return loadF(lane);
}
FETTLE_INLINE void storePart(float* p, std::int64_t count, F32x16 x) {
    float lane[16];
    storeF(lane, x);
    for (int i = 0; i < count; ++i)
        p[i] = lane[i];
}

}  // namespace fettle::kernels::FETTLE_SIMD
