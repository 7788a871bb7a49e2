// Low-rank compensation: two narrow matrices that add back the part of a weight's rounding error
// that the outputs feel most (QERA, Zhang et al. 2024, arXiv 2410.06040; LQER, Zhang et al. 2024,
// arXiv 2402.02446).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/core/run_control.h"
#include "engine/tensor/weight.h"
#include "kernels/ops/worker_pool.h"

namespace fettle {

/// out in ~ the error: [rows, rank] times [rank, cols].
struct LowRank {
    std::int64_t rank = 0;
    std::vector<float> in, out;
};

/// The best out in of a given rank for `error` [rows, cols] = W - W^: least || (E - out in) X ||,
/// where `gram` [cols, cols] is the mean of x x^T; empty: least || E - out in ||. `out` has
/// orthonormal columns, by how much they matter. Found by subspace iteration (Halko et al. 2011)
/// from a fixed start, so that the same input gives the same result for any number of threads. A
/// rank above the smaller side is cut to it.
LowRank lowRankOf(const std::vector<float>& error, std::int64_t rows, std::int64_t cols,
                  const std::vector<float>& gram, std::int64_t rank, kernels::WorkerPool& pool,
                  RunControl& control);

/// A dense float32 weight of these values.
Weight denseWeight(const std::vector<float>& values, const Shape& shape);

/// Codes for `wanted` [rows, cols] with a correction of `rank` beside them, stored as `type`.
/// `encode` gives the codes of other values than `wanted`, or of these for null. Codes are chosen
/// twice: for the whole, and then for what the first correction leaves over, which they come closer
/// to.
QuantizedTensor withLowRank(
    const std::vector<float>& wanted, const std::vector<float>& gram, std::int64_t rank, DType type,
    const std::function<QuantizedTensor(const std::vector<float>* values)>& encode,
    kernels::WorkerPool& pool, RunControl& control);

}  // namespace fettle
