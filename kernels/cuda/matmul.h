// CUDA twins of kernels/ops/matmul.h for few tokens: y = x W^T + bias with weights in the layout of
// weight_layout.h, read once for up to eight tokens. Weights with scales multiply integers by
// integers (dp4a) as on the CPU, plain and small floats multiply in float32. The result of a token
// does not depend on how many are computed together. Pointers are device memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/cuda/weight_layout.h"

namespace fettle::kernels::cuda {

/// Activations as the integer kernels read them: codes in order, one scale a row or one per 32
/// values, and there the sum of the codes of each 16.
struct QuantizedActivations {
    std::int8_t* codes = nullptr;  ///< [tokens, codeStride]
    std::int64_t codeStride = 0;   ///< a multiple of 16, at least the number of columns
    float* scales = nullptr;       ///< [tokens] or [tokens, cols / 32]
    std::int32_t* sums = nullptr;  ///< [tokens, cols / 16]; not used per token
};

/// Rounds x [tokens, cols] as reference::quantizeGroup does, one group a row. Codes behind the row,
/// up to codeStride, become 0.
Status quantizePerToken(const float* x, std::int64_t xStride, std::int64_t tokens,
                        std::int64_t cols, const QuantizedActivations& out, Stream stream);
/// The same for groups of 32; cols is a multiple of 32.
Status quantizePerGroup32(const float* x, std::int64_t xStride, std::int64_t tokens,
                          std::int64_t cols, const QuantizedActivations& out, Stream stream);

/// Activations in E4M3: x ~ code * scale of the row.
struct Fp8Activations {
    std::uint8_t* codes = nullptr;  ///< [tokens, codeStride]
    std::int64_t codeStride = 0;    ///< a multiple of 16, at least the number of columns
    float* scales = nullptr;        ///< [tokens]
};
/// Codes and scales whose products are what roundActivations() gives for Fp8Token. Codes behind the
/// row, up to codeStride, become 0; a row that holds NaN or an infinity gets the scale NaN.
Status quantizePerTokenFp8(const float* x, std::int64_t xStride, std::int64_t tokens,
                           std::int64_t cols, const Fp8Activations& out, Stream stream);

/// Where a product goes: y [tokens, rows] (+)= the product + bias, which may be null.
struct MatmulOutput {
    float* y = nullptr;
    std::int64_t stride = 0;
    const float* bias = nullptr;
    /// Adds to y. As wide as its place: launches are compared byte by byte, and the bytes of a gap
    /// are anybody's.
    std::int64_t accumulate = 0;

    template <class Check>
    void forEachPointer(Check check) const {
        check(y);
        check(bias);
    }
};

/// For codes Row8 (activations per token) and integers in groups (per 32), not widened.
Status matmulQuantized(const DeviceWeightView& weight, const QuantizedActivations& x,
                       std::int64_t tokens, const MatmulOutput& out, Stream stream);
/// For layouts that are widened: codes become float32 as they are read. x is what the scheme rounds
/// activations to (round_activations.h).
Status matmulWidened(const DeviceWeightView& weight, const float* x, std::int64_t xStride,
                     std::int64_t tokens, const MatmulOutput& out, Stream stream);
/// For codes F32, F16 and BF16.
Status matmulPlain(const DeviceWeightView& weight, const float* x, std::int64_t xStride,
                   std::int64_t tokens, const MatmulOutput& out, Stream stream);

}  // namespace fettle::kernels::cuda
