// Steps around the products of many tokens, which a library computes from 16-bit or int8 matrices.
// Pointers are device memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/matmul.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/weight_layout.h"

namespace fettle::kernels::cuda {

/// Rows [begin, begin + count) of a weight with codes in groups of 32 as float16 [count, cols].
Status dequantizeToHalf(const DeviceWeightView& weight, std::int64_t begin, std::int64_t count,
                        std::uint16_t* out, Stream stream);
/// x [tokens, cols] as float16 [tokens, outStride], each row times a power of two that brings its
/// largest value to [256, 512), whose inverse goes to scales [tokens]: nothing overflows. What lies
/// behind cols becomes 0.
Status toScaledHalf(const float* x, std::int64_t xStride, std::int64_t tokens, std::int64_t cols,
                    std::uint16_t* out, std::int64_t outStride, float* scales, Stream stream);
/// x as bfloat16, rounded to nearest even.
Status toBfloat16(const float* x, std::int64_t xStride, std::int64_t tokens, std::int64_t cols,
                  std::uint16_t* out, std::int64_t outStride, Stream stream);

/// The product as the library left it, on its way to y: c [tokens, rows], of int32 or float32,
/// times scales that may be null, and a factor. out.y and out.bias begin at the first of these
/// rows.
struct ProductSums {
    const void* c = nullptr;
    bool integers = false;
    std::int64_t stride = 0;
    const float* rowScales = nullptr;
    const float* tokenScales = nullptr;
    float factor = 1;
};
Status finishProduct(const ProductSums& sums, std::int64_t tokens, std::int64_t rows,
                     const MatmulOutput& out, Stream stream);

}  // namespace fettle::kernels::cuda
