// Activations times BF16 weights with the tile registers of AMX, the panels as they are packed: a
// tile of 32 steps of k of a panel serves sixteen rows of activations at the price of one, so a
// pass over several tokens costs what its weights cost to read. Written against a `Tiles` type, as
// int_tiles.h is.
//
// Activations are rounded to bfloat16 (one part), or are the sum of three numbers of bfloat16, to
// the last bit (Henry et al. 2019, arXiv 1904.06376); weights are bfloat16 as they are, so these
// three products are all there is. Every part has a chain of sums of its own, over blocks of 32
// steps in order, and the chains are added up from the smallest part on: an output does not depend
// on how many rows are computed together.
//
// Denormal numbers count as zero, as the tiles have it.
#pragma once

#include "kernels/cpu/amx/tile_config.h"
#include "kernels/cpu/bf16/pack.h"
#include "kernels/cpu/simd/output.h"

namespace fettle::kernels::FETTLE_SIMD {

constexpr std::int64_t kPanelTile = 16;    // rows of a tile
constexpr std::int64_t kBlockPairs = 256;  // of a whole tile: sixteen rows of sixteen pairs
constexpr std::int64_t kBlockBytes = 1024;
// How far ahead memory is asked for, over all panels that are read side by side.
constexpr std::int64_t kAskedAhead = 8192;
constexpr std::int64_t kSharedPanels = 8;  // see panelTiles

struct PanelScratch {
    alignas(64) float sums[3 * kPanelTile][4 * kPanelTile];  ///< [tile row][output of four panels]
};
static_assert(sizeof(PanelScratch) <= kMatmulScratch);

/// Asks for what lies kAskedAhead behind w, of P panels of `next` bytes that end at `end`; behind
/// their end it is the next ones.
template <int P>
FETTLE_INLINE void askAhead(const std::uint8_t* w, const std::uint8_t* end, std::int64_t next) {
    const std::uint8_t* ahead = w + kAskedAhead / P;
    ahead += ahead >= end ? (P - 1) * next : 0;
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p)
#pragma GCC unroll 16
        for (std::int64_t line = 0; line < kBlockBytes; line += 64)
            _mm_prefetch(ahead + p * next + line, _MM_HINT_T0);
}

/// Tiles for 1 to 48 rows: sums [row tile][panel], then those rows, then two of weights. Made at
/// compile time: a configuration that was just put together would be read only after all stores
/// before it, which may wait for the other threads' cache lines.
struct PanelConfigs {
    alignas(64) TileConfig of[3 * kPanelTile + 1] = {};

    constexpr PanelConfigs() {
        for (int rows = 1; rows <= 3 * kPanelTile; ++rows) {
            TileConfig& c = of[rows];
            for (int t = 0; t < 8; ++t) {
                c.rows[t] = kPanelTile;
                c.columnBytes[t] = 64;
            }
            // Beyond two row tiles they share a register; what lies behind the last row does no
            // harm.
            if (rows <= kPanelTile)
                for (int t = 0; t < 5; ++t)
                    c.rows[t] = static_cast<std::uint8_t>(rows);
            else if (rows <= 2 * kPanelTile)
                c.rows[2] = c.rows[3] = c.rows[5] = static_cast<std::uint8_t>(rows - kPanelTile);
        }
    }
};
static constexpr PanelConfigs kPanelConfigs;

/// What R row tiles and P panels have in common: the sums of row tile t and panel p are in tile
/// 2 t + p, as of the products of matrices (gemm_tiles.h). each.operator()<t, p>() for all of them.
template <int R, int P, int At = 0, class Each>
FETTLE_INLINE void eachSum(const Each& each) {
    if constexpr (At < R * P) {
        each.template operator()<At / P, At % P>();
        eachSum<R, P, At + 1>(each);
    }
}

template <class Tiles, int R, int P>
FETTLE_INLINE void zeroSums() {
    eachSum<R, P>([]<int T, int Panel>() { Tiles::template zero<2 * T + Panel>(); });
}

template <class Tiles, int R, int P>
FETTLE_INLINE void storePanelSums(PanelScratch& scratch) {
    eachSum<R, P>([&]<int T, int Panel>() {
        Tiles::template store<2 * T + Panel>(scratch.sums[T * kPanelTile] + Panel * kPanelTile,
                                             sizeof(scratch.sums[0]));
    });
}

/// Sums of one row tile and four panels (tiles 0 to 3; rows 4; weights 5 and 6).
template <class Tiles, int P>
static void oneRowTile(const std::uint32_t* x, std::int64_t stride, const std::uint8_t* w,
                       std::int64_t next, PanelScratch& scratch) {
    const std::uint8_t* const end = w + next;
    zeroSums<Tiles, 1, P>();
    for (; w < end; w += kBlockBytes, x += stride) {
        askAhead<P>(w, end, next);
        Tiles::template load<4>(x, 64);
        Tiles::template load<5>(w, 64);
        Tiles::template multiplyBf16<0, 4, 5>();
        if constexpr (P > 1) {
            Tiles::template load<6>(w + next, 64);
            Tiles::template multiplyBf16<1, 4, 6>();
        }
        if constexpr (P > 2) {
            Tiles::template load<5>(w + 2 * next, 64);
            Tiles::template multiplyBf16<2, 4, 5>();
            Tiles::template load<6>(w + 3 * next, 64);
            Tiles::template multiplyBf16<3, 4, 6>();
        }
    }
    storePanelSums<Tiles, 1, P>(scratch);
}

/// Two row tiles and two panels (tiles 0 to 3; rows 4 and 5; weights 6 and 7).
template <class Tiles, int P>
static void twoRowTiles(const std::uint32_t* x, std::int64_t stride, const std::uint8_t* w,
                        std::int64_t next, PanelScratch& scratch) {
    const std::uint8_t* const end = w + next;
    zeroSums<Tiles, 2, P>();
    for (; w < end; w += kBlockBytes, x += stride) {
        askAhead<P>(w, end, next);
        Tiles::template load<4>(x, 64);
        Tiles::template load<6>(w, 64);
        Tiles::template load<5>(x + kBlockPairs, 64);
        Tiles::template multiplyBf16<0, 4, 6>();
        Tiles::template multiplyBf16<2, 5, 6>();
        if constexpr (P > 1) {
            Tiles::template load<7>(w + next, 64);
            Tiles::template multiplyBf16<1, 4, 7>();
            Tiles::template multiplyBf16<3, 5, 7>();
        }
    }
    storePanelSums<Tiles, 2, P>(scratch);
}

/// Three row tiles and two panels (tiles 0 to 5; rows 6; weights 7).
template <class Tiles, int P>
static void threeRowTiles(const std::uint32_t* x, std::int64_t stride, const std::uint8_t* w,
                          std::int64_t next, PanelScratch& scratch) {
    const std::uint8_t* const end = w + next;
    zeroSums<Tiles, 3, P>();
    for (; w < end; w += kBlockBytes, x += stride) {
        askAhead<P>(w, end, next);
        Tiles::template load<7>(w, 64);
        Tiles::template load<6>(x, 64);
        Tiles::template multiplyBf16<0, 6, 7>();
        Tiles::template load<6>(x + kBlockPairs, 64);
        Tiles::template multiplyBf16<2, 6, 7>();
        Tiles::template load<6>(x + 2 * kBlockPairs, 64);
        Tiles::template multiplyBf16<4, 6, 7>();
        if constexpr (P > 1) {
            Tiles::template load<7>(w + next, 64);
            Tiles::template multiplyBf16<5, 6, 7>();
            Tiles::template load<6>(x + kBlockPairs, 64);
            Tiles::template multiplyBf16<3, 6, 7>();
            Tiles::template load<6>(x, 64);
            Tiles::template multiplyBf16<1, 6, 7>();
        }
    }
    storePanelSums<Tiles, 3, P>(scratch);
}

/// Rows [row, row + count) of the activations, a block of them, times panels [begin, end).
template <class Tiles>
static void panelBlock(const MatmulArgs& a, std::int64_t begin, std::int64_t end, std::int64_t row,
                       std::int64_t count, PanelScratch& scratch) {
    const PackedLayout& l = *a.layout;
    const std::int64_t tileRows = count * l.tileParts, stride = tileRows * kPanelTile;
    const std::uint32_t* const x = a.pairs + row * l.tileParts * (l.cols / 2);
    const auto next = static_cast<std::int64_t>(l.panelBytes);
    const auto write = [&](std::int64_t panel, int panels) {
        for (std::int64_t i = 0; i < count; ++i)
            for (int p = 0; p < panels; ++p) {
                const float* sums = scratch.sums[i] + p * kPanelTile;
                __m512 sum = _mm512_load_ps(sums);
                if (l.tileParts == 3) {
                    constexpr std::int64_t width = 4 * kPanelTile;
                    sum = _mm512_add_ps(_mm512_add_ps(_mm512_load_ps(sums + 2 * count * width),
                                                      _mm512_load_ps(sums + count * width)),
                                        sum);
                }
                writeOutputs(a, row + i, panel + p, {sum});
            }
    };
    const auto some = [&]<int P>(std::int64_t panel) {
        const std::uint8_t* w = a.weight + panel * next;
        if (tileRows <= kPanelTile)
            oneRowTile<Tiles, P>(x, stride, w, next, scratch);
        else if constexpr (P <= 2) {
            if (tileRows <= 2 * kPanelTile)
                twoRowTiles<Tiles, P>(x, stride, w, next, scratch);
            else
                threeRowTiles<Tiles, P>(x, stride, w, next, scratch);
        }
        write(panel, P);
    };
    std::int64_t panel = begin;
    if (tileRows <= kPanelTile)
        for (; panel + 4 <= end; panel += 4)
            some.template operator()<4>(panel);
    for (; panel + 2 <= end; panel += 2)
        some.template operator()<2>(panel);
    if (panel < end)
        some.template operator()<1>(panel);
}

/// As TileKernels::panels.
template <class Tiles>
static void panelTiles(const MatmulArgs& a, std::int64_t begin, std::int64_t end, void* memory) {
    PanelScratch& scratch = *static_cast<PanelScratch*>(memory);
    const std::int64_t block = a.layout->tileRows, parts = a.layout->tileParts;
    const std::int64_t whole = a.m / block * block;
    // With several blocks of rows, some panels after the others: later blocks find them in the
    // second-level cache.
    const std::int64_t step = a.m > block ? kSharedPanels : end - begin;
    for (std::int64_t panel = begin; panel < end; panel += step) {
        const std::int64_t last = panel + step < end ? panel + step : end;
        if (whole > 0) {
            Tiles::configure(kPanelConfigs.of[block * parts]);
            for (std::int64_t p = panel; p < last; p += 2)
                for (std::int64_t row = 0; row < whole; row += block)
                    panelBlock<Tiles>(a, p, p + 2 < last ? p + 2 : last, row, block, scratch);
        }
        if (whole < a.m) {
            Tiles::configure(kPanelConfigs.of[(a.m - whole) * parts]);
            panelBlock<Tiles>(a, panel, last, whole, a.m - whole, scratch);
        }
    }
    Tiles::release();
}

/// As TileKernels::packRow.
static inline void packTileRow(const float* x, std::int64_t count, int parts, std::uint32_t* out,
                               std::int64_t blockStride, std::int64_t partStride) {
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    for (std::int64_t k = 0; k < count; k += 32, out += blockStride) {
        if (parts == 1) {
            _mm512_storeu_si512(out, neighbours(x + k, 32));
            continue;
        }
        const __m512 low = _mm512_loadu_ps(x + k), high = _mm512_loadu_ps(x + k + 16);
        __m512i split[kParts];
        splitPairs(_mm512_permutex2var_ps(low, even, high),
                   _mm512_permutex2var_ps(low, _mm512_add_epi32(even, _mm512_set1_epi32(1)), high),
                   split);
        for (int p = 0; p < kParts; ++p)
            _mm512_storeu_si512(out + p * partStride, split[p]);
    }
}

}  // namespace fettle::kernels::FETTLE_SIMD
