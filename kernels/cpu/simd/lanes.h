// Walking over rows sixteen lanes at a time, the last vector partial. Simd files only.
#pragma once

#include "kernels/cpu/simd/math.h"

namespace fettle::kernels::FETTLE_SIMD {

/// f(index, lanes used) over [0, count).
template <class F>
FETTLE_INLINE void eachVector(std::int64_t count, const F& f) {
    std::int64_t i = 0;
    for (; i + 16 <= count; i += 16)
        f(i, 16);
    if (i < count)
        f(i, count - i);
}
FETTLE_INLINE F32x16 take(const float* x, std::int64_t lanes, float rest) {
    return lanes == 16 ? loadF(x) : loadPart(x, lanes, rest);
}
FETTLE_INLINE void put(float* x, std::int64_t lanes, F32x16 v) {
    if (lanes == 16)
        storeF(x, v);
    else
        storePart(x, lanes, v);
}

}  // namespace fettle::kernels::FETTLE_SIMD
