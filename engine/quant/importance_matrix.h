// How much each input of each linear weight matters: the mean of its square over a text.
// llama.cpp's "imatrix".
#pragma once

#include "engine/backend/backend.h"
#include "engine/io/exporter.h"
#include "engine/quant/calibration.h"

namespace fettle {

/// Runs `text` through `model` layer by layer. Weights that share an input share its values.
ImportanceMatrix measureImportance(const Model& model, const CalibrationText& text,
                                   Backend& backend, RunControl& control);

}  // namespace fettle
