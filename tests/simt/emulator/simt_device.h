// Stands in for the CUDA language and runtime where the host compiler reads kernels/cuda/*.cu
// (kernels/cuda/device.cuh includes it). Only what the kernels use is here; what is missing does
// not compile, which is how it is noticed.
#pragma once

#include <cmath>
#include <cstring>
#include <tuple>
#include <type_traits>

#include "tests/simt/emulator/emulator.h"

#define __global__
#define __device__
#define __constant__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

using dim3 = fettle::simt::Extent3;
struct alignas(16) int4 {
    int x, y, z, w;
};

#define threadIdx (fettle::simt::threadIndex())
#define blockIdx (fettle::simt::blockIndex())
#define blockDim (fettle::simt::blockExtent())
#define gridDim (fettle::simt::gridExtent())

inline void __syncthreads(std::source_location at = std::source_location::current()) {
    fettle::simt::blockBarrier(at);
}
inline void __syncwarp(unsigned mask = 0xffffffffU,
                       std::source_location at = std::source_location::current()) {
    fettle::simt::warpCollective(fettle::simt::WarpOp::Sync, mask, 0, 0, 32, at);
}

namespace fettle::simt {
template <class T>
T shuffle(WarpOp op, unsigned mask, T value, int argument, int width,
          const std::source_location& at) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = warpCollective(op, mask, bits, argument, width, at);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
}  // namespace fettle::simt

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32,
              std::source_location at = std::source_location::current()) {
    return fettle::simt::shuffle(fettle::simt::WarpOp::Shuffle, mask, value, lane, width, at);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 std::source_location at = std::source_location::current()) {
    return fettle::simt::shuffle(fettle::simt::WarpOp::ShuffleUp, mask, value,
                                 static_cast<int>(delta), width, at);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   std::source_location at = std::source_location::current()) {
    return fettle::simt::shuffle(fettle::simt::WarpOp::ShuffleDown, mask, value,
                                 static_cast<int>(delta), width, at);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32,
                  std::source_location at = std::source_location::current()) {
    return fettle::simt::shuffle(fettle::simt::WarpOp::ShuffleXor, mask, value, lanes, width, at);
}
inline unsigned __ballot_sync(unsigned mask, int predicate,
                              std::source_location at = std::source_location::current()) {
    return static_cast<unsigned>(fettle::simt::warpCollective(fettle::simt::WarpOp::Ballot, mask,
                                                              predicate != 0, 0, 32, at));
}
inline int __any_sync(unsigned mask, int predicate,
                      std::source_location at = std::source_location::current()) {
    return static_cast<int>(
        fettle::simt::warpCollective(fettle::simt::WarpOp::Any, mask, predicate != 0, 0, 32, at));
}
inline int __all_sync(unsigned mask, int predicate,
                      std::source_location at = std::source_location::current()) {
    return static_cast<int>(
        fettle::simt::warpCollective(fettle::simt::WarpOp::All, mask, predicate != 0, 0, 32, at));
}

/// c + the sum of the products of four signed bytes each (PTX dp4a.s32.s32).
inline int __dp4a(int a, int b, int c) {
    fettle::simt::count(&fettle::simt::Counters::dp4a);
    for (int i = 0; i < 32; i += 8)
        c += static_cast<std::int8_t>(a >> i) * static_cast<std::int8_t>(b >> i);
    return c;
}

// Threads of a block run in turns and blocks one after the other: an atomic is the plain operation,
// and only the thread sanitizer is to know that it is one.
namespace fettle::simt {
template <class T>
T atomicLoad(T* at) {
    T value;
    __atomic_load(at, &value, __ATOMIC_RELAXED);
    return value;
}
template <class T>
void atomicStore(T* at, T value) {
    __atomic_store(at, &value, __ATOMIC_RELAXED);
}
}  // namespace fettle::simt

template <class T>
T atomicAdd(T* at, std::type_identity_t<T> value) {
    const T before = fettle::simt::atomicLoad(at);
    fettle::simt::atomicStore(at, static_cast<T>(before + value));
    return before;
}
template <class T>
T atomicMax(T* at, std::type_identity_t<T> value) {
    const T before = fettle::simt::atomicLoad(at);
    fettle::simt::atomicStore(at, before < value ? value : before);
    return before;
}
template <class T>
T atomicCAS(T* at, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
    const T before = fettle::simt::atomicLoad(at);
    if (before == expected)
        fettle::simt::atomicStore(at, value);
    return before;
}

namespace fettle::simt {

/// One element of shared memory: every read and write is checked.
template <class T>
class SharedElement {
public:
    SharedElement(SharedBlock& memory, std::size_t offset) : m_memory(memory), m_offset(offset) {}
    SharedElement(const SharedElement&) = default;
    operator T() const {
        T value;
        std::memcpy(&value, accessShared(m_memory, m_offset, sizeof(T), false), sizeof(T));
        return value;
    }
    SharedElement& operator=(T value) {
        std::memcpy(accessShared(m_memory, m_offset, sizeof(T), true), &value, sizeof(T));
        return *this;
    }
    SharedElement& operator=(const SharedElement& other) { return *this = static_cast<T>(other); }

private:
    SharedBlock& m_memory;
    std::size_t m_offset;
};

/// What a pointer to shared memory is to a kernel.
template <class T>
class SharedPointer {
public:
    SharedPointer(SharedBlock& memory, std::size_t offset) : m_memory(&memory), m_offset(offset) {}
    template <class I>
    SharedElement<T> operator[](I index) const {
        return {*m_memory, m_offset + static_cast<std::size_t>(index) * sizeof(T)};
    }
    template <class I>
    SharedPointer operator+(I count) const {
        return {*m_memory, m_offset + static_cast<std::size_t>(count) * sizeof(T)};
    }

    SharedBlock& memory() const { return *m_memory; }
    std::size_t offset() const { return m_offset; }

private:
    SharedBlock* m_memory;
    std::size_t m_offset;
};

template <class T>
void checkArgument([[maybe_unused]] T argument, [[maybe_unused]] int number) {
    if constexpr (std::is_pointer_v<T>) {
        if (argument != nullptr && !isDeviceArgument(argument))
            throw Finding(Defect::HostPointer, "argument " + std::to_string(number) +
                                                   " of the kernel points to host memory");
    } else if constexpr (requires { argument.forEachPointer([](const void*) {}); }) {
        argument.forEachPointer([&](const void* pointer) { checkArgument(pointer, number); });
    }
}

template <class... Parameters>
void launch(void (*kernel)(Parameters...), Extent3 grid, Extent3 block, std::size_t sharedBytes,
            std::type_identity_t<Parameters>... arguments) {
    int number = 0;
    (checkArgument(arguments, ++number), ...);
    run(grid, block, sharedBytes, [=] { kernel(arguments...); });
}

}  // namespace fettle::simt
