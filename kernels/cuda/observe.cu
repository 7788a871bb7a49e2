#include "kernels/cuda/observe.h"

#include "kernels/cuda/device.cuh"

namespace fettle::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr std::int64_t kMaxGridX = 0x7fffffff;
constexpr int kMiddleBin = 32;               // begins at 1
constexpr unsigned kHalfOctave = 0x3504f4U;  // mantissa of the first float above the root of 2
static_assert(kObservedBins == 2 * kWarp);

__device__ __forceinline__ int binOf(float magnitude) {
    if (!(magnitude > 0))
        return 0;
    const unsigned bits = floatToBits(magnitude);
    const int octave = static_cast<int>(bits >> 23) - 127;
    const int bin = 2 * octave + ((bits & 0x7fffffU) >= kHalfOctave ? 1 : 0) + kMiddleBin;
    return bin < 0 ? 0 : bin < kObservedBins ? bin : kObservedBins - 1;
}

/// A thread a channel. Lane l counts bins l and l + 32 of all values of its warp.
__global__ void __launch_bounds__(kThreads)
    observeKernel(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t cols,
                  Observations into) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const std::int64_t channel = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    const bool inside = channel < cols;
    float largest = 0;
    double squares = 0, fourths = 0;
    unsigned low = 0, high = 0;
    for (std::int64_t r = 0; r < rows; ++r) {
        const float value = inside ? x[r * stride + channel] : 0.0F;
        largest = fmaxf(largest, fabsf(value));
        const double square = static_cast<double>(value) * value;
        squares += square;
        fourths += square * square;
        const int bin = inside ? binOf(fabsf(value)) : -1;
        for (int l = 0; l < kWarp; ++l) {
            const int of = __shfl_sync(kAllLanes, bin, l);
            low += of == lane;
            high += of == lane + kWarp;
        }
    }
    if (low > 0)
        atomicAdd(into.histogram + lane, static_cast<unsigned long long>(low));
    if (high > 0)
        atomicAdd(into.histogram + lane + kWarp, static_cast<unsigned long long>(high));
    if (inside) {
        into.largest[channel] = fmaxf(into.largest[channel], largest);
        into.squares[channel] += squares;
        into.fourths[channel] += fourths;
    }
}

}  // namespace

Status observe(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t cols,
               const Observations& into, Stream stream) {
    const std::int64_t blocks = (cols + kThreads - 1) / kThreads;
    // More would count past 32 bits in a lane.
    if (rows < 0 || rows > 0x7ffffff || cols < 0 || blocks > kMaxGridX || stride < cols)
        return kInvalidValue;
    if (rows == 0 || cols == 0)
        return kSuccess;
    return launch(observeKernel, static_cast<unsigned>(blocks), kThreads, 0, stream, x, stride,
                  rows, cols, into);
}

}  // namespace fettle::kernels::cuda
