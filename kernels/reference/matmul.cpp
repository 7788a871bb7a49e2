#include "kernels/reference/matmul.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace fettle::kernels::reference {
namespace {

/// One row of activations as the weight's product sees it: quantized and taken back.
std::vector<double> rounded(const WeightView& w, const float* x, std::int64_t k) {
    const ActivationFormat format = activationsOf(w);
    if (format != ActivationFormat::Int8Token && format != ActivationFormat::Int8Group32) {
        std::vector<float> row(static_cast<std::size_t>(k));
        roundActivations(format, x, k, row.data(), w.inputGlobalScale);
        return {row.begin(), row.end()};
    }
    std::vector<double> out(x, x + k);
    const std::int64_t group = format == ActivationFormat::Int8Token ? k : 32;
    std::vector<std::int8_t> codes(static_cast<std::size_t>(group));
    for (std::int64_t g = 0; g < k; g += group) {
        float scale = 0;
        std::int32_t sum = 0;
        quantizeGroup(x + g, group, codes.data(), &scale, &sum);
        for (std::int64_t i = 0; i < group; ++i)
            out[static_cast<std::size_t>(g + i)] =
                static_cast<double>(codes[static_cast<std::size_t>(i)]) * scale;
    }
    return out;
}

void multiply(const WeightView& w, const std::vector<std::vector<double>>& x, double* y) {
    std::vector<float> row(static_cast<std::size_t>(w.cols));
    for (std::int64_t n = 0; n < w.rows; ++n) {
        dequantizeRow(w, n, row.data());
        for (std::size_t i = 0; i < x.size(); ++i) {
            double sum = 0;
            for (std::size_t k = 0; k < row.size(); ++k)
                sum += x[i][k] * row[k];
            y[static_cast<std::int64_t>(i) * w.rows + n] = sum;
        }
    }
}

}  // namespace

void quantizeGroup(const float* x, std::int64_t count, std::int8_t* codes, float* scale,
                   std::int32_t* sum) {
    float amax = 0;
    for (std::int64_t i = 0; i < count; ++i)
        amax = std::max(amax, std::fabs(x[i]));
    const bool flat = amax < 0x1p-100F;  // 127 / amax would overflow; such values count as zero
    *scale = flat ? 0.0F : amax / 127.0F;
    *sum = 0;
    const float inverse = flat ? 0.0F : 127.0F / amax;
    for (std::int64_t i = 0; i < count; ++i) {
        const float q = std::nearbyint(x[i] * inverse);
        codes[i] = static_cast<std::int8_t>(std::clamp(q, -127.0F, 127.0F));
        *sum += codes[i];
    }
}

void matmul(const WeightView& w, const float* x, std::int64_t m, std::int64_t xStride, double* y) {
    std::vector<std::vector<double>> rows;
    for (std::int64_t i = 0; i < m; ++i)
        rows.push_back(rounded(w, x + i * xStride, w.cols));
    multiply(w, rows, y);
}

void matmulExact(const WeightView& w, const float* x, std::int64_t m, std::int64_t xStride,
                 double* y) {
    std::vector<std::vector<double>> rows;
    for (std::int64_t i = 0; i < m; ++i)
        rows.emplace_back(x + i * xStride, x + i * xStride + w.cols);
    multiply(w, rows, y);
}

}  // namespace fettle::kernels::reference
