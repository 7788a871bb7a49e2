// Products of matrices rounded to bfloat16 with the tile registers of AMX: 16 x 16 sums over 32
// steps of k an instruction. Written against a `Tiles` type, as int_tiles.h is. The sum of an
// output is one chain over blocks of 32 steps in order, whatever the blocking above that.
//
// Tile numbers: 0..3 sums [row tile][column tile], 4 and 5 rows of a, 6 and 7 columns of b. All
// have their full size; what is missing at the edges is zeros.
#pragma once

#include "kernels/cpu/amx/tile_config.h"
#include "kernels/cpu/bf16/pack.h"

namespace fettle::kernels::FETTLE_SIMD {

constexpr std::int64_t kTile = 16;             // rows, columns and pairs of steps of a tile
constexpr std::int64_t kTileRows = 2 * kTile;  // rows of a that meet a panel of b at once
// At most this many steps of k are added up in the tiles: their panel of b (48 KiB) all but stays
// in the first-level cache for all rows.
constexpr std::int64_t kTileSteps = 768;
constexpr std::int64_t kTilePackRows = 128;
constexpr std::int64_t kTileUnitPanels = 32;
constexpr std::int64_t kTileBlocks = kTileSteps / (2 * kTile);  // of 32 steps

struct Bf16Scratch {
    alignas(64) std::uint32_t a[kTilePackRows / kTile][kTileBlocks][kTile][kTile];
    alignas(
        64) std::uint32_t last[kTile][kPanelWidth];  ///< of b where fewer than 32 steps are left
    alignas(64) float edge[kTileRows][kPanelWidth];
};

static inline TileConfig fullTiles() {
    TileConfig c;
    for (int t = 0; t < 8; ++t) {
        c.rows[t] = kTile;
        c.columnBytes[t] = 4 * kTile;
    }
    return c;
}

/// Rows [first, first + rows) of a in tiles of whole blocks of 32 steps, zeros behind the last.
static inline void packTiles(const GemmBlock& g, std::int64_t first, std::int64_t rows,
                             std::int64_t step, std::int64_t steps, Bf16Scratch& scratch) {
    const std::int64_t blocks = (steps + 2 * kTile - 1) / (2 * kTile);
    for (std::int64_t t = 0; t * kTile < rows; ++t) {
        const std::int64_t left = rows - t * kTile;
        const float* from = g.a + (first + t * kTile) * g.aRow + step * g.aStep;
        if (g.aStep == 1) {
            for (std::int64_t i = 0; i < kTile; ++i)
                for (std::int64_t b = 0; b < blocks; ++b)
                    _mm512_store_si512(scratch.a[t][b][i],
                                       i < left ? neighbours(from + i * g.aRow + b * 2 * kTile,
                                                             steps - b * 2 * kTile)
                                                : _mm512_setzero_si512());
            continue;
        }
        for (std::int64_t b = 0; b < blocks; ++b) {
            __m512i square[kTile];
            for (std::int64_t p = 0; p < kTile; ++p) {
                const std::int64_t at = b * 2 * kTile + 2 * p;
                const float* x = from + at * g.aStep;
                square[p] = at >= steps
                                ? _mm512_setzero_si512()
                                : interleaved(x, at + 1 < steps ? x + g.aStep : nullptr, left);
            }
            transpose(square);
            for (std::int64_t i = 0; i < kTile; ++i)
                _mm512_store_si512(scratch.a[t][b][i], square[i]);
        }
    }
}

/// c [16 RowTiles, 32] = or += the rows packed from tile `row` on, times a panel of b of `blocks`
/// blocks of 32 steps, and a last one of its own where `last` is given.
template <class Tiles, int RowTiles>
static inline void multiplyPanel(const Bf16Scratch& scratch, std::int64_t row, const float* b,
                                 std::int64_t blocks, const std::uint32_t* last, float* c,
                                 std::int64_t cStride, bool accumulate) {
    const auto rowBytes = static_cast<std::int64_t>(cStride * sizeof(float));
    constexpr auto panelBytes = static_cast<std::int64_t>(kPanelWidth * sizeof(float));
    if (accumulate) {
        Tiles::template load<0>(c, rowBytes);
        Tiles::template load<1>(c + kTile, rowBytes);
        if constexpr (RowTiles == 2) {
            Tiles::template load<2>(c + kTile * cStride, rowBytes);
            Tiles::template load<3>(c + kTile * cStride + kTile, rowBytes);
        }
    } else {
        Tiles::template zero<0>();
        Tiles::template zero<1>();
        if constexpr (RowTiles == 2) {
            Tiles::template zero<2>();
            Tiles::template zero<3>();
        }
    }
    const auto step = [&](const void* first, const void* second, std::int64_t block) {
        Tiles::template load<6>(first, panelBytes);
        Tiles::template load<4>(scratch.a[row][block], 4 * kTile);
        Tiles::template load<7>(second, panelBytes);
        Tiles::template multiplyBf16<0, 4, 6>();
        Tiles::template multiplyBf16<1, 4, 7>();
        if constexpr (RowTiles == 2) {
            Tiles::template load<5>(scratch.a[row + 1][block], 4 * kTile);
            Tiles::template multiplyBf16<2, 5, 6>();
            Tiles::template multiplyBf16<3, 5, 7>();
        }
    };
    for (std::int64_t block = 0; block < blocks; ++block, b += kTile * kPanelWidth)
        step(b, b + kTile, block);
    if (last)
        step(last, last + kTile, blocks);
    Tiles::template store<0>(c, rowBytes);
    Tiles::template store<1>(c + kTile, rowBytes);
    if constexpr (RowTiles == 2) {
        Tiles::template store<2>(c + kTile * cStride, rowBytes);
        Tiles::template store<3>(c + kTile * cStride + kTile, rowBytes);
    }
}

/// One or two tiles of rows against a panel; whatever does not fill them goes through a copy.
template <class Tiles>
static inline void multiplyRows(const GemmBlock& g, Bf16Scratch& scratch, std::int64_t first,
                                std::int64_t i, std::int64_t rows, const float* b,
                                std::int64_t blocks, const std::uint32_t* last, std::int64_t column,
                                bool accumulate) {
    const std::int64_t cols = g.cols - column < kPanelWidth ? g.cols - column : kPanelWidth;
    const std::int64_t row = i / kTile;
    float* c = g.c + (first + i) * g.cStride + column;
    const bool whole = cols == kPanelWidth && (rows == kTile || rows == kTileRows);
    float* out = whole ? c : scratch.edge[0];
    const std::int64_t stride = whole ? g.cStride : kPanelWidth;
    const auto bytes = static_cast<std::size_t>(cols) * sizeof(float);
    if (!whole && accumulate) {
        __builtin_memset(scratch.edge, 0, sizeof(scratch.edge));
        for (std::int64_t r = 0; r < rows; ++r)
            __builtin_memcpy(scratch.edge[r], c + r * g.cStride, bytes);
    }
    if (rows > kTile)
        multiplyPanel<Tiles, 2>(scratch, row, b, blocks, last, out, stride, accumulate);
    else
        multiplyPanel<Tiles, 1>(scratch, row, b, blocks, last, out, stride, accumulate);
    if (!whole)
        for (std::int64_t r = 0; r < rows; ++r)
            __builtin_memcpy(c + r * g.cStride, scratch.edge[r], bytes);
}

template <class Tiles>
static void bf16Block(const GemmBlock* block) {
    const GemmBlock& g = *block;
    Bf16Scratch scratch;
    // As few parts as possible, of about the same length: every part reads and writes all of c.
    const std::int64_t parts = (g.k + kTileSteps - 1) / kTileSteps;
    const std::int64_t most = (g.k + parts * 2 * kTile - 1) / (parts * 2 * kTile) * 2 * kTile;
    Tiles::configure(fullTiles());
    for (std::int64_t row = 0; row < g.rows; row += kTilePackRows) {
        const std::int64_t rows = g.rows - row < kTilePackRows ? g.rows - row : kTilePackRows;
        for (std::int64_t step = 0; step < g.k; step += most) {
            const std::int64_t steps = g.k - step < most ? g.k - step : most;
            const std::int64_t blocks = steps / (2 * kTile), rest = pairs(steps % (2 * kTile));
            packTiles(g, row, rows, step, steps, scratch);
            const float* b = g.b + step / 2 * kPanelWidth;
            for (std::int64_t column = 0; column < g.cols;
                 column += kPanelWidth, b += g.panelStride) {
                if (rest > 0) {
                    const auto some = static_cast<std::size_t>(rest) * sizeof(scratch.last[0]);
                    __builtin_memset(scratch.last, 0, sizeof(scratch.last));
                    __builtin_memcpy(scratch.last, b + blocks * kTile * kPanelWidth, some);
                }
                for (std::int64_t i = 0; i < rows; i += kTileRows)
                    multiplyRows<Tiles>(
                        g, scratch, row, i, rows - i < kTileRows ? rows - i : kTileRows, b, blocks,
                        rest > 0 ? scratch.last[0] : nullptr, column, g.accumulate || step > 0);
            }
        }
    }
    Tiles::release();
}

}  // namespace fettle::kernels::FETTLE_SIMD
