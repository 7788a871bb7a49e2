// What every kernel file needs, for both compilers that read it: nvcc, and the host compiler, which
// runs the kernels on the emulator in tests/simt (docs/decisions/0005). Kernels are written in
// plain CUDA but for three things, since these have no common spelling: launches, shared memory,
// and vector and float16 access to memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <utility>

#include "kernels/cuda/launch.h"

#ifdef __CUDACC__

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace fettle::kernels::cuda {

template <class T>
using SharedPointer = T*;
#define FETTLE_SHARED(type, name, count) __shared__ __align__(16) type name[count]
// A parameter that is only read and indexed: it stays where the launch put it, without a copy in
// local memory.
#define FETTLE_READ_ONLY_PARAMETER const __grid_constant__
#define FETTLE_DYNAMIC_SHARED(type, name)                        \
    extern __shared__ __align__(16) unsigned char name##Bytes[]; \
    type* const name = reinterpret_cast<type*>(name##Bytes)

template <class... Parameters>
Status launchNow(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t sharedBytes,
                 Stream stream, Parameters... arguments) {
    kernel<<<grid, block, sharedBytes, static_cast<cudaStream_t>(stream)>>>(arguments...);
    return static_cast<Status>(cudaGetLastError());
}

__device__ __forceinline__ int4 load16(const void* at) {
    return *static_cast<const int4*>(at);
}
__device__ __forceinline__ void store16(void* at, int4 value) {
    *static_cast<int4*>(at) = value;
}
__device__ __forceinline__ float fromHalf(std::uint16_t bits) {
    return __half2float(__ushort_as_half(bits));
}
__device__ __forceinline__ std::uint16_t toHalf(float value) {
    return __half_as_ushort(__float2half_rn(value));
}
__device__ __forceinline__ std::uint16_t toBfloat(float value) {
    return __bfloat16_as_ushort(__float2bfloat16_rn(value));
}
__device__ __forceinline__ float bitsToFloat(std::uint32_t bits) {
    return __uint_as_float(bits);
}
__device__ __forceinline__ std::uint32_t floatToBits(float value) {
    return __float_as_uint(value);
}

}  // namespace fettle::kernels::cuda

#else

#include <simt_device.h>

#include "kernels/formats/weight_format.h"

namespace fettle::kernels::cuda {

template <class T>
using SharedPointer = simt::SharedPointer<T>;
#define FETTLE_READ_ONLY_PARAMETER const
#define FETTLE_SHARED(type, name, count)            \
    static const char name##Tag = 0;                \
    const ::fettle::simt::SharedPointer<type> name( \
        ::fettle::simt::sharedBlock(&name##Tag, (count) * sizeof(type)), 0)
#define FETTLE_DYNAMIC_SHARED(type, name) \
    const ::fettle::simt::SharedPointer<type> name(::fettle::simt::sharedBlock(nullptr, 0), 0)

template <class... Parameters>
Status launchNow(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t sharedBytes,
                 Stream, Parameters... arguments) {
    simt::launch(kernel, grid, block, sharedBytes, arguments...);
    return kSuccess;
}

inline void requireAligned(const void* at, const char* what) {
    if (reinterpret_cast<std::uintptr_t>(at) % 16 != 0)
        simt::report(simt::Defect::Misaligned,
                     std::string("16 bytes are ") + what + " an address off their multiples");
}
inline int4 load16(const void* at) {
    requireAligned(at, "read from");
    return *static_cast<const int4*>(at);
}
inline void store16(void* at, int4 value) {
    requireAligned(at, "written to");
    *static_cast<int4*>(at) = value;
}
inline float fromHalf(std::uint16_t bits) {
    return halfToFloat(bits);
}
inline std::uint16_t toHalf(float value) {
    return floatToHalf(value);
}
inline std::uint16_t toBfloat(float value) {
    return floatToBfloat16(value);
}
inline std::uint32_t floatToBits(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}
inline float bitsToFloat(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

}  // namespace fettle::kernels::cuda

#endif

namespace fettle::kernels::cuda {

/// KernelCall::run of a kernel with these parameters.
template <class... Parameters>
struct Caller {
    static Status run(const KernelCall& call, Stream stream) {
        return run(call, stream, std::index_sequence_for<Parameters...>{});
    }

private:
    template <std::size_t... I>
    static Status run(const KernelCall& call, Stream stream, std::index_sequence<I...>) {
        const auto kernel =
            reinterpret_cast<void (*)(Parameters...)>(const_cast<void*>(call.kernel));
        return launchNow<Parameters...>(kernel, dim3(call.grid[0], call.grid[1], call.grid[2]),
                                        dim3(call.block[0], call.block[1], call.block[2]),
                                        call.sharedBytes, stream,
                                        *static_cast<const Parameters*>(call.arguments[I])...);
    }
};

/// Queues kernel<<<grid, block, sharedBytes, stream>>>(arguments...), or hands it to the thread's
/// recorder.
template <class... Parameters, class... Arguments>
Status launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t sharedBytes,
              Stream stream, Arguments... arguments) {
    if (!launchRecorder)
        return launchNow<Parameters...>(kernel, grid, block, sharedBytes, stream,
                                        static_cast<Parameters>(arguments)...);
    std::tuple<Parameters...> held(static_cast<Parameters>(arguments)...);
    return std::apply(
        [&](Parameters&... each) {
            void* const pointers[] = {&each...};
            const std::size_t sizes[] = {sizeof each...};
            KernelCall call;
            call.kernel = reinterpret_cast<const void*>(kernel);
            const unsigned extents[] = {grid.x, grid.y, grid.z, block.x, block.y, block.z};
            for (int i = 0; i < 3; ++i) {
                call.grid[i] = extents[i];
                call.block[i] = extents[3 + i];
            }
            call.sharedBytes = sharedBytes;
            call.arguments = pointers;
            call.sizes = sizes;
            call.count = sizeof...(Parameters);
            call.run = &Caller<Parameters...>::run;
            return launchRecorder->take(call);
        },
        held);
}

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffU;

template <class T>
__device__ __forceinline__ T warpSum(T v) {
    for (int lanes = kWarp / 2; lanes > 0; lanes /= 2)
        v += __shfl_xor_sync(kAllLanes, v, lanes);
    return v;
}

__device__ __forceinline__ float warpMax(float v) {
    for (int lanes = kWarp / 2; lanes > 0; lanes /= 2)
        v = fmaxf(v, __shfl_xor_sync(kAllLanes, v, lanes));
    return v;
}

/// The sum over the block, in every thread. `partial` holds one value for each warp and is used by
/// nothing else in the kernel, which saves a closing barrier. The block is made of whole warps.
template <class T>
__device__ __forceinline__ T blockSum(T v, SharedPointer<T> partial) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int warps = static_cast<int>(blockDim.x) / kWarp;
    v = warpSum(v);
    if (lane == 0)
        partial[threadIdx.x / kWarp] = v;
    __syncthreads();
    return warpSum(lane < warps ? static_cast<T>(partial[lane]) : T(0));
}

/// The maximum over the block, under the same rules.
__device__ __forceinline__ float blockMax(float v, SharedPointer<float> partial) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const int warps = static_cast<int>(blockDim.x) / kWarp;
    v = warpMax(v);
    if (lane == 0)
        partial[threadIdx.x / kWarp] = v;
    __syncthreads();
    return warpMax(lane < warps ? static_cast<float>(partial[lane]) : v);
}

}  // namespace fettle::kernels::cuda
