#include "kernels/cuda/matmul.h"
#include "kernels/cuda/small_float.cuh"

namespace fettle::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr int kGroup = 32;  // activations that share a scale
constexpr std::int64_t kMaxGridX = 0x7fffffff;

struct Step {
    float scale, inverse;
};

__device__ __forceinline__ Step stepOf(float amax) {
    const bool flat = amax < kFlat;
    return {flat ? 0.0F : amax / 127.0F, flat ? 0.0F : 127.0F / amax};
}

__device__ __forceinline__ int codeOf(float x, float inverse) {
    return static_cast<int>(fminf(fmaxf(rintf(x * inverse), -127.0F), 127.0F));
}

__global__ void __launch_bounds__(kThreads)
    quantizePerTokenKernel(const float* x, std::int64_t xStride, std::int64_t cols,
                           std::int8_t* codes, std::int64_t codeStride, float* scales) {
    FETTLE_SHARED(float, partial, kWarps);
    const float* row = x + blockIdx.x * xStride;
    std::int8_t* out = codes + blockIdx.x * codeStride;
    float amax = 0;
    for (std::int64_t c = threadIdx.x; c < cols; c += kThreads)
        amax = fmaxf(amax, fabsf(row[c]));
    const Step step = stepOf(blockMax(amax, partial));
    for (std::int64_t c = threadIdx.x; c < codeStride; c += kThreads)
        out[c] = static_cast<std::int8_t>(c < cols ? codeOf(row[c], step.inverse) : 0);
    if (threadIdx.x == 0)
        scales[blockIdx.x] = step.scale;
}

__global__ void __launch_bounds__(kThreads)
    quantizePerTokenFp8Kernel(const float* x, std::int64_t xStride, std::int64_t cols,
                              std::uint8_t* codes, std::int64_t codeStride, float* scales) {
    FETTLE_SHARED(float, partial, kWarps);
    const float* row = x + blockIdx.x * xStride;
    std::uint8_t* out = codes + blockIdx.x * codeStride;
    float amax = 0;
    for (std::int64_t c = threadIdx.x; c < cols; c += kThreads)
        amax = fmaxf(amax, magnitudeOf(row[c]));
    amax = blockMax(amax, partial);
    const bool finite = amax < INFINITY, flat = amax < kFlat || !finite;
    const float scale = amax / kLargestFp8;
    for (std::int64_t c = threadIdx.x; c < codeStride; c += kThreads)
        out[c] = static_cast<std::uint8_t>(c < cols && !flat ? e4m3Of(row[c] / scale) : 0U);
    if (threadIdx.x == 0)
        scales[blockIdx.x] = !finite ? NAN : flat ? 0.0F : scale;
}

/// One warp a group, one lane a value.
__global__ void __launch_bounds__(kThreads)
    quantizePerGroup32Kernel(const float* x, std::int64_t xStride, std::int64_t groups,
                             std::int64_t allGroups, std::int8_t* codes, std::int64_t codeStride,
                             float* scales, std::int32_t* sums) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const std::int64_t group = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
    if (group >= allGroups)
        return;  // the whole warp
    const std::int64_t token = group / groups, first = group % groups * kGroup;
    const float value = x[token * xStride + first + lane];
    const Step step = stepOf(warpMax(fabsf(value)));
    const int code = codeOf(value, step.inverse);
    int sum = code;
    for (int lanes = kWarp / 4; lanes > 0; lanes /= 2)
        sum += __shfl_xor_sync(kAllLanes, sum, lanes);
    codes[token * codeStride + first + lane] = static_cast<std::int8_t>(code);
    if (lane == 0)
        scales[group] = step.scale;
    if (lane % 16 == 0)
        sums[2 * group + lane / 16] = sum;
}

bool isValid(std::int64_t tokens, std::int64_t cols, std::int64_t codeStride) {
    return tokens >= 0 && tokens <= kMaxGridX && cols > 0 && codeStride >= cols &&
           codeStride % 16 == 0;
}

}  // namespace

Status quantizePerToken(const float* x, std::int64_t xStride, std::int64_t tokens,
                        std::int64_t cols, const QuantizedActivations& out, Stream stream) {
    if (!isValid(tokens, cols, out.codeStride))
        return kInvalidValue;
    if (tokens == 0)
        return kSuccess;
    return launch(quantizePerTokenKernel, static_cast<unsigned>(tokens), kThreads, 0, stream, x,
                  xStride, cols, out.codes, out.codeStride, out.scales);
}

Status quantizePerTokenFp8(const float* x, std::int64_t xStride, std::int64_t tokens,
                           std::int64_t cols, const Fp8Activations& out, Stream stream) {
    if (!isValid(tokens, cols, out.codeStride))
        return kInvalidValue;
    if (tokens == 0)
        return kSuccess;
    return launch(quantizePerTokenFp8Kernel, static_cast<unsigned>(tokens), kThreads, 0, stream, x,
                  xStride, cols, out.codes, out.codeStride, out.scales);
}

Status quantizePerGroup32(const float* x, std::int64_t xStride, std::int64_t tokens,
                          std::int64_t cols, const QuantizedActivations& out, Stream stream) {
    const std::int64_t groups = cols / kGroup, all = tokens * groups;
    if (!isValid(tokens, cols, out.codeStride) || cols % kGroup != 0 || all / kWarps >= kMaxGridX)
        return kInvalidValue;
    if (tokens == 0)
        return kSuccess;
    return launch(quantizePerGroup32Kernel, static_cast<unsigned>((all + kWarps - 1) / kWarps),
                  kThreads, 0, stream, x, xStride, groups, all, out.codes, out.codeStride,
                  out.scales, out.sums);
}

}  // namespace fettle::kernels::cuda
