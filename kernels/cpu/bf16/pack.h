// Factors of a product of bfloat16, rounded and laid as pairs of neighbouring steps of k. For the
// kernels with and without tiles, which read the same panels of b; into a namespace of their own.
#pragma once

#include <immintrin.h>

#include "kernels/cpu/train_table.h"

namespace fettle::kernels::FETTLE_SIMD {

constexpr int kVectors = 2;
constexpr std::int64_t kPanelWidth = 16 * kVectors;  // columns of a panel of b
constexpr int kParts = 3;  // of bfloat16 that make up a float32, the high one first

static inline __mmask16 firstLanes(std::int64_t count) {
    return count >= 16  ? static_cast<__mmask16>(0xFFFF)
           : count <= 0 ? static_cast<__mmask16>(0)
                        : static_cast<__mmask16>((1U << count) - 1);
}

/// Sixteen pairs of neighbours from x[0..count), zero beyond.
static inline __m512i neighbours(const float* x, std::int64_t count) {
    const __m512 low = _mm512_maskz_loadu_ps(firstLanes(count), x);
    const __m512 high =
        count > 16 ? _mm512_maskz_loadu_ps(firstLanes(count - 16), x + 16) : _mm512_setzero_ps();
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

/// Pairs (x[i], y[i]) of `count` lanes; y may be null: zeros.
static inline __m512i interleaved(const float* x, const float* y, std::int64_t count) {
    alignas(64) static constexpr std::uint16_t order[32] = {
        0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __mmask16 lanes = firstLanes(count);
    const __m512 low = _mm512_maskz_loadu_ps(lanes, x);
    const __m512 high = y ? _mm512_maskz_loadu_ps(lanes, y) : _mm512_setzero_ps();
    return _mm512_permutexvar_epi16(_mm512_load_si512(order),
                                    (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

/// The parts of sixteen pairs (x[i], y[i]), rounded half up, each exact in what the ones before it
/// left over.
static inline void splitPairs(__m512 x, __m512 y, __m512i (&parts)[kParts]) {
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xFFFF0000U)),
                  half = _mm512_set1_epi32(0x8000);
    for (int p = 0; p < kParts; ++p) {
        __m512i even = (__m512i)x, odd = (__m512i)y;
        if (p + 1 < kParts) {  // the last part is left with eight bits
            even = _mm512_and_si512(_mm512_add_epi32(even, half), upper);
            odd = _mm512_and_si512(_mm512_add_epi32(odd, half), upper);
            x = _mm512_sub_ps(x, (__m512)even);
            y = _mm512_sub_ps(y, (__m512)odd);
        }
        parts[p] = _mm512_mask_blend_epi16(0xAAAAAAAAU, _mm512_srli_epi32(even, 16), odd);
    }
}

/// Rows and columns of sixteen vectors change places.
static inline void transpose(__m512i (&r)[16]) {
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

static inline std::int64_t pairs(std::int64_t steps) {
    return (steps + 1) / 2;
}

/// Of a panel of b.
static inline std::int64_t panelFloats(std::int64_t steps) {
    return pairs(steps) * kPanelWidth;
}

/// A panel of b: [pair][column].
static inline void packPanel(const GemmPack* piece) {
    const GemmPack& p = *piece;
    if (p.column == 1) {
        for (std::int64_t s = 0; s < p.k; s += 2) {
            const float* x = p.from + s * p.step;
            const float* y = s + 1 < p.k ? x + p.step : nullptr;
            for (std::int64_t j = 0; j < kPanelWidth; j += 16)
                _mm512_storeu_si512(p.to + s / 2 * kPanelWidth + j,
                                    interleaved(x + j, y ? y + j : nullptr, p.cols - j));
        }
        return;
    }
    for (std::int64_t j = 0; j < kPanelWidth; j += 16)
        for (std::int64_t s = 0; s < p.k; s += 32) {
            __m512i square[16];
            for (int i = 0; i < 16; ++i)
                square[i] = j + i < p.cols ? neighbours(p.from + (j + i) * p.column + s, p.k - s)
                                           : _mm512_setzero_si512();
            transpose(square);
            const std::int64_t count = pairs(p.k - s) < 16 ? pairs(p.k - s) : 16;
            for (std::int64_t i = 0; i < count; ++i)
                _mm512_storeu_si512(p.to + (s / 2 + i) * kPanelWidth + j, square[i]);
        }
}

}  // namespace fettle::kernels::FETTLE_SIMD
