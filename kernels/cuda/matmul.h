// CUDA twins of kernels/ops/matmul.h for few tokens: y = x W^T + bias with weights that stay as
// they lie in files (kernels/formats/weight_format.h), read once, and integers multiplied by
// integers (dp4a). The result of a token does not depend on how many are computed together.
// Pointers are device memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/formats/weight_format.h"

namespace fettle::kernels::cuda {

/// Activations as the integer kernels read them. Per token: one scale a row, codes in order. Per 32
/// values: codes of each eight in the order 0 2 4 6 1 3 5 7, which is how the nibbles of a 32-bit
/// word come apart, and the sum of each group's codes.
struct QuantizedActivations {
    std::int8_t* codes = nullptr;  ///< [tokens, codeStride]
    std::int64_t codeStride = 0;   ///< a multiple of 16, at least the number of columns
    float* scales = nullptr;       ///< [tokens] or [tokens, cols / 32]
    std::int32_t* sums = nullptr;  ///< [tokens, cols / 32]; not used per token
};

/// Rounds x [tokens, cols] as reference::quantizeGroup does, one group a row. Codes behind the row,
/// up to codeStride, become 0.
Status quantizePerToken(const float* x, std::int64_t xStride, std::int64_t tokens,
                        std::int64_t cols, const QuantizedActivations& out, Stream stream);
/// The same for groups of 32; cols is a multiple of 32.
Status quantizePerGroup32(const float* x, std::int64_t xStride, std::int64_t tokens,
                          std::int64_t cols, const QuantizedActivations& out, Stream stream);

/// y [tokens, weight.rows] += or = x W^T + bias for an Int8Channel weight (its rows
/// `weightStride` bytes apart, a multiple of 16, zeros behind weight.cols; activations per token)
/// or an Int4Group weight (groups of a multiple of 32; activations per 32; weightStride = cols /
/// 2). `bias` may be null.
Status matmul(const WeightView& weight, std::int64_t weightStride, const QuantizedActivations& x,
              std::int64_t tokens, float* y, std::int64_t yStride, const float* bias,
              bool accumulate, Stream stream);

}  // namespace fettle::kernels::cuda
