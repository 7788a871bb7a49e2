#include "kernels/ops/code_panel.h"

#include <algorithm>

#include "kernels/cpu/quant_table.h"

namespace fettle::kernels {

namespace {
constexpr std::int64_t kTurn = 64;  // columns turned together, so that both sides stay in the cache
}

void toPanel(const float* matrix, std::int64_t stride, std::int64_t rows, std::int64_t cols,
             float* panel) {
    for (std::int64_t c = 0; c < cols; c += kTurn) {
        const std::int64_t end = std::min(cols, c + kTurn);
        for (std::int64_t r = 0; r < rows; ++r)
            for (std::int64_t j = c; j < end; ++j)
                panel[j * kCodeRows + r] = matrix[r * stride + j];
        for (std::int64_t j = c; j < end && rows < kCodeRows; ++j)
            std::fill_n(panel + j * kCodeRows + rows, kCodeRows - rows, 0.0F);
    }
}

void fromPanel(const float* panel, std::int64_t rows, std::int64_t cols, float* matrix,
               std::int64_t stride) {
    for (std::int64_t c = 0; c < cols; c += kTurn)
        for (std::int64_t r = 0; r < rows; ++r)
            for (std::int64_t j = c; j < std::min(cols, c + kTurn); ++j)
                matrix[r * stride + j] = panel[j * kCodeRows + r];
}

void panelProduct(const PanelProduct& product) {
    quantKernels().panelProduct(&product);
}
void panelSolve(const PanelSolve& solve) {
    quantKernels().panelSolve(&solve);
}
void tryScales(const ScaleTrial& trial) {
    quantKernels().tryScales(&trial);
}
void sweepColumns(const PanelSweep& sweep) {
    quantKernels().sweepColumns(&sweep);
}
void improveCodes(const PanelDescent& descent) {
    quantKernels().improveCodes(&descent);
}

}  // namespace fettle::kernels
