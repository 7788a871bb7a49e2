// Attention of up to kAttentionRows query rows (heads that share keys, neighbouring tokens) over 64
// keys at a time, with a running maximum and sum (Milakov & Gimelshein 2018; Dao et al. 2022).
// Pieces begin at multiples of 64 positions and every sum is one chain in key or element order, so
// a row's result does not depend on the rows beside it.
//
// Of a tree, all rows go through the text together; from the piece on in which the tree begins each
// branch is gathered to where it would lie if it alone had been drafted, so that its sums are the
// same chains again.
//
// Few rows, those of decoding, multiply half-precision keys and values as they are read: unpacking
// them into memory first would take longer than the products, and four blocks of keys side by side
// keep enough chains under way.
//
// Cache: values [kvHead][position][headDim]; keys [kvHead][position / 16][headDim][16], so that
// sixteen keys are the lanes of a vector and scores need no sums across lanes. The last block of
// keys is as narrow as the capacity leaves it. Types with scales lie in the same order
// (formats/kv_format.h); their codes are scaled as they are unpacked.
#include "kernels/cpu/simd/lanes.h"
#include "kernels/cpu/simd/row_parts.h"
#include "kernels/cpu/simd/tables.h"
#include "kernels/cpu/simd/tile.h"
#include "kernels/formats/small_float.h"

namespace fettle::kernels::FETTLE_SIMD {
namespace {

constexpr std::int64_t kPieceKeys = 64;
constexpr std::int64_t kTileWidth = 16 * kTilePanels;
constexpr float kMinusInfinity = -__builtin_inff();
// Rows that are multiplied together without unpacking, and blocks of sixteen keys side by side: as
// many sums as there are registers for. More rows than kMostFew are worth unpacking.
#if defined(__AVX512F__)
constexpr int kFewRows = 12, kMostFew = 24;
template <int M>
constexpr int kFewBlocks = M <= 6 ? 4 : 2;
#else
constexpr int kFewRows = kTileRows < 6 ? 1 : kTileRows / 3, kMostFew = kFewRows;
template <int M>
constexpr int kFewBlocks = 2;
#endif
alignas(64) constexpr float kLaneNumbers[16] = {0, 1, 2,  3,  4,  5,  6,  7,
                                                8, 9, 10, 11, 12, 13, 14, 15};

struct State {
    const AttentionArgs& a;
    const AttentionPart& part;
    std::int64_t rows, outTiles;
    float* q;        // [rows, headDim], scaled
    float* out;      // [outTiles][rows][kTilePanels][16]
    float* scores;   // [kPieceKeys / kTileWidth][rows][kTilePanels][16]
    float* weights;  // [rows, kPieceKeys]
    float* panel;    // keys [kTilePanels][headDim][16] or values [kTilePanels][kPieceKeys][16]
    float* maximum;  // [rows]
    float* rescale;  // [rows]
    float* sums;     // [rows][16]
    std::uint16_t* gatheredKeys;      // [kPieceKeys / 16][headDim][16], a piece of a branch
    std::uint16_t* gatheredValues;    // [kPieceKeys][headDim]
    const float* keyScales;           // [capacity], or null
    const float* valueScales;         // likewise
    const std::uint8_t* keyBlocks;    // block scales of the part's head, or null
    const std::uint8_t* valueBlocks;  // likewise
    // What is being worked on: neighbouring tokens of the part, the last of them at `last`.
    std::int64_t firstToken, tokens, last;
    bool branch;  // each follows the one before: `path` holds the nodes on the way to the last
    std::int32_t path[kMostTreeTokens];
};

FETTLE_INLINE std::int64_t firstRow(const State& s) {
    return s.firstToken * s.part.heads;
}
FETTLE_INLINE std::int64_t rowCount(const State& s) {
    return s.tokens * s.part.heads;
}
/// Where in the cache the token at `position` lies.
FETTLE_INLINE std::int64_t slotOf(const State& s, std::int64_t position) {
    return s.branch && position >= s.a.text ? s.a.text + s.path[position - s.a.text] : position;
}

/// Sixteen values or, for types with scales, codes as numbers.
FETTLE_INLINE F32x16 loadCache(const void* p, KvType type, std::int64_t at) {
    const auto* bytes = static_cast<const std::uint8_t*>(p);
    switch (type) {
        case KvType::F16:
            return loadHalf(bytes + 2 * at);
        case KvType::Int8:
            return toF(loadI8(bytes + at));
        case KvType::Fp8:
            return mul(loadE4m3(bytes + at), setF(256.0F));
        case KvType::Int4: {
            std::uint8_t codes[16];
            for (std::int64_t i = 0; i < 8; ++i) {
                codes[2 * i] = bytes[at / 2 + i] & 15;
                codes[2 * i + 1] = static_cast<std::uint8_t>(bytes[at / 2 + i] >> 4);
            }
            return sub(toF(loadU8(codes)), setF(8.0F));
        }
        case KvType::NvFp4: {
            // The bits of E2M1 in the places of E4M3's are 2^-6 of the value.
            std::uint8_t codes[16];
            for (std::int64_t i = 0; i < 8; ++i) {
                const unsigned pair = bytes[at / 2 + i], low = pair & 15, high = pair >> 4;
                codes[2 * i] = static_cast<std::uint8_t>((low & 8) << 4 | (low & 7) << 2);
                codes[2 * i + 1] = static_cast<std::uint8_t>((high & 8) << 4 | (high & 7) << 2);
            }
            return mul(loadE4m3(codes), setF(16384.0F));
        }
        default:
            return loadF(bytes + 4 * at);
    }
}

/// One of the same; not for hot loops.
float cacheValue(const void* p, KvType type, std::int64_t at) {
    const auto* bytes = static_cast<const std::uint8_t*>(p);
    if (type == KvType::F16)
        return halfToFloat(static_cast<const std::uint16_t*>(p)[at]);
    if (type == KvType::F32)
        return static_cast<const float*>(p)[at];
    return kvCodeValue(type, type == KvType::Int4 || type == KvType::NvFp4
                                 ? static_cast<std::uint8_t>(bytes[at / 2] >> (4 * (at % 2)) & 15)
                                 : bytes[at]);
}

/// Scales of the part's head, [capacity]; null for types without.
const float* scalesOf(const void* cache, const AttentionArgs& a, std::int64_t kvHead) {
    if (a.kvType == KvType::F16 || a.kvType == KvType::F32)
        return nullptr;
    const auto* bytes = static_cast<const std::uint8_t*>(cache);
    return reinterpret_cast<const float*>(
               bytes + kvScaleOffset(a.kvType, a.kvHeads * a.capacity * a.headDim)) +
           kvHead * a.capacity;
}

/// Block scales of the part's head; null for types without.
const std::uint8_t* blocksOf(const void* cache, const AttentionArgs& a, std::int64_t kvHead) {
    if (a.kvType != KvType::NvFp4)
        return nullptr;
    return static_cast<const std::uint8_t*>(cache) +
           kvBlockScaleOffset(a.kvType, a.kvHeads, a.capacity, a.headDim) +
           kvHead * a.capacity * (a.headDim / kKvBlock);
}

void copyQueries(State& s) {
    const AttentionArgs& a = s.a;
    const F32x16 scale = setF(a.scale);
    for (std::int64_t t = 0, row = 0; t < s.part.tokens; ++t) {
        for (std::int64_t h = 0; h < s.part.heads; ++h, ++row) {
            const float* from =
                a.q + (s.part.firstToken + t) * a.qStride + (s.part.firstHead + h) * a.headDim;
            float* to = s.q + row * a.headDim;
            std::int64_t d = 0;
            for (; d + 16 <= a.headDim; d += 16)
                storeF(to + d, mul(loadF(from + d), scale));
            for (; d < a.headDim; ++d)
                to[d] = from[d] * a.scale;
            s.maximum[row] = kMinusInfinity;
            storeF(s.sums + 16 * row, zeroF());
        }
    }
    for (std::int64_t i = 0; i < s.outTiles * s.rows * kTilePanels; ++i)
        storeF(s.out + 16 * i, zeroF());
}

/// What dimension `d` of the key in `slot` is multiplied by.
float keyScale(const State& s, std::int64_t slot, std::int64_t d) {
    if (!s.keyScales)
        return 1.0F;
    if (!s.keyBlocks)
        return s.keyScales[slot];
    const std::int64_t first = slot / 16 * 16, left = s.a.capacity - first;
    const std::int64_t at =
        first * (s.a.headDim / kKvBlock) + d / kKvBlock * (left < 16 ? left : 16) + slot - first;
    return e4m3ToFloat(s.keyBlocks[at]) * s.keyScales[slot];
}

/// Sixteen keys from `position` on as floats [headDim][16]; lanes beyond the capacity hold anything
/// finite or not.
void unpackKeys(const State& s, std::int64_t position, float* to) {
    const AttentionArgs& a = s.a;
    const std::int64_t plane = s.part.kvHead * a.capacity * a.headDim,
                       width = a.capacity - position;
    const bool gathered = s.branch && position + 16 > a.text;
    if (width >= 16 && !gathered) {
        const std::int64_t from = plane + position * a.headDim;
        if (a.kvType == KvType::F16) {  // by far the most frequent
            const auto* halves = static_cast<const std::uint16_t*>(a.keys) + from;
            for (std::int64_t i = 0; i < 16 * a.headDim; i += 16)
                storeF(to + i, loadHalf(halves + i));
            return;
        }
        const F32x16 shared = s.keyScales ? loadF(s.keyScales + position) : setF(1.0F);
        F32x16 scale = shared;
        for (std::int64_t d = 0; d < a.headDim; ++d) {
            if (s.keyBlocks && d % kKvBlock == 0)
                scale = mul(mul(loadE4m3(s.keyBlocks + position * (a.headDim / kKvBlock) + d),
                                setF(256.0F)),
                            shared);
            const F32x16 x = loadCache(a.keys, a.kvType, from + 16 * d);
            storeF(to + 16 * d, s.keyScales ? mul(x, scale) : x);
        }
        return;
    }
    if (gathered) {
        for (std::int64_t i = 0; i < 16; ++i) {
            const bool seen = position + i <= s.last;
            const std::int64_t slot = seen ? slotOf(s, position + i) : 0, block = slot / 16 * 16;
            const std::int64_t blockWidth = a.capacity - block < 16 ? a.capacity - block : 16;
            const std::int64_t from = plane + block * a.headDim + slot - block;
            for (std::int64_t d = 0; d < a.headDim; ++d)
                to[16 * d + i] = seen ? cacheValue(a.keys, a.kvType, from + d * blockWidth) *
                                            keyScale(s, slot, d)
                                      : 0.0F;
        }
        return;
    }
    for (std::int64_t d = 0; d < a.headDim; ++d)
        for (std::int64_t i = 0; i < 16; ++i) {
            float x = 0.0F;
            if (i < width)
                x = cacheValue(a.keys, a.kvType, plane + position * a.headDim + d * width + i) *
                    keyScale(s, position + i, d);
            to[16 * d + i] = x;
        }
}

/// Elements [first, first + 16) of `count` values from `position` on, as floats [count][16]; 0
/// beyond the head.
void unpackValues(const State& s, std::int64_t position, std::int64_t count, std::int64_t first,
                  float* to) {
    const AttentionArgs& a = s.a;
    const std::int64_t plane = s.part.kvHead * a.capacity * a.headDim + first,
                       left = a.headDim - first;
    if (a.kvType == KvType::F16 && left >= 16 && !s.branch) {
        const auto* halves =
            static_cast<const std::uint16_t*>(a.values) + plane + position * a.headDim;
        for (std::int64_t k = 0; k < count; ++k)
            storeF(to + 16 * k, loadHalf(halves + k * a.headDim));
        return;
    }
    for (std::int64_t k = 0; k < count; ++k) {
        const std::int64_t slot = slotOf(s, position + k), from = plane + slot * a.headDim;
        float scale = s.valueScales ? s.valueScales[slot] : 1.0F;
        if (s.valueBlocks)
            scale = e4m3ToFloat(s.valueBlocks[slot * (a.headDim / kKvBlock) + first / kKvBlock]) *
                    scale;
        if (left >= 16) {
            const F32x16 x = loadCache(a.values, a.kvType, from);
            storeF(to + 16 * k, s.valueScales ? mul(x, setF(scale)) : x);
            continue;
        }
        for (std::int64_t i = 0; i < 16; ++i)
            to[16 * k + i] = i < left ? cacheValue(a.values, a.kvType, from + i) * scale : 0.0F;
    }
}

/// Where the score of key `k` of the piece lies.
FETTLE_INLINE float* scoreOf(const State& s, std::int64_t row, std::int64_t k) {
    return s.scores + k / kTileWidth * kTileWidth * s.rows + row * kTileWidth + k % kTileWidth;
}

/// Half-precision keys or values of a piece, as they lie in the cache or gathered.
struct Halves {
    const std::uint16_t* keys;    // [16-key block][headDim][16]
    const std::uint16_t* values;  // [key][headDim]
};

/// Scores of rows [row, row + M) with B whole blocks of keys from key `first` of the piece on;
/// blocks beyond `blocks` repeat the first one, nobody reads theirs.
template <int M, int B>
void scoreFew(const State& s, const std::uint16_t* keys, std::int64_t row, std::int64_t first,
              std::int64_t blocks) {
    const std::int64_t dim = s.a.headDim;
    const std::uint16_t* block[B];
    for (int b = 0; b < B; ++b)
        block[b] = keys + (b < blocks ? first + 16 * b : first) * dim;
    const float* q = s.q + row * dim;
    F32x16 sums[M][B];
    for (int i = 0; i < M; ++i)
        for (int b = 0; b < B; ++b)
            sums[i][b] = zeroF();
    for (std::int64_t d = 0; d < dim; ++d) {
        F32x16 key[B];
        FETTLE_UNROLL(4)
        for (int b = 0; b < B; ++b)
            key[b] = loadHalf(block[b] + 16 * d);
        FETTLE_UNROLL(12)
        for (int i = 0; i < M; ++i) {
            const F32x16 value = setF(q[i * dim + d]);
            FETTLE_UNROLL(4)
            for (int b = 0; b < B; ++b)
                sums[i][b] = fma(key[b], value, sums[i][b]);
        }
    }
    for (int i = 0; i < M; ++i)
        for (int b = 0; b < B; ++b)
            storeF(scoreOf(s, row + i, first + 16 * b), sums[i][b]);
}

/// The values of `count` keys, times the weights of rows [row, row + M), onto what those have so
/// far.
template <int M>
void addFew(const State& s, const std::uint16_t* values, std::int64_t row, std::int64_t count) {
    const std::int64_t dim = s.a.headDim;
    const float* weights = s.weights + row * kPieceKeys;
    for (std::int64_t tile = 0; tile < s.outTiles; ++tile) {
        float* out = s.out + (tile * s.rows + row) * kTileWidth;
        F32x16 sums[M][kTilePanels];
        for (int i = 0; i < M; ++i)
            for (int p = 0; p < kTilePanels; ++p)
                sums[i][p] = mul(loadF(out + i * kTileWidth + 16 * p), setF(s.rescale[row + i]));
        for (std::int64_t k = 0; k < count; ++k) {
            F32x16 value[kTilePanels];
            for (int p = 0; p < kTilePanels; ++p)
                value[p] = loadHalf(values + k * dim + tile * kTileWidth + 16 * p);
            FETTLE_UNROLL(12)
            for (int i = 0; i < M; ++i) {
                const F32x16 weight = setF(weights[i * kPieceKeys + k]);
                for (int p = 0; p < kTilePanels; ++p)
                    sums[i][p] = fma(value[p], weight, sums[i][p]);
            }
        }
        for (int i = 0; i < M; ++i)
            for (int p = 0; p < kTilePanels; ++p)
                storeF(out + i * kTileWidth + 16 * p, sums[i][p]);
    }
}

/// body.operator()<M>(row) for the rows that are being worked on.
template <class Body>
FETTLE_INLINE void eachFew(const State& s, const Body& body) {
    eachEvenPart<kFewRows>(rowCount(s), [&]<int M>(std::int64_t row) {
        body.template operator()<M>(firstRow(s) + row);
    });
}

void scoreHalves(const State& s, const std::uint16_t* keys, std::int64_t count) {
    eachFew(s, [&]<int M>(std::int64_t row) {
        for (std::int64_t first = 0; first < count; first += 16 * kFewBlocks<M>) {
            const std::int64_t blocks = (count - first + 15) / 16;
            if (blocks <= 2)
                scoreFew<M, 2>(s, keys, row, first, blocks);
            else
                scoreFew<M, kFewBlocks<M>>(s, keys, row, first, blocks);
        }
    });
}

void addHalves(const State& s, const std::uint16_t* values, std::int64_t count) {
    eachFew(s, [&]<int M>(std::int64_t row) { addFew<M>(s, values, row, count); });
}

/// Whether the rows are few and keys and values lie so that they can be multiplied where they are.
bool isFew(const State& s, std::int64_t position, std::int64_t count) {
    const AttentionArgs& a = s.a;
    return rowCount(s) <= kMostFew && a.kvType == KvType::F16 && a.headDim % kTileWidth == 0 &&
           (s.branch ? a.capacity % 16 == 0 : position + (count + 15) / 16 * 16 <= a.capacity);
}

/// Keys and values of a piece; of a branch gathered to where they would lie without others.
Halves halvesOf(const State& s, std::int64_t position, std::int64_t count) {
    const AttentionArgs& a = s.a;
    const std::int64_t dim = a.headDim, plane = s.part.kvHead * a.capacity * dim,
                       text = a.text - position < 0       ? 0
                              : a.text - position < count ? a.text - position
                                                          : count;
    const auto* keys = static_cast<const std::uint16_t*>(a.keys) + plane;
    const auto* values = static_cast<const std::uint16_t*>(a.values) + plane;
    const Halves inPlace = {keys + position * dim, values + position * dim};
    if (!s.branch || text == count)
        return inPlace;
    const auto halves = [dim](std::int64_t tokens) {
        return static_cast<std::size_t>(tokens * dim) * sizeof(std::uint16_t);
    };
    // The last block of the text has nodes behind it, which are not this branch's yet.
    __builtin_memcpy(s.gatheredKeys, inPlace.keys, halves((text + 15) / 16 * 16));
    __builtin_memcpy(s.gatheredValues, inPlace.values, halves(text));
    for (std::int64_t k = text; k < count; ++k) {
        const std::int64_t slot = slotOf(s, position + k);
        const std::uint16_t* from = keys + slot / 16 * 16 * dim + slot % 16;
        std::uint16_t* to = s.gatheredKeys + k / 16 * 16 * dim + k % 16;
        for (std::int64_t d = 0; d < dim; ++d)
            to[16 * d] = from[16 * d];
        __builtin_memcpy(s.gatheredValues + k * dim, values + slot * dim, halves(1));
    }
    return {s.gatheredKeys, s.gatheredValues};
}

void scorePiece(State& s, std::int64_t position, std::int64_t count) {
    for (std::int64_t first = 0; first < count; first += kTileWidth) {
        const float* w[kTilePanels];
        for (int p = 0; p < kTilePanels; ++p) {
            // A panel wholly beyond the keys repeats the first one; its scores are masked below.
            const std::int64_t offset = first + 16 * p < count ? first + 16 * p : first;
            float* to = s.panel + p * 16 * s.a.headDim;
            unpackKeys(s, position + offset, to);
            w[p] = to;
        }
        float* scores = s.scores + first * s.rows + firstRow(s) * kTileWidth;
        for (std::int64_t i = 0; i < rowCount(s) * kTilePanels; ++i)
            storeF(scores + 16 * i, zeroF());
        multiplyRows(w, s.a.headDim, s.q + firstRow(s) * s.a.headDim, s.a.headDim,
                     reinterpret_cast<TileRow*>(scores), rowCount(s));
    }
}

/// Keys of a piece that a token sees; none where low > high.
struct Seen {
    std::int64_t low, high;
};

/// Scores of one row, those of keys that are not seen at minus infinity, to where its weights will
/// be; the row's maximum goes on, `rescale` is how far it went.
void maskRow(State& s, std::int64_t row, Seen seen) {
    const F32x16 lane = loadF(kLaneNumbers);
    float* weights = s.weights + row * kPieceKeys;
    F32x16 largest = setF(s.maximum[row]);
    for (std::int64_t k = 0; k < kPieceKeys; k += 16) {
        if (k > seen.high)
            break;
        F32x16 x = loadF(scoreOf(s, row, k));
        if (s.a.softcap > 0)
            x = mul(setF(s.a.softcap), tanh(div(x, setF(s.a.softcap))));
        if (k < seen.low)
            x = selectLess(lane, setF(static_cast<float>(seen.low - k)), setF(kMinusInfinity), x);
        if (k + 15 > seen.high)
            x = selectLess(setF(static_cast<float>(seen.high - k)), lane, setF(kMinusInfinity), x);
        storeF(weights + k, x);
        largest = max(x, largest);
    }
    const float maximum = maxLanes(largest);
    s.rescale[row] = s.maximum[row] - maximum;
    s.maximum[row] = maximum;
}

/// The same scores to weights.
void weighRow(State& s, std::int64_t row, Seen seen) {
    float* weights = s.weights + row * kPieceKeys;
    const F32x16 shift = setF(s.maximum[row]);
    F32x16 sum = zeroF();
    std::int64_t k = 0;
    for (; k < kPieceKeys && k <= seen.high; k += 16) {
        // The largest weight is 1: those below e^-50 change no sum, and times a value they may be
        // denormal numbers (kLeastExponent).
        const F32x16 power = sub(loadF(weights + k), shift);
        const F32x16 e = selectLess(power, setF(-50.0F), zeroF(), exp(power));
        storeF(weights + k, e);
        sum = add(sum, e);
    }
    for (; k < kPieceKeys; k += 16)
        storeF(weights + k, zeroF());
    storeF(s.sums + 16 * row, fma(loadF(s.sums + 16 * row), setF(s.rescale[row]), sum));
}

void addValues(State& s, std::int64_t position, std::int64_t count) {
    for (std::int64_t tile = 0; tile < s.outTiles; ++tile) {
        const float* w[kTilePanels];
        for (int p = 0; p < kTilePanels; ++p) {
            const std::int64_t first = tile * kTileWidth + 16 * p;
            float* to = s.panel + p * 16 * kPieceKeys;
            w[p] = to;
            if (first < s.a.headDim)
                unpackValues(s, position, count, first, to);
            else
                w[p] = s.panel;  // computed and dropped
        }
        float* out = s.out + tile * s.rows * kTileWidth;
        for (std::int64_t row = firstRow(s); row < firstRow(s) + rowCount(s); ++row) {
            const F32x16 factor = setF(s.rescale[row]);
            for (int p = 0; p < kTilePanels; ++p) {
                float* at = out + row * kTileWidth + 16 * p;
                storeF(at, mul(loadF(at), factor));
            }
        }
        multiplyRows(w, count, s.weights + firstRow(s) * kPieceKeys, kPieceKeys,
                     reinterpret_cast<TileRow*>(out + firstRow(s) * kTileWidth), rowCount(s));
    }
}

void writeRows(const State& s) {
    const AttentionArgs& a = s.a;
    for (std::int64_t t = 0, row = 0; t < s.part.tokens; ++t) {
        for (std::int64_t h = 0; h < s.part.heads; ++h, ++row) {
            float* to =
                a.out + (s.part.firstToken + t) * a.outStride + (s.part.firstHead + h) * a.headDim;
            const F32x16 inverse = setF(1.0F / sumLanes(loadF(s.sums + 16 * row)));
            for (std::int64_t d = 0; d < a.headDim; d += 16) {
                const float* from = s.out + d / kTileWidth * s.rows * kTileWidth +
                                    row * kTileWidth + d % kTileWidth;
                const F32x16 value = mul(loadF(from), inverse);
                if (d + 16 <= a.headDim)
                    storeF(to + d, value);
                else
                    storePart(to + d, a.headDim - d, value);
            }
        }
    }
}

/// Scores of all rows to weights; step by step over the rows, which do not wait for each other.
void weighRows(State& s, std::int64_t position, std::int64_t count, const std::int64_t* positions) {
    const auto eachRow = [&](const auto& seenRow, const auto& unseenRow) {
        for (std::int64_t t = s.firstToken, row = firstRow(s); t < s.firstToken + s.tokens; ++t) {
            const std::int64_t query = positions[t];
            const std::int64_t oldest =
                s.a.window > 0 && query >= s.a.window ? query - s.a.window + 1 : 0;
            const Seen seen = {oldest > position ? oldest - position : 0,
                               query - position < count - 1 ? query - position : count - 1};
            for (std::int64_t h = 0; h < s.part.heads; ++h, ++row) {
                if (seen.low <= seen.high)
                    seenRow(row, seen);
                else
                    unseenRow(row);
            }
        }
    };
    eachRow([&](std::int64_t row, Seen seen) { maskRow(s, row, seen); },
            [&](std::int64_t row) { s.rescale[row] = 0; });  // e^0: all stays as it is
    float* rescale = s.rescale + firstRow(s);
    eachVector(rowCount(s), [&](std::int64_t i, std::int64_t lanes) {
        put(rescale + i, lanes, exp(take(rescale + i, lanes, 0)));
    });
    eachRow([&](std::int64_t row, Seen seen) { weighRow(s, row, seen); },
            [&](std::int64_t row) {
                for (std::int64_t k = 0; k < kPieceKeys; k += 16)
                    storeF(s.weights + row * kPieceKeys + k, zeroF());
            });
}

/// Pieces [begin, end) of the positions, for the tokens that are being worked on. `positions`: of
/// each token of the part.
void attendPieces(State& s, std::int64_t begin, std::int64_t end, const std::int64_t* positions) {
    for (std::int64_t position = begin; position < end; position += kPieceKeys) {
        const std::int64_t count = end - position < kPieceKeys ? end - position : kPieceKeys;
        if (isFew(s, position, count)) {
            const Halves halves = halvesOf(s, position, count);
            scoreHalves(s, halves.keys, count);
            weighRows(s, position, count, positions);
            addHalves(s, halves.values, count);
        } else {
            scorePiece(s, position, count);
            weighRows(s, position, count, positions);
            addValues(s, position, count);
        }
    }
}

/// The nodes from the text to `node`; returns how many there are.
std::int64_t pathTo(const AttentionArgs& a, std::int64_t node, std::int32_t* path) {
    std::int64_t depth = 0;
    for (std::int64_t i = node; i >= 0; i = a.parents[i])
        ++depth;
    std::int64_t at = depth;
    for (std::int64_t i = node; i >= 0; i = a.parents[i])
        path[--at] = static_cast<std::int32_t>(i);
    return depth;
}

/// What follows the text, branch by branch; a branch is as many tokens of the part as follow each
/// other.
void attendBranches(State& s, std::int64_t begin, std::int64_t* positions) {
    const AttentionArgs& a = s.a;
    const std::int64_t firstNode = a.past + s.part.firstToken - a.text;
    s.branch = true;
    for (std::int64_t t = 0; t < s.part.tokens; t += s.tokens) {
        s.firstToken = t;
        s.tokens = 1;
        while (t + s.tokens < s.part.tokens &&
               a.parents[firstNode + t + s.tokens] == firstNode + t + s.tokens - 1)
            ++s.tokens;
        const std::int64_t end = a.text + pathTo(a, firstNode + t + s.tokens - 1, s.path);
        s.last = end - 1;
        attendPieces(s, begin, end, positions);
    }
}

}  // namespace

void attentionRows(const AttentionArgs* args, const AttentionPart* part, float* scratch) {
    const AttentionArgs& a = *args;
    const std::int64_t rows = part->heads * part->tokens,
                       tiles = (a.headDim + kTileWidth - 1) / kTileWidth;
    float* next = scratch;
    const auto reserve = [&next](std::int64_t count) {
        float* at = next;
        next += (count + 15) / 16 * 16;
        return at;
    };
    const std::int64_t gathered = kPieceKeys * a.headDim / 2;  // halves, in floats
    State s = {a,
               *part,
               rows,
               tiles,
               reserve(rows * a.headDim),
               reserve(tiles * rows * kTileWidth),
               reserve(kPieceKeys * rows),
               reserve(kPieceKeys * rows),
               reserve(kTilePanels * 16 * (a.headDim > kPieceKeys ? a.headDim : kPieceKeys)),
               reserve(rows),
               reserve(rows),
               reserve(16 * rows),
               reinterpret_cast<std::uint16_t*>(reserve(gathered)),
               reinterpret_cast<std::uint16_t*>(reserve(gathered)),
               scalesOf(a.keys, a, part->kvHead),
               scalesOf(a.values, a, part->kvHead),
               blocksOf(a.keys, a, part->kvHead),
               blocksOf(a.values, a, part->kvHead),
               0,
               part->tokens,
               0,
               false,
               {}};
    copyQueries(s);
    std::int64_t positions[kAttentionRows];
    for (std::int64_t t = 0; t < part->tokens; ++t)
        positions[t] = a.parents
                           ? a.text - 1 + pathTo(a, a.past + part->firstToken + t - a.text, s.path)
                           : a.past + part->firstToken + t;
    std::int64_t earliest = positions[0];
    for (std::int64_t t = 1; t < part->tokens; ++t)
        earliest = positions[t] < earliest ? positions[t] : earliest;
    const std::int64_t oldest = a.window > 0 && earliest >= a.window ? earliest - a.window + 1 : 0;
    const std::int64_t begin = oldest / kPieceKeys * kPieceKeys;
    if (!a.parents) {
        attendPieces(s, begin, a.past + part->firstToken + part->tokens, positions);
    } else {
        const std::int64_t shared = a.text / kPieceKeys * kPieceKeys;
        attendPieces(s, begin, shared, positions);
        attendBranches(s, begin > shared ? begin : shared, positions);
    }
    writeRows(s);
}

void appendKv(const KvAppend* args) {
    const KvAppend& a = *args;
    const bool half = a.kvType == KvType::F16;
    for (std::int64_t t = 0; t < a.tokens; ++t) {
        const std::int64_t position = a.past + t, block = position / 16 * 16;
        const std::int64_t width = a.capacity - block < 16 ? a.capacity - block : 16;
        for (std::int64_t h = 0; h < a.kvHeads; ++h) {
            const float* k = a.k + t * a.stride + h * a.headDim;
            const float* v = a.v + t * a.stride + h * a.headDim;
            const std::int64_t plane = h * a.capacity * a.headDim;
            const std::int64_t keyAt = plane + block * a.headDim + position - block;
            const std::int64_t valueAt = plane + position * a.headDim;
            for (std::int64_t d = 0; d < a.headDim; d += 16) {
                const std::int64_t n = a.headDim - d < 16 ? a.headDim - d : 16;
                const F32x16 key = n == 16 ? loadF(k + d) : loadPart(k + d, n, 0);
                const F32x16 value = n == 16 ? loadF(v + d) : loadPart(v + d, n, 0);
                if (half) {
                    std::uint16_t codes[16];
                    storeHalf(codes, key);
                    auto* keys = static_cast<std::uint16_t*>(a.keys) + keyAt;
                    for (std::int64_t i = 0; i < n; ++i)
                        keys[(d + i) * width] = codes[i];
                    storeHalf(codes, value);
                    __builtin_memcpy(static_cast<std::uint16_t*>(a.values) + valueAt + d, codes,
                                     static_cast<std::size_t>(2 * n));
                } else {
                    float values[16];
                    storeF(values, key);
                    auto* keys = static_cast<float*>(a.keys) + keyAt;
                    for (std::int64_t i = 0; i < n; ++i)
                        keys[(d + i) * width] = values[i];
                    storePart(static_cast<float*>(a.values) + valueAt + d, n, value);
                }
            }
        }
    }
}

}  // namespace fettle::kernels::FETTLE_SIMD
