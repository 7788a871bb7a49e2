// What techniques that train heads on a model's hidden states have in common: their parameters, the
// text they read, and how the model is decoded with the heads.
#pragma once

#include <string>
#include <vector>

#include "engine/data/data_loader.h"
#include "engine/model/draft_heads.h"
#include "engine/technique/technique.h"

namespace fettle {

/// tokens, vocabulary, learning_rate, batch_tokens, draft_tokens, tree.
std::vector<ParameterSchema> draftHeadParameters();
/// Puts into the estimate what the parameters are refused for.
void checkDraftHeads(const std::string& technique, const nlohmann::json& params,
                     const RunInputs& inputs, StepEstimate& estimate);
/// Throws EngineError(Usage) for a draft_tokens or tree that says nothing.
SpeculativeSetup draftHeadSetup(const nlohmann::json& params);
/// The training text in the pieces that heads learn from. Throws EngineError(Usage) where none is
/// given.
DataLoader draftHeadText(const std::string& technique, const Model& model,
                         TechniqueContext& context);
/// "71%, 55%" of shares.
std::string percentList(const std::vector<double>& shares);
/// The model with its heads, and what they were trained on as a metric.
Model withDraftHeads(Model model, SpeculativeSetup setup, DraftHeads heads, std::int64_t tokens,
                     TechniqueContext& context);

}  // namespace fettle
