// What products of matrices with AMX's tile registers have in common: a block of 32 x 32 sums in
// four tiles, of which parts at the edges of c go through a copy.
//
// Tile numbers: 0..3 sums [row tile][column tile], 4 and 5 rows of a, 6 and 7 columns of b. All
// have their full size; what is missing at the edges is zeros.
#pragma once

#include <immintrin.h>

#include "kernels/cpu/amx/tile_config.h"
#include "kernels/cpu/train_table.h"

namespace fettle::kernels::FETTLE_SIMD {

constexpr std::int64_t kTile = 16;             // rows, columns and pairs of steps of a tile
constexpr std::int64_t kTileRows = 2 * kTile;  // rows of a that meet a panel of b at once
constexpr std::int64_t kTileUnitPanels = 32;
constexpr std::int64_t kTileWidth = 2 * kTile;  // columns of a panel of b

static inline TileConfig fullTiles() {
    TileConfig c;
    for (int t = 0; t < 8; ++t) {
        c.rows[t] = kTile;
        c.columnBytes[t] = 4 * kTile;
    }
    return c;
}

/// The sums of `RowTiles` row tiles, from what c holds or from zero.
template <class Tiles, int RowTiles>
static inline void startSums(const float* c, std::int64_t cStride, bool accumulate) {
    const auto rowBytes = static_cast<std::int64_t>(cStride * sizeof(float));
    if (!accumulate) {
        Tiles::template zero<0>();
        Tiles::template zero<1>();
        if constexpr (RowTiles == 2) {
            Tiles::template zero<2>();
            Tiles::template zero<3>();
        }
        return;
    }
    Tiles::template load<0>(c, rowBytes);
    Tiles::template load<1>(c + kTile, rowBytes);
    if constexpr (RowTiles == 2) {
        Tiles::template load<2>(c + kTile * cStride, rowBytes);
        Tiles::template load<3>(c + kTile * cStride + kTile, rowBytes);
    }
}

template <class Tiles, int RowTiles>
static inline void storeSums(float* c, std::int64_t cStride) {
    const auto rowBytes = static_cast<std::int64_t>(cStride * sizeof(float));
    Tiles::template store<0>(c, rowBytes);
    Tiles::template store<1>(c + kTile, rowBytes);
    if constexpr (RowTiles == 2) {
        Tiles::template store<2>(c + kTile * cStride, rowBytes);
        Tiles::template store<3>(c + kTile * cStride + kTile, rowBytes);
    }
}

/// Products of pairs of bfloat16 of the rows and columns that lie in tiles 4 to 7.
template <class Tiles, int RowTiles>
static inline void multiplyTiles() {
    Tiles::template multiplyBf16<0, 4, 6>();
    Tiles::template multiplyBf16<1, 4, 7>();
    if constexpr (RowTiles == 2) {
        Tiles::template multiplyBf16<2, 5, 6>();
        Tiles::template multiplyBf16<3, 5, 7>();
    }
}

/// multiply.operator()<row tiles>(to, stride, accumulate) for `rows` (up to 32) of c from `row` on
/// and the columns of a panel from `column` on; `edge` [32, 32] where those are not all there.
template <class Multiply>
static inline void withWholeTiles(const GemmBlock& g, std::int64_t row, std::int64_t rows,
                                  std::int64_t column, bool accumulate, float* edge,
                                  const Multiply& multiply) {
    const std::int64_t cols = g.cols - column < kTileWidth ? g.cols - column : kTileWidth;
    float* c = g.c + row * g.cStride + column;
    const bool whole = cols == kTileWidth && (rows == kTile || rows == kTileRows);
    const auto bytes = static_cast<std::size_t>(cols) * sizeof(float);
    if (!whole && accumulate) {
        __builtin_memset(edge, 0, kTileRows * kTileWidth * sizeof(float));
        for (std::int64_t r = 0; r < rows; ++r)
            __builtin_memcpy(edge + r * kTileWidth, c + r * g.cStride, bytes);
    }
    float* to = whole ? c : edge;
    const std::int64_t stride = whole ? g.cStride : kTileWidth;
    if (rows > kTile)
        multiply.template operator()<2>(to, stride, accumulate);
    else
        multiply.template operator()<1>(to, stride, accumulate);
    if (!whole)
        for (std::int64_t r = 0; r < rows; ++r)
            __builtin_memcpy(c + r * g.cStride, edge + r * kTileWidth, bytes);
}

}  // namespace fettle::kernels::FETTLE_SIMD
