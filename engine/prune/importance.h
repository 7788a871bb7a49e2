// How much neurons, heads, channels and layers matter, by what they do on calibration text.
// Activations: Muralidharan et al. 2024 (Minitron); gradients: Molchanov et al. 2019, first order;
// layers: block influence (Men et al. 2024) or the loss without them.
#pragma once

#include <string>
#include <vector>

#include "engine/core/run_control.h"
#include "engine/model/transformer.h"
#include "engine/quant/calibration.h"

namespace fettle {

enum class Importance {
    Reconstruction,  ///< what the outputs of the layer lose at best: unit_pruner.h
    Activation,      ///< mean magnitude of the activations
    Magnitude,       ///< norms of the weights; needs no text
    Taylor           ///< (gradient times weight)^2
};
Importance importanceByName(const std::string& name);

/// Per layer, one score per unit; channels count over all layers.
struct UnitScores {
    std::vector<std::vector<double>> neurons;  ///< [layers][feed-forward]
    std::vector<std::vector<double>> heads;    ///< [layers][query heads]
    std::vector<double> channels;              ///< [hidden]
};

/// From the weights alone.
UnitScores magnitudeScores(const Model& model, RunControl& control);
/// From gradients of the cross-entropy: each sequence's sum of gradient times weight over a unit,
/// squared, summed over sequences. Holds the model, its gradients and one sequence's activations in
/// float32.
UnitScores taylorScores(const Model& model, const CalibrationText& text, kernels::WorkerPool& pool,
                        RunControl& control);

/// Mean negative log-likelihood of the sequences, nats per token, without the layers that `skipped`
/// marks (may be null).
double meanLoss(Transformer& transformer, const CalibrationText& text,
                const Transformer::SkippedLayers* skipped, RunControl& control);

enum class LayerImportance { Influence, Loss };
struct LayerChoice {
    std::vector<std::int64_t> kept;  ///< ascending
    std::vector<double> importance;  ///< [layers] influence, or increase of the loss alone
};
/// Which `remove` layers can go. By loss: one at a time, each the one whose removal costs least
/// given those already gone.
LayerChoice chooseLayers(Transformer& transformer, const CalibrationText& text, std::int64_t remove,
                         LayerImportance by, RunControl& control);

}  // namespace fettle
