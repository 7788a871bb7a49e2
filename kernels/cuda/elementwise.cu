#include "kernels/cuda/elementwise.h"

#include "kernels/cuda/device.cuh"

namespace fettle::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr std::int64_t kMaxBlocks = 65535;  // more work than that is done in turns

unsigned blocksFor(std::int64_t count) {
    const std::int64_t blocks = (count + kThreads - 1) / kThreads;
    return static_cast<unsigned>(blocks < kMaxBlocks ? blocks : kMaxBlocks);
}

// ---- pointwise

struct SiluMul {
    __device__ float operator()(float gate, float up) const {
        return gate / (1.0F + expf(-gate)) * up;
    }
};

/// Hendrycks & Gimpel 2016, the tanh form: sqrt(2/pi) = 0.79788456...
__device__ __forceinline__ float gelu(float x) {
    return 0.5F * x * (1.0F + tanhf(0.797884560802865F * (x + 0.044715F * x * x * x)));
}
struct GeluTanhMul {
    __device__ float operator()(float gate, float up) const { return gelu(gate) * up; }
};
struct Add {
    __device__ float operator()(float y, float x) const { return y + x; }
};
struct GeluTanh {
    __device__ float operator()(float x) const { return gelu(x); }
};
struct Scale {
    float factor;
    __device__ float operator()(float x) const { return x * factor; }
};
struct Softcap {
    float cap;
    __device__ float operator()(float x) const { return cap * tanhf(x / cap); }
};

template <class Op>
__global__ void __launch_bounds__(kThreads)
    pointwiseKernel(float* y, const float* x, std::int64_t count, Op op) {
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count;
         i += step)
        y[i] = op(y[i], x[i]);
}

template <class Op>
__global__ void __launch_bounds__(kThreads) inPlaceKernel(float* x, std::int64_t count, Op op) {
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count;
         i += step)
        x[i] = op(x[i]);
}

template <class Op>
Status pointwise(float* y, const float* x, std::int64_t count, Op op, Stream stream) {
    if (count <= 0)
        return kSuccess;
    return launch(pointwiseKernel<Op>, blocksFor(count), kThreads, 0, stream, y, x, count, op);
}

template <class Op>
Status inPlace(float* x, std::int64_t count, Op op, Stream stream) {
    if (count <= 0)
        return kSuccess;
    return launch(inPlaceKernel<Op>, blocksFor(count), kThreads, 0, stream, x, count, op);
}

// ---- norms: one block a row

__global__ void __launch_bounds__(kThreads)
    rmsNormKernel(const float* x, std::int64_t xStride, const float* w, float offset, float eps,
                  std::int64_t cols, float* y, std::int64_t yStride) {
    FETTLE_SHARED(float, partial, kWarps);
    const float* row = x + blockIdx.x * xStride;
    float* out = y + blockIdx.x * yStride;
    float sum = 0;
    for (std::int64_t c = threadIdx.x; c < cols; c += kThreads)
        sum += row[c] * row[c];
    const float factor = 1.0F / sqrtf(blockSum(sum, partial) / static_cast<float>(cols) + eps);
    for (std::int64_t c = threadIdx.x; c < cols; c += kThreads)
        out[c] = row[c] * factor * (w[c] + offset);
}

__global__ void __launch_bounds__(kThreads)
    layerNormKernel(const float* x, std::int64_t xStride, const float* w, const float* b, float eps,
                    std::int64_t cols, float* y, std::int64_t yStride) {
    FETTLE_SHARED(float, sums, kWarps);
    FETTLE_SHARED(float, squares, kWarps);
    const float* row = x + blockIdx.x * xStride;
    float* out = y + blockIdx.x * yStride;
    const auto n = static_cast<float>(cols);
    float sum = 0;
    for (std::int64_t c = threadIdx.x; c < cols; c += kThreads)
        sum += row[c];
    const float mean = blockSum(sum, sums) / n;
    float square = 0;
    for (std::int64_t c = threadIdx.x; c < cols; c += kThreads)
        square += (row[c] - mean) * (row[c] - mean);
    const float factor = 1.0F / sqrtf(blockSum(square, squares) / n + eps);
    for (std::int64_t c = threadIdx.x; c < cols; c += kThreads)
        out[c] = (row[c] - mean) * factor * w[c] + (b ? b[c] : 0.0F);
}

// ---- rope: one block a token

__global__ void __launch_bounds__(kThreads)
    ropeKernel(float* x, std::int64_t stride, std::int64_t heads, std::int64_t headDim,
               const float* cosSin) {
    const std::int64_t half = headDim / 2;
    const float* angles = cosSin + blockIdx.x * headDim;
    float* token = x + blockIdx.x * stride;
    for (std::int64_t i = threadIdx.x; i < heads * half; i += kThreads) {
        const std::int64_t pair = i % half;
        float* at = token + i / half * headDim + pair;
        const float c = angles[pair], s = angles[half + pair], a = at[0], b = at[half];
        at[0] = a * c - b * s;
        at[half] = b * c + a * s;
    }
}

bool fitsGrid(std::int64_t rows) {
    return rows >= 0 && rows <= 0x7fffffff;
}

}  // namespace

Status rmsNorm(const float* x, std::int64_t xStride, const float* w, float offset, float eps,
               std::int64_t rows, std::int64_t cols, float* y, std::int64_t yStride,
               Stream stream) {
    if (!fitsGrid(rows))
        return kInvalidValue;
    if (rows == 0 || cols <= 0)
        return kSuccess;
    return launch(rmsNormKernel, static_cast<unsigned>(rows), kThreads, 0, stream, x, xStride, w,
                  offset, eps, cols, y, yStride);
}

Status layerNorm(const float* x, std::int64_t xStride, const float* w, const float* b, float eps,
                 std::int64_t rows, std::int64_t cols, float* y, std::int64_t yStride,
                 Stream stream) {
    if (!fitsGrid(rows))
        return kInvalidValue;
    if (rows == 0 || cols <= 0)
        return kSuccess;
    return launch(layerNormKernel, static_cast<unsigned>(rows), kThreads, 0, stream, x, xStride, w,
                  b, eps, cols, y, yStride);
}

Status siluMul(float* gate, const float* up, std::int64_t count, Stream stream) {
    return pointwise(gate, up, count, SiluMul{}, stream);
}
Status geluTanhMul(float* gate, const float* up, std::int64_t count, Stream stream) {
    return pointwise(gate, up, count, GeluTanhMul{}, stream);
}
Status geluTanh(float* x, std::int64_t count, Stream stream) {
    return inPlace(x, count, GeluTanh{}, stream);
}
Status add(float* y, const float* x, std::int64_t count, Stream stream) {
    return pointwise(y, x, count, Add{}, stream);
}
Status scale(float* x, float factor, std::int64_t count, Stream stream) {
    return inPlace(x, count, Scale{factor}, stream);
}
Status softcap(float* x, float cap, std::int64_t count, Stream stream) {
    return inPlace(x, count, Softcap{cap}, stream);
}

Status rope(float* x, std::int64_t tokens, std::int64_t stride, std::int64_t heads,
            std::int64_t headDim, const float* cosSin, Stream stream) {
    if (!fitsGrid(tokens) || headDim <= 0 || headDim % 2 != 0)
        return kInvalidValue;
    if (tokens == 0 || heads <= 0)
        return kSuccess;
    return launch(ropeKernel, static_cast<unsigned>(tokens), kThreads, 0, stream, x, stride, heads,
                  headDim, cosSin);
}

}  // namespace fettle::kernels::cuda
