// What the simd files of one level offer each other and the level's table. Simd files only.
#pragma once

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/simd/vec16.h"

namespace fettle::kernels::FETTLE_SIMD {

void quantizeRow(const QuantizedRow* row);
void intPanels(const MatmulArgs* args, std::int64_t begin, std::int64_t end, void* scratch);
void plainPanels(const MatmulArgs* args, WeightFormat format, std::int64_t begin, std::int64_t end,
                 void* scratch);
void attentionRows(const AttentionArgs* args, const AttentionPart* part, float* scratch);
void appendKv(const KvAppend* args);

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
float maximum(const float* x, std::int64_t count);
std::int64_t argmax(const float* x, std::int64_t count);
void summarizeLogits(const float* x, std::int64_t count, RowSummary* out);
double klDivergence(const float* p, float pLogSumExp, const float* q, float qLogSumExp,
                    std::int64_t count);

}  // namespace fettle::kernels::FETTLE_SIMD
