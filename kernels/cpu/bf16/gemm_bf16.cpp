// Products of matrices rounded to bfloat16 with VDPBF16PS: two steps of k a lane and instruction.
// Both factors are rounded while they are packed, so that nobody holds a second copy of them. The
// sum of an output is one chain over the pairs of steps in order, whatever the blocking.
#include <immintrin.h>

#include "kernels/cpu/train_table.h"

namespace fettle::kernels::bf16 {
namespace {

constexpr int kRows = 12, kVectors = 2;
constexpr std::int64_t kWidth = 16 * kVectors;
// Steps of k whose panel of b (24 KiB) stays in the first-level cache for all rows.
constexpr std::int64_t kSteps = 384;
// Rows of a that are packed at once.
constexpr std::int64_t kPackRows = 8 * kRows;
constexpr std::int64_t kPairs = kSteps / 2;

__mmask16 firstLanes(std::int64_t count) {
    return count >= 16  ? static_cast<__mmask16>(0xFFFF)
           : count <= 0 ? static_cast<__mmask16>(0)
                        : static_cast<__mmask16>((1U << count) - 1);
}

/// Sixteen pairs of neighbours from x[0..count), zero beyond.
__m512i neighbours(const float* x, std::int64_t count) {
    const __m512 low = _mm512_maskz_loadu_ps(firstLanes(count), x);
    const __m512 high =
        count > 16 ? _mm512_maskz_loadu_ps(firstLanes(count - 16), x + 16) : _mm512_setzero_ps();
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

/// Pairs (x[i], y[i]) of `count` lanes; y may be null: zeros.
__m512i interleaved(const float* x, const float* y, std::int64_t count) {
    alignas(64) static constexpr std::uint16_t order[32] = {
        0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __mmask16 lanes = firstLanes(count);
    const __m512 low = _mm512_maskz_loadu_ps(lanes, x);
    const __m512 high = y ? _mm512_maskz_loadu_ps(lanes, y) : _mm512_setzero_ps();
    return _mm512_permutexvar_epi16(_mm512_load_si512(order),
                                    (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

/// Rows and columns of sixteen vectors change places.
void transpose(__m512i (&r)[16]) {
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    // r[4 g + c] now holds, in its part q of 128 bits, columns 4 q + c of rows 4 g to 4 g + 3.
    for (int c = 0; c < 4; ++c) {
        const __m512i low = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x44),
                      high = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xEE),
                      low2 = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x44),
                      high2 = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xEE);
        t[c] = _mm512_shuffle_i32x4(low, low2, 0x88);
        t[4 + c] = _mm512_shuffle_i32x4(low, low2, 0xDD);
        t[8 + c] = _mm512_shuffle_i32x4(high, high2, 0x88);
        t[12 + c] = _mm512_shuffle_i32x4(high, high2, 0xDD);
    }
    for (int i = 0; i < 16; ++i)
        r[i] = t[i];
}

std::int64_t pairs(std::int64_t steps) {
    return (steps + 1) / 2;
}

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
            columns[v] = (__m512bh)_mm512_loadu_si512(b + p * kWidth + 16 * v);
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
            const float* b = g.b + step / 2 * kWidth;
            for (std::int64_t column = 0; column < g.cols; column += kWidth, b += g.panelStride) {
                const std::int64_t cols = g.cols - column;
                for (std::int64_t i = 0; i < rows; i += kRows) {
                    const std::uint32_t* a = packed + i * (Transposed ? 1 : kPairs);
                    float* c = g.c + (row + i) * g.cStride + column;
                    const std::int64_t left = rows - i < kRows ? rows - i : kRows;
                    if (cols >= kWidth) {
                        tileUpTo<kRows, Transposed>(a, b, pairs(steps), c, g.cStride, accumulate,
                                                    left);
                        continue;
                    }
                    // The last columns go through a full-width copy.
                    float edge[kRows][kWidth] = {};
                    const auto bytes = static_cast<std::size_t>(cols) * sizeof(float);
                    if (accumulate)
                        for (std::int64_t r = 0; r < left; ++r)
                            __builtin_memcpy(edge[r], c + r * g.cStride, bytes);
                    tileUpTo<kRows, Transposed>(a, b, pairs(steps), edge[0], kWidth, accumulate,
                                                left);
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

void pack(const GemmPack* piece) {
    const GemmPack& p = *piece;
    if (p.column == 1) {
        for (std::int64_t s = 0; s < p.k; s += 2) {
            const float* x = p.from + s * p.step;
            const float* y = s + 1 < p.k ? x + p.step : nullptr;
            for (std::int64_t j = 0; j < kWidth; j += 16)
                _mm512_storeu_si512(p.to + s / 2 * kWidth + j,
                                    interleaved(x + j, y ? y + j : nullptr, p.cols - j));
        }
        return;
    }
    for (std::int64_t j = 0; j < kWidth; j += 16)
        for (std::int64_t s = 0; s < p.k; s += 32) {
            __m512i square[16];
            for (int i = 0; i < 16; ++i)
                square[i] = j + i < p.cols ? neighbours(p.from + (j + i) * p.column + s, p.k - s)
                                           : _mm512_setzero_si512();
            transpose(square);
            const std::int64_t count = pairs(p.k - s) < 16 ? pairs(p.k - s) : 16;
            for (std::int64_t i = 0; i < count; ++i)
                _mm512_storeu_si512(p.to + (s / 2 + i) * kWidth + j, square[i]);
        }
}

}  // namespace

extern const GemmKernels kGemm;
const GemmKernels kGemm = {kWidth, kRows, 2, block, pack};

}  // namespace fettle::kernels::bf16
