// Scaling input channels before quantization: W diag(s) is quantized and the inputs are divided by
// s, which is folded into whatever makes them, so that the model computes the same.
//   AWQ (Lin et al. 2023, arXiv 2306.00978): s = mean|x|^r, so that weights of large inputs are
//   rounded finely.
//   SmoothQuant (Xiao et al. 2022, arXiv 2211.10438): s = max|x|^a / max|w|^(1-a), so that
//   outliers of the inputs do not set the step of 8-bit activations.
// The exponent is searched: the one whose quantized product, computed by the kernels that will run
// it, is closest to the plain one on a sample of tokens. s = 1 is always among the candidates.
#pragma once

#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/model/model.h"
#include "engine/quant/calibration.h"
#include "engine/quant/group_quantizer.h"

namespace fettle {

enum class InputScaling { Awq, SmoothQuant };

struct InputScaleOptions {
    InputScaling scaling = InputScaling::Awq;
    QuantScheme scheme;
    DType scaleType = DType::F16;
    /// [cols] channels of equal number must get equal scales (query heads that share a value
    /// head); empty: each its own.
    std::vector<std::int64_t> classes;
    double exponent = 0;  ///< taken without a search, where it is above 0
};
struct InputScales {
    std::vector<float> scales;  ///< [cols]; empty: best left alone
    double exponent = 0;
    double loss = 0;       ///< squared error of the outputs on the sample
    double plainLoss = 0;  ///< the same with s = 1
};
/// `consumers` are all weights that multiply the input; statistics must hold a sample.
InputScales searchInputScales(const std::vector<Weight>& consumers,
                              const InputStatistics& statistics, const InputScaleOptions& options,
                              Backend& backend, kernels::WorkerPool& pool, RunControl& control);

/// W diag(s) as float32.
void scaleColumns(Model& model, const std::string& name, const std::vector<float>& s);
/// diag(1/s) W as float32, and the bias likewise; `row / s[row]`.
void divideRows(Model& model, const std::string& name, const std::vector<float>& s);
/// Divides what the norm `name` (without ".weight") gives by s: weight under the model's
/// convention, and bias.
void divideNorm(Model& model, const std::string& name, const std::vector<float>& s);

}  // namespace fettle
