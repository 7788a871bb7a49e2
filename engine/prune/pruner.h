// The surgery: a smaller plain model of the same family, cut out of a larger one by a plan. Which
// rows and columns of a tensor go follows from the family's table of tensors.
#pragma once

#include "engine/core/run_control.h"
#include "engine/model/model.h"
#include "engine/prune/pruning_plan.h"

namespace fettle {

/// `model` without what `plan` leaves out. Tensors that keep all rows and columns are shared, the
/// others keep their float type; quantized ones become float32 where they are cut. Removing heads
/// or neurons equals setting their columns of o or down to zero. Channels change the statistics of
/// the norms: see rescaleNorms() of channel_pruner.h. Throws EngineError(Usage) where the sizes
/// that result differ between layers or the family has no name for them.
Model pruneModel(const Model& model, const PruningPlan& plan, RunControl& control);

/// `values` in the float type of `like` (float32 where that is quantized), with its shape.
Weight weightLike(const Weight& like, const std::vector<float>& values);

}  // namespace fettle
