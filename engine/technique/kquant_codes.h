// Codes of GGUF's K-quants chosen under a text: GPTQ and its refinements over llama.cpp's own
// formats and mixtures, so that a file of the same size and speed says more of what the model said.
#pragma once

#include <cstdint>
#include <string>

#include "engine/backend/backend.h"
#include "engine/core/run_control.h"
#include "engine/model/model.h"
#include "engine/quant/calibration.h"
#include "kernels/formats/weight_format.h"

namespace fettle {

/// `model` with the weights of its layers in the mixture named after `base` (kQuantMixture,
/// kQuantForRows); the head, and rows that do not divide into 32, stay as they are. Works layer by
/// layer; the result is held in memory.
Model withKQuantCodes(Model model, kernels::WeightFormat base, const CalibrationText& text,
                      Backend& backend, RunControl& control);

}  // namespace fettle
