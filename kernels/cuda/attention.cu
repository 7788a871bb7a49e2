#include "kernels/cuda/attention.h"

#include <type_traits>

#include "kernels/cuda/device.cuh"

namespace fettle::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr int kTile = 64;  // positions whose scores are kept at once: two a lane
constexpr int kOwned = static_cast<int>(kMaxHeadDim) / kThreads;  // output values of a thread
constexpr int kHeader = 2;  // a part's result: maximum, sum of weights, then headDim sums

constexpr float kFlat = 0x1p-100F;  // heads below count as zero, as in kv_format.cpp

struct F32Cache {
    using Element = float;
    static constexpr bool kScaled = false;
    static constexpr bool kBlocks = false;
    static __device__ float load(const float* cache, std::int64_t at) { return cache[at]; }
    static __device__ float store(float value) { return value; }
};
struct F16Cache {
    using Element = std::uint16_t;
    static constexpr bool kScaled = false;
    static constexpr bool kBlocks = false;
    static __device__ float load(const std::uint16_t* cache, std::int64_t at) {
        return fromHalf(cache[at]);
    }
    static __device__ std::uint16_t store(float value) { return toHalf(value); }
};
/// Caches with scales: load() gives what a code stands for, code() the code of x / scale.
struct Int8Cache {
    using Element = std::uint8_t;
    static constexpr bool kScaled = true;
    static constexpr bool kBlocks = false;
    static constexpr float kMost = 127.0F;
    static __device__ float load(const std::uint8_t* cache, std::int64_t at) {
        return static_cast<float>(static_cast<std::int8_t>(cache[at]));
    }
    static __device__ unsigned code(float x) {
        return static_cast<unsigned>(static_cast<int>(rintf(x))) & 0xFFU;
    }
};
struct Fp8Cache {
    using Element = std::uint8_t;
    static constexpr bool kScaled = true;
    static constexpr bool kBlocks = false;
    static constexpr float kMost = 448.0F;
    static __device__ float load(const std::uint8_t* cache, std::int64_t at) {
        // As float16, whose exponent has one bit more: 2^-8 of the value.
        const unsigned c = cache[at];
        return 256.0F * fromHalf(static_cast<std::uint16_t>((c & 0x80U) << 8 | (c & 0x7FU) << 7));
    }
    static __device__ unsigned code(float x) {
        const unsigned bits = floatToBits(x), sign = bits >> 24 & 0x80U,
                       magnitude = bits & 0x7FFFFFFFU;
        if (magnitude < 0x3C800000U)  // below 2^-6, in units of 2^-9
            return sign | (floatToBits(bitsToFloat(magnitude) + 16384.0F) - 0x46800000U);
        const unsigned code = ((magnitude + 0x7FFFFU + (magnitude >> 20 & 1U)) >> 20) - (120U << 3);
        return sign | (code < 0x7EU ? code : 0x7EU);
    }
};
struct Int4Cache {
    using Element = std::uint8_t;
    static constexpr bool kScaled = true;
    static constexpr bool kBlocks = false;
    static constexpr float kMost = 7.0F;
    static __device__ float load(const std::uint8_t* cache, std::int64_t at) {
        return static_cast<float>(static_cast<int>(cache[at / 2] >> (4 * (at % 2)) & 15) - 8);
    }
    static __device__ unsigned code(float x) {
        return static_cast<unsigned>(static_cast<int>(rintf(x)) + 8);
    }
};

/// Two scales: one of 16 dimensions, E4M3, times the token's.
struct NvFp4Cache {
    using Element = std::uint8_t;
    static constexpr bool kScaled = true;
    static constexpr bool kBlocks = true;
    static __device__ float load(const std::uint8_t* cache, std::int64_t at) {
        const int code = cache[at / 2] >> (4 * (at % 2)) & 15, m = code & 7;
        const float magnitude = m < 4   ? 0.5F * static_cast<float>(m)
                                : m < 6 ? static_cast<float>(m - 2)
                                        : static_cast<float>(2 * m - 8);
        return code & 8 ? -magnitude : magnitude;
    }
    /// Nearest, ties to the even code.
    static __device__ unsigned code(float x) {
        const float m = fabsf(x);
        const unsigned magnitude = (m > 0.25F) + (m >= 0.75F) + (m > 1.25F) + (m >= 1.75F) +
                                   (m > 2.5F) + (m >= 3.5F) + (m > 5.0F);
        return magnitude | (floatToBits(x) >> 28 & 8U);
    }
};

struct Shape {
    std::int64_t qStride, capacity, past, heads, kvHeads, headDim, window, parts;
    float scale, softcap;
};

/// By value, so that nothing has to be uploaded. `count` 0: the tokens continue the text.
struct Tree {
    std::int32_t count;
    std::int8_t parents[kMostTreeTokens];
};

/// Block scales stand behind the scales of all tokens; null for types without.
template <class Cache>
__device__ __forceinline__ const std::uint8_t* blocksBehind(const float* scales,
                                                            const Shape& shape) {
    if constexpr (Cache::kBlocks)
        return reinterpret_cast<const std::uint8_t*>(scales + shape.kvHeads * shape.capacity);
    else
        return nullptr;
}
/// A value of the cache but for its token's scale.
template <class Cache>
__device__ __forceinline__ float blockScaled(const typename Cache::Element* cache,
                                             const std::uint8_t* blocks, std::int64_t at) {
    const float value = Cache::load(cache, at);
    if constexpr (Cache::kBlocks)
        return value * Fp8Cache::load(blocks, at / kKvBlock);
    else
        return value;
}

/// Part blockIdx.y of head blockIdx.x for token blockIdx.z: online softmax, tile by tile. Each warp
/// takes every fourth position of a tile for the scores; then each thread owns output columns.
// Eight blocks a multiprocessor, said so that ptxas does not spill in order to fit more.
template <class Cache>
__global__ void __launch_bounds__(kThreads, 8)
    attentionPartKernel(const float* q, const typename Cache::Element* keys,
                        const typename Cache::Element* values, const float* keyScales,
                        const float* valueScales, Shape shape, FETTLE_READ_ONLY_PARAMETER Tree tree,
                        float* workspace) {
    FETTLE_SHARED(float, scores, kTile);
    FETTLE_SHARED(float, weights, kTile);
    FETTLE_SHARED(std::int32_t, path, static_cast<int>(kMostTreeTokens));
    const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
    const std::int64_t head = blockIdx.x, part = blockIdx.y, token = blockIdx.z;
    // Nodes on the way from the text to this token; without a tree the text goes on to it.
    const int node = tree.count - static_cast<int>(gridDim.z) + static_cast<int>(token);
    int depth = 0;
    for (int i = node; tree.count > 0 && i >= 0; i = tree.parents[i])
        ++depth;
    const std::int64_t text =
        tree.count > 0 ? shape.past + gridDim.z - tree.count : shape.past + token + 1;
    if (thread == 0 && tree.count > 0)
        for (int i = node, at = depth; i >= 0; i = tree.parents[i])
            path[--at] = i;
    if (tree.count > 0)
        __syncthreads();
    const std::int64_t last = text + depth - 1;
    const auto slot = [&](std::int64_t position) {
        return position < text ? position : text + path[static_cast<int>(position - text)];
    };
    const std::int64_t seen =
        shape.window > 0 && last >= shape.window ? last - shape.window + 1 : 0;
    const std::int64_t partBegin = part * kAttentionPart, partEnd = partBegin + kAttentionPart;
    const std::int64_t begin = partBegin > seen ? partBegin : seen;
    const std::int64_t end = partEnd < last + 1 ? partEnd : last + 1;
    const std::int64_t plane = head / (shape.heads / shape.kvHeads) * shape.capacity;
    const float* query = q + token * shape.qStride + head * shape.headDim;
    const std::uint8_t* keyBlocks = blocksBehind<Cache>(keyScales, shape);
    const std::uint8_t* valueBlocks = blocksBehind<Cache>(valueScales, shape);

    float maximum = -INFINITY, sum = 0, mean[kOwned] = {};
    for (std::int64_t tile = begin; tile < end; tile += kTile) {
        const int count = static_cast<int>(end - tile < kTile ? end - tile : kTile);
        for (int p = warp; p < count; p += kWarps) {
            const std::int64_t position = plane + slot(tile + p);
            float s = 0;
            for (std::int64_t d = lane; d < shape.headDim; d += kWarp)
                s += query[d] * blockScaled<Cache>(keys, keyBlocks, position * shape.headDim + d);
            s = warpSum(s) * shape.scale;
            if constexpr (Cache::kScaled)
                s *= keyScales[position];
            if (shape.softcap > 0)
                s = shape.softcap * tanhf(s / shape.softcap);
            if (lane == 0)
                scores[p] = s;
        }
        __syncthreads();
        float best = -INFINITY;
        for (int p = lane; p < count; p += kWarp)
            best = fmaxf(best, scores[p]);
        best = fmaxf(maximum, warpMax(best));
        if (thread < count)
            weights[thread] = expf(scores[thread] - best);
        const float shrink = expf(maximum - best);  // 0 for the first tile
        maximum = best;
        __syncthreads();
        float added = 0;
        for (int p = lane; p < count; p += kWarp)
            added += weights[p];
        sum = sum * shrink + warpSum(added);
#pragma unroll
        for (int i = 0; i < kOwned; ++i) {
            const std::int64_t d = thread + i * kThreads;
            if (d >= shape.headDim)
                continue;
            float column = 0;
            for (int p = 0; p < count; ++p) {
                const std::int64_t position = plane + slot(tile + p);
                float value = blockScaled<Cache>(values, valueBlocks, position * shape.headDim + d);
                if constexpr (Cache::kScaled)
                    value *= valueScales[position];
                column += weights[p] * value;
            }
            mean[i] = mean[i] * shrink + column;
        }
    }
    float* out =
        workspace + ((token * shape.heads + head) * shape.parts + part) * (shape.headDim + kHeader);
    if (thread == 0) {
        out[0] = maximum;
        out[1] = sum;
    }
#pragma unroll
    for (int i = 0; i < kOwned; ++i) {
        const std::int64_t d = thread + i * kThreads;
        if (d < shape.headDim)
            out[kHeader + d] = mean[i];
    }
}

/// Joins the parts of head blockIdx.x for token blockIdx.z.
__global__ void __launch_bounds__(kThreads)
    attentionJoinKernel(const float* workspace, std::int64_t parts, std::int64_t heads,
                        std::int64_t headDim, float* out, std::int64_t outStride) {
    const std::int64_t head = blockIdx.x, token = blockIdx.z, step = headDim + kHeader;
    const float* from = workspace + (token * heads + head) * parts * step;
    float maximum = -INFINITY;
    for (std::int64_t p = 0; p < parts; ++p)
        maximum = fmaxf(maximum, from[p * step]);
    for (std::int64_t d = threadIdx.x; d < headDim; d += kThreads) {
        float sum = 0, mean = 0;
        for (std::int64_t p = 0; p < parts; ++p) {
            // A part that sees no position has maximum -infinity: weight 0.
            const float weight = expf(from[p * step] - maximum);
            sum += weight * from[p * step + 1];
            mean += weight * from[p * step + kHeader + d];
        }
        out[token * outStride + head * headDim + d] = mean / sum;
    }
}

/// One block a token and key/value head.
template <class Cache>
__global__ void __launch_bounds__(kThreads)
    appendKvKernel(const float* k, const float* v, std::int64_t stride,
                   typename Cache::Element* keys, typename Cache::Element* values,
                   std::int64_t capacity, std::int64_t past, std::int64_t headDim) {
    const std::int64_t token = blockIdx.x, head = blockIdx.y;
    const std::int64_t from = token * stride + head * headDim;
    const std::int64_t to = (head * capacity + past + token) * headDim;
    for (std::int64_t d = threadIdx.x; d < headDim; d += kThreads) {
        keys[to + d] = Cache::store(k[from + d]);
        values[to + d] = Cache::store(v[from + d]);
    }
}

/// One block a key/value head. A thread moves its own elements, first token first.
template <class Element>
__global__ void __launch_bounds__(kThreads)
    keepKvKernel(Element* keys, Element* values, std::int64_t capacity, std::int64_t past,
                 FETTLE_READ_ONLY_PARAMETER Tree kept, std::int64_t headDim) {
    const std::int64_t plane = blockIdx.x * capacity + past;
    for (std::int64_t d = threadIdx.x; d < headDim; d += kThreads)
        for (int i = 0; i < kept.count; ++i) {
            const std::int64_t from = (plane + kept.parents[i]) * headDim + d,
                               to = (plane + i) * headDim + d;
            keys[to] = keys[from];
            values[to] = values[from];
        }
}

/// One warp a token and key/value head; a lane takes pairs, so that two codes that share a byte are
/// its own.
template <class Cache>
__device__ __forceinline__ void storeScaled(const float* x, std::uint8_t* codes, float* scale,
                                            std::int64_t first, std::int64_t headDim) {
    const int lane = static_cast<int>(threadIdx.x);
    float amax = 0;
    for (std::int64_t d = lane; d < headDim; d += kWarp)
        amax = fmaxf(amax, x[d] != x[d] ? INFINITY : fabsf(x[d]));
    amax = warpMax(amax);
    const bool finite = amax < INFINITY, flat = amax < kFlat || !finite;
    const float inverse = flat ? 0.0F : Cache::kMost / amax;
    if (lane == 0)
        *scale = finite ? (flat ? 0.0F : amax / Cache::kMost) : NAN;
    for (std::int64_t d = 2 * lane; d < headDim; d += 2 * kWarp) {
        const unsigned even = Cache::code(flat ? 0.0F : x[d] * inverse);
        const unsigned odd = d + 1 < headDim ? Cache::code(flat ? 0.0F : x[d + 1] * inverse) : 0;
        if constexpr (Cache::kMost == Int4Cache::kMost) {
            codes[(first + d) / 2] = static_cast<std::uint8_t>(even | odd << 4);
        } else {
            codes[first + d] = static_cast<std::uint8_t>(even);
            if (d + 1 < headDim)
                codes[first + d + 1] = static_cast<std::uint8_t>(odd);
        }
    }
}

/// The same with block scales. A lane takes pairs, so that eight neighbours hold a block.
__device__ __forceinline__ void storeBlocks(const float* x, std::uint8_t* codes, float* scale,
                                            std::uint8_t* blocks, std::int64_t first,
                                            std::int64_t headDim) {
    constexpr float kMostE2m1 = 6.0F;
    constexpr int kBlockLanes = static_cast<int>(kKvBlock) / 2;
    const int lane = static_cast<int>(threadIdx.x);
    float amax = 0;
    for (std::int64_t d = lane; d < headDim; d += kWarp)
        amax = fmaxf(amax, x[d] != x[d] ? INFINITY : fabsf(x[d]));
    amax = warpMax(amax);
    const bool finite = amax < INFINITY, flat = amax < kFlat || !finite;
    const float inverse = flat ? 0.0F : Fp8Cache::kMost / amax;
    const float shared = flat ? 0.0F : amax / (kMostE2m1 * Fp8Cache::kMost);
    if (lane == 0)
        *scale = finite ? shared : NAN;
    for (std::int64_t begin = 0; begin < headDim; begin += 2 * kWarp) {
        const std::int64_t d = begin + 2 * lane;
        const bool inside = d < headDim && !flat;
        const float even = inside ? x[d] : 0.0F, odd = inside ? x[d + 1] : 0.0F;
        float most = fmaxf(fabsf(even), fabsf(odd));
#pragma unroll
        for (int step = kBlockLanes / 2; step > 0; step /= 2)
            most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, step));
        const auto stored = static_cast<std::uint8_t>(Fp8Cache::code(most * inverse));
        const float unit = Fp8Cache::load(&stored, 0) * shared;
        const float units = unit > 0 ? 1.0F / unit : 0.0F;
        if (d >= headDim)
            continue;
        if (lane % kBlockLanes == 0)
            blocks[(first + d) / kKvBlock] = stored;
        codes[(first + d) / 2] = static_cast<std::uint8_t>(NvFp4Cache::code(even * units) |
                                                           NvFp4Cache::code(odd * units) << 4);
    }
}

template <class Cache>
__global__ void __launch_bounds__(kWarp)
    appendScaledKvKernel(const float* k, const float* v, std::int64_t stride, std::uint8_t* keys,
                         std::uint8_t* values, float* keyScales, float* valueScales,
                         std::int64_t capacity, std::int64_t past, std::int64_t headDim) {
    const std::int64_t token = blockIdx.x, head = blockIdx.y;
    const std::int64_t from = token * stride + head * headDim;
    const std::int64_t position = head * capacity + past + token;
    if constexpr (Cache::kBlocks) {
        // gridDim.y is the number of key and value heads.
        const std::int64_t tokens = gridDim.y * capacity;
        storeBlocks(k + from, keys, keyScales + position,
                    reinterpret_cast<std::uint8_t*>(keyScales + tokens), position * headDim,
                    headDim);
        storeBlocks(v + from, values, valueScales + position,
                    reinterpret_cast<std::uint8_t*>(valueScales + tokens), position * headDim,
                    headDim);
    } else {
        storeScaled<Cache>(k + from, keys, keyScales + position, position * headDim, headDim);
        storeScaled<Cache>(v + from, values, valueScales + position, position * headDim, headDim);
    }
}

constexpr std::int64_t kMaxGridX = 0x7fffffff;
constexpr std::int64_t kMaxGridYZ = 65535;

std::int64_t partsOf(const AttentionArgs& a) {
    return (a.past + a.tokens + kAttentionPart - 1) / kAttentionPart;
}

bool isTree(const AttentionArgs& a) {
    if (!a.parents)
        return true;
    const std::int64_t nodes = a.past + a.tokens - a.text;
    if (a.text < 0 || a.text > a.past || nodes > kMostTreeTokens)
        return false;
    for (std::int64_t i = 0; i < nodes; ++i)
        if (a.parents[i] < -1 || a.parents[i] >= i)
            return false;
    return true;
}

Tree treeOf(const AttentionArgs& a) {
    Tree tree = {};
    tree.count = a.parents ? static_cast<std::int32_t>(a.past + a.tokens - a.text) : 0;
    for (std::int32_t i = 0; i < tree.count; ++i)
        tree.parents[i] = static_cast<std::int8_t>(a.parents[i]);
    return tree;
}

bool isValid(const AttentionArgs& a) {
    return a.kvHeads > 0 && a.heads > 0 && a.heads % a.kvHeads == 0 && a.headDim > 0 &&
           a.headDim <= kMaxHeadDim && a.past >= 0 && a.tokens >= 0 &&
           a.past + a.tokens <= a.capacity && a.heads <= kMaxGridX && a.tokens <= kMaxGridYZ &&
           partsOf(a) <= kMaxGridYZ && isTree(a) && a.headDim % kvHeadUnit(a.kvType) == 0;
}

const float* scalesOf(const void* cache, KvType type, std::int64_t elements) {
    return hasScales(type) ? reinterpret_cast<const float*>(static_cast<const std::byte*>(cache) +
                                                            kvScaleOffset(type, elements))
                           : nullptr;
}

template <class Cache>
Status attendParts(const AttentionArgs& a, const Shape& shape, float* workspace, Stream stream) {
    const dim3 grid(static_cast<unsigned>(a.heads), static_cast<unsigned>(shape.parts),
                    static_cast<unsigned>(a.tokens));
    const std::int64_t elements = a.kvHeads * a.capacity * a.headDim;
    return launch(attentionPartKernel<Cache>, grid, kThreads, 0, stream, a.q,
                  static_cast<const typename Cache::Element*>(a.keys),
                  static_cast<const typename Cache::Element*>(a.values),
                  scalesOf(a.keys, a.kvType, elements), scalesOf(a.values, a.kvType, elements),
                  shape, treeOf(a), workspace);
}

Status attendParts(const AttentionArgs& a, const Shape& shape, float* workspace, Stream stream) {
    switch (a.kvType) {
        case KvType::F32:
            return attendParts<F32Cache>(a, shape, workspace, stream);
        case KvType::F16:
            return attendParts<F16Cache>(a, shape, workspace, stream);
        case KvType::Int8:
            return attendParts<Int8Cache>(a, shape, workspace, stream);
        case KvType::Fp8:
            return attendParts<Fp8Cache>(a, shape, workspace, stream);
        case KvType::Int4:
            return attendParts<Int4Cache>(a, shape, workspace, stream);
        case KvType::NvFp4:
            return attendParts<NvFp4Cache>(a, shape, workspace, stream);
    }
    return kInvalidValue;
}

template <class Cache>
Status appendScaled(const float* k, const float* v, std::int64_t stride, void* keys, void* values,
                    std::size_t scaleOffset, std::int64_t capacity, std::int64_t past, dim3 grid,
                    std::int64_t headDim, Stream stream) {
    auto* keyCodes = static_cast<std::uint8_t*>(keys);
    auto* valueCodes = static_cast<std::uint8_t*>(values);
    return launch(appendScaledKvKernel<Cache>, grid, kWarp, 0, stream, k, v, stride, keyCodes,
                  valueCodes, reinterpret_cast<float*>(keyCodes + scaleOffset),
                  reinterpret_cast<float*>(valueCodes + scaleOffset), capacity, past, headDim);
}

}  // namespace

std::size_t attentionWorkspace(const AttentionArgs& args) {
    return isValid(args) ? static_cast<std::size_t>(args.tokens * args.heads * partsOf(args) *
                                                    (args.headDim + kHeader))
                         : 0;
}

Status attention(const AttentionArgs& a, float* workspace, Stream stream) {
    if (!isValid(a))
        return kInvalidValue;
    if (a.tokens == 0)
        return kSuccess;
    const Shape shape = {a.qStride, a.capacity, a.past,     a.heads, a.kvHeads,
                         a.headDim, a.window,   partsOf(a), a.scale, a.softcap};
    const Status status = attendParts(a, shape, workspace, stream);
    if (status != kSuccess)
        return status;
    const dim3 grid(static_cast<unsigned>(a.heads), 1, static_cast<unsigned>(a.tokens));
    return launch(attentionJoinKernel, grid, kThreads, 0, stream, workspace, shape.parts, a.heads,
                  a.headDim, a.out, a.outStride);
}

Status appendKv(const float* k, const float* v, std::int64_t stride, void* keys, void* values,
                KvType kvType, std::int64_t capacity, std::int64_t past, std::int64_t tokens,
                std::int64_t kvHeads, std::int64_t headDim, Stream stream) {
    if (past < 0 || tokens < 0 || past + tokens > capacity || tokens > kMaxGridX || kvHeads < 0 ||
        kvHeads > kMaxGridYZ)
        return kInvalidValue;
    if (tokens == 0 || kvHeads == 0)
        return kSuccess;
    const dim3 grid(static_cast<unsigned>(tokens), static_cast<unsigned>(kvHeads));
    if (kvType == KvType::F16)
        return launch(appendKvKernel<F16Cache>, grid, kThreads, 0, stream, k, v, stride,
                      static_cast<std::uint16_t*>(keys), static_cast<std::uint16_t*>(values),
                      capacity, past, headDim);
    if (hasScales(kvType)) {
        if (headDim % kvHeadUnit(kvType) != 0)
            return kInvalidValue;
        const auto append = kvType == KvType::Int8    ? appendScaled<Int8Cache>
                            : kvType == KvType::Fp8   ? appendScaled<Fp8Cache>
                            : kvType == KvType::NvFp4 ? appendScaled<NvFp4Cache>
                                                      : appendScaled<Int4Cache>;
        return append(k, v, stride, keys, values,
                      kvScaleOffset(kvType, kvHeads * capacity * headDim), capacity, past, grid,
                      headDim, stream);
    }
    return launch(appendKvKernel<F32Cache>, grid, kThreads, 0, stream, k, v, stride,
                  static_cast<float*>(keys), static_cast<float*>(values), capacity, past, headDim);
}

Status keepKv(void* keys, void* values, KvType kvType, std::int64_t capacity, std::int64_t past,
              const std::int32_t* kept, std::int64_t count, std::int64_t kvHeads,
              std::int64_t headDim, Stream stream) {
    if (past < 0 || count < 0 || count > kMostTreeTokens || kvHeads < 0 || kvHeads > kMaxGridYZ)
        return kInvalidValue;
    Tree tree = {};
    tree.count = static_cast<std::int32_t>(count);
    for (std::int64_t i = 0; i < count; ++i) {
        if (kept[i] < i || kept[i] >= kMostTreeTokens || past + kept[i] >= capacity ||
            (i > 0 && kept[i] <= kept[i - 1]))
            return kInvalidValue;
        tree.parents[i] = static_cast<std::int8_t>(kept[i]);
    }
    if (count == 0 || kvHeads == 0)
        return kSuccess;
    const auto move = [&](auto* k, auto* v, std::int64_t width) {
        return launch(keepKvKernel<std::remove_pointer_t<decltype(k)>>,
                      dim3(static_cast<unsigned>(kvHeads)), kThreads, 0, stream, k, v, capacity,
                      past, tree, width);
    };
    if (kvType == KvType::F16)
        return move(static_cast<std::uint16_t*>(keys), static_cast<std::uint16_t*>(values),
                    headDim);
    if (kvType == KvType::F32)
        return move(static_cast<float*>(keys), static_cast<float*>(values), headDim);
    // Codes, a byte or half a byte each, then the one scale of each token, then those of blocks.
    auto* keyCodes = static_cast<std::uint8_t*>(keys);
    auto* valueCodes = static_cast<std::uint8_t*>(values);
    const std::size_t scales = kvScaleOffset(kvType, kvHeads * capacity * headDim);
    Status status = move(keyCodes, valueCodes, headDim * kvBits(kvType) / 8);
    if (status == kSuccess)
        status = move(reinterpret_cast<float*>(keyCodes + scales),
                      reinterpret_cast<float*>(valueCodes + scales), 1);
    if (status != kSuccess || kvType != KvType::NvFp4)
        return status;
    const std::size_t blocks = kvBlockScaleOffset(kvType, kvHeads, capacity, headDim);
    return move(keyCodes + blocks, valueCodes + blocks, headDim / kKvBlock);
}

}  // namespace fettle::kernels::cuda
