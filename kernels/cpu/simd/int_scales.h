// Reading the scale sections of packed integer weights (packed_layout.h): `block` loads what a
// scale block shares, the other functions give what group j of the block needs. Simd files only.
#pragma once

#include "kernels/cpu/packed_layout.h"
#include "kernels/cpu/simd/vec16.h"

namespace fettle::kernels::FETTLE_SIMD {

/// F16, BF16, F32 and E8M0 (whose codes are twice their value): one scale per row and block.
template <ScaleLayout S>
struct Scales {
    const std::uint8_t* section;
    F32x16 d;

    FETTLE_MEMBER_INLINE void block(std::int64_t b) {
        if constexpr (S == ScaleLayout::F32)
            d = loadF(section + 64 * b);
        else if constexpr (S == ScaleLayout::BF16)
            d = loadBfloat(section + 32 * b);
        else if constexpr (S == ScaleLayout::E8M0)
            d = mul(loadE8m0(section + 16 * b), setF(0.5F));
        else
            d = loadHalf(section + 32 * b);
    }
    FETTLE_MEMBER_INLINE F32x16 scale(std::int64_t) const { return d; }
};

template <>
struct Scales<ScaleLayout::F16Min> {
    const std::uint8_t* section;
    F32x16 d, m;

    FETTLE_MEMBER_INLINE void block(std::int64_t b) {
        d = loadHalf(section + 64 * b);
        m = loadHalf(section + 64 * b + 32);
    }
    FETTLE_MEMBER_INLINE F32x16 scale(std::int64_t) const { return d; }
    FETTLE_MEMBER_INLINE F32x16 min(std::int64_t) const { return m; }
};

template <>
struct Scales<ScaleLayout::SubMin> {
    const std::uint8_t* section;
    const std::uint8_t* here;
    F32x16 d, m;

    FETTLE_MEMBER_INLINE void block(std::int64_t b) {
        here = section + 320 * b;
        d = loadHalf(here);
        m = sub(zeroF(), loadHalf(here + 32));
    }
    FETTLE_MEMBER_INLINE F32x16 scale(std::int64_t j) const {
        return mul(d, toF(loadU8(here + 64 + 16 * j)));
    }
    FETTLE_MEMBER_INLINE F32x16 min(std::int64_t j) const {
        return mul(m, toF(loadU8(here + 192 + 16 * j)));
    }
};

template <>
struct Scales<ScaleLayout::Sub16> {
    const std::uint8_t* section;
    const std::uint8_t* here;
    F32x16 d;

    FETTLE_MEMBER_INLINE void block(std::int64_t b) {
        here = section + 288 * b;
        d = loadHalf(here);
    }
    FETTLE_MEMBER_INLINE F32x16 scale(std::int64_t) const { return d; }
    /// Scale of half 0 or 1 of group j, a whole number.
    FETTLE_MEMBER_INLINE F32x16 subScale(std::int64_t j, int half) const {
        return toF(loadI8(here + 32 + 32 * j + 16 * half));
    }
};

template <>
struct Scales<ScaleLayout::E4M3Halves> {
    const std::uint8_t* section;
    const std::uint8_t* here;

    FETTLE_MEMBER_INLINE void block(std::int64_t b) { here = section + 64 + 32 * b; }
    /// Scale of half 0 or 1 of the group, but for the row's factor.
    FETTLE_MEMBER_INLINE F32x16 subScale(std::int64_t, int half) const {
        return loadE4m3(here + 16 * half);
    }
};

template <ScaleLayout S>
constexpr bool kHasMin = S == ScaleLayout::F16Min || S == ScaleLayout::SubMin;

}  // namespace fettle::kernels::FETTLE_SIMD
