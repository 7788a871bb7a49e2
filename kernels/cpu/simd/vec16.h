// Sixteen lanes of float or int32 and 64 unsigned bytes, on each instruction-set level. Included by
// the simd files only: everything is static and lives in the level's namespace. FETTLE_SIMD names
// the level.
#pragma once

#include <cstdint>

#include "kernels/formats/weight_format.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define FETTLE_INLINE static inline __attribute__((always_inline))
#define FETTLE_MEMBER_INLINE inline __attribute__((always_inline))

// Unrolling is for vector registers; on the plain-array level it would only make the compiler slow.
#define FETTLE_PRAGMA(text) _Pragma(#text)
#if defined(__AVX2__)
#define FETTLE_UNROLL(n) FETTLE_PRAGMA(GCC unroll n)
#else
#define FETTLE_UNROLL(n)
#endif

namespace fettle::kernels::FETTLE_SIMD {

#if defined(__AVX512F__)

struct F32x16 {
    __m512 v;
};
struct I32x16 {
    __m512i v;
};
struct U8x64 {
    __m512i v;
};

FETTLE_INLINE F32x16 zeroF() {
    return {_mm512_setzero_ps()};
}
FETTLE_INLINE F32x16 setF(float x) {
    return {_mm512_set1_ps(x)};
}
FETTLE_INLINE F32x16 loadF(const void* p) {
    return {_mm512_loadu_ps(p)};
}
FETTLE_INLINE void storeF(void* p, F32x16 a) {
    _mm512_storeu_ps(p, a.v);
}
FETTLE_INLINE F32x16 add(F32x16 a, F32x16 b) {
    return {_mm512_add_ps(a.v, b.v)};
}
FETTLE_INLINE F32x16 sub(F32x16 a, F32x16 b) {
    return {_mm512_sub_ps(a.v, b.v)};
}
FETTLE_INLINE F32x16 mul(F32x16 a, F32x16 b) {
    return {_mm512_mul_ps(a.v, b.v)};
}
FETTLE_INLINE F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
    return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
FETTLE_INLINE F32x16 div(F32x16 a, F32x16 b) {
    return {_mm512_div_ps(a.v, b.v)};
}
/// The larger; b where either is NaN.
FETTLE_INLINE F32x16 max(F32x16 a, F32x16 b) {
    return {_mm512_max_ps(a.v, b.v)};
}
FETTLE_INLINE F32x16 min(F32x16 a, F32x16 b) {
    return {_mm512_min_ps(a.v, b.v)};
}
FETTLE_INLINE F32x16 abs(F32x16 a) {
    return {_mm512_abs_ps(a.v)};
}
/// a < b ? x : y
FETTLE_INLINE F32x16 selectLess(F32x16 a, F32x16 b, F32x16 x, F32x16 y) {
    return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v)};
}
/// |a| with the sign of s
FETTLE_INLINE F32x16 withSign(F32x16 a, F32x16 s) {
    const __m512i sign = _mm512_set1_epi32(static_cast<int>(0x80000000u));
    return {_mm512_castsi512_ps(_mm512_ternarylogic_epi32(
        sign, _mm512_castps_si512(s.v), _mm512_castps_si512(a.v), 0xCA))};  // sign ? s : a
}
FETTLE_INLINE F32x16 roundEven(F32x16 a) {
    return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
/// a * 2^n for whole n.
FETTLE_INLINE F32x16 timesPowerOfTwo(F32x16 a, F32x16 n) {
    return {_mm512_scalef_ps(a.v, n.v)};
}
FETTLE_INLINE float sumLanes(F32x16 a) {
    return _mm512_reduce_add_ps(a.v);
}
FETTLE_INLINE float maxLanes(F32x16 a) {
    return _mm512_reduce_max_ps(a.v);
}
FETTLE_INLINE void storeHalf(void* p, F32x16 a) {
    _mm256_storeu_si256(static_cast<__m256i*>(p),
                        _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
FETTLE_INLINE F32x16 loadHalf(const void* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)))};
}
FETTLE_INLINE F32x16 loadBfloat(const void* p) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p))), 16))};
}
/// Even and odd elements of 32 interleaved bfloat16.
FETTLE_INLINE F32x16 evenBfloat(const void* p) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16))};
}
FETTLE_INLINE F32x16 oddBfloat(const void* p) {
    return {_mm512_castsi512_ps(
        _mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(static_cast<int>(0xFFFF0000u))))};
}

FETTLE_INLINE I32x16 zeroI() {
    return {_mm512_setzero_si512()};
}
FETTLE_INLINE I32x16 setI(std::int32_t x) {
    return {_mm512_set1_epi32(x)};
}
FETTLE_INLINE I32x16 loadI(const void* p) {
    return {_mm512_loadu_si512(p)};
}
FETTLE_INLINE void storeI(void* p, I32x16 a) {
    _mm512_storeu_si512(p, a.v);
}
FETTLE_INLINE I32x16 add(I32x16 a, I32x16 b) {
    return {_mm512_add_epi32(a.v, b.v)};
}
FETTLE_INLINE I32x16 sub(I32x16 a, I32x16 b) {
    return {_mm512_sub_epi32(a.v, b.v)};
}
FETTLE_INLINE I32x16 mul(I32x16 a, I32x16 b) {
    return {_mm512_mullo_epi32(a.v, b.v)};
}
FETTLE_INLINE I32x16 loadU8(const void* p) {
    return {_mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)))};
}
FETTLE_INLINE I32x16 loadI8(const void* p) {
    return {_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)))};
}
FETTLE_INLINE F32x16 toF(I32x16 a) {
    return {_mm512_cvtepi32_ps(a.v)};
}

/// The power of two at or below |a|; 0 below the normal numbers.
FETTLE_INLINE F32x16 binade(F32x16 a) {
    return {_mm512_castsi512_ps(
        _mm512_and_si512(_mm512_castps_si512(a.v), _mm512_set1_epi32(0x7F800000)))};
}
/// The float's magnitude as an integer, which orders like it, NaN above all.
FETTLE_INLINE I32x16 magnitudeBits(F32x16 a) {
    return {_mm512_and_si512(_mm512_castps_si512(a.v), _mm512_set1_epi32(0x7FFFFFFF))};
}
FETTLE_INLINE I32x16 max(I32x16 a, I32x16 b) {
    return {_mm512_max_epi32(a.v, b.v)};
}
FETTLE_INLINE std::int32_t maxLanes(I32x16 a) {
    return _mm512_reduce_max_epi32(a.v);
}
FETTLE_INLINE std::int32_t sumLanes(I32x16 a) {
    return _mm512_reduce_add_epi32(a.v);
}
/// Nearest whole numbers, ties to even.
FETTLE_INLINE I32x16 roundI(F32x16 a) {
    return {_mm512_cvtps_epi32(a.v)};
}
FETTLE_INLINE void storeI8(void* p, I32x16 a) {
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a.v));
}

FETTLE_INLINE U8x64 loadBytes(const void* p) {
    return {_mm512_loadu_si512(p)};
}
FETTLE_INLINE void storeBytes(void* p, U8x64 a) {
    _mm512_storeu_si512(p, a.v);
}
FETTLE_INLINE U8x64 lowNibbles(U8x64 a) {
    return {_mm512_and_si512(a.v, _mm512_set1_epi8(15))};
}
FETTLE_INLINE U8x64 highNibbles(U8x64 a) {
    return {_mm512_and_si512(_mm512_srli_epi32(a.v, 4), _mm512_set1_epi8(15))};
}
/// code | (plane shifted by `left` (right where negative) & mask)
FETTLE_INLINE U8x64 orBits(U8x64 code, U8x64 plane, int left, char mask) {
    const __m512i moved = left >= 0 ? _mm512_slli_epi32(plane.v, static_cast<unsigned>(left))
                                    : _mm512_srli_epi32(plane.v, static_cast<unsigned>(-left));
    return {_mm512_ternarylogic_epi32(moved, _mm512_set1_epi8(mask), code.v, 0xEA)};  // (a & b) | c
}
/// (a shifted right & 3) of every byte.
FETTLE_INLINE U8x64 bitPairs(U8x64 a, int right) {
    return {_mm512_and_si512(_mm512_srli_epi32(a.v, static_cast<unsigned>(right)),
                             _mm512_set1_epi8(3))};
}
/// table[code] of every byte below 16.
FETTLE_INLINE U8x64 lookUp(U8x64 codes, const std::uint8_t* table) {
    const __m128i row = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
    return {_mm512_shuffle_epi8(_mm512_broadcast_i32x4(row), codes.v)};
}
/// 2^-8 of sixteen E4M3 (NaN as 480): as float16, whose exponent has one bit more.
FETTLE_INLINE F32x16 loadE4m3(const void* p) {
    const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(p)));
    const __m256i half =
        _mm256_and_si256(_mm256_slli_epi16(wide, 7), _mm256_set1_epi16(static_cast<short>(0xBF80)));
    return {_mm512_cvtph_ps(half)};
}
/// 2^(u - 127) of sixteen bytes; 255 is infinite.
FETTLE_INLINE F32x16 loadE8m0(const void* p) {
    const __m512i exponent = _mm512_slli_epi32(
        _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))), 23);
    return {_mm512_castsi512_ps(_mm512_max_epi32(exponent, _mm512_set1_epi32(0x00400000)))};
}
/// table[code] of the low (even) and the high (odd) nibbles of sixteen bytes.
FETTLE_INLINE void lookUpPair(const void* p, const float* table, F32x16& even, F32x16& odd) {
    const __m512 values = _mm512_loadu_ps(table);
    const __m512i codes = _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
    even = {_mm512_permutexvar_ps(codes, values)};  // takes the low four bits
    odd = {_mm512_permutexvar_ps(_mm512_srli_epi32(codes, 4), values)};
}
FETTLE_INLINE I32x16 broadcast4(const std::int8_t* p) {
    std::int32_t word;
    __builtin_memcpy(&word, p, 4);
    return {_mm512_set1_epi32(word)};
}
/// acc[lane] += sum over i < 4 of w[4 lane + i] * a[i]
FETTLE_INLINE I32x16 dot(I32x16 acc, U8x64 w, I32x16 a) {
    return {_mm512_dpbusd_epi32(acc.v, w.v, a.v)};
}

#elif defined(__AVX2__)

struct F32x16 {
    __m256 a, b;
};
struct I32x16 {
    __m256i a, b;
};
struct U8x64 {
    __m256i a, b;
};

FETTLE_INLINE __m256i half0(const void* p) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
FETTLE_INLINE __m256i half1(const void* p) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(p) + 1);
}

FETTLE_INLINE F32x16 zeroF() {
    return {_mm256_setzero_ps(), _mm256_setzero_ps()};
}
FETTLE_INLINE F32x16 setF(float x) {
    return {_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
FETTLE_INLINE F32x16 loadF(const void* p) {
    return {_mm256_loadu_ps(static_cast<const float*>(p)),
            _mm256_loadu_ps(static_cast<const float*>(p) + 8)};
}
FETTLE_INLINE void storeF(void* p, F32x16 x) {
    _mm256_storeu_ps(static_cast<float*>(p), x.a);
    _mm256_storeu_ps(static_cast<float*>(p) + 8, x.b);
}
FETTLE_INLINE F32x16 add(F32x16 x, F32x16 y) {
    return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
FETTLE_INLINE F32x16 sub(F32x16 x, F32x16 y) {
    return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}
FETTLE_INLINE F32x16 mul(F32x16 x, F32x16 y) {
    return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
FETTLE_INLINE F32x16 fma(F32x16 x, F32x16 y, F32x16 z) {
    return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
FETTLE_INLINE F32x16 div(F32x16 x, F32x16 y) {
    return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}
/// The larger; y where either is NaN.
FETTLE_INLINE F32x16 max(F32x16 x, F32x16 y) {
    return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}
FETTLE_INLINE F32x16 min(F32x16 x, F32x16 y) {
    return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}
FETTLE_INLINE F32x16 abs(F32x16 x) {
    const __m256 sign = _mm256_set1_ps(-0.0F);
    return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
/// a < b ? x : y
FETTLE_INLINE F32x16 selectLess(F32x16 a, F32x16 b, F32x16 x, F32x16 y) {
    return {_mm256_blendv_ps(y.a, x.a, _mm256_cmp_ps(a.a, b.a, _CMP_LT_OQ)),
            _mm256_blendv_ps(y.b, x.b, _mm256_cmp_ps(a.b, b.b, _CMP_LT_OQ))};
}
/// |x| with the sign of s
FETTLE_INLINE F32x16 withSign(F32x16 x, F32x16 s) {
    const __m256 sign = _mm256_set1_ps(-0.0F);
    return {_mm256_or_ps(_mm256_andnot_ps(sign, x.a), _mm256_and_ps(sign, s.a)),
            _mm256_or_ps(_mm256_andnot_ps(sign, x.b), _mm256_and_ps(sign, s.b))};
}
FETTLE_INLINE F32x16 roundEven(F32x16 x) {
    return {_mm256_round_ps(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
            _mm256_round_ps(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
/// x * 2^n for whole n in [-252, 254], in two halves so that neither power leaves the range of
/// exponents.
FETTLE_INLINE __m256 timesPowerHalf(__m256 x, __m256 n) {
    const __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1),
                  bias = _mm256_set1_epi32(127);
    const __m256i rest = _mm256_sub_epi32(whole, half);
    const __m256 low = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
    const __m256 high = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23));
    return _mm256_mul_ps(_mm256_mul_ps(x, low), high);
}
FETTLE_INLINE F32x16 timesPowerOfTwo(F32x16 x, F32x16 n) {
    return {timesPowerHalf(x.a, n.a), timesPowerHalf(x.b, n.b)};
}
FETTLE_INLINE float sumLanes(F32x16 x) {
    const __m256 eight = _mm256_add_ps(x.a, x.b);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
FETTLE_INLINE float maxLanes(F32x16 x) {
    const __m256 eight = _mm256_max_ps(x.a, x.b);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}
FETTLE_INLINE void storeHalf(void* p, F32x16 x) {
    auto* h = static_cast<__m128i*>(p);
    _mm_storeu_si128(h, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    _mm_storeu_si128(h + 1, _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
FETTLE_INLINE F32x16 loadHalf(const void* p) {
    const auto* h = static_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(h)), _mm256_cvtph_ps(_mm_loadu_si128(h + 1))};
}
FETTLE_INLINE F32x16 loadBfloat(const void* p) {
    const auto* h = static_cast<const __m128i*>(p);
    return {
        _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(h)), 16)),
        _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(h + 1)), 16))};
}
FETTLE_INLINE F32x16 evenBfloat(const void* p) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(half0(p), 16)),
            _mm256_castsi256_ps(_mm256_slli_epi32(half1(p), 16))};
}
FETTLE_INLINE F32x16 oddBfloat(const void* p) {
    const __m256i mask = _mm256_set1_epi32(static_cast<int>(0xFFFF0000u));
    return {_mm256_castsi256_ps(_mm256_and_si256(half0(p), mask)),
            _mm256_castsi256_ps(_mm256_and_si256(half1(p), mask))};
}

FETTLE_INLINE I32x16 zeroI() {
    return {_mm256_setzero_si256(), _mm256_setzero_si256()};
}
FETTLE_INLINE I32x16 setI(std::int32_t x) {
    return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
FETTLE_INLINE I32x16 loadI(const void* p) {
    return {half0(p), half1(p)};
}
FETTLE_INLINE void storeI(void* p, I32x16 x) {
    _mm256_storeu_si256(static_cast<__m256i*>(p), x.a);
    _mm256_storeu_si256(static_cast<__m256i*>(p) + 1, x.b);
}
FETTLE_INLINE I32x16 add(I32x16 x, I32x16 y) {
    return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}
FETTLE_INLINE I32x16 sub(I32x16 x, I32x16 y) {
    return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)};
}
FETTLE_INLINE I32x16 mul(I32x16 x, I32x16 y) {
    return {_mm256_mullo_epi32(x.a, y.a), _mm256_mullo_epi32(x.b, y.b)};
}
FETTLE_INLINE I32x16 loadU8(const void* p) {
    const __m128i v = _mm_loadu_si128(static_cast<const __m128i*>(p));
    return {_mm256_cvtepu8_epi32(v), _mm256_cvtepu8_epi32(_mm_srli_si128(v, 8))};
}
FETTLE_INLINE I32x16 loadI8(const void* p) {
    const __m128i v = _mm_loadu_si128(static_cast<const __m128i*>(p));
    return {_mm256_cvtepi8_epi32(v), _mm256_cvtepi8_epi32(_mm_srli_si128(v, 8))};
}
FETTLE_INLINE F32x16 toF(I32x16 x) {
    return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)};
}
FETTLE_INLINE F32x16 binade(F32x16 x) {
    const __m256 exponent = _mm256_castsi256_ps(_mm256_set1_epi32(0x7F800000));
    return {_mm256_and_ps(x.a, exponent), _mm256_and_ps(x.b, exponent)};
}

/// The float's magnitude as an integer, which orders like it, NaN above all.
FETTLE_INLINE I32x16 magnitudeBits(F32x16 x) {
    const __m256i mask = _mm256_set1_epi32(0x7FFFFFFF);
    return {_mm256_and_si256(_mm256_castps_si256(x.a), mask),
            _mm256_and_si256(_mm256_castps_si256(x.b), mask)};
}
FETTLE_INLINE I32x16 max(I32x16 x, I32x16 y) {
    return {_mm256_max_epi32(x.a, y.a), _mm256_max_epi32(x.b, y.b)};
}
FETTLE_INLINE std::int32_t maxLanes(I32x16 x) {
    const __m256i eight = _mm256_max_epi32(x.a, x.b);
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return _mm_cvtsi128_si32(_mm_max_epi32(four, _mm_shuffle_epi32(four, 0xB1)));
}
FETTLE_INLINE std::int32_t sumLanes(I32x16 x) {
    const __m256i eight = _mm256_add_epi32(x.a, x.b);
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xB1)));
}
/// Nearest whole numbers, ties to even.
FETTLE_INLINE I32x16 roundI(F32x16 x) {
    return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)};
}
FETTLE_INLINE void storeI8(void* p, I32x16 x) {
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xD8);
    _mm_storeu_si128(static_cast<__m128i*>(p), _mm_packs_epi16(_mm256_castsi256_si128(words),
                                                               _mm256_extracti128_si256(words, 1)));
}

FETTLE_INLINE U8x64 loadBytes(const void* p) {
    return {half0(p), half1(p)};
}
FETTLE_INLINE void storeBytes(void* p, U8x64 x) {
    storeI(p, {x.a, x.b});
}
FETTLE_INLINE U8x64 lowNibbles(U8x64 x) {
    const __m256i mask = _mm256_set1_epi8(15);
    return {_mm256_and_si256(x.a, mask), _mm256_and_si256(x.b, mask)};
}
FETTLE_INLINE U8x64 highNibbles(U8x64 x) {
    const __m256i mask = _mm256_set1_epi8(15);
    return {_mm256_and_si256(_mm256_srli_epi32(x.a, 4), mask),
            _mm256_and_si256(_mm256_srli_epi32(x.b, 4), mask)};
}
FETTLE_INLINE __m256i shiftAnd(__m256i v, int left, char mask) {
    return _mm256_and_si256(left >= 0 ? _mm256_slli_epi32(v, left) : _mm256_srli_epi32(v, -left),
                            _mm256_set1_epi8(mask));
}
FETTLE_INLINE U8x64 orBits(U8x64 code, U8x64 plane, int left, char mask) {
    return {_mm256_or_si256(code.a, shiftAnd(plane.a, left, mask)),
            _mm256_or_si256(code.b, shiftAnd(plane.b, left, mask))};
}
FETTLE_INLINE U8x64 bitPairs(U8x64 x, int right) {
    return {shiftAnd(x.a, -right, 3), shiftAnd(x.b, -right, 3)};
}
FETTLE_INLINE U8x64 lookUp(U8x64 codes, const std::uint8_t* table) {
    const __m256i row =
        _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
    return {_mm256_shuffle_epi8(row, codes.a), _mm256_shuffle_epi8(row, codes.b)};
}
/// 2^-8 of sixteen E4M3 (NaN as 480): as float16, whose exponent has one bit more.
FETTLE_INLINE F32x16 loadE4m3(const void* p) {
    const __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(p)));
    const __m256i half =
        _mm256_and_si256(_mm256_slli_epi16(wide, 7), _mm256_set1_epi16(static_cast<short>(0xBF80)));
    return {_mm256_cvtph_ps(_mm256_castsi256_si128(half)),
            _mm256_cvtph_ps(_mm256_extracti128_si256(half, 1))};
}
/// 2^(u - 127) of sixteen bytes; 255 is infinite.
FETTLE_INLINE F32x16 loadE8m0(const void* p) {
    const I32x16 u = loadU8(p);
    const __m256i least = _mm256_set1_epi32(0x00400000);
    return {_mm256_castsi256_ps(_mm256_max_epi32(_mm256_slli_epi32(u.a, 23), least)),
            _mm256_castsi256_ps(_mm256_max_epi32(_mm256_slli_epi32(u.b, 23), least))};
}
FETTLE_INLINE __m256 lookUpHalf(__m256i codes, __m256 low, __m256 high) {
    // Bit 3 of the code chooses the half of the table; blendv looks at the sign bit.
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, codes),
                            _mm256_permutevar8x32_ps(high, codes),
                            _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28)));
}
/// table[code] of the low (even) and the high (odd) nibbles of sixteen bytes.
FETTLE_INLINE void lookUpPair(const void* p, const float* table, F32x16& even, F32x16& odd) {
    const __m256 low = _mm256_loadu_ps(table), high = _mm256_loadu_ps(table + 8);
    const I32x16 codes = loadU8(p);
    even = {lookUpHalf(codes.a, low, high), lookUpHalf(codes.b, low, high)};
    odd = {lookUpHalf(_mm256_srli_epi32(codes.a, 4), low, high),
           lookUpHalf(_mm256_srli_epi32(codes.b, 4), low, high)};
}
FETTLE_INLINE I32x16 broadcast4(const std::int8_t* p) {
    std::int32_t word;
    __builtin_memcpy(&word, p, 4);
    return setI(word);
}
/// acc[lane] += sum over i < 4 of (w[4 lane + i] - 128) * a[i]. 255 * 127 * 2 would saturate;
/// |w - 128| * (a with the sign of w - 128) is at most 128 * 127 * 2 = 32512.
FETTLE_INLINE __m256i dotBytes(__m256i acc, __m256i w, __m256i a) {
    const __m256i code = _mm256_xor_si256(w, _mm256_set1_epi8(static_cast<char>(0x80)));
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(code), _mm256_sign_epi8(a, code));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

#else  // any processor: the compiler makes what it can of plain arrays

struct F32x16 {
    float v[16];
};
struct I32x16 {
    std::int32_t v[16];
};
struct U8x64 {
    std::uint8_t v[64];
};

template <class R, class F>
FETTLE_INLINE R lanes(const F& f) {
    R r;
    for (int i = 0; i < 16; ++i)
        r.v[i] = f(i);
    return r;
}

FETTLE_INLINE F32x16 setF(float x) {
    // gcc 12 joins such values of neighbouring rows into vectors and then reads a row behind the
    // last one: it may not see where they come from.
    asm("" : "+x"(x));
    return lanes<F32x16>([&](int) { return x; });
}
FETTLE_INLINE F32x16 zeroF() {
    return setF(0);
}
FETTLE_INLINE F32x16 loadF(const void* p) {
    F32x16 r;
    __builtin_memcpy(&r, p, 64);
    return r;
}
FETTLE_INLINE void storeF(void* p, const F32x16& a) {
    __builtin_memcpy(p, &a, 64);
}
FETTLE_INLINE F32x16 add(const F32x16& a, const F32x16& b) {
    return lanes<F32x16>([&](int i) { return a.v[i] + b.v[i]; });
}
FETTLE_INLINE F32x16 sub(const F32x16& a, const F32x16& b) {
    return lanes<F32x16>([&](int i) { return a.v[i] - b.v[i]; });
}
FETTLE_INLINE F32x16 mul(const F32x16& a, const F32x16& b) {
    return lanes<F32x16>([&](int i) { return a.v[i] * b.v[i]; });
}
FETTLE_INLINE F32x16 fma(const F32x16& a, const F32x16& b, const F32x16& c) {
    return lanes<F32x16>([&](int i) { return a.v[i] * b.v[i] + c.v[i]; });
}
FETTLE_INLINE F32x16 div(const F32x16& a, const F32x16& b) {
    return lanes<F32x16>([&](int i) { return a.v[i] / b.v[i]; });
}
/// The larger; b where either is NaN.
FETTLE_INLINE F32x16 max(const F32x16& a, const F32x16& b) {
    return lanes<F32x16>([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
FETTLE_INLINE F32x16 min(const F32x16& a, const F32x16& b) {
    return lanes<F32x16>([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
FETTLE_INLINE F32x16 abs(const F32x16& a) {
    return lanes<F32x16>([&](int i) { return __builtin_fabsf(a.v[i]); });
}
/// a < b ? x : y
FETTLE_INLINE F32x16 selectLess(const F32x16& a, const F32x16& b, const F32x16& x,
                                const F32x16& y) {
    return lanes<F32x16>([&](int i) { return a.v[i] < b.v[i] ? x.v[i] : y.v[i]; });
}
/// |a| with the sign of s
FETTLE_INLINE F32x16 withSign(const F32x16& a, const F32x16& s) {
    return lanes<F32x16>([&](int i) { return __builtin_copysignf(a.v[i], s.v[i]); });
}
/// Adding 1.5 * 2^23 rounds to a whole number, ties to even, for |a| < 2^22.
FETTLE_INLINE F32x16 roundEven(const F32x16& a) {
    return lanes<F32x16>([&](int i) { return (a.v[i] + 12582912.0F) - 12582912.0F; });
}
/// a * 2^n for whole n in [-252, 254], in two halves so that neither power leaves the range of
/// exponents.
FETTLE_INLINE F32x16 timesPowerOfTwo(const F32x16& a, const F32x16& n) {
    return lanes<F32x16>([&](int i) {
        const float shifted = n.v[i] + 12582912.0F;
        // Unsigned, since a NaN in `n` must come out as some number, not as undefined behaviour.
        std::uint32_t whole;
        __builtin_memcpy(&whole, &shifted, 4);
        whole -= 0x4B400000U;
        const auto half = static_cast<std::uint32_t>(static_cast<std::int32_t>(whole) >> 1);
        const std::uint32_t powers[2] = {(half + 127U) << 23, (whole - half + 127U) << 23};
        float low, high;
        __builtin_memcpy(&low, powers, 4);
        __builtin_memcpy(&high, powers + 1, 4);
        return a.v[i] * low * high;
    });
}
FETTLE_INLINE float sumLanes(const F32x16& a) {
    float sum = 0;
    for (const float v : a.v)
        sum += v;
    return sum;
}
FETTLE_INLINE float maxLanes(const F32x16& a) {
    float m = a.v[0];
    for (const float v : a.v)
        m = v > m ? v : m;
    return m;
}
FETTLE_INLINE void storeHalf(void* p, const F32x16& a) {
    for (int i = 0; i < 16; ++i) {
        const std::uint16_t h = floatToHalf(a.v[i]);
        __builtin_memcpy(static_cast<char*>(p) + 2 * i, &h, 2);
    }
}
FETTLE_INLINE F32x16 loadHalf(const void* p) {
    std::uint16_t h[16];
    __builtin_memcpy(h, p, sizeof h);
    return lanes<F32x16>([&](int i) { return halfToFloat(h[i]); });
}
FETTLE_INLINE F32x16 bits(const std::uint32_t* word) {
    F32x16 r;
    __builtin_memcpy(&r, word, 64);
    return r;
}
FETTLE_INLINE F32x16 loadBfloat(const void* p) {
    std::uint16_t h[16];
    std::uint32_t w[16];
    __builtin_memcpy(h, p, sizeof h);
    for (int i = 0; i < 16; ++i)
        w[i] = static_cast<std::uint32_t>(h[i]) << 16;
    return bits(w);
}
FETTLE_INLINE F32x16 evenBfloat(const void* p) {
    std::uint32_t w[16];
    __builtin_memcpy(w, p, sizeof w);
    for (std::uint32_t& x : w)
        x <<= 16;
    return bits(w);
}
FETTLE_INLINE F32x16 oddBfloat(const void* p) {
    std::uint32_t w[16];
    __builtin_memcpy(w, p, sizeof w);
    for (std::uint32_t& x : w)
        x &= 0xFFFF0000u;
    return bits(w);
}

FETTLE_INLINE I32x16 setI(std::int32_t x) {
    return lanes<I32x16>([&](int) { return x; });
}
FETTLE_INLINE I32x16 zeroI() {
    return setI(0);
}
FETTLE_INLINE I32x16 loadI(const void* p) {
    I32x16 r;
    __builtin_memcpy(&r, p, 64);
    return r;
}
FETTLE_INLINE void storeI(void* p, const I32x16& a) {
    __builtin_memcpy(p, &a, 64);
}
// Integer sums may wrap on the way to a result that fits, as they do in the vector units.
FETTLE_INLINE std::int32_t wrap(std::uint32_t x) {
    return static_cast<std::int32_t>(x);
}
FETTLE_INLINE I32x16 add(const I32x16& a, const I32x16& b) {
    return lanes<I32x16>([&](int i) {
        return wrap(static_cast<std::uint32_t>(a.v[i]) + static_cast<std::uint32_t>(b.v[i]));
    });
}
FETTLE_INLINE I32x16 sub(const I32x16& a, const I32x16& b) {
    return lanes<I32x16>([&](int i) {
        return wrap(static_cast<std::uint32_t>(a.v[i]) - static_cast<std::uint32_t>(b.v[i]));
    });
}
FETTLE_INLINE I32x16 mul(const I32x16& a, const I32x16& b) {
    return lanes<I32x16>([&](int i) { return a.v[i] * b.v[i]; });
}
FETTLE_INLINE I32x16 loadU8(const void* p) {
    return lanes<I32x16>(
        [&](int i) { return static_cast<std::int32_t>(static_cast<const std::uint8_t*>(p)[i]); });
}
FETTLE_INLINE I32x16 loadI8(const void* p) {
    return lanes<I32x16>(
        [&](int i) { return static_cast<std::int32_t>(static_cast<const std::int8_t*>(p)[i]); });
}
FETTLE_INLINE F32x16 toF(const I32x16& a) {
    return lanes<F32x16>([&](int i) { return static_cast<float>(a.v[i]); });
}
FETTLE_INLINE F32x16 binade(const F32x16& a) {
    F32x16 r = a;
    for (float& v : r.v) {
        std::uint32_t word;
        __builtin_memcpy(&word, &v, 4);
        word &= 0x7F800000u;
        __builtin_memcpy(&v, &word, 4);
    }
    return r;
}

/// The float's magnitude as an integer, which orders like it, NaN above all.
FETTLE_INLINE I32x16 magnitudeBits(const F32x16& a) {
    I32x16 r;
    __builtin_memcpy(&r, &a, 64);
    for (std::int32_t& v : r.v)
        v &= 0x7FFFFFFF;
    return r;
}
FETTLE_INLINE I32x16 max(const I32x16& a, const I32x16& b) {
    return lanes<I32x16>([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
FETTLE_INLINE std::int32_t maxLanes(const I32x16& a) {
    std::int32_t m = a.v[0];
    for (const std::int32_t v : a.v)
        m = v > m ? v : m;
    return m;
}
FETTLE_INLINE std::int32_t sumLanes(const I32x16& a) {
    std::int32_t sum = 0;
    for (const std::int32_t v : a.v)
        sum += v;
    return sum;
}
/// Nearest whole numbers, ties to even, for |a| < 2^22: adding 1.5 * 2^23 leaves them in the low
/// bits of the mantissa.
FETTLE_INLINE I32x16 roundI(const F32x16& a) {
    return lanes<I32x16>([&](int i) {
        const float shifted = a.v[i] + 12582912.0F;
        std::int32_t bits;
        __builtin_memcpy(&bits, &shifted, 4);
        return (bits & 0x7FFFFF) - 0x400000;
    });
}
FETTLE_INLINE void storeI8(void* p, const I32x16& a) {
    for (int i = 0; i < 16; ++i)
        static_cast<std::int8_t*>(p)[i] = static_cast<std::int8_t>(a.v[i]);
}

FETTLE_INLINE U8x64 loadBytes(const void* p) {
    U8x64 r;
    __builtin_memcpy(&r, p, 64);
    return r;
}
FETTLE_INLINE void storeBytes(void* p, const U8x64& a) {
    __builtin_memcpy(p, &a, 64);
}
FETTLE_INLINE U8x64 lowNibbles(const U8x64& a) {
    U8x64 r;
    for (int i = 0; i < 64; ++i)
        r.v[i] = a.v[i] & 15;
    return r;
}
FETTLE_INLINE U8x64 highNibbles(const U8x64& a) {
    U8x64 r;
    for (int i = 0; i < 64; ++i)
        r.v[i] = static_cast<std::uint8_t>(a.v[i] >> 4);
    return r;
}
FETTLE_INLINE U8x64 orBits(const U8x64& code, const U8x64& plane, int left, char mask) {
    U8x64 r;
    for (int i = 0; i < 64; ++i) {
        const int moved = left >= 0 ? plane.v[i] << left : plane.v[i] >> -left;
        r.v[i] = static_cast<std::uint8_t>(code.v[i] | (moved & mask));
    }
    return r;
}
FETTLE_INLINE U8x64 bitPairs(const U8x64& a, int right) {
    U8x64 r;
    for (int i = 0; i < 64; ++i)
        r.v[i] = static_cast<std::uint8_t>(a.v[i] >> right & 3);
    return r;
}
FETTLE_INLINE U8x64 lookUp(const U8x64& codes, const std::uint8_t* table) {
    U8x64 r;
    for (int i = 0; i < 64; ++i)
        r.v[i] = table[codes.v[i]];
    return r;
}
/// 2^-8 of sixteen E4M3 (NaN as 480): as float16, whose exponent has one bit more.
FETTLE_INLINE F32x16 loadE4m3(const void* p) {
    const auto* codes = static_cast<const std::uint8_t*>(p);
    return lanes<F32x16>([&](int i) {
        return halfToFloat(
            static_cast<std::uint16_t>((codes[i] & 0x80) << 8 | (codes[i] & 0x7F) << 7));
    });
}
/// 2^(u - 127) of sixteen bytes; 255 is infinite.
FETTLE_INLINE F32x16 loadE8m0(const void* p) {
    const auto* codes = static_cast<const std::uint8_t*>(p);
    std::uint32_t w[16];
    for (int i = 0; i < 16; ++i)
        w[i] = codes[i] == 0 ? 0x00400000u : static_cast<std::uint32_t>(codes[i]) << 23;
    return bits(w);
}
/// table[code] of the low (even) and the high (odd) nibbles of sixteen bytes.
FETTLE_INLINE void lookUpPair(const void* p, const float* table, F32x16& even, F32x16& odd) {
    const auto* codes = static_cast<const std::uint8_t*>(p);
    even = lanes<F32x16>([&](int i) { return table[codes[i] & 15]; });
    odd = lanes<F32x16>([&](int i) { return table[codes[i] >> 4]; });
}
FETTLE_INLINE I32x16 broadcast4(const std::int8_t* p) {
    std::int32_t word;
    __builtin_memcpy(&word, p, 4);
    return setI(word);
}
FETTLE_INLINE I32x16 dot(const I32x16& acc, const U8x64& w, const I32x16& x) {
    std::int8_t a[4];
    __builtin_memcpy(a, &x.v[0], 4);
    return lanes<I32x16>([&](int i) {
        const int sum = w.v[4 * i] * a[0] + w.v[4 * i + 1] * a[1] + w.v[4 * i + 2] * a[2] +
                        w.v[4 * i + 3] * a[3];
        return wrap(static_cast<std::uint32_t>(acc.v[i]) + static_cast<std::uint32_t>(sum));
    });
}

#endif

/// kSignedBytes: whether dotSteps<8> takes codes - 128, so that sums must not start at -128 * (sum
/// of activations). kDotSteps: how many steps it takes best at once.
#if defined(__AVX2__) && !defined(__AVX512F__)
constexpr bool kSignedBytes = true;
// As 16 registers allow: bytes are there twice, with and without their signs.
template <int Bits>
constexpr int kDotSteps = Bits == 8 ? 2 : 4;
template <int Bits, int Steps>
FETTLE_INLINE I32x16 dotSteps(I32x16 acc, const U8x64 (&w)[Steps], const std::int8_t* act) {
    if constexpr (Bits == 8) {
        FETTLE_UNROLL(8)
        for (int s = 0; s < Steps; ++s) {
            const I32x16 x = broadcast4(act + 4 * s);
            acc = {dotBytes(acc.a, w[s].a, x.a), dotBytes(acc.b, w[s].b, x.b)};
        }
    } else {
        // Pairs of products are added up in 16 bits before they are widened, as many as twice the
        // largest code (24 for E2M1) times -128 leaves room for.
        constexpr int narrow = Bits == 6 ? 2 : 4;
        const __m256i ones = _mm256_set1_epi16(1);
        FETTLE_UNROLL(8)
        for (int s = 0; s < Steps; s += narrow) {
            I32x16 x = broadcast4(act + 4 * s);
            __m256i a = _mm256_maddubs_epi16(w[s].a, x.a), b = _mm256_maddubs_epi16(w[s].b, x.b);
            FETTLE_UNROLL(8)
            for (int n = s + 1; n < s + narrow; ++n) {
                x = broadcast4(act + 4 * n);
                a = _mm256_add_epi16(a, _mm256_maddubs_epi16(w[n].a, x.a));
                b = _mm256_add_epi16(b, _mm256_maddubs_epi16(w[n].b, x.b));
            }
            acc = {_mm256_add_epi32(acc.a, _mm256_madd_epi16(a, ones)),
                   _mm256_add_epi32(acc.b, _mm256_madd_epi16(b, ones))};
        }
    }
    return acc;
}
#else
constexpr bool kSignedBytes = false;
template <int Bits>
constexpr int kDotSteps = 1;
/// acc += w[s] times the four activations at act + 4 s, for every step s.
template <int Bits, int Steps>
FETTLE_INLINE I32x16 dotSteps(I32x16 acc, const U8x64 (&w)[Steps], const std::int8_t* act) {
    FETTLE_UNROLL(8)
    for (int s = 0; s < Steps; ++s)
        acc = dot(acc, w[s], broadcast4(act + 4 * s));
    return acc;
}
#endif

/// A width of codes of its own: four bits that stand for E2M1.
constexpr int kE2m1 = 104;
template <int Bits>
constexpr int kWidth = Bits == kE2m1 ? 4 : Bits;
/// Twice the value of each code, + 12.
alignas(16) constexpr std::uint8_t kE2m1Codes[16] = {12, 13, 14, 15, 16, 18, 20, 24,
                                                     12, 11, 10, 9,  8,  6,  4,  0};

/// Codes of step `s` (0..7) of a group that starts at p, see packed_layout.h.
template <int Bits>
FETTLE_INLINE U8x64 stepCodes(const std::uint8_t* p, int s) {
    if constexpr (Bits == 8) {
        return loadBytes(p + 64 * s);
    } else if constexpr (Bits < 4) {
        const U8x64 low = bitPairs(loadBytes(p + 64 * (s / 4)), 2 * (s % 4));
        if constexpr (Bits == 3)
            return orBits(low, loadBytes(p + 128), 2 - s, 0x04);
        else
            return low;
    } else {
        const U8x64 both = loadBytes(p + 64 * (s / 2));
        const U8x64 low = s % 2 ? highNibbles(both) : lowNibbles(both);
        if constexpr (Bits == 5)
            return orBits(low, loadBytes(p + 256), 4 - s, 0x10);
        else if constexpr (Bits == 6)
            return orBits(low, loadBytes(p + 256 + 64 * (s / 4)), 4 - 2 * (s % 4), 0x30);
        else if constexpr (Bits == kE2m1)
            return lookUp(low, kE2m1Codes);
        else
            return low;
    }
}

/// A value of which the compiler knows nothing: what lies at fixed distances from it is then
/// addressed by those, instead of by pointers that would be kept (in vector registers, where others
/// are full).
template <class T>
FETTLE_INLINE T opaque(T value) {
    asm("" : "+r"(value));
    return value;
}

FETTLE_INLINE void prefetch(const void* p) {
    __builtin_prefetch(p, 0, 3);
}

}  // namespace fettle::kernels::FETTLE_SIMD
