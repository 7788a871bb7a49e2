#include "kernels/reference/elementwise.h"

#include <cmath>

namespace fettle::kernels::reference {
namespace {

double gelu(double x) {
    // Hendrycks & Gimpel 2016, the tanh form: sqrt(2/pi) = 0.7978845608...
    return 0.5 * x * (1 + std::tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
}

}  // namespace

void rmsNorm(const float* x, std::int64_t xStride, const float* w, float offset, float eps,
             std::int64_t rows, std::int64_t cols, float* y, std::int64_t yStride) {
    for (std::int64_t r = 0; r < rows; ++r, x += xStride, y += yStride) {
        double sum = 0;
        for (std::int64_t c = 0; c < cols; ++c)
            sum += static_cast<double>(x[c]) * x[c];
        const double factor = 1 / std::sqrt(sum / static_cast<double>(cols) + eps);
        for (std::int64_t c = 0; c < cols; ++c)
            y[c] = static_cast<float>(x[c] * factor * (static_cast<double>(w[c]) + offset));
    }
}

void layerNorm(const float* x, std::int64_t xStride, const float* w, const float* b, float eps,
               std::int64_t rows, std::int64_t cols, float* y, std::int64_t yStride) {
    const auto n = static_cast<double>(cols);
    for (std::int64_t r = 0; r < rows; ++r, x += xStride, y += yStride) {
        double mean = 0, variance = 0;
        for (std::int64_t c = 0; c < cols; ++c)
            mean += x[c] / n;
        for (std::int64_t c = 0; c < cols; ++c)
            variance += (x[c] - mean) * (x[c] - mean) / n;
        const double factor = 1 / std::sqrt(variance + eps);
        for (std::int64_t c = 0; c < cols; ++c)
            y[c] = static_cast<float>((x[c] - mean) * factor * w[c] + (b ? b[c] : 0.0F));
    }
}

void siluMul(float* gate, const float* up, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i)
        gate[i] =
            static_cast<float>(gate[i] / (1 + std::exp(-static_cast<double>(gate[i]))) * up[i]);
}

void geluTanhMul(float* gate, const float* up, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i)
        gate[i] = static_cast<float>(gelu(gate[i]) * up[i]);
}

void geluTanh(float* x, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i)
        x[i] = static_cast<float>(gelu(x[i]));
}

void add(float* y, const float* x, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i)
        y[i] += x[i];
}

void scale(float* x, float factor, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i)
        x[i] *= factor;
}

void softcap(float* x, float cap, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i)
        x[i] = static_cast<float>(cap * std::tanh(static_cast<double>(x[i]) / cap));
}

void rope(float* x, std::int64_t heads, std::int64_t headDim, const float* cosSin) {
    const std::int64_t half = headDim / 2;
    for (std::int64_t h = 0; h < heads; ++h, x += headDim) {
        for (std::int64_t i = 0; i < half; ++i) {
            const double c = cosSin[i], s = cosSin[half + i], a = x[i], b = x[i + half];
            x[i] = static_cast<float>(a * c - b * s);
            x[i + half] = static_cast<float>(b * c + a * s);
        }
    }
}

RowSummary summarizeLogits(const float* x, std::int64_t count) {
    RowSummary r;
    for (std::int64_t i = 1; i < count; ++i)
        if (x[i] > x[r.argmax])
            r.argmax = i;
    double sum = 0;
    for (std::int64_t i = 0; i < count; ++i)
        sum += std::exp(static_cast<double>(x[i]) - x[r.argmax]);
    r.logSumExp = static_cast<float>(x[r.argmax] + std::log(sum));
    return r;
}

double klDivergence(const float* p, float pLogSumExp, const float* q, float qLogSumExp,
                    std::int64_t count) {
    double sum = 0;
    for (std::int64_t i = 0; i < count; ++i) {
        const double logP = static_cast<double>(p[i]) - pLogSumExp;
        const double logQ = static_cast<double>(q[i]) - qLogSumExp;
        const double probability = std::exp(logP);
        if (probability > 0)  // 0 log 0 = 0, also where a logit is -infinity
            sum += probability * (logP - logQ);
    }
    return sum;
}

}  // namespace fettle::kernels::reference
