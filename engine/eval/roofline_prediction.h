// What CUDA devices would take at least for a model: every launch of a prompt and of one decoded
// token, counted from its parameters and put under the roofline of each device. A prediction, made
// without a device.
#pragma once

#include <string>
#include <vector>

#include "engine/backend/roofline.h"
#include "engine/core/run_control.h"
#include "engine/model/model.h"

namespace fettle {

struct KernelPrediction {
    std::string kernel;
    std::int64_t launches = 0;
    double bytes = 0, operations = 0;
    std::vector<double> seconds;  ///< by device of the plan, at least
};

struct PassPrediction {
    std::int64_t tokens = 0, past = 0;
    std::vector<KernelPrediction> kernels;  ///< the longest on the first device first
    KernelPrediction total;
};

/// Devices that launch the same kernels for a model: what they multiply without widening it first
/// differs.
struct PlanPrediction {
    std::vector<DevicePeaks> devices;
    PassPrediction prompt, decode;  ///< with the logits of the last token
};

struct RooflinePrediction {
    std::uint64_t deviceBytes = 0;  ///< weights, activations and the key/value cache
    std::vector<PlanPrediction> plans;
};

/// Of a prompt of `promptTokens` tokens and the token after it. Reads no more of the model than
/// its norms and some rows of the embedding. Throws EngineError(BadInput) for a damaged model.
RooflinePrediction predictRoofline(const Model& model, std::int64_t promptTokens,
                                   RunControl& control);

}  // namespace fettle
