#include "kernels/cuda/attention_prefill.h"

#include "kernels/cuda/tensor_core.cuh"

namespace fettle::kernels::cuda {
namespace {

constexpr int kPositions = 32;  // of a tile
constexpr int kScoreTiles = kPositions / 8;
constexpr std::int64_t kMaxGridX = 0x7fffffff;
constexpr std::int64_t kMaxGridY = 65535;

struct Shape {
    std::int64_t qStride, outStride, capacity, past, tokens, heads, kvHeads, headDim, window;
    float scale, softcap;
};

/// Rows of `Dim` values in shared memory, chunks of eight turned by the row against bank conflicts.
template <int Dim>
__device__ __forceinline__ int placeOf(int row, int chunk) {
    return row * Dim + (chunk ^ row % 8) * 8;
}

template <int Dim, int Threads, int Rows>
__device__ __forceinline__ void loadQueries(SharedPointer<std::uint16_t> tile, const float* q,
                                            std::int64_t first, const Shape& shape) {
    for (int number = static_cast<int>(threadIdx.x); number < Rows * Dim / 8; number += Threads) {
        const int row = number / (Dim / 8), chunk = number % (Dim / 8);
        const std::int64_t token = first + row;
        const bool valid = token < shape.tokens && chunk * 8 < shape.headDim;
        const float* from = q + token * shape.qStride + chunk * 8;
        int words[4];
#pragma unroll
        for (int i = 0; i < 4; ++i)
            words[i] = valid ? static_cast<int>(packHalves(from[2 * i], from[2 * i + 1])) : 0;
        storeShared16(tile + placeOf<Dim>(row, chunk),
                      int4{words[0], words[1], words[2], words[3]});
    }
}

/// Begins to copy positions [tile, tile + kPositions) of the cache; zeros from `end` on.
template <int Dim, int Threads>
__device__ __forceinline__ void copyPositions(SharedPointer<std::uint16_t> to,
                                              const std::uint16_t* cache, std::int64_t tile,
                                              std::int64_t end, std::int64_t headDim) {
#pragma unroll
    for (int i = 0; i < kPositions * Dim / 8 / Threads; ++i) {
        const int number = i * Threads + static_cast<int>(threadIdx.x);
        const int row = number / (Dim / 8), chunk = number % (Dim / 8);
        const bool valid = tile + row < end && chunk * 8 < headDim;
        copy16(to + placeOf<Dim>(row, chunk),
               valid ? cache + (tile + row) * headDim + chunk * 8 : cache, valid);
    }
    commitCopies();
}

/// Softmax so far of a query whose row of the scores four lanes share.
struct Row {
    float maximum = -INFINITY, sum = 0;

    /// Takes the scores of one more tile; they become weights. What was summed before is to be
    /// multiplied by the result.
    __device__ __forceinline__ float take(Tile16x8 (&scores)[kScoreTiles], int half) {
        float best = maximum;
#pragma unroll
        for (Tile16x8& tile : scores)
            best = fmaxf(best, fmaxf(tile.values[2 * half], tile.values[2 * half + 1]));
        best = fmaxf(best, __shfl_xor_sync(kAllLanes, best, 1));
        best = fmaxf(best, __shfl_xor_sync(kAllLanes, best, 2));
        const float base = best == -INFINITY ? 0.0F : best;  // nothing seen yet
        const float shrink = expf(maximum - base);
        maximum = best;
        float added = 0;
#pragma unroll
        for (Tile16x8& tile : scores)
#pragma unroll
            for (int i = 2 * half; i < 2 * half + 2; ++i)
                added += tile.values[i] = expf(tile.values[i] - base);
        added += __shfl_xor_sync(kAllLanes, added, 1);
        added += __shfl_xor_sync(kAllLanes, added, 2);
        sum = sum * shrink + added;
        return shrink;
    }
};

__device__ __forceinline__ float maskedScore(float s, std::int64_t position, std::int64_t token,
                                             const Shape& shape) {
    const std::int64_t at = shape.past + token;
    if (position > at || (shape.window > 0 && position <= at - shape.window))
        return -INFINITY;
    s *= shape.scale;
    return shape.softcap > 0 ? shape.softcap * tanhf(s / shape.softcap) : s;
}

/// Queries blockIdx.x * kQueries and on of head blockIdx.y. Sixteen of them belong to `Shares`
/// warps, each of which computes the scores and its share of the output's columns.
template <int Dim, int Warps, int Shares>
__global__ void __launch_bounds__(Warps* kWarp)
    attentionPrefillKernel(const float* q, const std::uint16_t* keys, const std::uint16_t* values,
                           float* out, Shape shape) {
    constexpr int kThreads = Warps * kWarp, kQueries = Warps / Shares * 16;
    constexpr int kColumns = Dim / 8 / Shares;  // chunks of the output
    FETTLE_SHARED(std::uint16_t, queryTile, kQueries * Dim);
    FETTLE_SHARED(std::uint16_t, keyTile, kPositions * Dim);
    FETTLE_SHARED(std::uint16_t, valueTile, kPositions * Dim);
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    const int warpRow = warp / Shares * 16, firstChunk = warp % Shares * kColumns;
    const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kQueries;
    const std::int64_t head = blockIdx.y;
    const std::int64_t plane =
        head / (shape.heads / shape.kvHeads) * shape.capacity * shape.headDim;
    const std::int64_t last = first + kQueries < shape.tokens ? first + kQueries : shape.tokens;
    const std::int64_t end = shape.past + last;
    const std::int64_t seen = shape.window > 0 && shape.past + first >= shape.window
                                  ? shape.past + first - shape.window + 1
                                  : 0;
    const auto queryPlace = [&](int row, int chunk) {
        return queryTile + placeOf<Dim>(row, chunk);
    };
    const auto keyPlace = [&](int row, int chunk) { return keyTile + placeOf<Dim>(row, chunk); };

    loadQueries<Dim, kThreads, kQueries>(queryTile, q + head * shape.headDim, first, shape);
    Tile16x8 sums[kColumns];
    Row rows[2];
    for (std::int64_t tile = seen; tile < end; tile += kPositions) {
        if (tile > seen)
            __syncthreads();  // the last tile has been read
        copyPositions<Dim, kThreads>(keyTile, keys + plane, tile, end, shape.headDim);
        copyPositions<Dim, kThreads>(valueTile, values + plane, tile, end, shape.headDim);
        waitForCopies<1>();
        __syncthreads();
        Tile16x8 scores[kScoreTiles];
#pragma unroll
        for (int chunk = 0; chunk < Dim / 8; chunk += 2) {
            const LeftTile left = loadLeft(queryPlace, warpRow, chunk);
#pragma unroll
            for (int n = 0; n < kScoreTiles; n += 2) {
                RightTile right[2];
                loadRight(keyPlace, 8 * n, chunk, right);
                multiplyTiles(scores[n], left, right[0]);
                multiplyTiles(scores[n + 1], left, right[1]);
            }
        }
#pragma unroll
        for (int n = 0; n < kScoreTiles; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i)
                scores[n].values[i] =
                    maskedScore(scores[n].values[i], tile + n * 8 + lane % 4 * 2 + i % 2,
                                first + warpRow + lane / 4 + i / 2 * 8, shape);
        const float shrink[2] = {rows[0].take(scores, 0), rows[1].take(scores, 1)};
#pragma unroll
        for (Tile16x8& sum : sums)
#pragma unroll
            for (int i = 0; i < 4; ++i)
                sum.values[i] *= shrink[i / 2];
        waitForCopies<0>();
        __syncthreads();
#pragma unroll
        for (int k = 0; k < kScoreTiles; k += 2) {
            const float(&a)[4] = scores[k].values;
            const float(&b)[4] = scores[k + 1].values;
            const LeftTile weights = {{packHalves(a[0], a[1]), packHalves(a[2], a[3]),
                                       packHalves(b[0], b[1]), packHalves(b[2], b[3])}};
#pragma unroll
            for (int chunk = 0; chunk < kColumns; chunk += 2) {
                unsigned words[4];
                loadTransposed(words, valueTile + placeOf<Dim>(8 * k + lane % 16,
                                                               firstChunk + chunk + lane / 16));
                multiplyTiles(sums[chunk], weights, RightTile{{words[0], words[1]}});
                multiplyTiles(sums[chunk + 1], weights, RightTile{{words[2], words[3]}});
            }
        }
    }
#pragma unroll
    for (int chunk = 0; chunk < kColumns; ++chunk)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const std::int64_t token = first + warpRow + lane / 4 + i / 2 * 8;
            const int d = (firstChunk + chunk) * 8 + lane % 4 * 2 + i % 2;
            if (token < shape.tokens && d < shape.headDim)
                out[token * shape.outStride + head * shape.headDim + d] =
                    sums[chunk].values[i] / rows[i / 2].sum;
        }
}

template <int Dim, int Warps, int Shares>
Status attend(const AttentionArgs& a, const Shape& shape, Stream stream) {
    constexpr int kQueries = Warps / Shares * 16;
    const std::int64_t blocks = (a.tokens + kQueries - 1) / kQueries;
    if (blocks > kMaxGridX || a.heads > kMaxGridY)
        return kInvalidValue;
    const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(a.heads));
    return launch(attentionPrefillKernel<Dim, Warps, Shares>, grid, Warps * kWarp, 0, stream, a.q,
                  static_cast<const std::uint16_t*>(a.keys),
                  static_cast<const std::uint16_t*>(a.values), a.out, shape);
}

}  // namespace

bool takesPrefill(const AttentionArgs& a) {
    return a.kvType == KvType::F16 && a.headDim > 0 && a.headDim % 8 == 0 && a.headDim <= 256;
}

Status attentionPrefill(const AttentionArgs& a, Stream stream) {
    if (!takesPrefill(a) || a.kvHeads <= 0 || a.heads <= 0 || a.heads % a.kvHeads != 0 ||
        a.past < 0 || a.tokens < 0 || a.past + a.tokens > a.capacity)
        return kInvalidValue;
    if (a.tokens == 0)
        return kSuccess;
    const Shape shape = {a.qStride, a.outStride, a.capacity, a.past,  a.tokens, a.heads,
                         a.kvHeads, a.headDim,   a.window,   a.scale, a.softcap};
    if (a.headDim <= 64)
        return attend<64, 4, 1>(a, shape, stream);
    if (a.headDim <= 128)
        return attend<128, 4, 1>(a, shape, stream);
    return attend<256, 4, 2>(a, shape, stream);
}

}  // namespace fettle::kernels::cuda
