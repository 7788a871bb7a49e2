// GPTQ (Frantar et al. 2022, arXiv 2210.17323): codes of a linear weight chosen column by column,
// each column making up for the errors of those before it, so that the error of the outputs
// ||(W - W^) X||^2 is small rather than that of the weights. Scales are those of the original
// groups ("static groups"), so that columns may be taken in any order and groups stay contiguous.
//
// With H = X X^T + damping = U U^T, U upper triangular, the error is ||(W - W^) U||^2: column j of
// the product depends on columns up to j only, so each is made small in turn. This is the same
// greedy choice as the paper's, without forming an inverse.
#pragma once

#include <string>
#include <vector>

#include "engine/core/run_control.h"
#include "engine/quant/group_quantizer.h"
#include "kernels/ops/worker_pool.h"

namespace fettle {

/// What the inputs of a weight say, factored once for all weights that share them.
struct GptqFactor {
    std::vector<std::int64_t> order;  ///< column of the weight at each position
    std::vector<float> lower;         ///< [cols, cols] U^T in that order, row-major
    double damping = 0;               ///< share of the mean diagonal that was added
    bool usable = false;              ///< false: H is not positive definite even when damped
};
/// `gram` [cols, cols] is the mean of x x^T. `damping` is the share of its mean diagonal that is
/// added to the diagonal; ten times more is tried up to three times. `activationOrder` takes
/// columns with the largest inputs first.
GptqFactor factorInputs(const std::vector<float>& gram, std::int64_t cols, double damping,
                        bool activationOrder, kernels::WorkerPool& pool, RunControl& control);

struct GptqOptions {
    QuantScheme scheme;
    ScaleSearch search = ScaleSearch::Mse;
    DType scaleType = DType::F16;
    float globalScale = 0;    ///< NVFP4's multiplier; 0: from this weight's largest magnitude
    std::int64_t block = 64;  ///< columns between updates by matrix product; any value, same result
                              ///< up to rounding
};
struct GptqResult {
    QuantizedTensor tensor;
    double loss = 0;  ///< ||(W - W^) U||^2
};
/// Quantizes `weight` with a usable factor; `inputPower` [cols], the diagonal of the gram, weighs
/// the search of scales. Throws EngineError(BadInput) with `name` for NaN or infinite weights.
GptqResult quantizeGptq(const std::string& name, const Weight& weight, const GptqFactor& factor,
                        const std::vector<float>& inputPower, const GptqOptions& options,
                        kernels::WorkerPool& pool, RunControl& control);

}  // namespace fettle
