// Integer products of many activation rows with the tile registers of AMX: int32 sums of 16 rows x
// 16 outputs over 32 or 64 k an instruction. Written against a `Tiles` type, so that the same code
// runs on the processor's tiles (hardware_tiles.h) and, in tests, on an emulation that follows
// Intel's manual (SDM vol. 2: TILELOADD, TDPBSUD, TILESTORED). Every output is the same chain of
// sums as in simd/matmul_int.h, bit for bit. Compiled with the AVX-512 flags, into a namespace of
// its own.
//
// Tile numbers: 0..3 sums [row tile][panel], 4 and 5 activations of 16 rows each, 6 and 7 weights
// of one panel each.
#pragma once

#include "kernels/cpu/amx/tile_config.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/simd/int_piece.h"

namespace fettle::kernels::FETTLE_SIMD {

constexpr int kAmxPanels = 2;
constexpr std::int64_t kAmxRows = 32;        // two tiles of activation rows
constexpr std::int64_t kAmxSumGroups = 8;    // groups whose sums wait to be scaled: 32 KiB
constexpr std::int64_t kAmxBlockRows = 384;  // rows whose partial results wait in scratch

struct AmxScratch {
    alignas(64) Piece pieces[kAmxPanels];
    alignas(64) float results[kAmxBlockRows][kAmxPanels][16];  // int32 for Channel
    alignas(64) std::int32_t sums[kAmxSumGroups][kAmxRows][kAmxPanels][16];
    alignas(
        64) std::uint8_t lastCodes[kAmxPanels][1024];  // an odd last group, filled up with zeros
};
static_assert(sizeof(AmxScratch) <= kMatmulScratch);

/// Tiles for `rows` (1..32) activation rows and products over `k` values (32 or 64).
static inline TileConfig tileConfig(std::int64_t rows, std::int64_t k) {
    TileConfig c;
    for (int r = 0; r < 2; ++r) {
        const std::int64_t here = rows - 16 * r;
        const auto count = static_cast<std::uint8_t>(here < 0 ? 0 : here > 16 ? 16 : here);
        if (count == 0)
            break;
        c.rows[2 * r] = c.rows[2 * r + 1] = c.rows[4 + r] = count;
        c.columnBytes[2 * r] = c.columnBytes[2 * r + 1] = 64;
        c.columnBytes[4 + r] = static_cast<std::uint16_t>(k);
    }
    c.rows[6] = c.rows[7] = static_cast<std::uint8_t>(k / 4);
    c.columnBytes[6] = c.columnBytes[7] = 64;
    return c;
}

/// sums += activations * weights of one step: k as the tiles are configured.
template <class Tiles, int RowTiles>
FETTLE_INLINE void multiplyTiles(const std::int8_t* act, std::int64_t stride,
                                 const std::uint8_t* w0, const std::uint8_t* w1) {
    Tiles::template load<6>(w0, 64);
    Tiles::template load<4>(act, stride);
    Tiles::template load<7>(w1, 64);
    Tiles::template multiply<0, 4, 6>();
    Tiles::template multiply<1, 4, 7>();
    if constexpr (RowTiles == 2) {
        Tiles::template load<5>(act + 16 * stride, stride);
        Tiles::template multiply<2, 5, 6>();
        Tiles::template multiply<3, 5, 7>();
    }
}

template <class Tiles, int RowTiles>
FETTLE_INLINE void storeSums(std::int32_t (*out)[kAmxPanels][16]) {
    constexpr std::int64_t stride = sizeof(*out);
    Tiles::template store<0>(out[0][0], stride);
    Tiles::template store<1>(out[0][1], stride);
    if constexpr (RowTiles == 2) {
        Tiles::template store<2>(out[16][0], stride);
        Tiles::template store<3>(out[16][1], stride);
    }
}

/// W8A8: one sum over all of k, kept in scratch.results as int32.
template <class Tiles, int RowTiles>
static void channelRows(const std::int8_t* act, std::int64_t stride,
                        const std::uint8_t* const (&codes)[kAmxPanels], std::int64_t groups,
                        AmxScratch& scratch, std::int64_t row) {
    auto* sums = reinterpret_cast<std::int32_t(*)[kAmxPanels][16]>(scratch.results + row);
    constexpr std::int64_t resultStride = sizeof(*sums);
    Tiles::template load<0>(sums[0][0], resultStride);
    Tiles::template load<1>(sums[0][1], resultStride);
    if constexpr (RowTiles == 2) {
        Tiles::template load<2>(sums[16][0], resultStride);
        Tiles::template load<3>(sums[16][1], resultStride);
    }
    std::int64_t g = 0;
    for (; g + 2 <= groups; g += 2)
        multiplyTiles<Tiles, RowTiles>(act + 32 * g, stride, codes[0] + 512 * g,
                                       codes[1] + 512 * g);
    if (g < groups)  // the activations' codes are padded with zeros to 64
        multiplyTiles<Tiles, RowTiles>(act + 32 * g, stride, scratch.lastCodes[0],
                                       scratch.lastCodes[1]);
    storeSums<Tiles, RowTiles>(sums);
}

/// Scales the sums of `groups` groups, from `first` of the piece on, into scratch.results.
template <Kind K>
static void scaleSums(const IntActivations& x, AmxScratch& scratch, std::int64_t first,
                      std::int64_t firstGroup, std::int64_t groups, std::int64_t blockRow,
                      std::int64_t row, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) {
        F32x16 f[kAmxPanels];
        for (int p = 0; p < kAmxPanels; ++p)
            f[p] = loadF(scratch.results[row + i][p]);
        for (std::int64_t g = 0; g < groups; ++g) {
            const std::int64_t r = (firstGroup + first + g) * x.stride + blockRow + row + i;
            const F32x16 actScale = setF(x.scales[r]);
            FETTLE_UNROLL(2)
            for (int p = 0; p < kAmxPanels; ++p) {
                const Piece& piece = scratch.pieces[p];
                I32x16 sum = loadI(scratch.sums[g][i][p]);
                if constexpr (K == Kind::ScaleZero)
                    sum = sub(sum, mul(loadI(piece.zero[first + g]), setI(x.sums[r])));
                else if constexpr (K == Kind::Scale)
                    sum = add(sum, setI(x.starts[r]));
                f[p] = fma(mul(toF(sum), actScale), loadF(piece.scale[first + g]), f[p]);
                if constexpr (K == Kind::ScaleMin)
                    f[p] = fma(setF(x.weightedSums[r]), loadF(piece.min[first + g]), f[p]);
            }
        }
        for (int p = 0; p < kAmxPanels; ++p)
            storeF(scratch.results[row + i][p], f[p]);
    }
}

/// Rows [row, row + count) of the block, the piece in scratch; tiles are configured for `count`
/// rows.
template <class Tiles, Kind K, int RowTiles>
static void pieceRows(const MatmulArgs& a, const std::uint8_t* const (&codes)[kAmxPanels],
                      std::int64_t firstGroup, std::int64_t groups, std::int64_t blockRow,
                      std::int64_t row, std::int64_t count, AmxScratch& scratch) {
    const IntActivations& x = a.ints;
    const std::int8_t* act = x.codes + (blockRow + row) * x.codeStride + 32 * firstGroup;
    if constexpr (K == Kind::Channel) {
        channelRows<Tiles, RowTiles>(act, x.codeStride, codes, groups, scratch, row);
    } else {
        for (std::int64_t first = 0; first < groups; first += kAmxSumGroups) {
            const std::int64_t some =
                groups - first < kAmxSumGroups ? groups - first : kAmxSumGroups;
            for (std::int64_t g = 0; g < some; ++g) {
                Tiles::template zero<0>();
                Tiles::template zero<1>();
                if constexpr (RowTiles == 2) {
                    Tiles::template zero<2>();
                    Tiles::template zero<3>();
                }
                const std::int64_t at = first + g;
                multiplyTiles<Tiles, RowTiles>(act + 32 * at, x.codeStride, codes[0] + 512 * at,
                                               codes[1] + 512 * at);
                storeSums<Tiles, RowTiles>(scratch.sums[g]);
            }
            scaleSums<K>(x, scratch, first, firstGroup, some, blockRow, row, count);
        }
    }
}

/// Rows [blockRow, blockRow + count) of two panels (the second may be the first again).
template <class Tiles, Kind K>
static void amxBlock(const MatmulArgs& a, const std::uint8_t* const (&panels)[kAmxPanels],
                     std::int64_t blockRow, std::int64_t count, AmxScratch& scratch) {
    const PackedLayout& l = *a.layout;
    constexpr std::int64_t k = K == Kind::Channel ? 64 : 32;
    startResults<K>(a, blockRow, count, scratch.results);
    const std::int64_t whole = count / kAmxRows * kAmxRows;
    const TileConfig wholeConfig = tileConfig(kAmxRows, k),
                     restConfig = tileConfig(count - whole, k);
    for (std::int64_t g = 0; g < l.groups; g += kPieceGroups) {
        const std::int64_t groups = l.groups - g < kPieceGroups ? l.groups - g : kPieceGroups;
        const std::uint8_t* codes[kAmxPanels];
        for (int p = 0; p < kAmxPanels; ++p) {
            unpack(l, panels[p], g, groups, scratch.pieces[p]);
            codes[p] = l.codeBits == 8 ? panels[p] + 512 * g : scratch.pieces[p].codes[0];
            if (K == Kind::Channel && groups % 2 == 1) {
                __builtin_memcpy(scratch.lastCodes[p], codes[p] + 512 * (groups - 1), 512);
                __builtin_memset(scratch.lastCodes[p] + 512, 0, 512);
            }
        }
        if (whole > 0) {
            Tiles::configure(wholeConfig);
            for (std::int64_t row = 0; row < whole; row += kAmxRows)
                pieceRows<Tiles, K, 2>(a, codes, g, groups, blockRow, row, kAmxRows, scratch);
        }
        if (whole < count) {
            Tiles::configure(restConfig);
            if (count - whole > 16)
                pieceRows<Tiles, K, 2>(a, codes, g, groups, blockRow, whole, count - whole,
                                       scratch);
            else
                pieceRows<Tiles, K, 1>(a, codes, g, groups, blockRow, whole, count - whole,
                                       scratch);
        }
    }
}

template <class Tiles, Kind K>
static void amxPanels(const MatmulArgs& a, std::int64_t begin, std::int64_t end,
                      AmxScratch& scratch) {
    eachBlock<K, kAmxPanels>(a, begin, end, kAmxBlockRows, scratch.results,
                             [&](const auto& panels, std::int64_t row, std::int64_t count) {
                                 amxBlock<Tiles, K>(a, panels, row, count, scratch);
                             });
    Tiles::release();
}

/// Whether intTiles computes this product; scales of half groups (Q6_K, NVFP4) leave the tiles
/// three quarters empty.
static inline bool tilesFit(const MatmulArgs& a) {
    const PackedLayout& l = *a.layout;
    return a.m > 8 && l.scales != ScaleLayout::Sub16 && l.scales != ScaleLayout::E4M3Halves &&
           !(l.scales == ScaleLayout::Channel && l.groups > kExactGroups);
}

/// As KernelTable::intPanels, for products that tilesFit.
template <class Tiles>
static void intTiles(const MatmulArgs& a, std::int64_t begin, std::int64_t end, void* memory) {
    AmxScratch& scratch = *static_cast<AmxScratch*>(memory);
    const PackedLayout& l = *a.layout;
    if (l.scales == ScaleLayout::Channel)
        amxPanels<Tiles, Kind::Channel>(a, begin, end, scratch);
    else if (l.scales == ScaleLayout::F16Min || l.scales == ScaleLayout::SubMin)
        amxPanels<Tiles, Kind::ScaleMin>(a, begin, end, scratch);
    else if (l.zeroPoints)
        amxPanels<Tiles, Kind::ScaleZero>(a, begin, end, scratch);
    else
        amxPanels<Tiles, Kind::Scale>(a, begin, end, scratch);
}

}  // namespace fettle::kernels::FETTLE_SIMD
