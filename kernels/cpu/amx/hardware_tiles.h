// The processor's own tile registers. Usable after the kernel has granted them to the process
// (permission.h).
#pragma once

#include "kernels/cpu/amx/tile_config.h"
#include "kernels/cpu/simd/vec16.h"

namespace fettle::kernels::FETTLE_SIMD {

struct HardwareTiles {
    FETTLE_MEMBER_INLINE static void configure(const TileConfig& c) {
        asm volatile("ldtilecfg %0" ::"m"(c));
    }
    FETTLE_MEMBER_INLINE static void release() { asm volatile("tilerelease"); }
    template <int T>
    FETTLE_MEMBER_INLINE static void zero() {
        asm volatile("tilezero %%tmm%c0" ::"i"(T));
    }
    template <int T>
    FETTLE_MEMBER_INLINE static void load(const void* p, std::int64_t stride) {
        asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(p), "r"(stride), "i"(T) : "memory");
    }
    template <int T>
    FETTLE_MEMBER_INLINE static void store(void* p, std::int64_t stride) {
        asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(p), "r"(stride), "i"(T) : "memory");
    }
    /// sums += signed bytes of A x unsigned bytes of B.
    template <int Sums, int A, int B>
    FETTLE_MEMBER_INLINE static void multiply() {
        asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sums), "i"(A), "i"(B));
    }
    /// sums += pairs of bfloat16 of A x those of B.
    template <int Sums, int A, int B>
    FETTLE_MEMBER_INLINE static void multiplyBf16() {
        asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(Sums), "i"(A), "i"(B));
    }
};

}  // namespace fettle::kernels::FETTLE_SIMD
