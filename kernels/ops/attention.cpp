#include "kernels/ops/attention.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/cpu/kernel_table.h"

namespace fettle::kernels {
namespace {

constexpr std::int64_t kSerialWork =
    1 << 15;  // multiplications up to which handing over costs more than it saves

void check(const AttentionArgs& a) {
    if (a.kvHeads <= 0 || a.heads <= 0 || a.heads % a.kvHeads != 0 || a.headDim <= 0)
        throw std::invalid_argument("attention: " + std::to_string(a.heads) + " heads over " +
                                    std::to_string(a.kvHeads) + " key/value heads of " +
                                    std::to_string(a.headDim));
    if (a.headDim % kvHeadUnit(a.kvType) != 0)
        throw std::invalid_argument(std::string("attention: keys and values as ") + name(a.kvType) +
                                    " need a head size in multiples of " +
                                    std::to_string(kvHeadUnit(a.kvType)) + ", not " +
                                    std::to_string(a.headDim));
    if (a.past < 0 || a.past + a.tokens > a.capacity)
        throw std::invalid_argument("attention: " + std::to_string(a.past) + " + " +
                                    std::to_string(a.tokens) + " tokens in a cache of " +
                                    std::to_string(a.capacity));
    if (!a.parents)
        return;
    const std::int64_t nodes = a.past + a.tokens - a.text;
    if (a.text < 0 || a.text > a.past || nodes > kMostTreeTokens)
        throw std::invalid_argument("attention: a tree of " + std::to_string(nodes) +
                                    " tokens after " + std::to_string(a.text));
    for (std::int64_t i = 0; i < nodes; ++i)
        if (a.parents[i] < -1 || a.parents[i] >= i)
            throw std::invalid_argument("attention: tree token " + std::to_string(i) + " follows " +
                                        std::to_string(a.parents[i]));
}

/// How the rows of one key/value head are cut into parts.
struct Cut {
    std::int64_t heads;   // of one part
    std::int64_t tokens;  // of one part
    std::int64_t headParts;
    std::int64_t tokenParts;
};

Cut cut(const AttentionArgs& a, std::int64_t threads) {
    const std::int64_t group = a.heads / a.kvHeads;
    Cut c = {};
    c.heads = std::min(group, kAttentionRows);
    c.tokens = std::clamp<std::int64_t>(kAttentionRows / c.heads, 1, a.tokens);
    const auto parts = [](std::int64_t whole, std::int64_t piece) {
        return (whole + piece - 1) / piece;
    };
    // Few tokens: heads that share keys are parted among the threads, each of which then reads the
    // keys itself.
    while (c.heads > 1 && a.kvHeads * parts(group, c.heads) * parts(a.tokens, c.tokens) < threads)
        c.heads = (c.heads + 1) / 2;
    c.headParts = parts(group, c.heads);
    c.tokenParts = parts(a.tokens, c.tokens);
    return c;
}

float* threadScratch(std::int64_t headDim) {
    thread_local std::vector<float> memory;
    const std::size_t size = attentionScratch(headDim) + 16;
    if (memory.size() < size)
        memory.resize(size);
    const auto behind = reinterpret_cast<std::uintptr_t>(memory.data()) % 64;
    return memory.data() + (behind == 0 ? 0 : (64 - behind) / sizeof(float));
}

/// One token's head into a cache of a type with scales, in the CPU's order
/// (cpu/simd/attention.cpp): element d lies at `first + d * step`.
struct CacheWriter {
    std::uint8_t* codes;
    float* scales;
    std::uint8_t* blockScales;
    KvType type;
    std::vector<std::uint8_t> row, blocks;

    CacheWriter(void* cache, const KvAppend& a)
        : codes(static_cast<std::uint8_t*>(cache)),
          scales(reinterpret_cast<float*>(
              codes + kvScaleOffset(a.kvType, a.kvHeads * a.capacity * a.headDim))),
          blockScales(codes + kvBlockScaleOffset(a.kvType, a.kvHeads, a.capacity, a.headDim)),
          type(a.kvType),
          row(static_cast<std::size_t>(a.headDim)),
          blocks(static_cast<std::size_t>(a.headDim / kKvBlock)) {}

    /// Block scales, where there are some, lie at `firstBlock` and `step` apart as well.
    void write(const float* x, std::int64_t scaleAt, std::int64_t first, std::int64_t firstBlock,
               std::int64_t step) {
        const auto count = static_cast<std::int64_t>(row.size());
        quantizeKv(type, x, count, row.data(), scales + scaleAt, blocks.data());
        for (std::int64_t b = 0; type == KvType::NvFp4 && b < count / kKvBlock; ++b)
            blockScales[firstBlock + b * step] = blocks[static_cast<std::size_t>(b)];
        for (std::int64_t d = 0; d < count; ++d) {
            const std::int64_t at = first + d * step;
            const unsigned code = row[static_cast<std::size_t>(d)];
            if (kvBits(type) != 4) {
                codes[at] = static_cast<std::uint8_t>(code);
                continue;
            }
            const int shift = static_cast<int>(4 * (at % 2));
            codes[at / 2] =
                static_cast<std::uint8_t>((codes[at / 2] & ~(15u << shift)) | code << shift);
        }
    }
};

/// Rounding is a pass over few values, so it is plain code; reading them back is the SIMD files'.
void appendWithScales(const KvAppend& a) {
    CacheWriter keys(a.keys, a), values(a.values, a);
    const std::int64_t blocks = a.headDim / kKvBlock;
    for (std::int64_t t = 0; t < a.tokens; ++t) {
        const std::int64_t position = a.past + t, block = position / 16 * 16,
                           width = std::min<std::int64_t>(16, a.capacity - block);
        for (std::int64_t h = 0; h < a.kvHeads; ++h) {
            const std::int64_t from = t * a.stride + h * a.headDim,
                               plane = h * a.capacity * a.headDim,
                               scale = h * a.capacity + position;
            keys.write(a.k + from, scale, plane + block * a.headDim + position - block,
                       (h * a.capacity + block) * blocks + position - block, width);
            values.write(a.v + from, scale, plane + position * a.headDim, scale * blocks, 1);
        }
    }
}

}  // namespace

std::size_t attentionScratch(std::int64_t headDim) {
    const auto dim = static_cast<std::size_t>((headDim + 31) / 32 * 32),
               rows = static_cast<std::size_t>(kAttentionRows);
    constexpr std::size_t keys = 64;
    // Queries, sums of values, scores, weights, one unpacked panel pair, running sums, gathered
    // keys and values in half precision, and room for rounding up.
    return 2 * rows * dim + 2 * rows * keys + 32 * std::max(dim, keys) + 18 * rows + keys * dim +
           16 * 16;
}

void attention(const AttentionArgs& args, WorkerPool& pool) {
    check(args);
    if (args.tokens <= 0)
        return;
    const KernelTable& table = kernels();
    const std::int64_t context =
        args.window > 0 ? std::min(args.window, args.past + args.tokens) : args.past + args.tokens;
    const bool serial = args.tokens * args.heads * args.headDim * context <= kSerialWork;
    const Cut c = cut(args, serial ? 1 : pool.threads());
    const std::int64_t group = args.heads / args.kvHeads, perToken = args.kvHeads * c.headParts;
    // The parts of few tokens take equally long: one piece a thread, since each is a trip of a
    // counter between them.
    const std::int64_t threads = pool.threads(),
                       grain = c.tokenParts == 1 ? (perToken + threads - 1) / threads : 1;
    const auto body = [&](std::int64_t begin, std::int64_t end, int) {
        float* scratch = threadScratch(args.headDim);
        for (std::int64_t i = begin; i < end; ++i) {
            // The last tokens see most keys: they go first, so that no thread is left with them at
            // the end.
            const std::int64_t tokenPart = c.tokenParts - 1 - i / perToken, within = i % perToken;
            const std::int64_t kvHead = within / c.headParts,
                               offset = within % c.headParts * c.heads;
            AttentionPart part = {};
            part.kvHead = kvHead;
            part.firstHead = kvHead * group + offset;
            part.heads = std::min(c.heads, group - offset);
            part.firstToken = tokenPart * c.tokens;
            part.tokens = std::min(c.tokens, args.tokens - part.firstToken);
            table.attentionRows(&args, &part, scratch);
        }
    };
    if (serial)
        body(0, perToken * c.tokenParts, 0);
    else
        pool.parallelFor(perToken * c.tokenParts, grain, std::ref(body));
}

void appendKv(const float* k, const float* v, std::int64_t stride, void* keys, void* values,
              KvType kvType, std::int64_t capacity, std::int64_t past, std::int64_t tokens,
              std::int64_t kvHeads, std::int64_t headDim) {
    if (past < 0 || past + tokens > capacity)
        throw std::invalid_argument("appendKv: " + std::to_string(past) + " + " +
                                    std::to_string(tokens) + " tokens in a cache of " +
                                    std::to_string(capacity));
    const KvAppend args = {k,        v,    stride, keys,    values, kvType,
                           capacity, past, tokens, kvHeads, headDim};
    if (!hasScales(kvType))
        return kernels().appendKv(&args);
    if (headDim % kvHeadUnit(kvType) != 0)
        throw std::invalid_argument(
            std::string("appendKv: ") + name(kvType) + " needs a head size in multiples of " +
            std::to_string(kvHeadUnit(kvType)) + ", not " + std::to_string(headDim));
    appendWithScales(args);
}

namespace {

/// Element `to` becomes what element `from` is; of types with scales, its code.
void copyElement(void* cache, KvType type, std::int64_t from, std::int64_t to) {
    auto* bytes = static_cast<std::uint8_t*>(cache);
    switch (type) {
        case KvType::F32:
            std::memcpy(bytes + 4 * to, bytes + 4 * from, 4);
            break;
        case KvType::F16:
            std::memcpy(bytes + 2 * to, bytes + 2 * from, 2);
            break;
        case KvType::Int8:
        case KvType::Fp8:
            bytes[to] = bytes[from];
            break;
        case KvType::Int4:
        case KvType::NvFp4: {
            const unsigned code = bytes[from / 2] >> (4 * (from % 2)) & 15U;
            const int shift = static_cast<int>(4 * (to % 2));
            bytes[to / 2] =
                static_cast<std::uint8_t>((bytes[to / 2] & ~(15U << shift)) | code << shift);
        }
    }
}

/// The order of simd/attention.cpp: values [kvHead][position][headDim], keys in blocks of sixteen
/// positions [kvHead][position / 16][headDim][16], the last as narrow as the capacity leaves it.
void moveToken(void* keys, void* values, KvType type, std::int64_t capacity, std::int64_t from,
               std::int64_t to, std::int64_t kvHeads, std::int64_t headDim) {
    const auto width = [&](std::int64_t p) {
        return std::min<std::int64_t>(16, capacity - p / 16 * 16);
    };
    for (std::int64_t h = 0; h < kvHeads; ++h) {
        const std::int64_t plane = h * capacity * headDim;
        const auto keyAt = [&](std::int64_t p, std::int64_t d) {
            return plane + p / 16 * 16 * headDim + d * width(p) + p % 16;
        };
        for (std::int64_t d = 0; d < headDim; ++d) {
            copyElement(keys, type, keyAt(from, d), keyAt(to, d));
            copyElement(values, type, plane + from * headDim + d, plane + to * headDim + d);
        }
    }
    if (!hasScales(type))
        return;
    for (void* cache : {keys, values}) {
        auto* scales = reinterpret_cast<float*>(static_cast<std::uint8_t*>(cache) +
                                                kvScaleOffset(type, kvHeads * capacity * headDim));
        for (std::int64_t h = 0; h < kvHeads; ++h)
            scales[h * capacity + to] = scales[h * capacity + from];
    }
    if (type != KvType::NvFp4)
        return;
    const std::int64_t blocks = headDim / kKvBlock;
    const std::size_t offset = kvBlockScaleOffset(type, kvHeads, capacity, headDim);
    auto* keyBlocks = static_cast<std::uint8_t*>(keys) + offset;
    auto* valueBlocks = static_cast<std::uint8_t*>(values) + offset;
    for (std::int64_t h = 0; h < kvHeads; ++h)
        for (std::int64_t b = 0; b < blocks; ++b) {
            const auto keyAt = [&](std::int64_t p) {
                return (h * capacity + p / 16 * 16) * blocks + b * width(p) + p % 16;
            };
            const auto valueAt = [&](std::int64_t p) { return (h * capacity + p) * blocks + b; };
            keyBlocks[keyAt(to)] = keyBlocks[keyAt(from)];
            valueBlocks[valueAt(to)] = valueBlocks[valueAt(from)];
        }
}

}  // namespace

void keepKv(void* keys, void* values, KvType kvType, std::int64_t capacity, std::int64_t past,
            const std::int32_t* kept, std::int64_t count, std::int64_t kvHeads,
            std::int64_t headDim) {
    for (std::int64_t i = 0; i < count; ++i) {
        if (kept[i] < i || past + kept[i] >= capacity || (i > 0 && kept[i] <= kept[i - 1]))
            throw std::invalid_argument("keepKv: token " + std::to_string(kept[i]) + " behind " +
                                        std::to_string(past) + " of " + std::to_string(capacity));
        if (kept[i] == i)
            continue;
        moveToken(keys, values, kvType, capacity, past + kept[i], past + i, kvHeads, headDim);
    }
}

}  // namespace fettle::kernels
