#include "kernels/cuda/fake_quant.h"

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/nf4.cuh"

namespace fettle::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr std::int64_t kMaxBlocks = 65535;  // more work than that is done in turns
constexpr std::int64_t kMaxGridX = 0x7fffffff;
constexpr float kRoundMagic = 12582912.0F;  // 1.5 * 2^23: rounds to whole numbers
constexpr float kSmallestHalf = 0x1p-14F, kSmallestE4m3 = 0x1p-9F, kLargestE4m3 = 448.0F;

unsigned blocksFor(std::int64_t count) {
    const std::int64_t blocks = (count + kThreads - 1) / kThreads;
    return static_cast<unsigned>(blocks < kMaxBlocks ? blocks : kMaxBlocks);
}

/// The code nearest to a value within the grid. The magic number times a power of two is exact, so
/// that a fused sum rounds no differently.
template <CodeSpacing Spacing>
__device__ __forceinline__ float nearest(float v, float smallest, float magic) {
    if constexpr (Spacing == CodeSpacing::Nf4)
        return nearestNf4(v);
    float power = smallest;
    if (Spacing == CodeSpacing::Binade)
        power = fmaxf(bitsToFloat(floatToBits(v) & 0x7F800000U), smallest);
    const float c = power * magic;
    return (v + c) - c;
}

struct GroupScale {
    float lowest, highest, inverse;
};

__device__ __forceinline__ GroupScale groupScale(const FakeQuantArgs& a, std::int64_t group) {
    const float shift = a.shift ? a.shift[group] : 0.0F;
    return {a.lowest + shift, a.highest + shift, 1.0F / a.step[group]};
}

__device__ __forceinline__ float held(const GroupScale& g, float v) {
    return fminf(fmaxf(v, g.lowest), g.highest);
}

template <CodeSpacing Spacing>
__global__ void __launch_bounds__(kThreads) codesKernel(FakeQuantArgs a, float* out) {
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
    const std::int64_t count = a.groups * a.group;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count;
         i += step) {
        const std::int64_t group = i / a.group;
        const GroupScale g = groupScale(a, group);
        out[i] =
            nearest<Spacing>(held(g, a.w[i] * g.inverse), a.smallest, a.magic) * a.scale[group];
    }
}

/// One warp a group.
template <CodeSpacing Spacing, ScaleGradient Kind>
__global__ void __launch_bounds__(kThreads)
    codesBackwardKernel(FakeQuantArgs a, float* grad, float* dLog) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const std::int64_t group = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
    if (group >= a.groups)
        return;  // the whole warp
    const GroupScale g = groupScale(a, group);
    const float scale = a.scale[group], ratio = scale / a.step[group];
    float sum = 0;
    for (std::int64_t i = group * a.group + lane; i < (group + 1) * a.group; i += kWarp) {
        const float v = a.w[i] * g.inverse, d = grad[i];
        const float code = nearest<Spacing>(held(g, v), a.smallest, a.magic);
        // Within the grid a step is felt as the rounding error.
        const bool rounding = Kind == ScaleGradient::Step && g.lowest < v && v < g.highest;
        sum = fmaf(d, rounding ? code - v : code, sum);
        // Beyond the grid only a gradient that leads back into it may pass.
        const float passed = v < g.lowest ? fminf(d, 0.0F) : v > g.highest ? fmaxf(d, 0.0F) : d;
        grad[i] = passed * ratio;
    }
    sum = warpSum(sum);
    if (lane == 0 && dLog)
        dLog[group] += sum * scale;
}

__device__ __forceinline__ float storedScale(float scale, StoredScale stored, float globalScale) {
    switch (stored) {
        case StoredScale::F32:
            break;
        case StoredScale::F16:
            return fromHalf(toHalf(fmaxf(scale, kSmallestHalf)));
        case StoredScale::BF16:
            return bitsToFloat(static_cast<std::uint32_t>(toBfloat(scale)) << 16);
        case StoredScale::NvFp4: {
            const float wanted = fminf(fmaxf(2 * scale * globalScale, kSmallestE4m3), kLargestE4m3);
            return nearest<CodeSpacing::Binade>(wanted, 0x1p-6F, kRoundMagic / 8) / globalScale / 2;
        }
    }
    return scale;
}

__global__ void __launch_bounds__(kThreads)
    learnedScalesKernel(const float* start, const float* p, std::int64_t count, StoredScale stored,
                        float globalScale, float* out) {
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count;
         i += step) {
        // In double, as the host's function is right to the last place.
        const auto factor = static_cast<float>(exp(static_cast<double>(p[i])));
        out[i] = p[i] == 0 ? start[i] : storedScale(start[i] * factor, stored, globalScale);
    }
}

bool isValid(const FakeQuantArgs& a) {
    return a.groups >= 0 && a.group > 0 && a.groups / kWarps < kMaxGridX;
}

template <CodeSpacing Spacing>
Status backward(const FakeQuantArgs& a, ScaleGradient kind, float* grad, float* dLog,
                Stream stream) {
    const auto blocks = static_cast<unsigned>((a.groups + kWarps - 1) / kWarps);
    if (kind == ScaleGradient::Step)
        return launch(codesBackwardKernel<Spacing, ScaleGradient::Step>, blocks, kThreads, 0,
                      stream, a, grad, dLog);
    return launch(codesBackwardKernel<Spacing, ScaleGradient::Scale>, blocks, kThreads, 0, stream,
                  a, grad, dLog);
}

}  // namespace

Status fakeQuantize(const FakeQuantArgs& args, float* out, Stream stream) {
    if (!isValid(args))
        return kInvalidValue;
    if (args.groups == 0)
        return kSuccess;
    const auto kernel = args.spacing == CodeSpacing::Even     ? codesKernel<CodeSpacing::Even>
                        : args.spacing == CodeSpacing::Binade ? codesKernel<CodeSpacing::Binade>
                                                              : codesKernel<CodeSpacing::Nf4>;
    return launch(kernel, blocksFor(args.groups * args.group), kThreads, 0, stream, args, out);
}

Status fakeQuantizeBackward(const FakeQuantArgs& args, ScaleGradient kind, float* grad, float* dLog,
                            Stream stream) {
    if (!isValid(args))
        return kInvalidValue;
    if (args.groups == 0)
        return kSuccess;
    switch (args.spacing) {
        case CodeSpacing::Even:
            return backward<CodeSpacing::Even>(args, kind, grad, dLog, stream);
        case CodeSpacing::Binade:
            return backward<CodeSpacing::Binade>(args, kind, grad, dLog, stream);
        case CodeSpacing::Nf4:
            return backward<CodeSpacing::Nf4>(args, kind, grad, dLog, stream);
    }
    return kInvalidValue;
}

Status learnedScales(const float* start, const float* p, std::int64_t count, StoredScale stored,
                     float globalScale, float* out, Stream stream) {
    if (count <= 0)
        return kSuccess;
    return launch(learnedScalesKernel, blocksFor(count), kThreads, 0, stream, start, p, count,
                  stored, globalScale, out);
}

}  // namespace fettle::kernels::cuda
