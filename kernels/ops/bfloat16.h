// Arrays of float32 held in numbers of bfloat16: what a gradient needs of a forward pass takes half
// the memory then.
#pragma once

#include <cstdint>

#include "kernels/ops/worker_pool.h"

namespace fettle::kernels {

/// out[i] = x[i] rounded to bfloat16, to nearest, ties to even; out may be x. `kept`, where given,
/// takes the same numbers in two bytes each. A NaN stays one, unless its
/// payload is nearly all ones, which no operation makes.
void roundToBfloat16(const float* x, std::int64_t count, float* out, std::uint16_t* kept,
                     WorkerPool& pool);
/// out[i] = x[i] in float32.
void widenBfloat16(const std::uint16_t* x, std::int64_t count, float* out, WorkerPool& pool);

}  // namespace fettle::kernels
