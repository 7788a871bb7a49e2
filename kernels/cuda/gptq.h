// One block of columns of GPTQ's sweep (engine/quant/gptq.h): codes chosen column by column, each
// making up for the errors of those before it. Pointers are device memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/ops/fake_quant.h"

namespace fettle::kernels::cuda {

constexpr std::int64_t kMostGptqColumns = 64;  ///< of a block

struct GptqBlock {
    const float* weights = nullptr;       ///< [rows, cols] W
    const float* lower = nullptr;         ///< [cols, cols] U^T with H = U U^T, in the order below
    const std::int64_t* order = nullptr;  ///< [cols] the weight's column at each place; null: as is
    /// [rows, sumStride] what columns before `begin` leave for those of the block: the errors
    /// [rows, begin] by rows begin .. begin + width of `lower`, transposed. Null in the first
    /// block.
    const float* sums = nullptr;
    const float* scales = nullptr;  ///< [rows, cols / group]
    const float* shifts = nullptr;  ///< the same, whole, of asymmetric grids; null: 0
    float* errors = nullptr;        ///< [rows, cols] W - W^, in the order: written for the block
    float* codes = nullptr;    ///< [rows, cols] in units of the grid, in the weight's own order
    double* losses = nullptr;  ///< [rows] what the block adds of ||(W - W^) U||^2
    std::int64_t rows = 0, cols = 0, group = 0, begin = 0, width = 0, sumStride = 0;
    CodeGrid grid;  ///< codes without shift

    template <class Check>
    void forEachPointer(Check check) const {
        check(weights);
        check(lower);
        check(order);
        check(sums);
        check(scales);
        check(shifts);
        check(errors);
        check(codes);
        check(losses);
    }
};

/// width <= kMostGptqColumns; group divides cols.
Status gptqBlock(const GptqBlock& block, Stream stream);

}  // namespace fettle::kernels::cuda
