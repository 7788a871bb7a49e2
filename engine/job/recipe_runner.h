// Runs a recipe on a model: checks it, applies its techniques in order, measures the result with
// the protocol, writes the artifact. Reports everything through RunControl; knows neither database
// nor screen.
#pragma once

#include "engine/backend/cpu_backend.h"
#include "engine/core/run_control.h"
#include "engine/experiment/job_values.h"
#include "engine/model/model.h"

namespace fettle {

/// The recipe with defaults filled in. Throws EngineError(Usage) listing every problem.
Recipe checkedRecipe(const Recipe& recipe);
/// Inputs with the bundled texts where the bundled model is used and nothing else is given.
RunInputs resolvedInputs(const std::string& modelPath, RunInputs inputs);

/// What running `request` will cost. Never throws for a bad recipe: that is in `problems`.
RecipeEstimate estimateRun(const EstimateRequest& request, CpuBackend& backend,
                           RunControl& control);
RunResult runRecipe(const RunRequest& request, CpuBackend& backend, RunControl& control);
EvaluateResult evaluateModel(const EvaluateRequest& request, CpuBackend& backend,
                             RunControl& control);
/// Exports, and with `verify` reads back and compares: codes bit by bit, and logits of a short
/// text.
ExportReport exportAndVerify(const ExportRequest& request, CpuBackend& backend,
                             RunControl& control);
GenerateReport generateText(const GenerateRequest& request, CpuBackend& backend,
                            RunControl& control);

}  // namespace fettle
