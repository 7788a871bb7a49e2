// Training in the numbers of the deployed model: what quantization-aware training (labels) and
// quantization-aware distillation (a teacher's distributions) have in common.
#pragma once

#include <optional>
#include <vector>

#include "engine/technique/technique.h"
#include "engine/train/network.h"

namespace fettle {

/// Parameters both understand.
std::vector<ParameterSchema> quantizedTrainingParameters();

/// The peak learning rate where none is given, for a model of so many parameters whose rounding
/// cost `lost` nats a token (where that is known): weights that rounding hardly hurt are near where
/// they should be and are thrown off by steps that a badly damaged model needs to get anywhere with
/// the same text. Between a quarter and four times the rate that the size alone says.
double automaticLearningRate(double parameters, std::optional<double> lost);

/// Trains `model`, which a ptq step before has quantized or which is quantized here first, on the
/// run's training text. `teacher` may be null where the loss needs none; the loss's hidden term is
/// set up here. Returns the model with the numbers that were trained. Adds metrics (recovery and
/// the validation perplexities it is made from), metrics per weight, and the series "recovery".
Model trainQuantized(const std::string& technique, Model model, const TrainLoss& loss,
                     const Model* teacher, TechniqueContext& context);

/// What that takes. `withTeacher`: another model runs along.
StepEstimate estimateQuantizedTraining(const ModelFacts& model, const nlohmann::json& params,
                                       const RunInputs& inputs, const MachineSpeed& speed,
                                       const ModelFacts* teacher);

/// Share of the lost perplexity that is won back, in percent: 0 is the quantized model as training
/// found it, 100 the full-precision one. 0 where nothing was lost.
double recoveredShare(double quantized, double full, double now);

}  // namespace fettle
