// Zeros in place of single weights: which, and what the others can make up for. Magnitude; Wanda
// (Sun et al. 2023): magnitude times the norm of the input; SparseGPT (Frantar & Alistarh 2023):
// column by column, each making up for the errors of those before it.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/backend/device_work.h"
#include "engine/core/run_control.h"
#include "engine/quant/gptq.h"
#include "kernels/ops/worker_pool.h"

namespace fettle {

enum class SparsityPattern {
    Unstructured,
    TwoFour  ///< two of every four neighbouring inputs, what tensor cores run
};

struct SparsityTarget {
    SparsityPattern pattern = SparsityPattern::Unstructured;
    double ratio = 0.5;  ///< share of zeros; 2:4 has one half
    std::int64_t zerosPerRow(std::int64_t cols) const;
};

/// Zeroes, in each row of `weight` [rows, cols], the weights of the least |w| * inputNorm: exactly
/// zerosPerRow() of them, or two of each four. `inputNorm` [cols] empty: all ones. Ties: the
/// earlier one goes.
void zeroSmallest(std::vector<float>& weight, std::int64_t rows, std::int64_t cols,
                  const std::vector<float>& inputNorm, const SparsityTarget& target,
                  kernels::WorkerPool& pool);

/// The same on a device.
void zeroSmallest(std::vector<float>& weight, std::int64_t cols,
                  const std::vector<float>& inputNorm, const SparsityTarget& target,
                  WeightWorker& device);

/// SparseGPT with a factor of factorInputs() in the weight's own order of columns. Unstructured
/// zeros are chosen per `block` of columns over all rows, those of 2:4 when their four columns are
/// reached.
void sparseGpt(std::vector<float>& weight, std::int64_t rows, std::int64_t cols,
               const GptqFactor& factor, const SparsityTarget& target, std::int64_t block,
               kernels::WorkerPool& pool, RunControl& control);

/// Share of exact zeros.
double zeroShare(const std::vector<float>& values);

}  // namespace fettle
