#include "engine/quant/cholesky.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/ops/matmul.h"

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

}  // namespace

bool choleskyInPlace(float* a, std::int64_t n, kernels::WorkerPool& pool, RunControl& control) {
    kernels::Activations left;
    std::vector<float> negated;
    for (std::int64_t b = 0; b < n; b += kBlock) {
        control.check();
        const std::int64_t width = std::min(kBlock, n - b);
        if (b > 0) {
            // A[b:, b:b+width] -= L[b:, :b] L[b:b+width, :b]^T
            negated.resize(static_cast<std::size_t>(width * b));
            for (std::int64_t i = 0; i < width; ++i)
                for (std::int64_t k = 0; k < b; ++k)
                    negated[static_cast<std::size_t>(i * b + k)] = -a[(b + i) * n + k];
            kernels::WeightView view;
            view.rows = width;
            view.cols = b;
            view.data = negated.data();
            left.assign(a + b * n, n - b, b, n);
            kernels::matmul(kernels::PackedWeight::pack(view, pool), left, a + b * n + b, n,
                            nullptr, true, pool);
        }
        if (!factorDiagonal(a, n, b, width))
            return false;
        pool.parallelFor(n - b - width, 16,
                         [&](std::int64_t begin, std::int64_t end, int /*thread*/) {
                             for (std::int64_t i = b + width + begin; i < b + width + end; ++i) {
                                 float* row = a + i * n + b;
                                 for (std::int64_t j = 0; j < width; ++j) {
                                     const float* factor = a + (b + j) * n + b;
                                     double sum = row[j];
                                     for (std::int64_t k = 0; k < j; ++k)
                                         sum -= static_cast<double>(row[k]) * factor[k];
                                     row[j] = static_cast<float>(sum / factor[j]);
                                 }
                             }
                         });
    }
    return true;
}

void solveRowsInPlace(const float* l, std::int64_t n, float* x, std::int64_t rows,
                      kernels::WorkerPool& pool, RunControl& control) {
    std::vector<float> part;
    kernels::Activations left;
    // x[:, b:b+width] -= x[:, from:from+count] M^T, M [width, count] given by `element`.
    const auto subtract = [&](std::int64_t b, std::int64_t width, std::int64_t from,
                              std::int64_t count, const auto& element) {
        part.resize(static_cast<std::size_t>(width * count));
        for (std::int64_t i = 0; i < width; ++i)
            for (std::int64_t k = 0; k < count; ++k)
                part[static_cast<std::size_t>(i * count + k)] = -element(b + i, from + k);
        kernels::WeightView view;
        view.rows = width;
        view.cols = count;
        view.data = part.data();
        left.assign(x + from, rows, count, n);
        kernels::matmul(kernels::PackedWeight::pack(view, pool), left, x + b, n, nullptr, true,
                        pool);
    };
    const auto eachRow = [&](const auto& body) {
        pool.parallelFor(rows, 16, [&](std::int64_t begin, std::int64_t end, int /*thread*/) {
            for (std::int64_t r = begin; r < end; ++r)
                body(x + r * n);
        });
    };
    // Y L^T = B, first column first.
    for (std::int64_t b = 0; b < n; b += kBlock) {
        control.check();
        const std::int64_t end = std::min(n, b + kBlock);
        if (b > 0)
            subtract(b, end - b, 0, b,
                     [&](std::int64_t i, std::int64_t k) { return l[i * n + k]; });
        eachRow([&](float* row) {
            for (std::int64_t j = b; j < end; ++j) {
                double sum = row[j];
                for (std::int64_t k = b; k < j; ++k)
                    sum -= static_cast<double>(row[k]) * l[j * n + k];
                row[j] = static_cast<float>(sum / l[j * n + j]);
            }
        });
    }
    // X L = Y, last column first.
    for (std::int64_t b = (n - 1) / kBlock * kBlock; b >= 0; b -= kBlock) {
        control.check();
        const std::int64_t end = std::min(n, b + kBlock);
        if (end < n)
            subtract(b, end - b, end, n - end,
                     [&](std::int64_t i, std::int64_t k) { return l[k * n + i]; });
        eachRow([&](float* row) {
            for (std::int64_t j = end - 1; j >= b; --j) {
                double sum = row[j];
                for (std::int64_t k = j + 1; k < end; ++k)
                    sum -= static_cast<double>(row[k]) * l[k * n + j];
                row[j] = static_cast<float>(sum / l[j * n + j]);
            }
        });
    }
}

}  // namespace fettle
