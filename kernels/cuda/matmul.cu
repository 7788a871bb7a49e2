#include "kernels/cuda/matmul.h"

#include "kernels/cuda/device.cuh"

namespace fettle::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;  // each warp computes one output row
constexpr int kTokens = 4;                // tokens that share one reading of the weights
constexpr int kGroup = 32;                // activations that share a scale
constexpr float kFlat = 0x1p-100F;        // 127 / amax would overflow; such values count as zero

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
    const int sum = warpSum(code);
    const int within = lane % 8;
    const int place = lane - within + within / 2 + within % 2 * 4;
    codes[token * codeStride + first + place] = static_cast<std::int8_t>(code);
    if (lane == 0) {
        scales[group] = step.scale;
        sums[group] = sum;
    }
}

__device__ __forceinline__ float loadScale(const void* scales, ScaleType type, std::int64_t index) {
    if (type == ScaleType::F32)
        return static_cast<const float*>(scales)[index];
    const std::uint16_t bits = static_cast<const std::uint16_t*>(scales)[index];
    return type == ScaleType::F16 ? fromHalf(bits) : bitsToFloat(static_cast<unsigned>(bits) << 16);
}

__device__ __forceinline__ int dot16(int4 a, int4 b, int sum) {
    return __dp4a(a.x, b.x, __dp4a(a.y, b.y, __dp4a(a.z, b.z, __dp4a(a.w, b.w, sum))));
}

/// Eight 4-bit weights against eight codes in the order that quantizePerGroup32 gives them.
__device__ __forceinline__ int dotNibbles(int word, int even, int odd, int sum) {
    constexpr int kLow = 0x0f0f0f0f;
    return __dp4a(word & kLow, even, __dp4a((word >> 4) & kLow, odd, sum));
}

struct Output {
    float* y;
    std::int64_t stride;
    const float* bias;
    bool accumulate;

    __device__ void put(std::int64_t token, std::int64_t row, float value) const {
        float* at = y + token * stride + row;
        value += bias ? bias[row] : 0.0F;
        *at = accumulate ? *at + value : value;
    }
};

/// Weights int8 [rows, stride] in steps of 16 bytes a lane. Sums are exact.
__global__ void __launch_bounds__(kThreads)
    matmulInt8Kernel(const std::int8_t* weight, std::int64_t weightStride, std::int64_t rows,
                     std::int64_t cols, const void* weightScales, ScaleType scaleType,
                     const std::int8_t* codes, std::int64_t codeStride, const float* scales,
                     std::int64_t tokens, float* y, std::int64_t yStride, const float* bias,
                     bool accumulate) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
    if (row >= rows)
        return;  // the whole warp
    const std::int64_t first = static_cast<std::int64_t>(blockIdx.y) * kTokens;
    const std::int8_t* w = weight + row * weightStride;
    int sums[kTokens] = {};
    for (std::int64_t c = lane * 16; c < cols; c += kWarp * 16) {
        const int4 block = load16(w + c);
#pragma unroll
        for (int t = 0; t < kTokens; ++t)
            if (first + t < tokens)
                sums[t] = dot16(block, load16(codes + (first + t) * codeStride + c), sums[t]);
    }
    const float scale = loadScale(weightScales, scaleType, row);
    const Output out = {y, yStride, bias, accumulate};
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
        const int sum = warpSum(sums[t]);
        if (lane == 0 && first + t < tokens)
            out.put(first + t, row, static_cast<float>(sum) * scale * scales[first + t]);
    }
}

/// Weights in nibbles [rows, cols / 8] of 32-bit words, one group of 32 (16 bytes) a lane and step.
__global__ void __launch_bounds__(kThreads)
    matmulInt4Kernel(const std::int32_t* weight, std::int64_t rows, std::int64_t cols,
                     std::int64_t groupSize, const void* weightScales, ScaleType scaleType,
                     const std::int32_t* zeroPoints, const std::int8_t* codes,
                     std::int64_t codeStride, const float* scales, const std::int32_t* codeSums,
                     std::int64_t tokens, float* y, std::int64_t yStride, const float* bias,
                     bool accumulate) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
    if (row >= rows)
        return;  // the whole warp
    const std::int64_t first = static_cast<std::int64_t>(blockIdx.y) * kTokens;
    const std::int64_t groups = cols / kGroup, weightGroups = cols / groupSize;
    const std::int32_t* w = weight + row * (cols / 8);
    float sums[kTokens] = {};
    for (std::int64_t g = lane; g < groups; g += kWarp) {
        const int4 words = load16(w + g * 4);
        const std::int64_t weightGroup = g * kGroup / groupSize;
        const float scale = loadScale(weightScales, scaleType, row * weightGroups + weightGroup);
        const int zero =
            zeroPoints ? static_cast<int>(static_cast<unsigned>(
                                              zeroPoints[row / 8 * weightGroups + weightGroup]) >>
                                              row % 8 * 4 &
                                          15U)
                       : 8;
#pragma unroll
        for (int t = 0; t < kTokens; ++t) {
            if (first + t >= tokens)
                continue;
            const std::int64_t token = first + t;
            const int4 low = load16(codes + token * codeStride + g * kGroup);
            const int4 high = load16(codes + token * codeStride + g * kGroup + 16);
            int dot = -zero * codeSums[token * groups + g];
            dot = dotNibbles(words.x, low.x, low.y, dot);
            dot = dotNibbles(words.y, low.z, low.w, dot);
            dot = dotNibbles(words.z, high.x, high.y, dot);
            dot = dotNibbles(words.w, high.z, high.w, dot);
            sums[t] += static_cast<float>(dot) * (scale * scales[token * groups + g]);
        }
    }
    const Output out = {y, yStride, bias, accumulate};
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
        const float sum = warpSum(sums[t]);
        if (lane == 0 && first + t < tokens)
            out.put(first + t, row, sum);
    }
}

constexpr std::int64_t kMaxGridX = 0x7fffffff;
constexpr std::int64_t kMaxGridY = 65535;

}  // namespace

Status quantizePerToken(const float* x, std::int64_t xStride, std::int64_t tokens,
                        std::int64_t cols, const QuantizedActivations& out, Stream stream) {
    if (tokens < 0 || tokens > kMaxGridX || cols <= 0 || out.codeStride < cols ||
        out.codeStride % 16 != 0)
        return kInvalidValue;
    if (tokens == 0)
        return kSuccess;
    return launch(quantizePerTokenKernel, static_cast<unsigned>(tokens), kThreads, 0, stream, x,
                  xStride, cols, out.codes, out.codeStride, out.scales);
}

Status quantizePerGroup32(const float* x, std::int64_t xStride, std::int64_t tokens,
                          std::int64_t cols, const QuantizedActivations& out, Stream stream) {
    const std::int64_t groups = cols / kGroup, all = tokens * groups;
    if (tokens < 0 || cols <= 0 || cols % kGroup != 0 || out.codeStride < cols ||
        out.codeStride % 16 != 0 || all / kWarps >= kMaxGridX)
        return kInvalidValue;
    if (tokens == 0)
        return kSuccess;
    return launch(quantizePerGroup32Kernel, static_cast<unsigned>((all + kWarps - 1) / kWarps),
                  kThreads, 0, stream, x, xStride, groups, all, out.codes, out.codeStride,
                  out.scales, out.sums);
}

Status matmul(const WeightView& weight, std::int64_t weightStride, const QuantizedActivations& x,
              std::int64_t tokens, float* y, std::int64_t yStride, const float* bias,
              bool accumulate, Stream stream) {
    const std::int64_t blocks = (weight.rows + kWarps - 1) / kWarps;
    const std::int64_t parts = (tokens + kTokens - 1) / kTokens;
    if (weight.rows < 0 || weight.cols <= 0 || tokens < 0 || blocks > kMaxGridX ||
        parts > kMaxGridY || x.codeStride < weight.cols || x.codeStride % 16 != 0)
        return kInvalidValue;
    if (weight.rows == 0 || tokens == 0)
        return kSuccess;
    const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(parts));
    if (weight.format == WeightFormat::Int8Channel) {
        if (weightStride < weight.cols || weightStride % 16 != 0)
            return kInvalidValue;
        return launch(matmulInt8Kernel, grid, kThreads, 0, stream,
                      static_cast<const std::int8_t*>(weight.data), weightStride, weight.rows,
                      weight.cols, weight.scales, weight.scaleType, x.codes, x.codeStride, x.scales,
                      tokens, y, yStride, bias, accumulate);
    }
    if (weight.format != WeightFormat::Int4Group || weight.cols % kGroup != 0 ||
        weight.groupSize <= 0 || weight.groupSize % kGroup != 0 ||
        weight.cols % weight.groupSize != 0 || weightStride != weight.cols / 2)
        return kInvalidValue;
    return launch(matmulInt4Kernel, grid, kThreads, 0, stream,
                  static_cast<const std::int32_t*>(weight.data), weight.rows, weight.cols,
                  weight.groupSize, weight.scales, weight.scaleType, weight.zeroPoints, x.codes,
                  x.codeStride, x.scales, x.sums, tokens, y, yStride, bias, accumulate);
}

}  // namespace fettle::kernels::cuda
