#include "kernels/cpu/simd/int_piece.h"
#include "kernels/cpu/simd/matmul_int.h"

namespace fettle::kernels::FETTLE_SIMD {
namespace {

// Register tile: kTileRows activation rows x kTilePanels panels of 16 outputs.
#if defined(__AVX512F__)
constexpr int kTileRows = 6, kTilePanels = 2;
#elif defined(__AVX2__)
constexpr int kTileRows = 4, kTilePanels = 1;
#else
constexpr int kTileRows = 2, kTilePanels = 1;
#endif
constexpr std::int64_t kBlockRows = 384;  // rows whose partial results wait in scratch

struct Scratch {
    alignas(64) Piece pieces[kTilePanels];
    alignas(64) float results[kBlockRows][kTilePanels][16];  // int32 for Channel
};
static_assert(sizeof(Scratch) <= kMatmulScratch);

struct Tile {
    const std::uint8_t* codes[kTilePanels];
    const Piece* pieces;
    std::int64_t groups;     // of this piece
    const std::int8_t* act;  // first row and group of the tile
    std::int64_t stride;
    const float* actScales;  // element (group, row) at group * rowStride + row
    const float* weightedSums;
    const std::int32_t* sums;
    const std::int32_t* starts;
    std::int64_t rowStride;
};

/// acc += four or eight steps (16 or 32 k) of the tile.
template <int Bits, int M, int Steps>
FETTLE_INLINE void multiplySteps(const std::uint8_t* const (&w)[kTilePanels],
                                 const std::int8_t* act, std::int64_t stride,
                                 I32x16 (&acc)[M][kTilePanels]) {
    constexpr int steps = kDotSteps<Bits>;
    FETTLE_UNROLL(8)
    for (int s = 0; s < Steps; s += steps) {
        U8x64 codes[kTilePanels][steps];
        for (int p = 0; p < kTilePanels; ++p)
            for (int j = 0; j < steps; ++j)
                codes[p][j] = loadBytes(w[p] + 64 * (s + j));
        FETTLE_UNROLL(8)
        for (int i = 0; i < M; ++i)
            for (int p = 0; p < kTilePanels; ++p)
                acc[i][p] = dotSteps<Bits>(acc[i][p], codes[p], act + i * stride + 4 * s);
    }
}

template <Kind K, int Bits, int M>
void tile(const Tile& t, float (*results)[kTilePanels][16]) {
    constexpr bool signedBytes = Bits == 8 && kSignedBytes;
    F32x16 f[M][kTilePanels];
    for (int i = 0; i < M; ++i)
        for (int p = 0; p < kTilePanels; ++p)
            f[i][p] = loadF(results[i][p]);
    for (std::int64_t g = 0; g < t.groups; ++g) {
        const std::uint8_t* w[kTilePanels];
        for (int p = 0; p < kTilePanels; ++p)
            w[p] = t.codes[p] + 512 * g;
        const std::int8_t* act = t.act + 32 * g;
        I32x16 acc[M][kTilePanels];
        for (int i = 0; i < M; ++i) {
            const std::int64_t r = g * t.rowStride + i;
            for (int p = 0; p < kTilePanels; ++p) {
                if constexpr (K == Kind::ScaleZero)
                    acc[i][p] = sub(zeroI(), mul(loadI(t.pieces[p].zero[g]), setI(t.sums[r])));
                else
                    acc[i][p] = K == Kind::ScaleMin || signedBytes ? zeroI() : setI(t.starts[r]);
            }
        }
        multiplySteps<Bits, M, 8>(w, act, t.stride, acc);
        for (int i = 0; i < M; ++i) {
            const std::int64_t r = g * t.rowStride + i;
            for (int p = 0; p < kTilePanels; ++p) {
                f[i][p] = fma(mul(toF(acc[i][p]), setF(t.actScales[r])),
                              loadF(t.pieces[p].scale[g]), f[i][p]);
                if constexpr (K == Kind::ScaleMin)
                    f[i][p] = fma(setF(t.weightedSums[r]), loadF(t.pieces[p].min[g]), f[i][p]);
            }
        }
    }
    for (int i = 0; i < M; ++i)
        for (int p = 0; p < kTilePanels; ++p)
            storeF(results[i][p], f[i][p]);
}

/// Q3_K and Q6_K: each half of a group has its own integer scale. Sums (below 2^16) times scales
/// (below 2^7), and the sum of two such products, are whole numbers that a float holds exactly.
template <int M>
void tileSub16(const Tile& t, float (*results)[kTilePanels][16]) {
    for (std::int64_t g = 0; g < t.groups; ++g) {
        F32x16 total[M][kTilePanels];
        for (int i = 0; i < M; ++i)
            for (int p = 0; p < kTilePanels; ++p)
                total[i][p] = zeroF();
        for (int half = 0; half < 2; ++half) {
            const std::uint8_t* w[kTilePanels];
            for (int p = 0; p < kTilePanels; ++p)
                w[p] = t.codes[p] + 512 * g + 256 * half;
            I32x16 acc[M][kTilePanels];
            for (int i = 0; i < M; ++i)
                for (int p = 0; p < kTilePanels; ++p)
                    acc[i][p] = setI(t.starts[(2 * g + half) * t.rowStride + i]);
            multiplySteps<6, M, 4>(w, t.act + 32 * g + 16 * half, t.stride, acc);
            for (int i = 0; i < M; ++i)
                for (int p = 0; p < kTilePanels; ++p)
                    total[i][p] = fma(toF(acc[i][p]), loadF(t.pieces[p].sub[g][half]), total[i][p]);
        }
        for (int i = 0; i < M; ++i) {
            const F32x16 actScale = setF(t.actScales[g * t.rowStride + i]);
            for (int p = 0; p < kTilePanels; ++p)
                storeF(results[i][p], fma(mul(total[i][p], actScale), loadF(t.pieces[p].scale[g]),
                                          loadF(results[i][p])));
        }
    }
}

/// NVFP4: each half of a group has its own scales, of weights and of activations.
template <int M>
void tileHalves(const Tile& t, float (*results)[kTilePanels][16]) {
    F32x16 f[M][kTilePanels];
    for (int i = 0; i < M; ++i)
        for (int p = 0; p < kTilePanels; ++p)
            f[i][p] = loadF(results[i][p]);
    for (std::int64_t h = 0; h < 2 * t.groups; ++h) {
        const std::uint8_t* w[kTilePanels];
        for (int p = 0; p < kTilePanels; ++p)
            w[p] = t.codes[p] + 256 * h;
        I32x16 acc[M][kTilePanels];
        for (int i = 0; i < M; ++i)
            for (int p = 0; p < kTilePanels; ++p)
                acc[i][p] = setI(t.starts[h * t.rowStride + i]);
        multiplySteps<6, M, 4>(w, t.act + 16 * h, t.stride, acc);
        for (int i = 0; i < M; ++i) {
            const F32x16 actScale = setF(t.actScales[h * t.rowStride + i]);
            for (int p = 0; p < kTilePanels; ++p)
                f[i][p] = fma(mul(toF(acc[i][p]), actScale), loadF(t.pieces[p].sub[h / 2][h % 2]),
                              f[i][p]);
        }
    }
    for (int i = 0; i < M; ++i)
        for (int p = 0; p < kTilePanels; ++p)
            storeF(results[i][p], f[i][p]);
}

template <int M>
void tileChannel(const Tile& t, float (*results)[kTilePanels][16]) {
    I32x16 acc[M][kTilePanels];
    for (int i = 0; i < M; ++i)
        for (int p = 0; p < kTilePanels; ++p)
            acc[i][p] = loadI(results[i][p]);
    for (std::int64_t g = 0; g < t.groups; ++g) {
        const std::uint8_t* w[kTilePanels];
        for (int p = 0; p < kTilePanels; ++p)
            w[p] = t.codes[p] + 512 * g;
        multiplySteps<8, M, 8>(w, t.act + 32 * g, t.stride, acc);
    }
    for (int i = 0; i < M; ++i)
        for (int p = 0; p < kTilePanels; ++p)
            storeI(results[i][p], acc[i][p]);
}

template <Kind K, int Bits, int M>
void runTile(const Tile& t, float (*results)[kTilePanels][16]) {
    if constexpr (K == Kind::Channel)
        tileChannel<M>(t, results);
    else if constexpr (K == Kind::Sub16)
        tileSub16<M>(t, results);
    else if constexpr (K == Kind::Halves)
        tileHalves<M>(t, results);
    else
        tile<K, Bits, M>(t, results);
}

/// All rows of a block with the piece now in scratch.
template <Kind K, int Bits>
void multiplyRows(const MatmulArgs& a, Tile t, std::int64_t firstRow, std::int64_t count,
                  std::int64_t firstGroup, Scratch& scratch) {
    constexpr int rows = kTileRows;
    const IntActivations& x = a.ints;
    const std::int64_t perGroup = K == Kind::Sub16 || K == Kind::Halves ? 2 : 1;
    const std::int64_t scalesPerGroup = K == Kind::Halves ? 2 : 1;
    for (std::int64_t i = 0; i < count; i += rows) {
        const std::int64_t at = firstGroup * x.stride + firstRow + i;
        t.act = x.codes + (firstRow + i) * x.codeStride + 32 * firstGroup;
        t.stride = x.codeStride;
        if constexpr (K != Kind::Channel) {
            t.actScales = x.scales + scalesPerGroup * firstGroup * x.stride + firstRow + i;
            t.weightedSums = x.weightedSums + at;
            t.sums = x.sums + at;
            t.starts = x.starts + perGroup * firstGroup * x.stride + firstRow + i;
            t.rowStride = x.stride;
        }
        float(*results)[kTilePanels][16] = scratch.results + i;
        switch (count - i) {
            case 1:
                runTile<K, Bits, 1>(t, results);
                break;
            case 2:
                runTile<K, Bits, (rows < 2 ? rows : 2)>(t, results);
                break;
            case 3:
                runTile<K, Bits, (rows < 3 ? rows : 3)>(t, results);
                break;
            case 4:
                runTile<K, Bits, (rows < 4 ? rows : 4)>(t, results);
                break;
            case 5:
                runTile<K, Bits, (rows < 5 ? rows : 5)>(t, results);
                break;
            default:
                runTile<K, Bits, rows>(t, results);
                break;
        }
    }
}

/// Rows [firstRow, firstRow + count) of the panels in `panels` (the second may be a copy of the
/// first).
template <Kind K, int Bits>
void block(const MatmulArgs& a, const std::uint8_t* const (&panels)[kTilePanels],
           std::int64_t firstRow, std::int64_t count, Scratch& scratch) {
    const PackedLayout& l = *a.layout;
    startResults<K>(a, firstRow, count, scratch.results);
    for (std::int64_t g = 0; g < l.groups; g += kPieceGroups) {
        Tile t;
        t.groups = l.groups - g < kPieceGroups ? l.groups - g : kPieceGroups;
        t.pieces = scratch.pieces;
        for (int p = 0; p < kTilePanels; ++p) {
            unpack(l, panels[p], g, t.groups, scratch.pieces[p]);
            t.codes[p] = Bits == 8 ? panels[p] + 512 * g : scratch.pieces[p].codes[0];
        }
        multiplyRows<K, Bits>(a, t, firstRow, count, g, scratch);
    }
}

template <Kind K, int Bits>
void allBlocks(const MatmulArgs& a, std::int64_t begin, std::int64_t end, Scratch& scratch) {
    eachBlock<K, kTilePanels>(a, begin, end, kBlockRows, scratch.results,
                              [&](const auto& panels, std::int64_t row, std::int64_t count) {
                                  block<K, Bits>(a, panels, row, count, scratch);
                              });
}

}  // namespace

void intBlocked(const MatmulArgs& a, std::int64_t begin, std::int64_t end, void* memory) {
    Scratch& scratch = *static_cast<Scratch*>(memory);
    const PackedLayout& l = *a.layout;
    const bool narrow = l.codeBits != 8;  // fewer bits are multiplied alike
    if (l.scales == ScaleLayout::Channel)
        return allBlocks<Kind::Channel, 8>(a, begin, end, scratch);
    if (l.scales == ScaleLayout::Sub16)
        return allBlocks<Kind::Sub16, 6>(a, begin, end, scratch);
    if (l.scales == ScaleLayout::E4M3Halves)
        return allBlocks<Kind::Halves, 6>(a, begin, end, scratch);
    if (l.scales == ScaleLayout::F16Min || l.scales == ScaleLayout::SubMin)
        return allBlocks<Kind::ScaleMin, 5>(a, begin, end, scratch);
    if (l.zeroPoints)
        return allBlocks<Kind::ScaleZero, 5>(a, begin, end, scratch);
    return narrow ? allBlocks<Kind::Scale, 5>(a, begin, end, scratch)
                  : allBlocks<Kind::Scale, 8>(a, begin, end, scratch);
}

}  // namespace fettle::kernels::FETTLE_SIMD
