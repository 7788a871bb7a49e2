// Gradients of the row-wise ops of elementwise.h, and their forwards where training must keep what
// inference overwrites. Rows of float32, strides in elements. Sums over rows are made over fixed
// blocks of rows and added in their order, so they do not depend on threads.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/ops/worker_pool.h"

namespace fettle::kernels {

/// Row r of a matrix whose rows come in groups (the heads of a token): starts at
/// (r / inner) * outerStride + (r % inner) * cols.
struct RowPlace {
    std::int64_t inner = 1;
    std::int64_t outerStride = 0;
};

struct NormBackwardArgs {
    const float* x = nullptr;   ///< input of the norm
    const float* dy = nullptr;  ///< gradient of its output
    float* dx = nullptr;        ///< may be dy
    RowPlace xPlace, dyPlace, dxPlace;
    std::int64_t rows = 0, cols = 0;
    const float* w = nullptr;  ///< [cols]
    float offset = 0;          ///< RMSNorm multiplies by w + offset
    float eps = 0;
    bool accumulate = false;  ///< adds to dx
};
struct RowSumScratch {
    std::vector<float> partial;
};
/// Adds the gradient of the weight to dw [cols]. RMSNorm: Zhang & Sennrich 2019.
void rmsNormBackward(const NormBackwardArgs& args, float* dw, RowSumScratch& scratch,
                     WorkerPool& pool);
/// Adds to dw and db [cols]; db may be null.
void layerNormBackward(const NormBackwardArgs& args, float* dw, float* db, RowSumScratch& scratch,
                       WorkerPool& pool);
/// sums[cols] += the sum over rows of x [rows, cols].
void addRowSums(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t cols,
                float* sums, RowSumScratch& scratch, WorkerPool& pool);

enum class GatedKind : std::uint8_t { Silu, GeluTanh, GeluTanhPlain };
/// out = act(gate) * up, or act(up) for GeluTanhPlain (gate unused).
struct GatedForwardArgs {
    GatedKind kind = GatedKind::Silu;
    const float* gate = nullptr;
    const float* up = nullptr;
    std::int64_t inStride = 0;
    float* out = nullptr;
    std::int64_t outStride = 0;
    std::int64_t rows = 0, cols = 0;
};
void gatedForward(const GatedForwardArgs& args, WorkerPool& pool);

struct GatedBackwardArgs {
    const float* gate = nullptr;
    const float* up = nullptr;
    std::int64_t inStride = 0;
    const float* dOut = nullptr;
    std::int64_t outStride = 0;
    float* dGate = nullptr;  ///< row stride gradStride; unused for GeluTanhPlain
    float* dUp = nullptr;
    std::int64_t gradStride = 0;
    std::int64_t rows = 0, cols = 0;
};
void gatedBackward(GatedKind kind, const GatedBackwardArgs& args, WorkerPool& pool);

/// dy *= 1 - (y / cap)^2, y the capped values.
void softcapBackward(const float* y, float cap, float* dy, std::int64_t count);
/// y += factor * x
void addScaled(float* y, const float* x, float factor, std::int64_t count);

/// grad[ids[t]] += factor * dy[t], tokens of an id in their order. dy [tokens, cols], grad
/// [vocabulary, cols].
void embeddingBackward(std::span<const std::int32_t> ids, const float* dy, std::int64_t cols,
                       float factor, float* grad, WorkerPool& pool);

}  // namespace fettle::kernels
