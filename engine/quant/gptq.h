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

#include "engine/backend/device_work.h"
#include "engine/core/run_control.h"
#include "engine/quant/group_quantizer.h"
#include "engine/quant/input_statistics.h"
#include "kernels/ops/matmul.h"
#include "kernels/ops/worker_pool.h"

namespace fettle {

/// What the inputs of a weight say, factored once for all weights that share them.
struct GptqFactor {
    std::vector<std::int64_t> order;  ///< column of the weight at each position
    std::vector<float> lower;         ///< [cols, cols] U^T in that order, row-major
    double damping = 0;               ///< share of the mean diagonal that was added
    bool usable = false;              ///< false: H is not positive definite even when damped
    float ridge = 0;                  ///< what that was
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
    float globalScale = 0;  ///< NVFP4's multiplier; 0: from this weight's largest magnitude
    /// Rounds of refineCodes() behind the sweep, under `gram`; 0 or without gram: none.
    int refinePasses = 0;
    const std::vector<float>* gram = nullptr;  ///< [cols, cols], as the factor was made from
    /// What to come close to, [rows, cols], where it is not the weight itself.
    const std::vector<float>* target = nullptr;
    WeightWorker* device = nullptr;  ///< does the sweep where it can; null: the host does
    std::int64_t block = 64;  ///< columns between updates by matrix product; any value, same result
                              ///< up to rounding
};
struct GptqResult {
    QuantizedTensor tensor;
    double loss = 0;  ///< ||(W - W^) U||^2, of the target W
};
/// Quantizes `weight` with a usable factor; `inputPower` [cols], the diagonal of the gram, weighs
/// the search of scales. Throws EngineError(BadInput) with `name` for NaN or infinite weights.
GptqResult quantizeGptq(const std::string& name, const Weight& weight, const GptqFactor& factor,
                        const std::vector<float>& inputPower, const GptqOptions& options,
                        kernels::WorkerPool& pool, RunControl& control);

/// What weights should be so that their products with the inputs at hand come closest to the plain
/// weights' with the plain inputs p, for which the layers before have made x (GPTAQ, Li et al.
/// 2025, arXiv 2504.02692): W + t W C (H + damping)^-1, C the mean of (p - x) x^T. Made once for
/// all weights that share the input.
/// With few tokens for many inputs most of the correction is learned by heart, and harms. So t,
/// between 0 and 1, is what is best for the tokens held back; 1 where there are none.
class OutputFollower {
public:
    /// `gram` [cols, cols]; the drift's memory is reused.
    OutputFollower(const std::vector<float>& gram, InputDrift&& drift, std::int64_t cols,
                   double damping, kernels::WorkerPool& pool, RunControl& control);
    struct Target {
        std::vector<float> weights;  ///< [rows, cols]; as they were where H cannot be factored
        double trust = 0;            ///< t
    };
    Target target(const std::vector<float>& weights) const;

private:
    double trustIn(const std::vector<float>& correction, const std::vector<float>& weights) const;

    kernels::WorkerPool& m_pool;
    RunControl& m_control;
    std::int64_t m_cols;
    std::vector<float> m_factor;
    InputDrift m_drift;
    bool m_usable = false;
};

}  // namespace fettle
