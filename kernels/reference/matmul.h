// Plain twins of kernels/ops/matmul.h: they read the canonical weight row by row and sum in double.
#pragma once

#include <cstdint>

#include "kernels/formats/weight_format.h"

namespace fettle::kernels::reference {

/// Symmetric int8: scale = amax / 127, code = round to even (x / scale), sums of codes. `count`
/// values, one scale.
void quantizeGroup(const float* x, std::int64_t count, std::int8_t* codes, float* scale,
                   std::int32_t* sum);

/// What the fast kernels define: activations rounded as activationsOf(w) says, exact elsewhere. y
/// [m, w.rows].
void matmul(const WeightView& w, const float* x, std::int64_t m, std::int64_t xStride, double* y);

/// The same product with unrounded activations; what rounding them costs is the difference.
void matmulExact(const WeightView& w, const float* x, std::int64_t m, std::int64_t xStride,
                 double* y);

}  // namespace fettle::kernels::reference
