// The roofline model (Williams, Waterman, Patterson 2009): a kernel takes at least as long as its
// bytes pass through memory and as its arithmetic passes through the units that do it. What comes
// out is a prediction, and a lower bound: nothing here was measured, and the gaps between launches,
// caches that miss and units that wait are left out.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace fettle {

/// What one launch does, counted from its parameters.
struct KernelWork {
    std::string kernel;  ///< its name in kernels/cuda; "library product" for cuBLAS and cuBLASLt
    // Bytes of device memory, each value once: what is read again is thought to be in a cache.
    double read = 0, written = 0;
    // Operations, a multiplication and an addition being two, by the unit that does them.
    double float32 = 0;
    double dp4a = 0;  ///< int8 outside of tensor cores
    double half = 0;  ///< tensor cores, 16-bit factors and float32 sums; padding of tiles included
    double int8 = 0;  ///< tensor cores, int32 sums
    double fp8 = 0;   ///< tensor cores, E4M3 with or without block scales, float32 sums
    double fp4 = 0;   ///< tensor cores, E2M1 with block scales, float32 sums

    double bytes() const { return read + written; }
    double operations() const { return float32 + dp4a + half + int8 + fp8 + fp4; }
    bool operator==(const KernelWork&) const = default;
};

/// What a device can do at most, dense, by what its maker publishes.
struct DevicePeaks {
    const char* name;
    const char* source;
    int capability;  ///< 89 for compute capability 8.9
    std::uint64_t memoryBytes;
    double bytesPerSecond;
    // Operations per second of the units of KernelWork; 0 where there are none.
    double float32, dp4a, half, int8, fp8, fp4;
};

/// A100 (SXM, 80 GB), H100 (SXM), B200, RTX 4090, RTX 5090, L4.
std::span<const DevicePeaks> knownPeaks();

/// The time a launch takes at least; the work is of units that the device has.
double predictedSeconds(const KernelWork& work, const DevicePeaks& device);

}  // namespace fettle
