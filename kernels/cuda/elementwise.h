// CUDA twins of kernels/ops/elementwise.h. Pointers are device memory, rows of float32, strides in
// elements; each function queues its kernels on `stream` and returns at once.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/ops/elementwise.h"

namespace fettle::kernels::cuda {

Status rmsNorm(const float* x, std::int64_t xStride, const float* w, float offset, float eps,
               std::int64_t rows, std::int64_t cols, float* y, std::int64_t yStride, Stream stream);
Status layerNorm(const float* x, std::int64_t xStride, const float* w, const float* b, float eps,
                 std::int64_t rows, std::int64_t cols, float* y, std::int64_t yStride,
                 Stream stream);
Status siluMul(float* gate, const float* up, std::int64_t count, Stream stream);
Status geluTanhMul(float* gate, const float* up, std::int64_t count, Stream stream);
Status geluTanh(float* x, std::int64_t count, Stream stream);
Status add(float* y, const float* x, std::int64_t count, Stream stream);
Status scale(float* x, float factor, std::int64_t count, Stream stream);
Status softcap(float* x, float cap, std::int64_t count, Stream stream);
/// All tokens at once: x [tokens, heads, headDim] with rows `stride` apart, cosSin [tokens,
/// headDim] as the host's rope takes it for one token. headDim is even.
Status rope(float* x, std::int64_t tokens, std::int64_t stride, std::int64_t heads,
            std::int64_t headDim, const float* cosSin, Stream stream);
}  // namespace fettle::kernels::cuda
