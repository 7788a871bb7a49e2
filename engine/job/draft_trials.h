// Tries drafts for a model and says which is worth it: the work behind the draft lab and
// `fettle-cli drafts`.
#pragma once

#include "engine/backend/backend.h"
#include "engine/core/run_control.h"
#include "engine/experiment/job_values.h"

namespace fettle {

/// A draft that cannot serve has its refusal in the report; the others are tried all the same.
/// Throws EngineError: Usage for a request that tries nothing, BadInput for the model or the text.
DraftTrialReport tryDrafts(const DraftTrialRequest& request, Backend& backend, RunControl& control);

}  // namespace fettle
