// Codes that lie wherever a table says.
#pragma once

#include "kernels/cpu/simd/lanes.h"

namespace fettle::kernels::FETTLE_SIMD {
namespace {

/// The one of sixteen ascending values that is nearest to v; the lower one halfway between two.
FETTLE_INLINE F32x16 nearestOf16(const float* values, F32x16 v) {
    F32x16 code = setF(values[0]);
    for (int i = 1; i < 16; ++i) {
        const F32x16 above = setF(values[i]);
        code = selectLess(sub(above, v), sub(v, setF(values[i - 1])), above, code);
    }
    return code;
}

}  // namespace
}  // namespace fettle::kernels::FETTLE_SIMD
