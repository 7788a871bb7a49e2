// The small row-wise ops of a decoder: norms, activations, rope, sums. Rows of float32, strides in
// elements.
#pragma once

#include <cstdint>

namespace fettle::kernels {

/// y = x / rms(x) * (w + offset); offset is 1 for Gemma, 0 otherwise. y may be x. Zhang & Sennrich
/// 2019.
void rmsNorm(const float* x, std::int64_t xStride, const float* w, float offset, float eps,
             std::int64_t rows, std::int64_t cols, float* y, std::int64_t yStride);
/// y = (x - mean) / sqrt(var + eps) * w + b; b may be null.
void layerNorm(const float* x, std::int64_t xStride, const float* w, const float* b, float eps,
               std::int64_t rows, std::int64_t cols, float* y, std::int64_t yStride);
/// gate = silu(gate) * up
void siluMul(float* gate, const float* up, std::int64_t count);
/// gate = gelu_tanh(gate) * up
void geluTanhMul(float* gate, const float* up, std::int64_t count);
/// x = gelu_tanh(x)
void geluTanh(float* x, std::int64_t count);
/// y += x
void add(float* y, const float* x, std::int64_t count);
/// x *= factor
void scale(float* x, float factor, std::int64_t count);
/// x = cap * tanh(x / cap)
void softcap(float* x, float cap, std::int64_t count);
/// Rotates pairs (i, i + headDim/2) of each head ("neox" order). cosSin holds headDim/2 cosines
/// then headDim/2 sines of the token's position.
void rope(float* x, std::int64_t heads, std::int64_t headDim, const float* cosSin);

/// log(sum(exp(x))), index of the maximum (lowest index on ties).
struct RowSummary {
    float logSumExp = 0;
    std::int64_t argmax = 0;
};
RowSummary summarizeLogits(const float* x, std::int64_t count);
/// Its second half alone, without an exponential per value.
std::int64_t argmax(const float* x, std::int64_t count);
/// KL(P||Q) in nats of two rows of logits whose log-sum-exps are known; sums in double.
double klDivergence(const float* p, float pLogSumExp, const float* q, float qLogSumExp,
                    std::int64_t count);

}  // namespace fettle::kernels
