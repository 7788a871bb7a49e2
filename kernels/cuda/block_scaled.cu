#include "kernels/cuda/block_scaled.h"

#include "kernels/cuda/small_float.cuh"

namespace fettle::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kMaxGridX = 0x7fffffff;
constexpr int kTileWords = 128;  // of a tile, four scales each

/// One word of a tile a thread: four neighbouring blocks of a row.
__global__ void __launch_bounds__(kThreads)
    tileScalesKernel(const std::uint8_t* scales, std::int64_t rows, std::int64_t blocks,
                     std::int64_t tilesOfRow, std::int64_t words, unsigned* tiles) {
    const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= words)
        return;
    const std::int64_t tile = i / kTileWords, within = i % kTileWords;
    const std::int64_t row = tile / tilesOfRow * kTileRows + within % 4 * 32 + within / 4;
    const std::int64_t first = tile % tilesOfRow * kTileBlocks;
    unsigned word = 0;
#pragma unroll
    for (int b = 0; b < kTileBlocks; ++b)
        if (row < rows && first + b < blocks)
            word |= static_cast<unsigned>(scales[row * blocks + first + b]) << (8 * b);
    tiles[i] = word;
}

/// One lane a value, those that fill up the last tiles included; codes become words within a few
/// neighbouring lanes.
template <ActivationFormat Format>
__global__ void __launch_bounds__(kThreads)
    quantizeBlocksKernel(const float* x, std::int64_t xStride, std::int64_t tokens,
                         std::int64_t cols, std::int64_t tilesOfRow, float globalScale,
                         unsigned* codes, std::uint8_t* tiles) {
    constexpr bool four = Format == ActivationFormat::NvFp4;
    constexpr int block = four ? 16 : 32, ofWord = four ? 8 : 4;
    const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    const std::int64_t width = tilesOfRow * kTileBlocks * block;
    const std::int64_t row = i / width, col = i % width;
    const bool inside = row < tokens && col < cols;
    const float value = inside ? x[row * xStride + col] : 0.0F;
    float amax = magnitudeOf(value);
    for (int lanes = block / 2; lanes > 0; lanes /= 2)
        amax = fmaxf(amax, __shfl_xor_sync(kAllLanes, amax, lanes));
    const unsigned scale = scaleByteOf<Format>(amax, globalScale);
    const float unit = valueOfScaleByte<Format>(scale, globalScale);
    unsigned word = unit != unit ? 0U : four ? e2m1Of(value / unit) : e4m3Of(value / unit);
    if constexpr (four)
        word |= __shfl_xor_sync(kAllLanes, word, 4) << 4;
    word |= __shfl_xor_sync(kAllLanes, word, 1) << 8;
    word |= __shfl_xor_sync(kAllLanes, word, 2) << 16;
    if (inside && col % ofWord == 0)
        codes[(row * cols + col) / ofWord] = word;
    if (col % block == 0) {
        const std::int64_t b = col / block, tile = row / kTileRows * tilesOfRow + b / kTileBlocks;
        tiles[tile * kTileRows * kTileBlocks + row % 32 * 16 + row % kTileRows / 32 * 4 +
              b % kTileBlocks] = static_cast<std::uint8_t>(inside ? scale : 0U);
    }
}

template <ActivationFormat Format>
Status quantize(float globalScale, const float* x, std::int64_t xStride, std::int64_t tokens,
                std::int64_t cols, std::uint8_t* codes, std::uint8_t* tiles, Stream stream) {
    constexpr std::int64_t block = Format == ActivationFormat::NvFp4 ? 16 : 32;
    const std::int64_t bytes = scaleTileBytes(tokens, cols / block);
    const std::int64_t grid = bytes * block / kThreads;  // a tile has 8192 values or twice that
    if (grid > kMaxGridX)
        return kInvalidValue;
    const std::int64_t tilesOfRow = (cols / block + kTileBlocks - 1) / kTileBlocks;
    return launch(quantizeBlocksKernel<Format>, static_cast<unsigned>(grid), kThreads, 0, stream, x,
                  xStride, tokens, cols, tilesOfRow, globalScale,
                  reinterpret_cast<unsigned*>(codes), tiles);
}

}  // namespace

Status tileScales(const std::byte* scales, std::int64_t rows, std::int64_t blocks,
                  std::uint8_t* tiles, Stream stream) {
    if (rows < 0 || blocks < 0)
        return kInvalidValue;
    const std::int64_t words = scaleTileBytes(rows, blocks) / kTileBlocks;
    const std::int64_t grid = (words + kThreads - 1) / kThreads;
    if (grid > kMaxGridX)
        return kInvalidValue;
    if (words == 0)
        return kSuccess;
    return launch(tileScalesKernel, static_cast<unsigned>(grid), kThreads, 0, stream,
                  reinterpret_cast<const std::uint8_t*>(scales), rows, blocks,
                  (blocks + kTileBlocks - 1) / kTileBlocks, words,
                  reinterpret_cast<unsigned*>(tiles));
}

Status quantizeBlocks(ActivationFormat format, float globalScale, const float* x,
                      std::int64_t xStride, std::int64_t tokens, std::int64_t cols,
                      std::uint8_t* codes, std::uint8_t* tiles, Stream stream) {
    if (tokens < 0 || cols <= 0 || cols % 32 != 0 || xStride < cols)
        return kInvalidValue;
    if (tokens == 0)
        return kSuccess;
    if (format == ActivationFormat::NvFp4)
        return quantize<ActivationFormat::NvFp4>(globalScale, x, xStride, tokens, cols, codes,
                                                 tiles, stream);
    if (format == ActivationFormat::MxFp8)
        return quantize<ActivationFormat::MxFp8>(1.0F, x, xStride, tokens, cols, codes, tiles,
                                                 stream);
    return kInvalidValue;
}

}  // namespace fettle::kernels::cuda
