#include "kernels/cuda/sparsity.h"

#include "kernels/cuda/device.cuh"

namespace fettle::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr std::int64_t kMaxGridX = 0x7fffffff;
constexpr int kPiece = 16;  // weights that a thread compresses

__device__ __forceinline__ std::int64_t threadNumber() {
    return static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
}

/// A block a row. Scores are not negative, so their bits are in their order: the `zeros`-th
/// smallest is found bit by bit.
__global__ void __launch_bounds__(kThreads)
    zeroSmallestKernel(float* w, const float* inputNorm, std::int64_t cols, std::int64_t zeros) {
    FETTLE_SHARED(int, partial, 2 * kWarps);
    FETTLE_SHARED(int, ties, kThreads);
    const int thread = static_cast<int>(threadIdx.x);
    float* const row = w + blockIdx.x * cols;
    const auto keyOf = [&](std::int64_t i) {
        return floatToBits(fabsf(row[i]) * (inputNorm ? inputNorm[i] : 1.0F));
    };
    int turn = 0;  // sums take turns in memory, which saves a barrier each
    const auto below = [&](unsigned key) {
        int mine = 0;
        for (std::int64_t i = thread; i < cols; i += kThreads)
            mine += keyOf(i) < key;
        turn ^= 1;
        return blockSum(mine, partial + turn * kWarps);
    };
    unsigned edge = 0;
    for (unsigned bit = 0x40000000U; bit > 0; bit >>= 1)
        if (below(edge | bit) < zeros)
            edge |= bit;
    const std::int64_t onEdge = zeros - below(edge);
    // Each thread a stretch of columns, so that the earlier of equal ones go.
    const std::int64_t each = (cols + kThreads - 1) / kThreads, first = thread * each;
    const std::int64_t end = first + each < cols ? first + each : cols;
    int mine = 0;
    for (std::int64_t i = first; i < end; ++i)
        mine += keyOf(i) == edge;
    ties[thread] = mine;
    __syncthreads();
    std::int64_t before = 0;
    for (int t = 0; t < thread; ++t)
        before += ties[t];
    for (std::int64_t i = first; i < end; ++i) {
        const unsigned key = keyOf(i);
        if (key < edge || (key == edge && before++ < onEdge))
            row[i] = 0;
    }
}

/// Four neighbours a thread.
__global__ void __launch_bounds__(kThreads)
    zeroTwoOfFourKernel(float* w, const float* inputNorm, std::int64_t rows, std::int64_t cols) {
    const std::int64_t each = (cols + 3) / 4, number = threadNumber();
    if (number >= rows * each)
        return;
    const std::int64_t first = number % each * 4;
    const int count = cols - first < 4 ? static_cast<int>(cols - first) : 4;
    float* at = w + number / each * cols + first;
    float scores[4];
#pragma unroll
    for (int i = 0; i < 4; ++i)
        scores[i] = i < count ? fabsf(at[i]) * (inputNorm ? inputNorm[first + i] : 1.0F) : 0.0F;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        int smaller = 0;  // neighbours that go before this one
#pragma unroll
        for (int k = 0; k < 4; ++k)
            smaller += k < count && (scores[k] < scores[i] || (scores[k] == scores[i] && k < i));
        if (i < count && smaller < count / 2)
            at[i] = 0;
    }
}

__global__ void __launch_bounds__(kThreads)
    compressTwoOfFourKernel(const float* w, std::int64_t pieces, std::uint16_t* values,
                            std::uint16_t* places, unsigned* refused) {
    const std::int64_t piece = threadNumber();
    if (piece >= pieces)
        return;
    unsigned words[4], metadata = 0, wrong = 0;
#pragma unroll
    for (int four = 0; four < 4; ++four) {
        const float* at = w + piece * kPiece + 4 * four;
        unsigned kept = 0;
#pragma unroll
        for (unsigned i = 0; i < 4; ++i)
            kept |= (at[i] != 0 ? 1U : 0U) << i;
        const int count = (kept & 1U) + (kept >> 1 & 1U) + (kept >> 2 & 1U) + (kept >> 3);
        wrong += count > 2;
        // Places without a weight fill up: the first free ones.
        const unsigned free = ~kept;
        if (count == 0)
            kept = 3;
        else if (count == 1)
            kept |= free & 1U ? 1U : 2U;
        const unsigned first = kept & 1U ? 0 : kept & 2U ? 1 : 2;
        const unsigned second = first < 1 && kept & 2U ? 1 : first < 2 && kept & 4U ? 2 : 3;
        words[four] = toHalf(at[first]) | static_cast<unsigned>(toHalf(at[second])) << 16;
        metadata |= (first | second << 2) << (4 * four);
    }
    store16(values + piece * (kPiece / 2),
            int4{static_cast<int>(words[0]), static_cast<int>(words[1]), static_cast<int>(words[2]),
                 static_cast<int>(words[3])});
    places[piece] = static_cast<std::uint16_t>(metadata);
    if (wrong > 0)
        atomicAdd(refused, wrong);
}

/// Queues `kernel` with a thread for each of `count`.
template <class Launch>
Status forEach(std::int64_t rows, std::int64_t cols, std::int64_t count, const Launch& queue) {
    const std::int64_t blocks = (count + kThreads - 1) / kThreads;
    if (rows < 0 || cols < 0 || blocks > kMaxGridX)
        return kInvalidValue;
    return count == 0 ? kSuccess : queue(static_cast<unsigned>(blocks));
}

}  // namespace

Status zeroSmallest(float* w, const float* inputNorm, std::int64_t rows, std::int64_t cols,
                    std::int64_t zeros, Stream stream) {
    if (rows < 0 || rows > kMaxGridX || cols <= 0 || zeros < 0 || zeros > cols)
        return kInvalidValue;
    if (rows == 0 || zeros == 0)
        return kSuccess;
    return launch(zeroSmallestKernel, static_cast<unsigned>(rows), kThreads, 0, stream, w,
                  inputNorm, cols, zeros);
}

Status zeroTwoOfFour(float* w, const float* inputNorm, std::int64_t rows, std::int64_t cols,
                     Stream stream) {
    return forEach(rows, cols, rows * ((cols + 3) / 4), [&](unsigned blocks) {
        return launch(zeroTwoOfFourKernel, blocks, kThreads, 0, stream, w, inputNorm, rows, cols);
    });
}

Status compressTwoOfFour(const float* w, std::int64_t rows, std::int64_t cols,
                         std::uint16_t* values, std::uint16_t* places, unsigned* refused,
                         Stream stream) {
    if (cols % kPiece != 0)
        return kInvalidValue;
    return forEach(rows, cols, rows * cols / kPiece, [&](unsigned blocks) {
        return launch(compressTwoOfFourKernel, blocks, kThreads, 0, stream, w, rows * cols / kPiece,
                      values, places, refused);
    });
}

}  // namespace fettle::kernels::cuda
