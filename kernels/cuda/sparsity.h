// Zeros in place of single weights (engine/prune/sparsity.h), and the form in which sparse tensor
// cores read two of each four. Pointers are device memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"

namespace fettle::kernels::cuda {

/// Zeroes in each row of w [rows, cols] the `zeros` of the least |w| * inputNorm, of equal ones the
/// earlier; inputNorm [cols] may be null: all ones.
Status zeroSmallest(float* w, const float* inputNorm, std::int64_t rows, std::int64_t cols,
                    std::int64_t zeros, Stream stream);
/// Zeroes of each four neighbours in a row of w [rows, cols] the two of the least |w| * inputNorm,
/// of equal ones the earlier; of fewer than four at the end of a row half of them.
Status zeroTwoOfFour(float* w, const float* inputNorm, std::int64_t rows, std::int64_t cols,
                     Stream stream);
/// w [rows, cols], cols a multiple of 16, as float16 values [rows, cols / 2] and places
/// [rows, cols / 16]: two bits for each kept value, in ascending order within each four, the first
/// four in the lowest bits (PTX ISA, mma.sp with float16). Fours that hold more than two are
/// counted in `refused`, and keep the first two.
Status compressTwoOfFour(const float* w, std::int64_t rows, std::int64_t cols,
                         std::uint16_t* values, std::uint16_t* places, unsigned* refused,
                         Stream stream);

}  // namespace fettle::kernels::cuda
