// The part of ptq that gives every weight a scheme of its own: sensitivity measured, then the
// allocation of least loss under the wanted bits per weight.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "engine/quant/calibration.h"
#include "engine/technique/technique.h"
#include "engine/tensor/quant_scheme.h"

namespace fettle {

/// Tokens that scores are measured on: they rank weights, which needs far fewer than calibrating.
constexpr std::int64_t kScoredTokens = 2048;

/// Parameters "target_bits", "sensitivity" and "mix" for the descriptor of ptq.
std::vector<ParameterSchema> mixedPrecisionParameters();

/// Whether `params` ask for mixed precision.
bool wantsMixedPrecision(const nlohmann::json& params);

/// Schemes by canonical weight name; weights that stay as they are have none. Scores, the
/// allocation and the predicted divergence go to the context's layer metrics and metrics. Throws
/// EngineError(Usage) for an unknown scheme in "mix" and where even the smallest schemes need more
/// bits than wanted.
std::map<std::string, QuantScheme> mixedSchemes(
    const Model& model, const CalibrationText& text, DType scaleType,
    const std::function<bool(const std::string&)>& eligible, TechniqueContext& context);

}  // namespace fettle
