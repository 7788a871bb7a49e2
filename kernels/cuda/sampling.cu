#include "kernels/cuda/sampling.h"

#include "kernels/cuda/device.cuh"

namespace fettle::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

/// Numbers in the order of the floats.
__device__ __forceinline__ unsigned keyOf(float x) {
    const unsigned bits = floatToBits(x);
    return bits & 0x80000000U ? ~bits : bits | 0x80000000U;
}
__device__ __forceinline__ float floatOf(unsigned key) {
    return bitsToFloat(key & 0x80000000U ? key & 0x7fffffffU : ~key);
}

/// The likeliest tokens of a row: all above an edge, and of those on it the first `ties`.
struct Edge {
    unsigned key = 0;
    std::int64_t ties = 0;
};

struct Row {
    const float* x;
    std::int64_t count;
    float highest, rate;

    /// Against the likeliest token, whose weight is 1.
    __device__ __forceinline__ float weightOf(float value) const {
        return expf((value - highest) * rate);
    }
};

/// Sums over the row that follow each other in one kernel: memory takes turns, which saves a
/// barrier each.
struct Sums {
    SharedPointer<float> floats;  // [2 * kWarps]
    SharedPointer<int> ints;      // [2 * kWarps]
    int turn = 0;

    template <class T>
    __device__ __forceinline__ T over(T mine, SharedPointer<T> memory) {
        turn ^= 1;
        return blockSum(mine, memory + turn * kWarps);
    }
    __device__ __forceinline__ int tokensFrom(const Row& row, unsigned key) {
        int mine = 0;
        for (std::int64_t i = threadIdx.x; i < row.count; i += kThreads)
            mine += keyOf(row.x[i]) >= key;
        return over(mine, ints);
    }
    /// Of tokens within `edge`.
    __device__ __forceinline__ float weightFrom(const Row& row, unsigned key, const Edge& edge) {
        const unsigned first = key > edge.key ? key : edge.key + 1;
        float mine = 0;
        for (std::int64_t i = threadIdx.x; i < row.count; i += kThreads)
            mine += keyOf(row.x[i]) >= first ? row.weightOf(row.x[i]) : 0.0F;
        const float onEdge = key > edge.key || edge.ties == 0
                                 ? 0.0F
                                 : static_cast<float>(edge.ties) * row.weightOf(floatOf(edge.key));
        return over(mine, floats) + onEdge;
    }
};

/// The largest key, bit by bit, for which `enough` holds, which it does for 0.
template <class Enough>
__device__ __forceinline__ unsigned largestKey(const Enough& enough) {
    unsigned key = 0;
    for (unsigned bit = 0x80000000U; bit > 0; bit >>= 1)
        if (enough(key | bit))
            key |= bit;
    return key;
}

__global__ void __launch_bounds__(kThreads)
    sampleTokensKernel(const float* x, std::int64_t stride, std::int64_t count, SamplingRule rule,
                       const float* random, std::int32_t* ids) {
    FETTLE_SHARED(float, floats, 2 * kWarps);
    FETTLE_SHARED(int, ints, 2 * kWarps);
    FETTLE_SHARED(float, largest, kWarps);
    FETTLE_SHARED(int, ties, kThreads);
    FETTLE_SHARED(float, weights, kThreads);
    const int thread = static_cast<int>(threadIdx.x);
    Row row = {x + blockIdx.x * stride, count, 0, 1.0F / rule.temperature};
    float mine = row.x[0];
    for (std::int64_t i = thread; i < count; i += kThreads)
        mine = fmaxf(mine, row.x[i]);
    row.highest = blockMax(mine, largest);

    Sums sums = {floats, ints};
    Edge edge;
    if (rule.topK > 0 && rule.topK < count) {
        edge.key = largestKey([&](unsigned key) { return sums.tokensFrom(row, key) >= rule.topK; });
        edge.ties = rule.topK - sums.tokensFrom(row, edge.key + 1);
    }
    if (rule.topP < 1) {
        const float wanted = rule.topP * sums.weightFrom(row, 0, edge);
        const unsigned key =
            largestKey([&](unsigned k) { return sums.weightFrom(row, k, edge) >= wanted; });
        const float above = sums.weightFrom(row, key + 1, edge);
        const float each = row.weightOf(floatOf(key));
        const float more = ceilf((wanted - above) / each);
        const std::int64_t most = key == edge.key ? edge.ties : count;
        edge.key = key;
        edge.ties = more < 1 ? 1 : static_cast<std::int64_t>(more);
        edge.ties = edge.ties < most ? edge.ties : most;
    }

    // Each thread a stretch of ids, so that ids come in order.
    const std::int64_t each = (count + kThreads - 1) / kThreads;
    const auto endOf = [&](int of) { return (of + 1) * each < count ? (of + 1) * each : count; };
    int onEdge = 0;
    for (std::int64_t i = thread * each; i < endOf(thread); ++i)
        onEdge += keyOf(row.x[i]) == edge.key;
    ties[thread] = onEdge;
    __syncthreads();
    /// Calls body with each token of a stretch that stays, and its weight, until it says so.
    const auto visit = [&](int of, const auto& body) {
        std::int64_t before = 0;
        for (int t = 0; t < of; ++t)
            before += ties[t];
        for (std::int64_t i = of * each; i < endOf(of); ++i) {
            const unsigned key = keyOf(row.x[i]);
            const bool stays = key > edge.key || (key == edge.key && before++ < edge.ties);
            const float weight = row.weightOf(row.x[i]);
            if (stays && weight > 0 && weight >= rule.minP && body(i, weight))
                return;
        }
    };
    float weight = 0;
    visit(thread, [&](std::int64_t, float w) {
        weight += w;
        return false;
    });
    weights[thread] = weight;
    __syncthreads();
    if (thread > 0)
        return;
    float total = 0;
#pragma unroll 4  // all at once the loads would need more registers than there are
    for (int t = 0; t < kThreads; ++t)
        total += weights[t];
    // The stretch that holds the token, and what is left of the random share at its beginning. What
    // rounding leaves behind the last one belongs to its last token.
    const float wanted = random[blockIdx.x] * total;
    float reached = 0, rest = wanted;
    int chosen = 0;
#pragma unroll 4
    for (int t = 0; t < kThreads && reached <= wanted; ++t) {
        const float here = weights[t];
        if (here <= 0)
            continue;
        chosen = t;
        rest = wanted - reached;
        reached += here;
    }
    std::int64_t id = 0;
    visit(chosen, [&](std::int64_t i, float w) {
        id = i;
        rest -= w;
        return rest < 0;
    });
    ids[blockIdx.x] = static_cast<std::int32_t>(id);
}

}  // namespace

Status sampleTokens(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t count,
                    const SamplingRule& rule, const float* random, std::int32_t* ids,
                    Stream stream) {
    if (rows < 0 || rows > 0x7fffffff || count <= 0 || count > 0x7fffffff ||
        !(rule.temperature > 0))
        return kInvalidValue;
    if (rows == 0)
        return kSuccess;
    return launch(sampleTokensKernel, static_cast<unsigned>(rows), kThreads, 0, stream, x, stride,
                  count, rule, random, ids);
}

}  // namespace fettle::kernels::cuda
