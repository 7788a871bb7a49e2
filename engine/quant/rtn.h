// Round-to-nearest quantization of one linear weight: each channel or group gets a scale, codes are
// the nearest integers. The scale is the one that maps the largest magnitude to the largest code
// ("absmax"), or the one with the least squared error over a grid of clipping ratios refined by
// least squares ("mse"), optionally weighted by the mean square of each input as seen in
// calibration (a diagonal Hessian; the weighting of Frantar et al. 2022 and of importance-weighted
// block quantizers). Codes are computed with the scale as it is stored, after rounding.
#pragma once

#include <string>
#include <vector>

#include "engine/core/run_control.h"
#include "engine/quant/group_quantizer.h"
#include "engine/tensor/weight.h"
#include "kernels/ops/worker_pool.h"

namespace fettle {

struct RtnOptions {
    QuantScheme scheme;
    ScaleSearch search = ScaleSearch::Mse;
    DType scaleType = DType::F16;  ///< F32, F16 or BF16
    const std::vector<float>* inputPower =
        nullptr;            ///< [cols] mean x_j^2 from calibration, or null
    float globalScale = 0;  ///< NVFP4's multiplier; 0: from this weight's largest magnitude
};

struct RtnResult {
    QuantizedTensor tensor;
    double mse = 0;     ///< mean squared difference of the weights
    double sqnrDb = 0;  ///< signal to quantization noise of the weights
    double relativeOutputError =
        0;  ///< sqrt(sum h dw^2 / sum h w^2); equals the weights' own without calibration
};

/// Quantizes `weight` [rows, cols]; cols must be a multiple of the group size. Rows are read one at
/// a time, so memory beyond the result is one row per thread. Throws EngineError(BadInput) with
/// `name` for NaN or infinite weights.
RtnResult quantizeRtn(const std::string& name, const Weight& weight, const RtnOptions& options,
                      kernels::WorkerPool& pool, RunControl& control);

/// NVFP4's multiplier for weights that are to share one, as runtimes that fuse them expect: from
/// the largest magnitude of all. Values that are not finite are ignored.
float sharedGlobalScale(const std::vector<const Weight*>& weights, kernels::WorkerPool& pool);

}  // namespace fettle
