// CUDA twins of the norms' gradients in kernels/ops/elementwise_backward.h. Sums over rows are made
// over fixed blocks of rows and added in their order: the same bits every time. Pointers are device
// memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/stream.h"

namespace fettle::kernels::cuda {

struct NormBackwardArgs {
    const float* x = nullptr;   ///< input of the norm [rows, xStride]
    const float* dy = nullptr;  ///< gradient of its output [rows, dyStride]
    float* dx = nullptr;        ///< [rows, dxStride]; may be dy
    std::int64_t xStride = 0, dyStride = 0, dxStride = 0;
    std::int64_t rows = 0, cols = 0;
    const float* w = nullptr;  ///< [cols]
    float offset = 0;          ///< RMSNorm multiplies by w + offset
    float eps = 0;
    bool accumulate = false;  ///< adds to dx

    template <class Check>
    void forEachPointer(Check check) const {
        check(x);
        check(dy);
        check(dx);
        check(w);
    }
};

/// Floats of the workspace that the functions below need.
std::size_t normBackwardWorkspace(const NormBackwardArgs& args);
/// Adds the gradient of the weight to dw [cols].
Status rmsNormBackward(const NormBackwardArgs& args, float* dw, float* workspace, Stream stream);
/// Adds to dw and db [cols]; db may be null. args.offset is 0.
Status layerNormBackward(const NormBackwardArgs& args, float* dw, float* db, float* workspace,
                         Stream stream);

}  // namespace fettle::kernels::cuda
