// The units of sensitivity.h and the weights that quantizing them would give.
#pragma once

#include <map>

#include "engine/quant/sensitivity.h"

namespace fettle {

/// A unit with its candidates: one scheme per choice but the last.
struct SensitivityUnit {
    AllocationUnit values;
    std::vector<QuantScheme> schemes;
};

std::vector<SensitivityUnit> sensitivityUnits(const Model& model,
                                              const SensitivityOptions& options);

/// Weight `name` rounded to nearest under `scheme`, inputs weighted by `inputPower` (may be null).
Weight roundedWeight(const Model& model, const std::string& name, const QuantScheme& scheme,
                     const SensitivityOptions& options, const std::vector<float>* inputPower,
                     kernels::WorkerPool& pool, RunControl& control);

/// Adds the losses of Fisher and Hessian scores.
void addGradientScores(const Model& model, const CalibrationText& text,
                       const SensitivityOptions& options, std::vector<SensitivityUnit>& units,
                       kernels::WorkerPool& pool, RunControl& control);

}  // namespace fettle
