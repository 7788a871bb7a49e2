// Channels of the residual stream: which matter, and what the norms must make up for when some go.
// A norm divides by the root mean square of its input; without some channels that mean is another
// one, so the weights of the norms are scaled by the ratio found on calibration text.
#pragma once

#include <vector>

#include "engine/core/run_control.h"
#include "engine/model/transformer.h"
#include "engine/prune/pruning_plan.h"
#include "engine/quant/calibration.h"

namespace fettle {

/// What flows through the residual stream on calibration text.
struct ChannelStatistics {
    std::vector<double> activation;  ///< [hidden] mean magnitude behind the norms, over all of them
    /// [2 layers + 1][hidden] mean square of the stream before attention, before the feed-forward
    /// of each layer, and before the final norm.
    std::vector<std::vector<double>> power;
};
ChannelStatistics observeChannels(const Model& model, const CalibrationText& text, Backend& backend,
                                  RunControl& control);

/// Makes up for channels that pruneModel() removed: weights of the norms (Gemma's scale of the
/// embedding, which follows from the width, as well). `model` is what pruneModel() returned for
/// `plan`, `before` the configuration it came from.
void rescaleNorms(Model& model, const ModelConfig& before, const PruningPlan& plan,
                  const ChannelStatistics& statistics);

}  // namespace fettle
