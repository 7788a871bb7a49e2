// Which inputs of a linear weight can go, and how the others make up for them. Inputs come in units
// of equal width: one neuron, or the elements of a head. Removing unit B from outputs W x costs, at
// best, tr(W_B (H^-1_BB)^-1 W_B^T) where H is the mean of x x^T; what remains is then
// W - W_B (H^-1_BB)^-1 H^-1_B: (Hassibi & Stork 1993, for structures: Kurtic et al. 2023, ZipLM).
// One unit goes at a time, so that of two units that say the same only one does.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/core/run_control.h"
#include "kernels/ops/worker_pool.h"

namespace fettle {

struct UnitOptions {
    std::int64_t width = 1;    ///< columns of a unit
    std::int64_t classes = 1;  ///< units [k n / classes, (k + 1) n / classes) lose equally many
    double damping = 0.01;     ///< share of the mean diagonal that is added to H
    bool compensate = true;    ///< the columns that stay take over; else they stay as they are
    const std::vector<double>* scores =
        nullptr;  ///< [units]: who goes first; null: who costs least
};

struct UnitResult {
    std::vector<std::int64_t> kept;  ///< units, ascending
    std::vector<double> importance;  ///< [units] the scores, else what removing each alone costs
    std::vector<float> weight;       ///< [rows, cols], zero in the columns that went
    double relativeError = 0;        ///< ||(W - W') X|| / ||W X||
};

/// Removes `remove` units (a multiple of the classes) from `weight` [rows, cols], whose inputs have
/// the mean of x x^T `gram` [cols, cols]. With scores and without compensation, `gram` may be
/// empty. Throws EngineError(BadInput) where H is not positive definite even when damped.
UnitResult removeUnits(const std::vector<float>& weight, std::int64_t rows,
                       const std::vector<float>& gram, std::int64_t cols, std::int64_t remove,
                       const UnitOptions& options, kernels::WorkerPool& pool, RunControl& control);

/// ||(W - V) X|| / ||W X|| for weights [rows, cols] and the mean of x x^T.
double relativeOutputError(const std::vector<float>& w, const std::vector<float>& v,
                           const std::vector<float>& gram, std::int64_t cols,
                           kernels::WorkerPool& pool);

/// H^-1 of gram plus damping, [cols, cols]; ten times more damping is tried up to three times.
/// Empty where that does not help.
std::vector<float> inverseGram(const std::vector<float>& gram, std::int64_t cols, double damping,
                               kernels::WorkerPool& pool, RunControl& control);

}  // namespace fettle
