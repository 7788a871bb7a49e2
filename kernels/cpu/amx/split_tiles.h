// Products of float32 with the tile registers of AMX, which multiply bfloat16: each factor is split
// into three of them, x = high + middle + low to the last bit, and of the nine products of their
// parts the six that a float32 can feel are added up (Henry et al. 2019, arXiv 1904.06376). What is
// left out is 2^-26 of a product, less than the rounding of a float32 fused multiply-add. The sum
// of an output is one chain over blocks of 32 steps in order, whatever the blocking above that.
//
// Denormal parts count as zero, as the tiles have it: parts below 2^-126.
#pragma once

#include "kernels/cpu/amx/gemm_tiles.h"
#include "kernels/cpu/bf16/pack.h"

namespace fettle::kernels::FETTLE_SIMD {

// What of a is split at once (576 KiB) stays in the second-level cache while b passes by, which the
// third level delivers no faster than it is multiplied.
constexpr std::int64_t kSplitRows = 256;
constexpr std::int64_t kSplitSteps = 384;  // of k, which are added up in the tiles
constexpr std::int64_t kSplitBlocks = kSplitSteps / (2 * kTile);    // of 32 steps
constexpr std::int64_t kBlockFloats = kParts * kTile * kTileWidth;  // of a panel of b

struct SplitScratch {
    alignas(64) std::uint32_t a[kSplitRows / kTile][kSplitBlocks][kParts][kTile][kTile];
    alignas(64) float edge[kTileRows * kTileWidth];
};

static inline __m512 lanes(const float* x, std::int64_t count) {
    return _mm512_maskz_loadu_ps(firstLanes(count), x);
}

/// Rows [first, first + rows) of a in tiles of whole blocks of 32 steps, zeros behind the last.
static inline void packSplitRows(const GemmBlock& g, std::int64_t first, std::int64_t rows,
                                 std::int64_t step, std::int64_t steps, SplitScratch& scratch) {
    const std::int64_t blocks = (steps + 2 * kTile - 1) / (2 * kTile);
    for (std::int64_t t = 0; t * kTile < rows; ++t) {
        const std::int64_t left = rows - t * kTile;
        const float* from = g.a + (first + t * kTile) * g.aRow + step * g.aStep;
        for (std::int64_t b = 0; b < blocks; ++b) {
            __m512i parts[kParts];
            auto& to = scratch.a[t][b];
            if (g.aStep == 1) {
                for (std::int64_t i = 0; i < kTile; ++i) {
                    const float* x = from + i * g.aRow + b * 2 * kTile;
                    const std::int64_t some = i < left ? steps - b * 2 * kTile : 0;
                    splitPairs(lanes(x, some), lanes(x + kTile, some - kTile), parts);
                    for (int p = 0; p < kParts; ++p)
                        _mm512_store_si512(to[p][i], parts[p]);
                }
                continue;
            }
            __m512i squares[kParts][kTile];
            for (std::int64_t i = 0; i < kTile; ++i) {
                const std::int64_t at = b * 2 * kTile + i;
                const float* x = from + at * g.aStep;
                splitPairs(lanes(x, at < steps ? left : 0),
                           lanes(x + kTile * g.aStep, at + kTile < steps ? left : 0), parts);
                for (int p = 0; p < kParts; ++p)
                    squares[p][i] = parts[p];
            }
            for (int p = 0; p < kParts; ++p) {
                transpose(squares[p]);
                for (std::int64_t i = 0; i < kTile; ++i)
                    _mm512_store_si512(to[p][i], squares[p][i]);
            }
        }
    }
}

/// c [16 RowTiles, 32] = or += the rows packed from tile `row` on, times `blocks` blocks of a
/// panel.
template <class Tiles, int RowTiles>
static inline void multiplySplit(const SplitScratch& scratch, std::int64_t row, const float* b,
                                 std::int64_t blocks, float* c, std::int64_t cStride,
                                 bool accumulate) {
    constexpr auto panelBytes = static_cast<std::int64_t>(kTileWidth * sizeof(float));
    startSums<Tiles, RowTiles>(c, cStride, accumulate);
    for (std::int64_t block = 0; block < blocks; ++block, b += kBlockFloats) {
        const auto rows = [&](int part) {
            Tiles::template load<4>(scratch.a[row][block][part], 4 * kTile);
            if constexpr (RowTiles == 2)
                Tiles::template load<5>(scratch.a[row + 1][block][part], 4 * kTile);
        };
        const auto columns = [&](int part) {
            Tiles::template load<6>(b + part * kTile * kTileWidth, panelBytes);
            Tiles::template load<7>(b + part * kTile * kTileWidth + kTile, panelBytes);
        };
        const auto multiply = [] { multiplyTiles<Tiles, RowTiles>(); };
        // From one to the next only one factor changes.
        columns(0), rows(2), multiply();
        rows(1), multiply();
        columns(1), multiply();
        rows(0), multiply();
        columns(2), multiply();
        columns(0), multiply();
    }
    storeSums<Tiles, RowTiles>(c, cStride);
}

template <class Tiles>
static void splitBlock(const GemmBlock* block) {
    const GemmBlock& g = *block;
    SplitScratch scratch;
    Tiles::configure(fullTiles());
    for (std::int64_t row = 0; row < g.rows; row += kSplitRows) {
        const std::int64_t rows = g.rows - row < kSplitRows ? g.rows - row : kSplitRows;
        for (std::int64_t step = 0; step < g.k; step += kSplitSteps) {
            const std::int64_t steps = g.k - step < kSplitSteps ? g.k - step : kSplitSteps;
            const std::int64_t blocks = (steps + 2 * kTile - 1) / (2 * kTile);
            packSplitRows(g, row, rows, step, steps, scratch);
            const float* b = g.b + step / (2 * kTile) * kBlockFloats;
            for (std::int64_t column = 0; column < g.cols; column += kTileWidth, b += g.panelStride)
                for (std::int64_t i = 0; i < rows; i += kTileRows)
                    withWholeTiles(
                        g, row + i, rows - i < kTileRows ? rows - i : kTileRows, column,
                        g.accumulate || step > 0, scratch.edge,
                        [&]<int RowTiles>(float* c, std::int64_t stride, bool accumulate) {
                            multiplySplit<Tiles, RowTiles>(scratch, i / kTile, b, blocks, c, stride,
                                                           accumulate);
                        });
        }
    }
    Tiles::release();
}

/// A panel of b: [block of 32 steps][part][pair][column], whole blocks, zeros behind the last step.
static inline void packSplitPanel(const GemmPack* piece) {
    const GemmPack& p = *piece;
    __m512i parts[kParts];
    float* to = p.to;
    for (std::int64_t first = 0; first < p.k; first += 2 * kTile, to += kBlockFloats)
        for (std::int64_t j = 0; j < kTileWidth; j += kTile) {
            if (p.column == 1) {
                for (std::int64_t i = 0; i < kTile; ++i) {
                    const std::int64_t at = first + i;
                    const float* x = p.from + at * p.step + j;
                    splitPairs(lanes(x, at < p.k ? p.cols - j : 0),
                               lanes(x + kTile * p.step, at + kTile < p.k ? p.cols - j : 0), parts);
                    for (int part = 0; part < kParts; ++part)
                        _mm512_storeu_si512(to + (part * kTile + i) * kTileWidth + j, parts[part]);
                }
                continue;
            }
            __m512i squares[kParts][kTile];
            for (std::int64_t i = 0; i < kTile; ++i) {
                const float* x = p.from + (j + i) * p.column + first;
                const std::int64_t some = j + i < p.cols ? p.k - first : 0;
                splitPairs(lanes(x, some), lanes(x + kTile, some - kTile), parts);
                for (int part = 0; part < kParts; ++part)
                    squares[part][i] = parts[part];
            }
            for (int part = 0; part < kParts; ++part) {
                transpose(squares[part]);
                for (std::int64_t i = 0; i < kTile; ++i)
                    _mm512_storeu_si512(to + (part * kTile + i) * kTileWidth + j, squares[part][i]);
            }
        }
}

static inline std::int64_t splitPanelFloats(std::int64_t steps) {
    return (steps + 2 * kTile - 1) / (2 * kTile) * kBlockFloats;
}

}  // namespace fettle::kernels::FETTLE_SIMD
