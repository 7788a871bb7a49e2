// The promises of matmul.h as checks, for every kind of product.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/ops/elementwise.h"
#include "kernels/ops/matmul.h"
#include "tests/kernels/kernel_data.h"

namespace fettle::kernels::test {

inline std::vector<float> product(const PackedWeight& w, const std::vector<float>& x,
                                  std::int64_t m, WorkerPool& pool) {
    Activations a;
    a.assign(x.data(), m, w.cols(), w.cols());
    std::vector<float> y(static_cast<std::size_t>(m * w.rows()), -77.0F);
    matmul(w, a, y.data(), w.rows(), nullptr, false, pool);
    return y;
}

/// Largest error relative to |x| |w| of each output.
inline double worstError(const OwnedWeight& w, const std::vector<float>& x, std::int64_t m,
                         const std::vector<float>& got, const std::vector<double>& want) {
    std::vector<float> row(static_cast<std::size_t>(w.view.cols));
    double worst = 0;
    for (std::int64_t n = 0; n < w.view.rows; ++n) {
        dequantizeRow(w.view, n, row.data());
        const double weight = norm(row.data(), w.view.cols);
        for (std::int64_t i = 0; i < m; ++i) {
            const auto at = static_cast<std::size_t>(i * w.view.rows + n);
            const double bound = weight * norm(x.data() + i * w.view.cols, w.view.cols) + 1e-30;
            const double error = std::fabs(got[at] - want[at]) / bound;
            worst = std::isnan(error) ? HUGE_VAL : std::max(worst, error);
        }
    }
    return worst;
}

/// The numbers of a row are the same on one thread and three, among 41 rows and among fewer.
inline void expectIndependentRows(const PackedWeight& packed) {
    WorkerPool one(1), three(3);
    constexpr std::int64_t m = 41;
    const std::int64_t rows = packed.rows(), cols = packed.cols();
    const std::vector<float> x = randomFloats(m * cols, 22);
    const std::vector<float> whole = product(packed, x, m, three);
    EXPECT_EQ(whole, product(packed, x, m, one));
    for (const std::int64_t part : {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13})
        for (std::int64_t i = 0; i + part <= m; i += part) {
            const std::vector<float> some(x.begin() + i * cols, x.begin() + (i + part) * cols);
            const std::vector<float> y = product(packed, some, part, three);
            ASSERT_TRUE(std::equal(y.begin(), y.end(), whole.begin() + i * rows))
                << "rows " << i << " to " << i + part;
        }
}

/// matmulArgmax() finds what is in the product, whatever part of it a thread looks through.
inline void expectArgmaxOfTheProduct(const PackedWeight& packed, std::int64_t m, float softcap) {
    WorkerPool one(1), three(3);
    const std::int64_t rows = packed.rows(), cols = packed.cols();
    const std::vector<float> bias = randomFloats(rows, 42), x = randomFloats(m * cols, 43);
    Activations a;
    a.assign(x.data(), m, cols, cols);
    std::vector<float> y(static_cast<std::size_t>(m * rows));
    for (const float* b : {static_cast<const float*>(nullptr), bias.data()}) {
        matmul(packed, a, y.data(), rows, b, false, one);
        if (softcap > 0)
            kernels::softcap(y.data(), softcap, m * rows);
        for (WorkerPool* pool : {&one, &three}) {
            std::vector<std::int64_t> found(static_cast<std::size_t>(m), -1);
            matmulArgmax(packed, a, b, softcap, *pool, found.data());
            for (std::int64_t i = 0; i < m; ++i)
                ASSERT_EQ(found[static_cast<std::size_t>(i)], argmax(y.data() + i * rows, rows))
                    << "row " << i << " of " << m << ", " << pool->threads() << " threads";
        }
    }
}

/// Outputs are added to what is there, with a bias; what lies between rows stays.
inline void expectBiasAccumulationAndStrides(const PackedWeight& packed, std::int64_t m) {
    WorkerPool pool(2);
    const std::int64_t rows = packed.rows(), cols = packed.cols();
    const std::int64_t xStride = cols + 44, yStride = rows + 13;
    const std::vector<float> bias = randomFloats(rows, 32), x = randomFloats(m * xStride, 33);
    Activations a;
    a.assign(x.data(), m, cols, xStride);
    std::vector<float> plain(static_cast<std::size_t>(m * yStride), 5.0F), all = plain;
    matmul(packed, a, plain.data(), yStride, nullptr, false, pool);
    matmul(packed, a, all.data(), yStride, bias.data(), true, pool);
    for (std::int64_t i = 0; i < m; ++i)
        for (std::int64_t n = 0; n < yStride; ++n) {
            const auto at = static_cast<std::size_t>(i * yStride + n);
            const float want =
                n < rows ? 5.0F + (plain[at] + bias[static_cast<std::size_t>(n)]) : 5.0F;
            ASSERT_EQ(all[at], want) << "m=" << m << " " << i << "," << n;
        }
}

/// Neither activations nor outputs nor bias are touched behind their ends.
inline void expectNothingBehindIsTouched(const PackedWeight& packed, std::int64_t m) {
    WorkerPool pool(1);
    const std::int64_t rows = packed.rows(), cols = packed.cols();
    const std::vector<float> x = randomFloats(m * cols, 52);
    Fenced in(x.size()), out(static_cast<std::size_t>(m * rows)),
        bias(static_cast<std::size_t>(rows));
    std::copy(x.begin(), x.end(), in.data());
    std::fill_n(bias.data(), rows, 0.0F);
    Activations a;
    a.assign(in.data(), m, cols, cols);
    matmul(packed, a, out.data(), rows, bias.data(), false, pool);
    const std::vector<float> want = product(packed, x, m, pool);
    for (std::int64_t i = 0; i < m * rows; ++i)
        ASSERT_EQ(out.data()[i], want[static_cast<std::size_t>(i)]) << "m=" << m << " output " << i;
}

}  // namespace fettle::kernels::test
