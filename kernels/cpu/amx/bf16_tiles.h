// Products of matrices rounded to bfloat16 with the tile registers of AMX: 16 x 16 sums over 32
// steps of k an instruction. Written against a `Tiles` type, as int_tiles.h is. The sum of an
// output is one chain over blocks of 32 steps in order, whatever the blocking above that.
#pragma once

#include "kernels/cpu/amx/gemm_tiles.h"
#include "kernels/cpu/bf16/pack.h"

namespace fettle::kernels::FETTLE_SIMD {

static_assert(kPanelWidth == kTileWidth);
// At most this many steps of k are added up in the tiles: their panel of b (48 KiB) all but stays
// in the first-level cache for all rows.
constexpr std::int64_t kTileSteps = 768;
constexpr std::int64_t kTilePackRows = 128;
constexpr std::int64_t kTileBlocks = kTileSteps / (2 * kTile);  // of 32 steps

struct Bf16Scratch {
    alignas(64) std::uint32_t a[kTilePackRows / kTile][kTileBlocks][kTile][kTile];
    alignas(
        64) std::uint32_t last[kTile][kPanelWidth];  ///< of b where fewer than 32 steps are left
    alignas(64) float edge[kTileRows][kPanelWidth];
};

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
    constexpr auto panelBytes = static_cast<std::int64_t>(kPanelWidth * sizeof(float));
    startSums<Tiles, RowTiles>(c, cStride, accumulate);
    const auto step = [&](const void* first, const void* second, std::int64_t block) {
        Tiles::template load<6>(first, panelBytes);
        Tiles::template load<4>(scratch.a[row][block], 4 * kTile);
        Tiles::template load<7>(second, panelBytes);
        if constexpr (RowTiles == 2)
            Tiles::template load<5>(scratch.a[row + 1][block], 4 * kTile);
        multiplyTiles<Tiles, RowTiles>();
    };
    for (std::int64_t block = 0; block < blocks; ++block, b += kTile * kPanelWidth)
        step(b, b + kTile, block);
    if (last)
        step(last, last + kTile, blocks);
    storeSums<Tiles, RowTiles>(c, cStride);
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
                    withWholeTiles(
                        g, row + i, rows - i < kTileRows ? rows - i : kTileRows, column,
                        g.accumulate || step > 0, scratch.edge[0],
                        [&]<int RowTiles>(float* c, std::int64_t stride, bool accumulate) {
                            multiplyPanel<Tiles, RowTiles>(scratch, i / kTile, b, blocks,
                                                           rest > 0 ? scratch.last[0] : nullptr, c,
                                                           stride, accumulate);
                        });
            }
        }
    }
    Tiles::release();
}

}  // namespace fettle::kernels::FETTLE_SIMD
