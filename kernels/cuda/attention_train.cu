#include "kernels/cuda/attention_train.h"

#include "kernels/cuda/device.cuh"

namespace fettle::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr int kMost = 256 / kWarp;  // values of a row that a lane holds
constexpr std::int64_t kMaxGridX = 0x7fffffff;

/// A row of headDim values over the lanes of a warp: lane + 32 i each.
struct LaneRow {
    float values[kMost];

    __device__ __forceinline__ static LaneRow zeros() {
        LaneRow row;
#pragma unroll
        for (float& value : row.values)
            value = 0;
        return row;
    }
    __device__ __forceinline__ static LaneRow load(const float* from, std::int64_t size) {
        const int lane = static_cast<int>(threadIdx.x) % kWarp;
        LaneRow row;
#pragma unroll
        for (int i = 0; i < kMost; ++i)
            row.values[i] = lane + i * kWarp < size ? from[lane + i * kWarp] : 0.0F;
        return row;
    }
    __device__ __forceinline__ void store(float* to, std::int64_t size, float factor) const {
        const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
        for (int i = 0; i < kMost; ++i)
            if (lane + i * kWarp < size)
                to[lane + i * kWarp] = values[i] * factor;
    }
    __device__ __forceinline__ float dot(const LaneRow& other) const {
        float sum = 0;
#pragma unroll
        for (int i = 0; i < kMost; ++i)
            sum = fmaf(values[i], other.values[i], sum);
        return warpSum(sum);
    }
    /// this = this * shrink + other * factor
    __device__ __forceinline__ void add(const LaneRow& other, float factor, float shrink = 1.0F) {
#pragma unroll
        for (int i = 0; i < kMost; ++i)
            values[i] = fmaf(factor, other.values[i], values[i] * shrink);
    }
};

struct Place {
    std::int64_t token, head;
    bool valid;
};

/// The row of the calling warp among rows x heads.
__device__ __forceinline__ Place placeOfWarp(std::int64_t tokens, std::int64_t heads) {
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
    return {row / heads, row % heads, row < tokens * heads};
}

__device__ __forceinline__ std::int64_t firstSeen(const AttentionTrainArgs& a, std::int64_t token) {
    const std::int64_t first = a.firsts[token];
    const std::int64_t inWindow = a.window > 0 ? token - a.window + 1 : 0;
    return inWindow > first ? inWindow : first;
}

__device__ __forceinline__ float scoreOf(const AttentionTrainArgs& a, float product) {
    const float s = product * a.scale;
    return a.softcap > 0 ? a.softcap * tanhf(s / a.softcap) : s;
}

/// How the score changes with the product of query and key.
__device__ __forceinline__ float slopeOf(const AttentionTrainArgs& a, float score) {
    const float ratio = a.softcap > 0 ? score / a.softcap : 0.0F;
    return a.scale * (1.0F - ratio * ratio);
}

__global__ void __launch_bounds__(kThreads, 4) attentionForwardKernel(AttentionTrainArgs a) {
    const auto [token, head, valid] = placeOfWarp(a.tokens, a.heads);
    if (!valid)
        return;  // the whole warp
    const std::int64_t kv = head / (a.heads / a.kvHeads) * a.headDim;
    const LaneRow q = LaneRow::load(a.q + token * a.qStride + head * a.headDim, a.headDim);
    LaneRow mean = LaneRow::zeros();
    float largest = -INFINITY, sum = 0;
    for (std::int64_t j = firstSeen(a, token); j <= token; ++j) {
        const float s = scoreOf(a, q.dot(LaneRow::load(a.k + j * a.kvStride + kv, a.headDim)));
        const float best = fmaxf(largest, s), shrink = expf(largest - best), p = expf(s - best);
        mean.add(LaneRow::load(a.v + j * a.kvStride + kv, a.headDim), p, shrink);
        sum = sum * shrink + p;
        largest = best;
    }
    mean.store(a.out + token * a.outStride + head * a.headDim, a.headDim, 1.0F / sum);
    if (threadIdx.x % kWarp == 0)
        a.logSumExp[token * a.heads + head] = largest + logf(sum);
}

/// One query: its gradient, and delta = out . dOut for the keys' pass.
__global__ void __launch_bounds__(kThreads, 4)
    attentionQueryGradKernel(AttentionTrainArgs a, AttentionGrads g) {
    const auto [token, head, valid] = placeOfWarp(a.tokens, a.heads);
    if (!valid)
        return;  // the whole warp
    const std::int64_t kv = head / (a.heads / a.kvHeads) * a.headDim;
    const std::int64_t at = token * a.outStride + head * a.headDim;
    const LaneRow q = LaneRow::load(a.q + token * a.qStride + head * a.headDim, a.headDim);
    const LaneRow dOut = LaneRow::load(g.dOut + at, a.headDim);
    const float delta = LaneRow::load(a.out + at, a.headDim).dot(dOut);
    const float total = a.logSumExp[token * a.heads + head];
    LaneRow dq = LaneRow::zeros();
    for (std::int64_t j = firstSeen(a, token); j <= token; ++j) {
        const LaneRow k = LaneRow::load(a.k + j * a.kvStride + kv, a.headDim);
        const LaneRow v = LaneRow::load(a.v + j * a.kvStride + kv, a.headDim);
        const float s = scoreOf(a, q.dot(k));
        dq.add(k, expf(s - total) * (dOut.dot(v) - delta) * slopeOf(a, s));
    }
    dq.store(g.dq + token * a.qStride + head * a.headDim, a.headDim, 1.0F);
    if (threadIdx.x % kWarp == 0)
        g.delta[token * a.heads + head] = delta;
}

/// One key and value: what all queries that see it give, heads of the group in their order.
__global__ void __launch_bounds__(kThreads, 4)
    attentionKeyGradKernel(AttentionTrainArgs a, AttentionGrads g) {
    const auto [j, kvHead, valid] = placeOfWarp(a.tokens, a.kvHeads);
    if (!valid)
        return;  // the whole warp
    const std::int64_t at = j * a.kvStride + kvHead * a.headDim, group = a.heads / a.kvHeads;
    const LaneRow k = LaneRow::load(a.k + at, a.headDim), v = LaneRow::load(a.v + at, a.headDim);
    std::int64_t end = a.ends[j];
    if (a.window > 0 && j + a.window < end)
        end = j + a.window;
    LaneRow dk = LaneRow::zeros(), dv = LaneRow::zeros();
    for (std::int64_t head = kvHead * group; head < (kvHead + 1) * group; ++head)
        for (std::int64_t t = j; t < end; ++t) {
            const LaneRow q = LaneRow::load(a.q + t * a.qStride + head * a.headDim, a.headDim);
            const LaneRow dOut =
                LaneRow::load(g.dOut + t * a.outStride + head * a.headDim, a.headDim);
            const float s = scoreOf(a, q.dot(k));
            const float p = expf(s - a.logSumExp[t * a.heads + head]);
            dv.add(dOut, p);
            dk.add(q, p * (dOut.dot(v) - g.delta[t * a.heads + head]) * slopeOf(a, s));
        }
    dk.store(g.dk + at, a.headDim, 1.0F);
    dv.store(g.dv + at, a.headDim, 1.0F);
}

unsigned blocksFor(std::int64_t rows) {
    return static_cast<unsigned>((rows + kWarps - 1) / kWarps);
}

bool isValid(const AttentionTrainArgs& a) {
    return a.tokens >= 0 && a.heads > 0 && a.kvHeads > 0 && a.heads % a.kvHeads == 0 &&
           a.headDim > 0 && a.headDim <= kMost * kWarp && a.tokens * a.heads / kWarps < kMaxGridX;
}

}  // namespace

Status attentionTrainForward(const AttentionTrainArgs& args, Stream stream) {
    if (!isValid(args))
        return kInvalidValue;
    if (args.tokens == 0)
        return kSuccess;
    return launch(attentionForwardKernel, blocksFor(args.tokens * args.heads), kThreads, 0, stream,
                  args);
}

Status attentionTrainBackward(const AttentionTrainArgs& args, const AttentionGrads& grads,
                              Stream stream) {
    if (!isValid(args))
        return kInvalidValue;
    if (args.tokens == 0)
        return kSuccess;
    const Status status = launch(attentionQueryGradKernel, blocksFor(args.tokens * args.heads),
                                 kThreads, 0, stream, args, grads);
    if (status != kSuccess)
        return status;
    return launch(attentionKeyGradKernel, blocksFor(args.tokens * args.kvHeads), kThreads, 0,
                  stream, args, grads);
}

}  // namespace fettle::kernels::cuda
