#include "kernels/ops/elementwise.h"

#include <stdexcept>

#include "kernels/cpu/kernel_table.h"

namespace fettle::kernels {

void rmsNorm(const float* x, std::int64_t xStride, const float* w, float offset, float eps,
             std::int64_t rows, std::int64_t cols, float* y, std::int64_t yStride) {
    kernels().rmsNorm(x, xStride, w, offset, eps, rows, cols, y, yStride);
}

void layerNorm(const float* x, std::int64_t xStride, const float* w, const float* b, float eps,
               std::int64_t rows, std::int64_t cols, float* y, std::int64_t yStride) {
    kernels().layerNorm(x, xStride, w, b, eps, rows, cols, y, yStride);
}

void siluMul(float* gate, const float* up, std::int64_t count) {
    kernels().siluMul(gate, up, count);
}

void geluTanhMul(float* gate, const float* up, std::int64_t count) {
    kernels().geluTanhMul(gate, up, count);
}

void geluTanh(float* x, std::int64_t count) {
    kernels().geluTanh(x, count);
}

void add(float* y, const float* x, std::int64_t count) {
    kernels().add(y, x, count);
}

void scale(float* x, float factor, std::int64_t count) {
    kernels().scale(x, factor, count);
}

void softcap(float* x, float cap, std::int64_t count) {
    kernels().softcap(x, cap, count);
}

void rope(float* x, std::int64_t heads, std::int64_t headDim, const float* cosSin) {
    if (headDim % 2 != 0)
        throw std::invalid_argument("rope: the head size is odd");
    kernels().rope(x, heads, headDim, cosSin);
}

std::int64_t argmax(const float* x, std::int64_t count) {
    if (count <= 0)
        throw std::invalid_argument("argmax: no logits");
    return kernels().argmax(x, count);
}

RowSummary summarizeLogits(const float* x, std::int64_t count) {
    if (count <= 0)
        throw std::invalid_argument("summarizeLogits: no logits");
    RowSummary summary;
    kernels().summarizeLogits(x, count, &summary);
    return summary;
}

double klDivergence(const float* p, float pLogSumExp, const float* q, float qLogSumExp,
                    std::int64_t count) {
    return kernels().klDivergence(p, pLogSumExp, q, qLogSumExp, count);
}

}  // namespace fettle::kernels
