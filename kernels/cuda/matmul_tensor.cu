#include "kernels/cuda/matmul_tensor.h"

#include "kernels/cuda/tensor_core.cuh"
#include "kernels/cuda/weight_group.cuh"

namespace fettle::kernels::cuda {
namespace {

constexpr int kThreads = 128;  // four warps, two by two, each 32 tokens by 32 rows
constexpr int kTileTokens = 64;
constexpr int kTileRows = 64;
constexpr int kTileK = 64;  // two groups: one for each thread
constexpr int kChunks = kTileK / 8;
constexpr std::int64_t kMaxGridX = 0x7fffffff;
constexpr std::int64_t kMaxGridY = 65535;

/// Where chunk `chunk` (8 values) of a row lies in a tile: turned by the row, so that the eight
/// rows of a matrix lie in different banks.
__device__ __forceinline__ int placeOf(int row, int chunk) {
    return row * kTileK + (chunk ^ row % kChunks) * 8;
}

/// Begins to copy the activations of step `step`, in chunks of 16 bytes.
__device__ __forceinline__ void copyTokens(SharedPointer<std::uint16_t> tile,
                                           const std::uint16_t* x, std::int64_t xStride,
                                           std::int64_t cols, std::int64_t firstToken,
                                           std::int64_t tokens, std::int64_t step) {
#pragma unroll
    for (int i = 0; i < kTileTokens * kChunks / kThreads; ++i) {
        const int number = i * kThreads + static_cast<int>(threadIdx.x);
        const int row = number / kChunks, chunk = number % kChunks;
        const std::int64_t token = firstToken + row, k = step * kTileK + chunk * 8;
        const bool valid = token < tokens && k < cols;
        copy16(tile + placeOf(row, chunk), valid ? x + token * xStride + k : x, valid);
    }
    commitCopies();
}

/// One group of weights on its way from packed codes to float16.
template <CodeKind Codes, ScaleKind Scales>
struct WeightPiece {
    GroupCodes<Codes> codes;
    GroupScale<Scales> scale;
    bool valid;

    __device__ __forceinline__ WeightPiece(const WeightSections& w, std::int64_t row,
                                           std::int64_t g)
        // Pieces beside the matrix read its first group and store zeros.
        : codes(w, row < w.rows && g < w.groups ? row * w.groups + g : 0),
          scale(w, row < w.rows && g < w.groups ? row : 0, row < w.rows && g < w.groups ? g : 0),
          valid(row < w.rows && g < w.groups) {}

    __device__ __forceinline__ unsigned pair(int word, int first, int half) const {
        const auto code = [&](int i) {
            const int shifted = word >> (8 * i);
            return Codes == CodeKind::Bits8 ? static_cast<int>(static_cast<std::int8_t>(shifted))
                                            : shifted & 0xff;
        };
        return valid ? packHalves(scale.template value<Codes>(code(first), half),
                                  scale.template value<Codes>(code(first + 1), half))
                     : 0U;
    }
    __device__ __forceinline__ void store(SharedPointer<std::uint16_t> tile, int row,
                                          int chunk) const {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int low = codes.words[2 * i], high = codes.words[2 * i + 1], half = i / 2;
            storeShared16(
                tile + placeOf(row, chunk + i),
                int4{static_cast<int>(pair(low, 0, half)), static_cast<int>(pair(low, 2, half)),
                     static_cast<int>(pair(high, 0, half)), static_cast<int>(pair(high, 2, half))});
        }
    }
};

struct TensorOutput {
    MatmulOutput out;
    const float* scales;  // of the tokens
    std::int64_t tokens, rows;

    template <class Check>
    void forEachPointer(Check check) const {
        out.forEachPointer(check);
        check(scales);
    }
    __device__ __forceinline__ void put(std::int64_t token, std::int64_t row, float sum) const {
        if (token >= tokens || row >= rows)
            return;
        float* at = out.y + token * out.stride + row;
        const float value = sum * scales[token] + (out.bias ? out.bias[row] : 0.0F);
        *at = out.accumulate ? *at + value : value;
    }
};

/// 32 tokens by 32 rows of a warp, over one step of k.
__device__ __forceinline__ void multiplyStep(SharedPointer<std::uint16_t> tokens,
                                             SharedPointer<std::uint16_t> weights, int firstToken,
                                             int firstRow, Tile16x8 (&sums)[2][4]) {
    const auto tokenPlace = [&](int row, int chunk) { return tokens + placeOf(row, chunk); };
    const auto weightPlace = [&](int row, int chunk) { return weights + placeOf(row, chunk); };
#pragma unroll
    for (int k = 0; k < kChunks; k += 2) {
        RightTile right[4];
#pragma unroll
        for (int n = 0; n < 2; ++n) {
            RightTile pair[2];
            loadRight(weightPlace, firstRow + 16 * n, k, pair);
            right[2 * n] = pair[0];
            right[2 * n + 1] = pair[1];
        }
#pragma unroll
        for (int m = 0; m < 2; ++m) {
            const LeftTile left = loadLeft(tokenPlace, firstToken + 16 * m, k);
#pragma unroll
            for (int n = 0; n < 4; ++n)
                multiplyTiles(sums[m][n], left, right[n]);
        }
    }
}

template <CodeKind Codes, ScaleKind Scales>
__device__ __forceinline__ void multiplyBlock(const WeightSections& weight, const std::uint16_t* x,
                                              std::int64_t xStride, const TensorOutput& output) {
    FETTLE_SHARED(std::uint16_t, tokenTiles, 2 * kTileTokens * kTileK);
    FETTLE_SHARED(std::uint16_t, weightTiles, 2 * kTileRows * kTileK);
    const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarp;
    const std::int64_t firstRow = static_cast<std::int64_t>(blockIdx.x) * kTileRows;
    const std::int64_t firstToken = static_cast<std::int64_t>(blockIdx.y) * kTileTokens;
    const std::int64_t cols = weight.groups * kGroupValues;
    const std::int64_t steps = (cols + kTileK - 1) / kTileK;
    const int row = thread / 2, group = thread % 2;

    Tile16x8 sums[2][4];
    copyTokens(tokenTiles, x, xStride, cols, firstToken, output.tokens, 0);
    WeightPiece<Codes, Scales>(weight, firstRow + row, group).store(weightTiles, row, 4 * group);
    waitForCopies<0>();
    __syncthreads();
    for (std::int64_t step = 0; step < steps; ++step) {
        const int now = static_cast<int>(step % 2) * kTileTokens * kTileK;
        const int next = kTileTokens * kTileK - now;
        // The next step's memory was last read before the barrier that the last step ended with.
        const bool more = step + 1 < steps;
        if (more)
            copyTokens(tokenTiles + next, x, xStride, cols, firstToken, output.tokens, step + 1);
        const WeightPiece<Codes, Scales> piece(weight, firstRow + row,
                                               2 * (more ? step + 1 : step) + group);
        multiplyStep(tokenTiles + now, weightTiles + now, warp / 2 * 32, warp % 2 * 32, sums);
        if (!more)
            break;
        piece.store(weightTiles + next, row, 4 * group);
        waitForCopies<0>();
        __syncthreads();
    }

    const int lane = thread % kWarp;
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int n = 0; n < 4; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i)
                output.put(firstToken + warp / 2 * 32 + m * 16 + lane / 4 + i / 2 * 8,
                           firstRow + warp % 2 * 32 + n * 8 + lane % 4 * 2 + i % 2,
                           sums[m][n].values[i]);
}

template <CodeKind Codes, ScaleKind Scales>
__global__ void __launch_bounds__(kThreads)
    matmulTensorKernel(WeightSections weight, const std::uint16_t* x, std::int64_t xStride,
                       TensorOutput output) {
    multiplyBlock<Codes, Scales>(weight, x, xStride, output);
}

/// For scales of every kind, which need more registers: three blocks leave 168 a thread.
template <CodeKind Codes>
__global__ void __launch_bounds__(kThreads, 3)
    matmulTensorEachKernel(WeightSections weight, const std::uint16_t* x, std::int64_t xStride,
                           TensorOutput output) {
    multiplyBlock<Codes, ScaleKind::Each>(weight, x, xStride, output);
}

/// The kernel of a layout's kinds.
template <class Kinds>
constexpr auto kernelOf() {
    if constexpr (Kinds::kScales == ScaleKind::Each)
        return matmulTensorEachKernel<Kinds::kCodes>;
    else
        return matmulTensorKernel<Kinds::kCodes, Kinds::kScales>;
}

}  // namespace

Status matmulTensor(const DeviceWeightView& weight, const std::uint16_t* x, std::int64_t xStride,
                    const float* scales, std::int64_t tokens, const MatmulOutput& out,
                    Stream stream) {
    const WeightLayout& l = weight.layout;
    const std::int64_t blocks = (l.rows + kTileRows - 1) / kTileRows;
    const std::int64_t parts = (tokens + kTileTokens - 1) / kTileTokens;
    if (l.cols <= 0 || l.cols % kGroupValues != 0 || xStride < l.cols || xStride % 8 != 0 ||
        tokens < 0 || blocks > kMaxGridX || parts > kMaxGridY)
        return kInvalidValue;
    if (l.rows == 0 || tokens == 0)
        return kSuccess;
    const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(parts));
    const TensorOutput output = {out, scales, tokens, l.rows};
    return withKinds(l, [&](auto kinds) {
        using Kinds = decltype(kinds);
        return launch(kernelOf<Kinds>(), grid, kThreads, 0, stream, WeightSections(weight), x,
                      xStride, output);
    });
}

}  // namespace fettle::kernels::cuda
