// Quantizes a model layer by layer under calibration text: each linear weight sees the inputs that
// the layers already quantized give it. Only one layer's weights are prepared at a time.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "engine/quant/calibration.h"
#include "engine/quant/group_quantizer.h"
#include "engine/quant/input_range.h"
#include "engine/quant/input_scales.h"
#include "engine/quant/rotation.h"
#include "engine/technique/layer_checkpoints.h"
#include "engine/technique/technique.h"

namespace fettle {

struct LayerwiseOptions {
    std::optional<InputScaling> scaling;  ///< scale input channels first, folded into the model
    double scalingExponent = 0;           ///< of these scales; 0: searched for each input
    bool gptq = false;                    ///< else round to nearest
    ScaleSearch search = ScaleSearch::Mse;
    DType scaleType = DType::F16;
    RangeSearch inputRange = RangeSearch::Largest;  ///< of activations under one fixed scale
    double inputPercentile = 99.99;
    double damping = 0.01;
    bool activationOrder = true;
    bool follow = true;        ///< GPTQ aims at what the plain model gives, see OutputFollower
    int refinePasses = 2;      ///< of refineCodes() behind GPTQ
    std::int64_t lowRank = 0;  ///< rank of what makes up for the rounding error; 0: none
    /// Biases that are there take up the mean error of the outputs (Nagel et al. 2019, arXiv
    /// 1906.04721).
    bool correctBias = true;
    /// Rotates each layer before it is quantized; the model's ends are rotated already. Null: none.
    const ModelRotation* rotation = nullptr;
    /// The scheme a weight gets by its canonical name; nothing: it stays as it is.
    std::function<std::optional<QuantScheme>(const std::string&)> schemeOf;
    LayerCheckpoints* checkpoints =
        nullptr;  ///< where finished layers go; null: they stay in memory
};

/// Replaces weights of `model` (whose head, if quantized, is a weight of its own) and writes a
/// metric per weight to the context: sqnr_db, mse, relative_output_error (of the outputs on the
/// calibration text), output_cosine, bits. Returns how many weights were quantized.
std::size_t quantizeLayerwise(Model& model, const CalibrationText& text,
                              const LayerwiseOptions& options, TechniqueContext& context);

}  // namespace fettle
