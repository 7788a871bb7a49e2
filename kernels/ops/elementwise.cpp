#include "kernels/ops/elementwise.h"

#include "kernels/reference/elementwise.h"

namespace fettle::kernels {

void rmsNorm(const float* x, std::int64_t xStride, const float* w, float offset, float eps,
             std::int64_t rows, std::int64_t cols, float* y, std::int64_t yStride) {
    reference::rmsNorm(x, xStride, w, offset, eps, rows, cols, y, yStride);
}
void layerNorm(const float* x, std::int64_t xStride, const float* w, const float* b, float eps,
               std::int64_t rows, std::int64_t cols, float* y, std::int64_t yStride) {
    reference::layerNorm(x, xStride, w, b, eps, rows, cols, y, yStride);
}
void siluMul(float* gate, const float* up, std::int64_t count) { reference::siluMul(gate, up, count); }
void geluTanhMul(float* gate, const float* up, std::int64_t count) {
    reference::geluTanhMul(gate, up, count);
}
void geluTanh(float* x, std::int64_t count) { reference::geluTanh(x, count); }
void add(float* y, const float* x, std::int64_t count) { reference::add(y, x, count); }
void scale(float* x, float factor, std::int64_t count) { reference::scale(x, factor, count); }
void softcap(float* x, float cap, std::int64_t count) { reference::softcap(x, cap, count); }
void rope(float* x, std::int64_t heads, std::int64_t headDim, const float* cosSin) {
    reference::rope(x, heads, headDim, cosSin);
}
RowSummary summarizeLogits(const float* x, std::int64_t count) {
    return reference::summarizeLogits(x, count);
}
double klDivergence(const float* p, float pLogSumExp, const float* q, float qLogSumExp,
                    std::int64_t count) {
    return reference::klDivergence(p, pLogSumExp, q, qLogSumExp, count);
}

}  // namespace fettle::kernels
