// Writing sixteen results of one activation row to y, with bias and accumulation. Simd files only.
#pragma once

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/simd/vec16.h"

namespace fettle::kernels::FETTLE_SIMD {

/// Outputs 16 panel .. 16 panel + 15 of activation row i; rows beyond the weight's are dropped.
FETTLE_INLINE void writeOutputs(const MatmulArgs& a, std::int64_t i, std::int64_t panel,
                                F32x16 result) {
    const std::int64_t first = panel * kPanelRows;
    const std::int64_t left = a.layout->rows - first;
    float* y = a.y + i * a.yStride + first;
    if (left >= kPanelRows) {
        if (a.bias)
            result = add(result, loadF(a.bias + first));
        if (a.accumulate)
            result = add(loadF(y), result);
        storeF(y, result);
        return;
    }
    float values[16];
    storeF(values, result);
    for (std::int64_t r = 0; r < left; ++r) {
        const float value = a.bias ? values[r] + a.bias[first + r] : values[r];
        y[r] = a.accumulate ? y[r] + value : value;
    }
}

}  // namespace fettle::kernels::FETTLE_SIMD
