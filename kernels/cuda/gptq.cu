#include "kernels/cuda/gptq.h"

#include "kernels/cuda/device.cuh"

namespace fettle::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarp;
constexpr std::int64_t kMaxGridX = 0x7fffffff;
static_assert(kMostGptqColumns == 2 * kWarp);

/// The code of the grid nearest to x, as kernels/cpu/simd/code_panel.cpp chooses it.
__device__ __forceinline__ float codeOf(const CodeGrid& grid, float x, float shift) {
    x = fminf(fmaxf(x, grid.lowest + shift), grid.highest + shift);
    const float binade =
        grid.spacing == CodeSpacing::Binade ? bitsToFloat(floatToBits(x) & 0x7f800000U) : 0.0F;
    const float spacing = fmaxf(binade, grid.smallest) * grid.magic;
    return (x + spacing) - spacing;
}

/// A warp a row: lane l holds the errors of columns l and l + 32 of the block.
__global__ void __launch_bounds__(kThreads) gptqBlockKernel(GptqBlock b) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
    if (row >= b.rows)
        return;  // the whole warp
    const std::int64_t groups = b.cols / b.group;
    float low = 0, high = 0;
    double loss = 0;
    for (int j = 0; j < static_cast<int>(b.width); ++j) {
        const float* factor = b.lower + (b.begin + j) * b.cols + b.begin;
        // Errors of columns that were not reached are 0.
        float sum = lane < j ? low * factor[lane] : 0.0F;
        if (lane + kWarp < j)
            sum = fmaf(high, factor[lane + kWarp], sum);
        sum = warpSum(sum) + (b.sums ? b.sums[row * b.sumStride + j] : 0.0F);

        const std::int64_t column = b.order ? b.order[b.begin + j] : b.begin + j;
        const std::int64_t group = row * groups + column / b.group;
        const float weight = b.weights[row * b.cols + column], scale = b.scales[group];
        const float shift = b.shifts ? b.shifts[group] : 0.0F;
        const float target = weight + sum / factor[j];
        const float code = codeOf(b.grid, target * (1.0F / scale), shift);
        const float error = weight - code * scale;
        if (lane == j % kWarp)
            (j < kWarp ? low : high) = error;
        const double left = (static_cast<double>(target) - code * scale) * factor[j];
        loss += left * left;
        if (lane == 0) {
            b.codes[row * b.cols + column] = code;
            b.errors[row * b.cols + b.begin + j] = error;
        }
    }
    if (lane == 0)
        b.losses[row] += loss;
}

}  // namespace

Status gptqBlock(const GptqBlock& b, Stream stream) {
    const std::int64_t blocks = (b.rows + kWarps - 1) / kWarps;
    if (b.rows < 0 || blocks > kMaxGridX || b.width <= 0 || b.width > kMostGptqColumns ||
        b.begin < 0 || b.begin + b.width > b.cols || b.group <= 0 || b.cols % b.group != 0 ||
        (b.begin > 0 && (!b.sums || b.sumStride < b.width)))
        return kInvalidValue;
    if (b.rows == 0)
        return kSuccess;
    return launch(gptqBlockKernel, static_cast<unsigned>(blocks), kThreads, 0, stream, b);
}

}  // namespace fettle::kernels::cuda
