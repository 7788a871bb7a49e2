// Factors of block-scaled products (cuBLASLt on devices of compute capability 10.0 and later):
// codes and scales of neighbouring values along a row, the scales in the tiles that the tensor
// cores read. Pointers are device memory.
//
// Scales of a matrix [rows, blocks] in tiles (cuBLAS documentation, "1D Block Scaling Factors
// Layout"): a tile has 128 rows and 4 blocks, tiles follow each other along the rows of tiles, and
// within a tile the scale of row r and block b is byte 16 (r % 32) + 4 (r / 32) + b. What tiles
// have beyond the matrix is 0.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/formats/activation_format.h"

namespace fettle::kernels::cuda {

constexpr std::int64_t kTileRows = 128, kTileBlocks = 4;

constexpr std::int64_t scaleTileBytes(std::int64_t rows, std::int64_t blocks) {
    return (rows + kTileRows - 1) / kTileRows * kTileRows *
           ((blocks + kTileBlocks - 1) / kTileBlocks * kTileBlocks);
}

/// Scales [rows, blocks] of a byte each into tiles.
Status tileScales(const std::byte* scales, std::int64_t rows, std::int64_t blocks,
                  std::uint8_t* tiles, Stream stream);

/// x [tokens, xStride] as codes [tokens, cols] and tiles of scales whose products are what
/// roundActivations() gives, for NvFp4 and MxFp8; cols is a multiple of 32. E2M1 codes lie as in
/// weights (weight_layout.h): within eight values in another order than these, which a product does
/// not notice as long as both factors have it. NvFp4's scales are still to be divided by
/// globalScale.
Status quantizeBlocks(ActivationFormat format, float globalScale, const float* x,
                      std::int64_t xStride, std::int64_t tokens, std::int64_t cols,
                      std::uint8_t* codes, std::uint8_t* tiles, Stream stream);

}  // namespace fettle::kernels::cuda
