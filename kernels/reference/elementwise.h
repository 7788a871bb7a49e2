// Plain twins of kernels/ops/elementwise.h: same arguments, wide accumulators, never tuned. The
// tests compare with them.
#pragma once

#include <cstdint>

#include "kernels/ops/elementwise.h"

namespace fettle::kernels::reference {

void rmsNorm(const float* x, std::int64_t xStride, const float* w, float offset, float eps,
             std::int64_t rows, std::int64_t cols, float* y, std::int64_t yStride);
void layerNorm(const float* x, std::int64_t xStride, const float* w, const float* b, float eps,
               std::int64_t rows, std::int64_t cols, float* y, std::int64_t yStride);
void siluMul(float* gate, const float* up, std::int64_t count);
void geluTanhMul(float* gate, const float* up, std::int64_t count);
void geluTanh(float* x, std::int64_t count);
void add(float* y, const float* x, std::int64_t count);
void scale(float* x, float factor, std::int64_t count);
void softcap(float* x, float cap, std::int64_t count);
void rope(float* x, std::int64_t heads, std::int64_t headDim, const float* cosSin);
RowSummary summarizeLogits(const float* x, std::int64_t count);
double klDivergence(const float* p, float pLogSumExp, const float* q, float qLogSumExp,
                    std::int64_t count);

}  // namespace fettle::kernels::reference
