// How much the model loses when one weight alone is quantized: the scores that mixed precision is
// chosen by (engine/experiment/bit_allocation.h). Weights that read the same input share a scheme:
// q, k, v are one unit, gate and up are one.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/experiment/bit_allocation.h"
#include "engine/quant/calibration.h"
#include "engine/quant/group_quantizer.h"

namespace fettle {

enum class SensitivityScore {
    /// KL divergence of the predictions with that unit alone quantized, nats per token: measured,
    /// with activations as deployed. One pass through the rest of the model per unit and scheme.
    Divergence,
    /// Second-order estimate from the empirical Fisher matrix's diagonal: 1/2 sum E[g^2] dw^2, g
    /// the
    /// gradient of a sequence's loss. One gradient pass over the text. Kwon et al. 2022.
    Fisher,
    /// 1/2 (mean of the Hessian's diagonal over the unit) |dw|^2, the diagonal's sum estimated by
    /// Hutchinson's method from differences of gradients. HAWQ-V2, Dong et al. 2020.
    Hessian
};

struct SensitivityOptions {
    std::vector<QuantScheme> schemes;  ///< what a unit may become; leaving it as it is comes on top
    SensitivityScore score = SensitivityScore::Divergence;
    ScaleSearch search = ScaleSearch::Mse;
    DType scaleType = DType::F16;
    /// Whether a weight may be quantized, by canonical name.
    std::function<bool(const std::string&)> eligible;
};

/// The units in model order, each with a choice per fitting scheme and the last one "none". Text is
/// rounded to nearest under calibrated scales: methods that do better gain on all units alike.
/// Throws EngineError(Usage) where no unit is eligible.
std::vector<AllocationUnit> measureSensitivity(const Model& model, const CalibrationText& text,
                                               const SensitivityOptions& options, Backend& backend,
                                               kernels::WorkerPool& pool, RunControl& control);

/// What one unit costs: KL divergence of the predictions with it alone quantized, nats per token.
struct UnitDivergence {
    std::vector<std::string> weights;
    double nearest = 0;  ///< rounded to nearest under its scheme
    double chosen = 0;   ///< as the quantized model has it
};
/// Of every unit with weights that `quantized` holds quantized and `plain` does not; the models are
/// the same otherwise. One pass through the rest of the model per unit and way. Options but their
/// schemes and score count.
std::vector<UnitDivergence> unitDivergences(const Model& plain, const Model& quantized,
                                            const CalibrationText& text, SensitivityOptions options,
                                            Backend& backend, kernels::WorkerPool& pool,
                                            RunControl& control);

}  // namespace fettle
