// Blocks of float32 products: a register tile of kGemmRows x kGemmVectors vectors, b packed in
// panels, a read in place. Every output is one chain of fused multiply-adds in the order of k.
#include "kernels/cpu/simd/train_tables.h"

namespace fettle::kernels::FETTLE_SIMD {
namespace {

// Steps of k whose panel of b (32 KiB at most) stays in the first-level cache for all rows.
constexpr std::int64_t kSteps = 256;
// Rows of a transposed a that are packed at once, and the columns from which that pays.
constexpr std::int64_t kPackRows = 8 * kGemmRows;
constexpr std::int64_t kPackColumns = 4 * kGemmWidth;

/// Rows M of a times one panel. Contiguous: the rows of a are neighbours (aRow = 1), else the
/// steps.
template <int M, bool Contiguous>
FETTLE_INLINE void tile(const float* a, std::int64_t stride, const float* b, std::int64_t steps,
                        float* c, std::int64_t cStride, bool accumulate) {
    F32x16 f[M][kGemmVectors];
    for (int i = 0; i < M; ++i)
        for (int v = 0; v < kGemmVectors; ++v)
            f[i][v] = accumulate ? loadF(c + i * cStride + 16 * v) : zeroF();
    for (std::int64_t k = 0; k < steps; ++k) {
        F32x16 columns[kGemmVectors];
        for (int v = 0; v < kGemmVectors; ++v)
            columns[v] = loadF(b + k * kGemmWidth + 16 * v);
        FETTLE_UNROLL(12)
        for (int i = 0; i < M; ++i) {
            const F32x16 value = setF(Contiguous ? a[k * stride + i] : a[i * stride + k]);
            for (int v = 0; v < kGemmVectors; ++v)
                f[i][v] = fma(columns[v], value, f[i][v]);
        }
    }
    for (int i = 0; i < M; ++i)
        for (int v = 0; v < kGemmVectors; ++v)
            storeF(c + i * cStride + 16 * v, f[i][v]);
}

template <int M, bool Contiguous>
static void tileUpTo(const float* a, std::int64_t stride, const float* b, std::int64_t steps,
                     float* c, std::int64_t cStride, bool accumulate, std::int64_t rows) {
    if constexpr (M > 1) {
        if (rows < M)
            return tileUpTo<M - 1, Contiguous>(a, stride, b, steps, c, cStride, accumulate, rows);
    }
    tile<M, Contiguous>(a, stride, b, steps, c, cStride, accumulate);
}

template <bool Contiguous>
void panel(const GemmBlock& g, const float* b, std::int64_t step, std::int64_t steps,
           std::int64_t column, bool further) {
    const std::int64_t stride = Contiguous ? g.aStep : g.aRow;
    const bool accumulate = g.accumulate || further;
    const bool whole = g.cols - column >= kGemmWidth;
    for (std::int64_t i = 0; i < g.rows; i += kGemmRows) {
        const std::int64_t rows = g.rows - i < kGemmRows ? g.rows - i : kGemmRows;
        const float* a = g.a + i * g.aRow + step * g.aStep;
        float* c = g.c + i * g.cStride + column;
        if (whole) {
            tileUpTo<kGemmRows, Contiguous>(a, stride, b, steps, c, g.cStride, accumulate, rows);
            continue;
        }
        // The last columns go through a full-width copy.
        float edge[kGemmRows][kGemmWidth] = {};
        const auto bytes = static_cast<std::size_t>(g.cols - column) * sizeof(float);
        if (accumulate)
            for (std::int64_t r = 0; r < rows; ++r)
                __builtin_memcpy(edge[r], c + r * g.cStride, bytes);
        tileUpTo<kGemmRows, Contiguous>(a, stride, b, steps, edge[0], kGemmWidth, accumulate, rows);
        for (std::int64_t r = 0; r < rows; ++r)
            __builtin_memcpy(c + r * g.cStride, edge[r], bytes);
    }
}

}  // namespace

namespace {

/// Columns [first, first + rows) of a transposed a, steps [step, step + steps), as the tiles read
/// them: [tile][step][row]. In place every step would touch another page, and a stride that is a
/// power of two would throw the lines out of the cache before the next tile wants them.
void packRows(const GemmBlock& g, std::int64_t first, std::int64_t rows, std::int64_t step,
              std::int64_t steps, float* to) {
    for (std::int64_t k = 0; k < steps; ++k) {
        const float* from = g.a + first + (step + k) * g.aStep;
        std::int64_t i = 0;
        for (; i + kGemmRows <= rows; i += kGemmRows)
            __builtin_memcpy(to + i * steps + k * kGemmRows, from + i, kGemmRows * sizeof(float));
        for (float* last = to + i * steps + k * kGemmRows; i < rows; ++i)
            *last++ = from[i];
    }
}

void transposedBlock(const GemmBlock& g) {
    alignas(64) float packed[kPackRows * kSteps];
    for (std::int64_t row = 0; row < g.rows; row += kPackRows) {
        GemmBlock part = g;
        part.rows = g.rows - row < kPackRows ? g.rows - row : kPackRows;
        part.c = g.c + row * g.cStride;
        part.a = packed;
        for (std::int64_t step = 0; step < g.k; step += kSteps) {
            const std::int64_t steps = g.k - step < kSteps ? g.k - step : kSteps;
            packRows(g, row, part.rows, step, steps, packed);
            part.aRow = steps;
            part.aStep = kGemmRows;
            const float* b = g.b + step * kGemmWidth;
            for (std::int64_t column = 0; column < g.cols; column += kGemmWidth, b += g.panelStride)
                panel<true>(part, b, 0, steps, column, step > 0);
        }
    }
}

}  // namespace

void gemmBlock(const GemmBlock* block) {
    const GemmBlock& g = *block;
    if (g.aStep != 1 && g.cols >= kPackColumns)
        return transposedBlock(g);
    for (std::int64_t step = 0; step < g.k; step += kSteps) {
        const std::int64_t steps = g.k - step < kSteps ? g.k - step : kSteps;
        const float* b = g.b + step * kGemmWidth;
        for (std::int64_t column = 0; column < g.cols; column += kGemmWidth, b += g.panelStride)
            if (g.aStep == 1)
                panel<false>(g, b, step, steps, column, step > 0);
            else
                panel<true>(g, b, step, steps, column, step > 0);
    }
}

std::int64_t gemmPanelFloats(std::int64_t steps) {
    return steps * kGemmWidth;
}

void gemmPack(const GemmPack* piece) {
    const GemmPack& p = *piece;
    float* to = p.to;
    if (p.column == 1 && p.cols == kGemmWidth) {
        for (std::int64_t i = 0; i < p.k; ++i, to += kGemmWidth)
            for (int v = 0; v < kGemmVectors; ++v)
                storeF(to + 16 * v, loadF(p.from + i * p.step + 16 * v));
        return;
    }
    // Sixteen steps at a time, so that both sides stay in the first-level cache.
    for (std::int64_t first = 0; first < p.k; first += 16) {
        const std::int64_t last = first + 16 < p.k ? first + 16 : p.k;
        for (std::int64_t j = 0; j < kGemmWidth; ++j)
            for (std::int64_t i = first; i < last; ++i)
                to[i * kGemmWidth + j] = j < p.cols ? p.from[j * p.column + i * p.step] : 0.0F;
    }
}

}  // namespace fettle::kernels::FETTLE_SIMD
