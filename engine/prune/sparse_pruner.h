// Zeroes weights of a whole model, layer by layer: each linear weight is judged by the inputs that
// the layers already pruned give it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/core/run_control.h"
#include "engine/experiment/run_values.h"
#include "engine/prune/sparsity.h"
#include "engine/quant/calibration.h"

namespace fettle {

enum class SparsityMethod { Magnitude, Wanda, SparseGpt };

struct SparseOptions {
    SparsityMethod method = SparsityMethod::SparseGpt;
    SparsityTarget target;
    double damping = 0.01;
    std::int64_t block = 128;                        ///< SparseGPT
    std::function<bool(const std::string&)> chosen;  ///< by canonical name
};

/// The linear weights of `model` that `options.chosen` picks, with zeros; in their float type.
/// `text` may be empty for Magnitude. Adds "sparsity" and, with text, "relative_output_error" of
/// each weight to `metrics`. Returns how many weights were pruned.
std::size_t pruneSparse(Model& model, const CalibrationText& text, const SparseOptions& options,
                        Backend& backend, kernels::WorkerPool& pool, RunControl& control,
                        std::vector<LayerMetric>& metrics);

/// Share of zeros among the linear weights of the decoder layers.
double modelSparsity(const Model& model, RunControl& control);

}  // namespace fettle
