#include "kernels/cuda/prefill.h"

#include "kernels/cuda/weight_group.cuh"

namespace fettle::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr std::int64_t kMaxGridX = 0x7fffffff;
constexpr std::int64_t kMaxGridY = 65535;

/// One group a thread, written 16 bytes at a time.
template <CodeKind Codes, ScaleKind Scales>
__global__ void __launch_bounds__(kThreads)
    dequantizeKernel(WeightSections weight, std::int64_t begin, std::int64_t groups,
                     std::uint16_t* out) {
    const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= groups)
        return;
    const std::int64_t row = begin + i / weight.groups, g = i % weight.groups;
    const GroupCodes<Codes> codes(weight, row * weight.groups + g);
    const GroupScale<Scales> scale(weight, row, g);
#pragma unroll
    for (int part = 0; part < 4; ++part) {
        unsigned words[4];
#pragma unroll
        for (int pair = 0; pair < 4; ++pair) {
            const int word = codes.words[2 * part + pair / 2] >> (16 * (pair % 2));
            const int a = Codes == CodeKind::Bits8 ? static_cast<std::int8_t>(word) : word & 0xff;
            const int b =
                Codes == CodeKind::Bits8 ? static_cast<std::int8_t>(word >> 8) : word >> 8 & 0xff;
            const float first = scale.template value<Codes>(a, part / 2);
            const float second = scale.template value<Codes>(b, part / 2);
            words[pair] = toHalf(first) | static_cast<unsigned>(toHalf(second)) << 16;
        }
        store16(out + i * 32 + part * 8,
                int4{static_cast<int>(words[0]), static_cast<int>(words[1]),
                     static_cast<int>(words[2]), static_cast<int>(words[3])});
    }
}

__global__ void __launch_bounds__(kThreads)
    toScaledHalfKernel(const float* x, std::int64_t xStride, std::int64_t cols, std::uint16_t* out,
                       std::int64_t outStride, float* scales) {
    FETTLE_SHARED(float, partial, kWarps);
    const float* row = x + blockIdx.x * xStride;
    std::uint16_t* to = out + blockIdx.x * outStride;
    float amax = 0;
    for (std::int64_t c = threadIdx.x; c < cols; c += kThreads)
        amax = fmaxf(amax, fabsf(row[c]));
    amax = blockMax(amax, partial);
    // 2^8 over the power of two at or below amax, made from its exponent alone; 1 where there is
    // nothing to scale: zeros, values near them, infinities.
    constexpr unsigned kUp = 8;
    const unsigned exponent = floatToBits(amax) >> 23;
    const bool usual = exponent > kUp && exponent < 255;
    const float up = usual ? bitsToFloat((254U + kUp - exponent) << 23) : 1.0F;
    for (std::int64_t c = threadIdx.x; c < outStride; c += kThreads)
        to[c] = toHalf(c < cols ? row[c] * up : 0.0F);
    if (threadIdx.x == 0)
        scales[blockIdx.x] = usual ? bitsToFloat((exponent - kUp) << 23) : 1.0F;
}

__global__ void __launch_bounds__(kThreads)
    toBfloat16Kernel(const float* x, std::int64_t xStride, std::int64_t cols, std::uint16_t* out,
                     std::int64_t outStride) {
    const float* row = x + blockIdx.x * xStride;
    std::uint16_t* to = out + blockIdx.x * outStride;
    for (std::int64_t c = threadIdx.x; c < outStride; c += kThreads)
        to[c] = toBfloat(c < cols ? row[c] : 0.0F);
}

__global__ void __launch_bounds__(kThreads)
    finishProductKernel(const float* c, const std::int32_t* integers, std::int64_t stride,
                        const float* rowScales, const float* tokenScales, float factor,
                        std::int64_t rows, MatmulOutput out) {
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    const std::int64_t token = blockIdx.y;
    if (row >= rows)
        return;
    const std::int64_t at = token * stride + row;
    float value = integers ? static_cast<float>(integers[at]) : c[at];
    value *= rowScales ? rowScales[row] : 1.0F;
    value *= factor * (tokenScales ? tokenScales[token] : 1.0F);
    float* y = out.y + token * out.stride + row;
    value += out.bias ? out.bias[row] : 0.0F;
    *y = out.accumulate ? *y + value : value;
}

}  // namespace

Status dequantizeToHalf(const DeviceWeightView& weight, std::int64_t begin, std::int64_t count,
                        std::uint16_t* out, Stream stream) {
    const std::int64_t groups = count * (weight.layout.cols / kGroupValues);
    const std::int64_t blocks = (groups + kThreads - 1) / kThreads;
    if (begin < 0 || count < 0 || begin + count > weight.layout.rows || blocks > kMaxGridX)
        return kInvalidValue;
    if (groups == 0)
        return kSuccess;
    return withKinds(weight.layout, [&](auto kinds) {
        using Kinds = decltype(kinds);
        return launch(dequantizeKernel<Kinds::kCodes, Kinds::kScales>,
                      static_cast<unsigned>(blocks), kThreads, 0, stream, WeightSections(weight),
                      begin, groups, out);
    });
}

Status toScaledHalf(const float* x, std::int64_t xStride, std::int64_t tokens, std::int64_t cols,
                    std::uint16_t* out, std::int64_t outStride, float* scales, Stream stream) {
    if (tokens < 0 || tokens > kMaxGridX || cols <= 0 || outStride < cols)
        return kInvalidValue;
    if (tokens == 0)
        return kSuccess;
    return launch(toScaledHalfKernel, static_cast<unsigned>(tokens), kThreads, 0, stream, x,
                  xStride, cols, out, outStride, scales);
}

Status toBfloat16(const float* x, std::int64_t xStride, std::int64_t tokens, std::int64_t cols,
                  std::uint16_t* out, std::int64_t outStride, Stream stream) {
    if (tokens < 0 || tokens > kMaxGridX || cols <= 0 || outStride < cols)
        return kInvalidValue;
    if (tokens == 0)
        return kSuccess;
    return launch(toBfloat16Kernel, static_cast<unsigned>(tokens), kThreads, 0, stream, x, xStride,
                  cols, out, outStride);
}

Status finishProduct(const ProductSums& sums, std::int64_t tokens, std::int64_t rows,
                     const MatmulOutput& out, Stream stream) {
    const std::int64_t blocks = (rows + kThreads - 1) / kThreads;
    if (tokens < 0 || tokens > kMaxGridY || rows < 0 || blocks > kMaxGridX || sums.stride < rows)
        return kInvalidValue;
    if (tokens == 0 || rows == 0)
        return kSuccess;
    const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(tokens));
    return launch(finishProductKernel, grid, kThreads, 0, stream,
                  sums.integers ? nullptr : static_cast<const float*>(sums.c),
                  sums.integers ? static_cast<const std::int32_t*>(sums.c) : nullptr, sums.stride,
                  sums.rowScales, sums.tokenScales, sums.factor, rows, out);
}

}  // namespace fettle::kernels::cuda
