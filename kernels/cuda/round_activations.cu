#include "kernels/cuda/round_activations.h"

#include "kernels/cuda/small_float.cuh"

namespace fettle::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr std::int64_t kMaxGridX = 0x7fffffff;

template <ActivationFormat Format>
__device__ __forceinline__ float rounded(float x, float amax, float scale) {
    if (scale != scale)
        return scale;
    if constexpr (Format == ActivationFormat::Int8Tensor)
        return rintf(fminf(fmaxf(x * (1.0F / scale), -127.0F), 127.0F)) * scale;
    if constexpr (Format == ActivationFormat::NvFp4 || Format == ActivationFormat::MxFp4)
        return roundFp4(x / scale) * scale;
    if (scale == 0)
        return 0;
    if constexpr (Format == ActivationFormat::Fp8Token || Format == ActivationFormat::MxFp8)
        return roundFp8(x / scale) * scale;
    const float most = Format == ActivationFormat::Int4Group32 ? 7.0F : 127.0F;
    return rintf(x * (most / amax)) * scale;
}

/// One block a row.
template <ActivationFormat Format>
__global__ void __launch_bounds__(kThreads)
    roundTokensKernel(const float* x, std::int64_t xStride, std::int64_t cols, float globalScale,
                      float* out) {
    FETTLE_SHARED(float, partial, kWarps);
    const float* row = x + blockIdx.x * xStride;
    float amax = 0;
    for (std::int64_t c = threadIdx.x; c < cols; c += kThreads)
        amax = fmaxf(amax, magnitudeOf(row[c]));
    amax = blockMax(amax, partial);
    const float scale = scaleOf<Format>(amax, globalScale);
    for (std::int64_t c = threadIdx.x; c < cols; c += kThreads)
        out[blockIdx.x * cols + c] = rounded<Format>(row[c], amax, scale);
}

/// One lane a value; `Block` neighbouring lanes share a scale.
template <ActivationFormat Format, int Block>
__global__ void __launch_bounds__(kThreads)
    roundBlocksKernel(const float* x, std::int64_t xStride, std::int64_t tokens, std::int64_t cols,
                      float globalScale, float* out) {
    const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    const bool inside = i < tokens * cols;
    const float value = inside ? x[i / cols * xStride + i % cols] : 0.0F;
    float amax = magnitudeOf(value);
    for (int lanes = Block / 2; lanes > 0; lanes /= 2)
        amax = fmaxf(amax, __shfl_xor_sync(kAllLanes, amax, lanes));
    if (inside)
        out[i] = rounded<Format>(value, amax, scaleOf<Format>(amax, globalScale));
}

struct Rows {
    const float* x;
    std::int64_t stride, tokens, cols;
    float* out;
};

template <ActivationFormat Format>
Status roundTokens(const Rows& r, float globalScale, Stream stream) {
    return launch(roundTokensKernel<Format>, static_cast<unsigned>(r.tokens), kThreads, 0, stream,
                  r.x, r.stride, r.cols, globalScale, r.out);
}

template <ActivationFormat Format, int Block>
Status roundBlocks(const Rows& r, float globalScale, Stream stream) {
    const std::int64_t blocks = (r.tokens * r.cols + kThreads - 1) / kThreads;
    if (r.cols % Block != 0 || blocks > kMaxGridX)
        return kInvalidValue;
    return launch(roundBlocksKernel<Format, Block>, static_cast<unsigned>(blocks), kThreads, 0,
                  stream, r.x, r.stride, r.tokens, r.cols, globalScale, r.out);
}

}  // namespace

Status roundActivations(ActivationFormat format, float globalScale, const float* x,
                        std::int64_t xStride, std::int64_t tokens, std::int64_t cols, float* out,
                        Stream stream) {
    if (tokens < 0 || tokens > kMaxGridX || cols <= 0)
        return kInvalidValue;
    if (tokens == 0)
        return kSuccess;
    const Rows rows = {x, xStride, tokens, cols, out};
    using F = ActivationFormat;
    switch (format) {
        case F::Int8Token:
            return roundTokens<F::Int8Token>(rows, 1.0F, stream);
        case F::Fp8Token:
            return roundTokens<F::Fp8Token>(rows, 1.0F, stream);
        case F::Int8Group32:
            return roundBlocks<F::Int8Group32, 32>(rows, 1.0F, stream);
        case F::Int4Group32:
            return roundBlocks<F::Int4Group32, 32>(rows, 1.0F, stream);
        case F::NvFp4:
            return roundBlocks<F::NvFp4, 16>(rows, globalScale, stream);
        case F::MxFp4:
            return roundBlocks<F::MxFp4, 32>(rows, 1.0F, stream);
        case F::MxFp8:
            return roundBlocks<F::MxFp8, 32>(rows, 1.0F, stream);
        case F::Int8Tensor:
            return roundTokens<F::Int8Tensor>(rows, globalScale, stream);
        case F::None:
            break;
    }
    return kInvalidValue;
}

}  // namespace fettle::kernels::cuda
