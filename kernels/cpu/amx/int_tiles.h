// Integer products of many activation rows with the tile registers of AMX: int32 sums of 16 rows x
// 16 outputs over 64 k an instruction. For weights with one scale per row: sums that are scaled
// every 32 k spend their time on that, and leave a tile half empty. Written against a `Tiles` type,
// so that the same code runs on the processor's tiles (hardware_tiles.h) and, in tests, on an
// emulation that follows Intel's manual (SDM vol. 2: TILELOADD, TDPBSUD, TILESTORED). Every output
// is the same chain of sums as in simd/matmul_int.h, bit for bit. Compiled with the AVX-512 flags,
// into a namespace of its own.
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
constexpr std::int64_t kAmxBlockRows = 384;  // rows whose partial results wait in scratch

struct AmxScratch {
    alignas(64) std::int32_t results[kAmxBlockRows][kAmxPanels][16];
    // An odd last group of 32 k, filled up with zeros.
    alignas(64) std::uint8_t lastCodes[kAmxPanels][1024];
};
static_assert(sizeof(AmxScratch) <= kMatmulScratch);

constexpr std::int64_t kAmxK = 64;

/// Tiles for `rows` (1..32) activation rows.
static inline TileConfig tileConfig(std::int64_t rows) {
    TileConfig c;
    for (int r = 0; r < 2; ++r) {
        const std::int64_t here = rows - 16 * r;
        const auto count = static_cast<std::uint8_t>(here < 0 ? 0 : here > 16 ? 16 : here);
        if (count == 0)
            break;
        c.rows[2 * r] = c.rows[2 * r + 1] = c.rows[4 + r] = count;
        c.columnBytes[2 * r] = c.columnBytes[2 * r + 1] = 64;
        c.columnBytes[4 + r] = kAmxK;
    }
    c.rows[6] = c.rows[7] = kAmxK / 4;
    c.columnBytes[6] = c.columnBytes[7] = 64;
    return c;
}

/// sums += activations * weights of 64 k.
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

/// Rows [row, row + count) of the block; tiles are configured for `count` rows.
template <class Tiles, int RowTiles>
static void pieceRows(const std::int8_t* act, std::int64_t stride,
                      const std::uint8_t* const (&codes)[kAmxPanels], std::int64_t groups,
                      AmxScratch& scratch, std::int64_t row) {
    std::int32_t(*sums)[kAmxPanels][16] = scratch.results + row;
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

/// Rows [blockRow, blockRow + count) of two panels (the second may be the first again).
template <class Tiles>
static void amxBlock(const MatmulArgs& a, const std::uint8_t* const (&panels)[kAmxPanels],
                     std::int64_t blockRow, std::int64_t count, AmxScratch& scratch) {
    const std::int64_t groups = a.layout->groups, stride = a.ints.codeStride;
    const std::int8_t* act = a.ints.codes + blockRow * stride;
    if (groups % 2 == 1)
        for (int p = 0; p < kAmxPanels; ++p) {
            __builtin_memcpy(scratch.lastCodes[p], panels[p] + 512 * (groups - 1), 512);
            __builtin_memset(scratch.lastCodes[p] + 512, 0, 512);
        }
    const std::int64_t whole = count / kAmxRows * kAmxRows, rest = count - whole;
    if (whole > 0) {
        Tiles::configure(tileConfig(kAmxRows));
        for (std::int64_t row = 0; row < whole; row += kAmxRows)
            pieceRows<Tiles, 2>(act + row * stride, stride, panels, groups, scratch, row);
    }
    if (rest > 0) {
        Tiles::configure(tileConfig(rest));
        if (rest > 16)
            pieceRows<Tiles, 2>(act + whole * stride, stride, panels, groups, scratch, whole);
        else
            pieceRows<Tiles, 1>(act + whole * stride, stride, panels, groups, scratch, whole);
    }
}

/// Whether intTiles computes this product.
static inline bool tilesFit(const MatmulArgs& a) {
    const PackedLayout& l = *a.layout;
    return a.m > 8 && l.scales == ScaleLayout::Channel && l.codeBits == 8 &&
           l.groups <= kExactGroups;
}

/// As KernelTable::intPanels, for products that tilesFit.
template <class Tiles>
static void intTiles(const MatmulArgs& a, std::int64_t begin, std::int64_t end, void* memory) {
    AmxScratch& scratch = *static_cast<AmxScratch*>(memory);
    auto* results = reinterpret_cast<float(*)[kAmxPanels][16]>(scratch.results);
    eachBlock<Kind::Channel, kAmxPanels>(
        a, begin, end, kAmxBlockRows, results,
        [&](const auto& panels, std::int64_t row, std::int64_t count) {
            startResults<Kind::Channel>(a, row, count, results);
            amxBlock<Tiles>(a, panels, row, count, scratch);
        });
    Tiles::release();
}

}  // namespace fettle::kernels::FETTLE_SIMD
