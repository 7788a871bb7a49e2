// What a device can do beside the model's passes, where the host would have to fetch or send as
// much as the work is worth: a backend may be any of these, and the host does what it is not.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cuda/sampling.h"
#include "kernels/ops/fake_quant.h"

namespace fettle {

/// Draws tokens where the logits lie.
class TokenSampler {
public:
    virtual ~TokenSampler() = default;
    /// The token of a row of `count` logits, device memory, that `rule` draws with `random` in
    /// [0, 1). Its temperature is above 0; probabilities are float32.
    virtual std::int32_t drawToken(const float* logits, std::int64_t count,
                                   const kernels::cuda::SamplingRule& rule, float random) = 0;
};

/// Of an input of linear weights, over all rows that passed by.
struct InputSums {
    std::vector<float> largest;            ///< [cols] max |x|
    std::vector<double> squares, fourths;  ///< [cols] sums of x^2 and x^4
    std::vector<std::int64_t> histogram;   ///< of half octaves: kernels/cuda/observe.h
};
/// Watches inputs without fetching them; one at a time.
class InputObserver {
public:
    virtual ~InputObserver() = default;
    virtual void beginInput(std::int64_t cols) = 0;
    /// x [rows, cols] without gaps, device memory.
    virtual void addInput(const float* x, std::int64_t rows) = 0;
    virtual InputSums endInput() = 0;
};

/// GPTQ's choice of codes (engine/quant/gptq.h) under grids that are known; all host memory.
struct ColumnSweep {
    std::int64_t rows = 0, cols = 0, group = 0;
    kernels::CodeGrid grid;
    const float* weights = nullptr;                    ///< [rows, cols]
    const float* lower = nullptr;                      ///< [cols, cols], in the order below
    const std::int64_t* order = nullptr;               ///< [cols]
    const float *scales = nullptr, *shifts = nullptr;  ///< [rows, cols / group]; whole shifts
    float* codes = nullptr;                            ///< [rows, cols] in units of the grid
    double* losses = nullptr;                          ///< [rows]
};
/// Chooses codes and zeros of weights that lie on the host.
class WeightWorker {
public:
    virtual ~WeightWorker() = default;
    /// False where the device has no room for it.
    virtual bool sweepColumns(const ColumnSweep& sweep) = 0;
    /// Zeroes in each row of weight [rows, cols] the `zeros` of the least |w| * inputNorm, of equal
    /// ones the earlier. inputNorm [cols] may be empty: all ones.
    virtual void zeroSmallest(std::span<float> weight, std::int64_t cols,
                              std::span<const float> inputNorm, std::int64_t zeros) = 0;
    /// The same of two in each four.
    virtual void zeroTwoOfFour(std::span<float> weight, std::int64_t cols,
                               std::span<const float> inputNorm) = 0;
};

}  // namespace fettle
