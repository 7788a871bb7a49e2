// What heads on a model's hidden states learn from: the states themselves, and the tokens that are
// worth guessing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/data/batch_source.h"
#include "engine/model/transformer.h"

namespace fettle {

/// The `count` commonest tokens of the text's next batches, ascending; all of `vocabulary` where it
/// has no more. The text stays where it is.
std::vector<std::int32_t> commonTokens(BatchSource& data, std::int64_t vocabulary,
                                       std::int64_t count);
/// Hidden states after the final norm [ids, hiddenSize], each sequence of the batch on its own.
void readStates(Transformer& target, const TrainBatch& batch, std::vector<float>& states,
                RunControl& control);

/// "step 12 of 146, loss 2.310": what a trainer of heads says of its progress.
std::string stepText(std::int64_t step, std::int64_t steps, double loss);

}  // namespace fettle
