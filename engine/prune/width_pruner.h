// Removes heads and neurons layer by layer under calibration text: each layer is judged, cut and
// mended with the inputs that the layers already cut give it. Only one layer's weights are prepared
// at a time.
#pragma once

#include <string>
#include <vector>

#include "engine/core/run_control.h"
#include "engine/experiment/run_values.h"
#include "engine/prune/importance.h"
#include "engine/prune/pruning_plan.h"
#include "engine/prune/unit_pruner.h"

namespace fettle {

struct WidthOptions {
    PrunedShape shape;  ///< heads, kvHeads and feedForward count; the others must be the model's
    Importance importance = Importance::Reconstruction;
    const UnitScores* scores = nullptr;  ///< for Magnitude and Taylor
    bool compensate = true;
    double damping = 0.01;
};

/// The model of the same shape with zeros where inputs of o and down went, and what to keep of it:
/// pruneModel() of both is the smaller model, to the same logits.
struct WidthResult {
    Model model;
    PruningPlan plan;
};
/// Without text (no sequences) scores decide and nothing is compensated. Adds to `metrics` the
/// importance of each head
/// ("importance" of layers.N.attn.head.H), of the neurons by deciles ("importance_p10" ... of
/// layers.N.ffn.down.weight), and "relative_output_error" of o and down.
WidthResult pruneWidth(const Model& model, const CalibrationText& text, const WidthOptions& options,
                       Backend& backend, kernels::WorkerPool& pool, RunControl& control,
                       std::vector<LayerMetric>* metrics);

}  // namespace fettle
