#include "engine/quant/cholesky.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/quant/panel_grids.h"
#include "kernels/ops/code_panel.h"
#include "kernels/ops/gemm.h"

namespace fettle {

namespace {

constexpr std::int64_t kBlock = 64;

/// The lower triangle of the block at (b, b), one double at a time.
bool factorDiagonal(float* a, std::int64_t n, std::int64_t b, std::int64_t width) {
    for (std::int64_t j = 0; j < width; ++j) {
        float* rowJ = a + (b + j) * n + b;
        double pivot = rowJ[j];
        for (std::int64_t k = 0; k < j; ++k)
            pivot -= static_cast<double>(rowJ[k]) * rowJ[k];
        if (!(pivot > 0))
            return false;
        const double root = std::sqrt(pivot);
        rowJ[j] = static_cast<float>(root);
        for (std::int64_t i = j + 1; i < width; ++i) {
            float* rowI = a + (b + i) * n + b;
            double sum = rowI[j];
            for (std::int64_t k = 0; k < j; ++k)
                sum -= static_cast<double>(rowI[k]) * rowJ[k];
            rowI[j] = static_cast<float>(sum / root);
        }
    }
    return true;
}

using Panel = std::vector<float>;

Panel panelOf(std::int64_t columns) {
    return Panel(static_cast<std::size_t>(columns * kernels::kCodeRows));
}

}  // namespace

bool choleskyInPlace(float* a, std::int64_t n, kernels::WorkerPool& pool, RunControl& control) {
    kernels::GemmScratch scratch;
    std::vector<float> negated;
    const Panel nothing = panelOf(kBlock);
    for (std::int64_t b = 0; b < n; b += kBlock) {
        control.check();
        const std::int64_t width = std::min(kBlock, n - b);
        if (b > 0) {
            // A[b:, b:b+width] -= L[b:, :b] L[b:b+width, :b]^T
            negated.resize(static_cast<std::size_t>(width * b));
            for (std::int64_t i = 0; i < width; ++i)
                for (std::int64_t k = 0; k < b; ++k)
                    negated[static_cast<std::size_t>(i * b + k)] = -a[(b + i) * n + k];
            kernels::gemm({kernels::GemmLayout::NT, n - b, width, b, a + b * n, n, negated.data(),
                           b, a + b * n + b, n, true},
                          scratch, pool);
        }
        if (!factorDiagonal(a, n, b, width))
            return false;
        // L[below, b:b+width] L[block]^T = A[below, b:b+width]
        eachPanel(b + width, n, pool, control, [&](std::int64_t first, std::int64_t rows) {
            Panel x = panelOf(width);
            float* part = a + first * n + b;
            kernels::toPanel(part, n, rows, width, x.data());
            kernels::panelSolve({width, a + b * n + b, n, 1, x.data(), nothing.data()});
            kernels::fromPanel(x.data(), rows, width, part, n);
        });
    }
    control.check();
    return true;
}

void solveRowsInPlace(const float* l, std::int64_t n, float* b, std::int64_t rows,
                      kernels::WorkerPool& pool, RunControl& control) {
    constexpr std::int64_t kLane = kernels::kCodeRows;
    eachPanel(0, rows, pool, control, [&](std::int64_t first, std::int64_t count) {
        Panel x = panelOf(n), sums = panelOf(kBlock);
        kernels::toPanel(b + first * n, n, count, n, x.data());
        // Y L^T = B, first column first.
        for (std::int64_t j = 0; j < n; j += kBlock) {
            const std::int64_t width = std::min(kBlock, n - j);
            kernels::panelProduct({width, j, l + j * n, n, 1, x.data(), sums.data(), false});
            kernels::panelSolve({width, l + j * n + j, n, 1, x.data() + j * kLane, sums.data()});
        }
        // X L = Y, last column first.
        for (std::int64_t end = n; end > 0; end -= kBlock) {
            const std::int64_t width = std::min(kBlock, end), j = end - width;
            kernels::panelProduct({width, n - end, l + end * n + j, 1, n, x.data() + end * kLane,
                                   sums.data(), false});
            const std::int64_t last = end - 1;
            kernels::panelSolve({width, l + last * n + last, -1, -n, x.data() + last * kLane,
                                 sums.data() + (width - 1) * kLane, -kLane});
        }
        kernels::fromPanel(x.data(), count, n, b + first * n, n);
    });
    control.check();
}

}  // namespace fettle
