// The instructions around tensor cores (PTX ISA, mma.sync, ldmatrix, cp.async), once as such and
// once as the emulator has them. All lanes of a warp call these together.
#pragma once

#include "kernels/cuda/device.cuh"

#ifndef __CUDACC__
#include <simt_tensor.h>
#endif

namespace fettle::kernels::cuda {

/// 16 x 8 float32 in a warp: values[0], [1] are row lane / 4, columns lane % 4 * 2 and the next;
/// values[2], [3] those of row lane / 4 + 8.
struct Tile16x8 {
    float values[4] = {0, 0, 0, 0};
};
/// 16 x 16 float16 of the left factor, and 16 x 8 of the right one (k first), as mma takes them.
struct LeftTile {
    unsigned words[4];
};
struct RightTile {
    unsigned words[2];
};

#ifdef __CUDACC__

__device__ __forceinline__ unsigned sharedAddress(const void* at) {
    return static_cast<unsigned>(__cvta_generic_to_shared(at));
}

/// Four 8 x 8 matrices of float16: lane l names row l % 8 of matrix l / 8, 16 bytes.
__device__ __forceinline__ void loadMatrices(unsigned (&words)[4], const std::uint16_t* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(sharedAddress(row))
                 : "memory");
}
/// The same, each matrix transposed.
__device__ __forceinline__ void loadTransposed(unsigned (&words)[4], const std::uint16_t* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(sharedAddress(row))
                 : "memory");
}

/// c += a b
__device__ __forceinline__ void multiplyTiles(Tile16x8& c, const LeftTile& a, const RightTile& b) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c.values[0]), "+f"(c.values[1]), "+f"(c.values[2]), "+f"(c.values[3])
        : "r"(a.words[0]), "r"(a.words[1]), "r"(a.words[2]), "r"(a.words[3]), "r"(b.words[0]),
          "r"(b.words[1]));
}

/// Begins to copy 16 bytes to shared memory; zeros instead where `valid` is false (`from` must be
/// an address all the same). The copy belongs to the next commitCopies().
__device__ __forceinline__ void copy16(std::uint16_t* to, const void* from, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(sharedAddress(to)), "l"(from), "r"(valid ? 16 : 0)
                 : "memory");
}
__device__ __forceinline__ void commitCopies() {
    asm volatile("cp.async.commit_group;" : : : "memory");
}
/// Waits for this thread's own groups but the last `Pending`; others see them after a barrier.
template <int Pending>
__device__ __forceinline__ void waitForCopies() {
    asm volatile("cp.async.wait_group %0;" : : "n"(Pending) : "memory");
}

__device__ __forceinline__ void storeShared16(std::uint16_t* at, int4 value) {
    *reinterpret_cast<int4*>(at) = value;
}

/// Two float32 as two float16 in a word, `low` in the low half.
__device__ __forceinline__ unsigned packHalves(float low, float high) {
    const __half2 both = __floats2half2_rn(low, high);
    return *reinterpret_cast<const unsigned*>(&both);
}

#else

inline void loadMatrices(unsigned (&words)[4], SharedPointer<std::uint16_t> row) {
    simt::loadMatrices(words, row, false);
}
inline void loadTransposed(unsigned (&words)[4], SharedPointer<std::uint16_t> row) {
    simt::loadMatrices(words, row, true);
}
inline void multiplyTiles(Tile16x8& c, const LeftTile& a, const RightTile& b) {
    simt::multiplyTiles(c.values, a.words, b.words);
}
inline void copy16(SharedPointer<std::uint16_t> to, const void* from, bool valid) {
    requireAligned(from, "copied from");
    simt::copyLater(to.memory(), to.offset(), from, valid ? 16 : 0, 16);
}
inline void commitCopies() {
    simt::commitCopies();
}
template <int Pending>
void waitForCopies(std::source_location at = std::source_location::current()) {
    simt::waitForCopies(Pending, at);
}
inline void storeShared16(SharedPointer<std::uint16_t> at, int4 value) {
    std::memcpy(simt::accessShared16(at, true), &value, sizeof value);
}
inline unsigned packHalves(float low, float high) {
    return toHalf(low) | static_cast<unsigned>(toHalf(high)) << 16;
}

#endif

/// The left factor's 16 x 16 at a row of `tile`, whose rows are `stride` elements apart, from
/// column 8 * chunk on. `place(row, chunk)` says where 8 columns of a row lie.
template <class Place>
__device__ __forceinline__ LeftTile loadLeft(const Place& place, int row, int chunk) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    LeftTile tile;
    loadMatrices(tile.words, place(row + lane % 16, chunk + lane / 16));
    return tile;
}

/// Two right factors side by side, from 16 rows (columns of the product) of 16 values of k each.
template <class Place>
__device__ __forceinline__ void loadRight(const Place& place, int row, int chunk,
                                          RightTile (&tiles)[2]) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    unsigned words[4];
    loadMatrices(words, place(row + lane % 8 + lane / 16 * 8, chunk + lane / 8 % 2));
    tiles[0] = {{words[0], words[1]}};
    tiles[1] = {{words[2], words[3]}};
}

}  // namespace fettle::kernels::cuda
