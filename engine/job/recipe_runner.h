// Runs a recipe on a model: checks it, applies its techniques in order, measures the result with
// the protocol, writes the artifact. Reports everything through RunControl; knows neither database
// nor screen.
#pragma once

#include "engine/backend/backend.h"
#include "engine/core/run_control.h"
#include "engine/experiment/job_values.h"
#include "engine/model/model.h"
#include "engine/speculative/draft_source.h"

namespace fettle {

/// The recipe with defaults filled in. Throws EngineError(Usage) listing every problem.
Recipe checkedRecipe(const Recipe& recipe);
/// Inputs with the bundled texts where the bundled model is used and nothing else is given.
RunInputs resolvedInputs(const std::string& modelPath, RunInputs inputs);

/// What running `request` will cost. Never throws for a bad recipe: that is in `problems`.
RecipeEstimate estimateRun(const EstimateRequest& request, Backend& backend, RunControl& control);
/// Where a run that will write its model to `artifactFolder` keeps what it needs to go on after it
/// was killed: one folder per step. Gone once the run is finished.
std::string checkpointsOf(const std::string& artifactFolder);
/// Where runs that write their models beside each other share what teachers predict.
std::string teacherCacheOf(const std::string& artifactFolder);
RunResult runRecipe(const RunRequest& request, Backend& backend, RunControl& control);
EvaluateResult evaluateModel(const EvaluateRequest& request, Backend& backend, RunControl& control);
/// Exports, and with `verify` reads back and compares: codes bit by bit, and logits of a short
/// text.
ExportReport exportAndVerify(const ExportRequest& request, Backend& backend, RunControl& control);
/// The draft that a request or else the model itself names; nothing for neither and for "none".
/// Throws EngineError as makeSetup does.
std::optional<SpeculativeSetup> requestedSetup(const std::string& draft,
                                               const std::string& draftTokens,
                                               const std::string& tree, const Model& model,
                                               Backend& backend, RunControl& control);
/// The text to measure speculative decoding on: `path`, or the bundled one where that is empty.
std::string speculationText(const std::string& path);
/// Puts `speculative` in the place of plain figures of the same name, which keep their protocol,
/// and adds the rest; weight_bytes grows by the draft.
void mergeSpeculation(std::vector<Measurement>& metrics, std::vector<Measurement> speculative);
GenerateReport generateText(const GenerateRequest& request, Backend& backend, RunControl& control);

}  // namespace fettle
