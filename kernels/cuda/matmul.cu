#include "kernels/cuda/matmul.h"

#include "kernels/cuda/weight_group.cuh"

namespace fettle::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;  // each warp computes one output row
constexpr int kMostTokens = 8;            // tokens that share one reading of the weights
constexpr std::int64_t kMaxGridX = 0x7fffffff;
constexpr std::int64_t kMaxGridY = 65535;

__device__ __forceinline__ void put(const MatmulOutput& out, std::int64_t token, std::int64_t row,
                                    float value) {
    float* at = out.y + token * out.stride + row;
    value += out.bias ? out.bias[row] : 0.0F;
    *at = out.accumulate ? *at + value : value;
}

/// Adds over the lanes; lane 0 writes the row's results for tokens [first, first + Tokens).
template <int Tokens, class Sum, class Finish>
__device__ __forceinline__ void finish(const Sum (&sums)[Tokens], std::int64_t first,
                                       std::int64_t tokens, std::int64_t row,
                                       const MatmulOutput& out, const Finish& value) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
    for (int t = 0; t < Tokens; ++t) {
        const Sum sum = warpSum(sums[t]);
        if (lane == 0 && first + t < tokens)
            put(out, first + t, row, value(sum, first + t));
    }
}

__device__ __forceinline__ std::int64_t rowOfWarp() {
    return static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
}

__device__ __forceinline__ int dot16(int4 a, int4 b, int sum) {
    return __dp4a(a.x, b.x, __dp4a(a.y, b.y, __dp4a(a.z, b.z, __dp4a(a.w, b.w, sum))));
}

/// Weights int8 [rows, stride] in steps of 16 bytes a lane. Sums are exact.
template <int Tokens>
__global__ void __launch_bounds__(kThreads)
    matmulRow8Kernel(const std::byte* weight, std::int64_t weightStride, const float* weightScales,
                     std::int64_t rows, const std::int8_t* codes, std::int64_t codeStride,
                     const float* scales, std::int64_t tokens, MatmulOutput out) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const std::int64_t row = rowOfWarp();
    if (row >= rows)
        return;  // the whole warp
    const std::int64_t first = static_cast<std::int64_t>(blockIdx.y) * Tokens;
    int sums[Tokens] = {};
    for (std::int64_t c = lane * 16; c < weightStride; c += kWarp * 16) {
        const int4 block = load16(weight + row * weightStride + c);
#pragma unroll
        for (int t = 0; t < Tokens; ++t)
            if (first + t < tokens)
                sums[t] = dot16(block, load16(codes + (first + t) * codeStride + c), sums[t]);
    }
    const float scale = weightScales[row];
    finish(sums, first, tokens, row, out, [&](int sum, std::int64_t token) {
        return static_cast<float>(sum) * scale * scales[token];
    });
}

/// One group of 32 weights a lane and step. Four blocks on a multiprocessor leave 128 registers a
/// thread; left to itself the compiler takes half of that on sm_120 and spills.
template <CodeKind Codes, ScaleKind Scales, int Tokens>
__global__ void __launch_bounds__(kThreads, 4)
    matmulGroupsKernel(WeightSections weight, const std::int8_t* codes, std::int64_t codeStride,
                       const float* scales, const std::int32_t* codeSums, std::int64_t tokens,
                       MatmulOutput out) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const std::int64_t row = rowOfWarp();
    if (row >= weight.rows)
        return;  // the whole warp
    const std::int64_t first = static_cast<std::int64_t>(blockIdx.y) * Tokens;
    float sums[Tokens] = {};
    for (std::int64_t g = lane; g < weight.groups; g += kWarp) {
        const GroupCodes<Codes> w(weight, row * weight.groups + g);
        const GroupScale<Scales> scale(weight, row, g);
#pragma unroll
        for (int t = 0; t < Tokens; ++t) {
            if (first + t >= tokens)
                continue;
            const std::int64_t token = first + t, at = token * weight.groups + g;
            const int4 low = load16(codes + token * codeStride + g * 32);
            const int4 high = load16(codes + token * codeStride + g * 32 + 16);
            const GroupSums s = {
                __dp4a(w.words[0], low.x,
                       __dp4a(w.words[1], low.y,
                              __dp4a(w.words[2], low.z, __dp4a(w.words[3], low.w, 0)))),
                __dp4a(w.words[4], high.x,
                       __dp4a(w.words[5], high.y,
                              __dp4a(w.words[6], high.z, __dp4a(w.words[7], high.w, 0)))),
                codeSums[2 * at], codeSums[2 * at + 1]};
            sums[t] += scale.apply(s, scales[at]);
        }
    }
    finish(sums, first, tokens, row, out, [](float sum, std::int64_t) { return sum; });
}

/// Elements of 16 bytes as float32.
template <CodeKind Kind>
struct Plain {
    static constexpr int kCount = Kind == CodeKind::F32 ? 4 : 8;
    float values[kCount];

    __device__ __forceinline__ explicit Plain(int4 bits) {
        const int words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const auto word = static_cast<unsigned>(words[i]);
            if constexpr (Kind == CodeKind::F32) {
                values[i] = bitsToFloat(word);
            } else if constexpr (Kind == CodeKind::BF16) {
                values[2 * i] = bitsToFloat(word << 16);
                values[2 * i + 1] = bitsToFloat(word & 0xffff0000U);
            } else {
                values[2 * i] = fromHalf(static_cast<std::uint16_t>(word & 0xffffU));
                values[2 * i + 1] = fromHalf(static_cast<std::uint16_t>(word >> 16));
            }
        }
    }
};

/// Weights in steps of 16 bytes a lane; activations too where their rows are aligned.
template <CodeKind Kind, int Tokens>
__global__ void __launch_bounds__(kThreads)
    matmulPlainKernel(const std::byte* weight, std::int64_t weightStride, std::int64_t rows,
                      std::int64_t cols, const float* x, std::int64_t xStride, bool aligned,
                      std::int64_t tokens, MatmulOutput out) {
    constexpr int kCount = Plain<Kind>::kCount;
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const std::int64_t row = rowOfWarp();
    if (row >= rows)
        return;  // the whole warp
    const std::int64_t first = static_cast<std::int64_t>(blockIdx.y) * Tokens;
    float sums[Tokens] = {};
    for (std::int64_t c = lane * kCount; c < cols; c += kWarp * kCount) {
        const Plain<Kind> w(load16(weight + row * weightStride + c * (16 / kCount)));
        const bool whole = aligned && c + kCount <= cols;
#pragma unroll
        for (int t = 0; t < Tokens; ++t) {
            if (first + t >= tokens)
                continue;
            const float* at = x + (first + t) * xStride + c;
#pragma unroll
            for (int i = 0; i < kCount; i += 4) {
                float v[4] = {};
                if (whole) {
                    const int4 bits = load16(at + i);
                    v[0] = bitsToFloat(static_cast<unsigned>(bits.x));
                    v[1] = bitsToFloat(static_cast<unsigned>(bits.y));
                    v[2] = bitsToFloat(static_cast<unsigned>(bits.z));
                    v[3] = bitsToFloat(static_cast<unsigned>(bits.w));
                } else {
#pragma unroll
                    for (int j = 0; j < 4; ++j)
                        v[j] = c + i + j < cols ? at[i + j] : 0.0F;
                }
#pragma unroll
                for (int j = 0; j < 4; ++j)
                    sums[t] = fmaf(w.values[i + j], v[j], sums[t]);
            }
        }
    }
    finish(sums, first, tokens, row, out, [](float sum, std::int64_t) { return sum; });
}

/// Four floats beside each other.
struct Four {
    float values[4];

    __device__ __forceinline__ Four(const float* at, bool aligned) {
        if (aligned) {
            const int4 bits = load16(at);
            values[0] = bitsToFloat(static_cast<unsigned>(bits.x));
            values[1] = bitsToFloat(static_cast<unsigned>(bits.y));
            values[2] = bitsToFloat(static_cast<unsigned>(bits.z));
            values[3] = bitsToFloat(static_cast<unsigned>(bits.w));
        } else {
#pragma unroll
            for (int i = 0; i < 4; ++i)
                values[i] = at[i];
        }
    }
};

/// Eight values a lane and step, which share a scale: four lanes read a group. As above, the
/// compiler spills unless it is told how many registers there are: eight tokens need more.
template <CodeKind Codes, int Tokens>
__global__ void __launch_bounds__(kThreads, Tokens == kMostTokens ? 3 : 4)
    matmulWidenedKernel(WeightSections weight, const float* x, std::int64_t xStride, bool aligned,
                        std::int64_t tokens, MatmulOutput out) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const std::int64_t row = rowOfWarp();
    if (row >= weight.rows)
        return;  // the whole warp
    const std::int64_t first = static_cast<std::int64_t>(blockIdx.y) * Tokens;
    float sums[Tokens] = {};
    for (std::int64_t p = lane; p < 4 * weight.groups; p += kWarp) {
        const std::int64_t g = p / 4;
        const int piece = static_cast<int>(p % 4);
        const PieceCodes<Codes> codes(weight, row * weight.groups + g, piece);
        const GroupScale<ScaleKind::Each> group(weight, row, g);
        const float scale = piece < 2 ? group.scale[0] : group.scale[1];
        float values[8];
#pragma unroll
        for (int i = 0; i < 8; ++i)
            values[i] = codeValue<Codes>(codes.code(i), group.zero);
#pragma unroll
        for (int t = 0; t < Tokens; ++t) {
            if (first + t >= tokens)
                continue;
            const float* at = x + (first + t) * xStride + 8 * p;
            const Four low(at, aligned), high(at + 4, aligned);
            float sum = 0;
#pragma unroll
            for (int i = 0; i < 4; ++i)
                sum = fmaf(values[i], low.values[i], sum);
#pragma unroll
            for (int i = 0; i < 4; ++i)
                sum = fmaf(values[4 + i], high.values[i], sum);
            sums[t] = fmaf(scale, sum, sums[t]);
        }
    }
    finish(sums, first, tokens, row, out, [](float sum, std::int64_t) { return sum; });
}

/// Calls body with the number of tokens a kernel takes at once and its grid.
template <class Body>
Status withTokens(const WeightLayout& layout, std::int64_t tokens, Body body) {
    const std::int64_t blocks = (layout.rows + kWarps - 1) / kWarps;
    if (layout.rows < 0 || layout.cols <= 0 || tokens < 0 || blocks > kMaxGridX ||
        tokens > kMaxGridY * kMostTokens)
        return kInvalidValue;
    if (layout.rows == 0 || tokens == 0)
        return kSuccess;
    const auto grid = [&](int each) {
        return dim3(static_cast<unsigned>(blocks),
                    static_cast<unsigned>((tokens + each - 1) / each));
    };
    if (tokens == 1)
        return body(std::integral_constant<int, 1>{}, grid(1));
    if (tokens <= 4)
        return body(std::integral_constant<int, 4>{}, grid(4));
    return body(std::integral_constant<int, kMostTokens>{}, grid(kMostTokens));
}

}  // namespace

Status matmulQuantized(const DeviceWeightView& weight, const QuantizedActivations& x,
                       std::int64_t tokens, const MatmulOutput& out, Stream stream) {
    const WeightLayout& l = weight.layout;
    const auto& codes = l.sections[WeightLayout::kCodes];
    if (x.codeStride < l.cols || x.codeStride % 16 != 0)
        return kInvalidValue;
    if (l.codes == CodeKind::Row8) {
        const auto stride = static_cast<std::int64_t>(codes.stride);
        if (x.codeStride < stride)
            return kInvalidValue;
        return withTokens(l, tokens, [&](auto count, dim3 grid) {
            return launch(matmulRow8Kernel<decltype(count)::value>, grid, kThreads, 0, stream,
                          weight.section(WeightLayout::kCodes), stride,
                          reinterpret_cast<const float*>(weight.section(WeightLayout::kScales)),
                          l.rows, x.codes, x.codeStride, x.scales, tokens, out);
        });
    }
    return withIntegers(l, [&](auto kinds) {
        using Kinds = decltype(kinds);
        return withTokens(l, tokens, [&](auto count, dim3 grid) {
            return launch(matmulGroupsKernel<Kinds::kCodes, Kinds::kScales, decltype(count)::value>,
                          grid, kThreads, 0, stream, WeightSections(weight), x.codes, x.codeStride,
                          x.scales, x.sums, tokens, out);
        });
    });
}

namespace {

template <CodeKind Kind>
Status multiplyPlain(const DeviceWeightView& weight, const float* x, std::int64_t xStride,
                     std::int64_t tokens, const MatmulOutput& out, Stream stream) {
    const WeightLayout& l = weight.layout;
    const bool aligned = reinterpret_cast<std::uintptr_t>(x) % 16 == 0 && xStride % 4 == 0;
    return withTokens(l, tokens, [&](auto count, dim3 grid) {
        return launch(matmulPlainKernel<Kind, decltype(count)::value>, grid, kThreads, 0, stream,
                      weight.section(WeightLayout::kCodes),
                      static_cast<std::int64_t>(l.sections[WeightLayout::kCodes].stride), l.rows,
                      l.cols, x, xStride, aligned, tokens, out);
    });
}

}  // namespace

Status matmulWidened(const DeviceWeightView& weight, const float* x, std::int64_t xStride,
                     std::int64_t tokens, const MatmulOutput& out, Stream stream) {
    const WeightLayout& l = weight.layout;
    if (!l.widened || l.cols % kGroupValues != 0)
        return kInvalidValue;
    const bool aligned = reinterpret_cast<std::uintptr_t>(x) % 16 == 0 && xStride % 4 == 0;
    return withNarrowCodes(l.codes, [&](auto kinds) {
        using Kinds = decltype(kinds);
        return withTokens(l, tokens, [&](auto count, dim3 grid) {
            return launch(matmulWidenedKernel<Kinds::kCodes, decltype(count)::value>, grid,
                          kThreads, 0, stream, WeightSections(weight), x, xStride, aligned, tokens,
                          out);
        });
    });
}

Status matmulPlain(const DeviceWeightView& weight, const float* x, std::int64_t xStride,
                   std::int64_t tokens, const MatmulOutput& out, Stream stream) {
    switch (weight.layout.codes) {
        case CodeKind::F32:
            return multiplyPlain<CodeKind::F32>(weight, x, xStride, tokens, out, stream);
        case CodeKind::F16:
            return multiplyPlain<CodeKind::F16>(weight, x, xStride, tokens, out, stream);
        case CodeKind::BF16:
            return multiplyPlain<CodeKind::BF16>(weight, x, xStride, tokens, out, stream);
        default:
            return kInvalidValue;
    }
}

}  // namespace fettle::kernels::cuda
