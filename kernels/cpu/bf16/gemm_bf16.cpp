// Products of matrices rounded to bfloat16 with VDPBF16PS: two steps of k a lane and instruction.
// Both factors are rounded while they are packed, so that nobody holds a second copy of them. The
// sum of an output is one chain over the pairs of steps in order, whatever the blocking.
#include "kernels/cpu/bf16/pack.h"

namespace fettle::kernels::bf16 {
namespace {

constexpr int kRows = 12;
// Steps of k whose panel of b (24 KiB) stays in the first-level cache for all rows.
constexpr std::int64_t kSteps = 384;
// Rows of a that are packed at once.
constexpr std::int64_t kPackRows = 8 * kRows;
constexpr std::int64_t kPairs = kSteps / 2;

/// Pairs of steps of `rows` rows of a as the tiles read them: [row][pair] where steps are
/// neighbours in a, else [pair][row].
template <bool Transposed>
void packRows(const GemmBlock& g, std::int64_t first, std::int64_t rows, std::int64_t step,
              std::int64_t steps, std::uint32_t* to) {
    if constexpr (Transposed) {
        for (std::int64_t p = 0; p < pairs(steps); ++p) {
            const float* x = g.a + first + (step + 2 * p) * g.aStep;
            const float* y = 2 * p + 1 < steps ? x + g.aStep : nullptr;
            for (std::int64_t i = 0; i < rows; i += 16)
                _mm512_storeu_si512(to + p * kPackRows + i,
                                    interleaved(x + i, y ? y + i : nullptr, rows - i));
        }
    } else {
        for (std::int64_t i = 0; i < rows; ++i) {
            const float* x = g.a + (first + i) * g.aRow + step;
            for (std::int64_t s = 0; s < steps; s += 32)
                _mm512_storeu_si512(to + i * kPairs + s / 2, neighbours(x + s, steps - s));
        }
    }
}

template <int M, bool Transposed>
__attribute__((always_inline)) inline void tile(const std::uint32_t* a, const float* b,
                                                std::int64_t count, float* c, std::int64_t cStride,
                                                bool accumulate) {
    __m512 f[M][kVectors];
    for (int i = 0; i < M; ++i)
        for (int v = 0; v < kVectors; ++v)
            f[i][v] = accumulate ? _mm512_loadu_ps(c + i * cStride + 16 * v) : _mm512_setzero_ps();
    for (std::int64_t p = 0; p < count; ++p) {
        __m512bh columns[kVectors];
        for (int v = 0; v < kVectors; ++v)
            columns[v] = (__m512bh)_mm512_loadu_si512(b + p * kPanelWidth + 16 * v);
#pragma GCC unroll 12
        for (int i = 0; i < M; ++i) {
            const std::uint32_t pair = Transposed ? a[p * kPackRows + i] : a[i * kPairs + p];
            const auto value = (__m512bh)_mm512_set1_epi32(static_cast<int>(pair));
            for (int v = 0; v < kVectors; ++v)
                f[i][v] = _mm512_dpbf16_ps(f[i][v], columns[v], value);
        }
    }
    for (int i = 0; i < M; ++i)
        for (int v = 0; v < kVectors; ++v)
            _mm512_storeu_ps(c + i * cStride + 16 * v, f[i][v]);
}

template <int M, bool Transposed>
void tileUpTo(const std::uint32_t* a, const float* b, std::int64_t count, float* c,
              std::int64_t cStride, bool accumulate, std::int64_t rows) {
    if constexpr (M > 1) {
        if (rows < M)
            return tileUpTo<M - 1, Transposed>(a, b, count, c, cStride, accumulate, rows);
    }
    tile<M, Transposed>(a, b, count, c, cStride, accumulate);
}

template <bool Transposed>
void blockOf(const GemmBlock& g) {
    alignas(64) std::uint32_t packed[kPackRows * kPairs + 16];
    for (std::int64_t row = 0; row < g.rows; row += kPackRows) {
        const std::int64_t rows = g.rows - row < kPackRows ? g.rows - row : kPackRows;
        for (std::int64_t step = 0; step < g.k; step += kSteps) {
            const std::int64_t steps = g.k - step < kSteps ? g.k - step : kSteps;
            const bool accumulate = g.accumulate || step > 0;
            packRows<Transposed>(g, row, rows, step, steps, packed);
            const float* b = g.b + step / 2 * kPanelWidth;
            for (std::int64_t column = 0; column < g.cols;
                 column += kPanelWidth, b += g.panelStride) {
                const std::int64_t cols = g.cols - column;
                for (std::int64_t i = 0; i < rows; i += kRows) {
                    const std::uint32_t* a = packed + i * (Transposed ? 1 : kPairs);
                    float* c = g.c + (row + i) * g.cStride + column;
                    const std::int64_t left = rows - i < kRows ? rows - i : kRows;
                    if (cols >= kPanelWidth) {
                        tileUpTo<kRows, Transposed>(a, b, pairs(steps), c, g.cStride, accumulate,
                                                    left);
                        continue;
                    }
                    // The last columns go through a full-width copy.
                    float edge[kRows][kPanelWidth] = {};
                    const auto bytes = static_cast<std::size_t>(cols) * sizeof(float);
                    if (accumulate)
                        for (std::int64_t r = 0; r < left; ++r)
                            __builtin_memcpy(edge[r], c + r * g.cStride, bytes);
                    tileUpTo<kRows, Transposed>(a, b, pairs(steps), edge[0], kPanelWidth,
                                                accumulate, left);
                    for (std::int64_t r = 0; r < left; ++r)
                        __builtin_memcpy(c + r * g.cStride, edge[r], bytes);
                }
            }
        }
    }
}

void block(const GemmBlock* block) {
    if (block->aStep == 1)
        blockOf<false>(*block);
    else
        blockOf<true>(*block);
}

}  // namespace

extern const GemmKernels kGemm;
const GemmKernels kGemm = {kPanelWidth, kRows, panelFloats, 8, block, packPanel};

}  // namespace fettle::kernels::bf16
