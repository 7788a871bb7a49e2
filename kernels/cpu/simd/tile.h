// The register tile of float products: M rows of x times kTilePanels neighbouring panels of 16
// outputs. Each output is one chain of fused multiply-adds in the order of k, whatever M is. Simd
// files only.
#pragma once

#include "kernels/cpu/simd/vec16.h"

namespace fettle::kernels::FETTLE_SIMD {

#if defined(__AVX512F__)
constexpr int kTileRows = 12, kTilePanels = 2;
#elif defined(__AVX2__)
constexpr int kTileRows = 6, kTilePanels = 1;
#else
constexpr int kTileRows = 2, kTilePanels = 1;
#endif

/// Sums of one activation row, [panel][lane].
using TileRow = float[kTilePanels][16];

/// results[i] += sum over k < count of x[i * stride + k] * w[panel][16 k + lane]; rows M.
template <int M>
FETTLE_INLINE void multiplyTile(const float* const (&w)[kTilePanels], std::int64_t count,
                                const float* x, std::int64_t stride, TileRow* results) {
    F32x16 f[M][kTilePanels];
    for (int i = 0; i < M; ++i)
        for (int p = 0; p < kTilePanels; ++p)
            f[i][p] = loadF(results[i][p]);
    for (std::int64_t k = 0; k < count; ++k) {
        F32x16 weights[kTilePanels];
        for (int p = 0; p < kTilePanels; ++p)
            weights[p] = loadF(w[p] + 16 * k);
        FETTLE_UNROLL(12)
        for (int i = 0; i < M; ++i) {
            const F32x16 value = setF(x[i * stride + k]);
            for (int p = 0; p < kTilePanels; ++p)
                f[i][p] = fma(weights[p], value, f[i][p]);
        }
    }
    for (int i = 0; i < M; ++i)
        for (int p = 0; p < kTilePanels; ++p)
            storeF(results[i][p], f[i][p]);
}

template <int M>
static void multiplyUpTo(const float* const (&w)[kTilePanels], std::int64_t count, const float* x,
                         std::int64_t stride, TileRow* results, std::int64_t rows) {
    if constexpr (M > 1) {
        if (rows < M)
            return multiplyUpTo<M - 1>(w, count, x, stride, results, rows);
    }
    multiplyTile<M>(w, count, x, stride, results);
}

/// The same for any number of rows.
static inline void multiplyRows(const float* const (&w)[kTilePanels], std::int64_t count,
                                const float* x, std::int64_t stride, TileRow* results,
                                std::int64_t rows) {
    for (std::int64_t i = 0; i < rows; i += kTileRows)
        multiplyUpTo<kTileRows>(w, count, x + i * stride, stride, results + i, rows - i);
}

}  // namespace fettle::kernels::FETTLE_SIMD
