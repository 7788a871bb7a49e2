// What each rung of the ladder may try: recipes made from what the registry offers, so that a
// technique or scheme that a build lacks is never asked for.
#pragma once

#include <string>
#include <vector>

#include "engine/experiment/advisor_values.h"
#include "engine/experiment/technique_schema.h"

namespace fettle {

/// The descriptor of a technique, or nullptr where this build has none.
const TechniqueDescriptor* findDescriptor(const std::vector<TechniqueDescriptor>& techniques,
                                          const std::string& id);
const ParameterSchema* findParameter(const TechniqueDescriptor& technique, const std::string& name);
bool hasChoice(const TechniqueDescriptor& technique, const std::string& parameter,
               const std::string& value);

/// Schemes by methods, most bits first; methods that want calibration text only where there is
/// some.
std::vector<Recipe> ptqCandidates(const TechniqueDescriptor& ptq, const AdvisorGoal& goal);
/// Training after the steps of `base`: with and without a teacher, at the default learning rate and
/// a third of it. `tokens` of training each.
std::vector<Recipe> trainingCandidates(const std::vector<TechniqueDescriptor>& techniques,
                                       const Recipe& base, double tokens, const AdvisorGoal& goal);
/// Drafts that need no other model, then the one that the goal names.
std::vector<Recipe> draftCandidates(const Recipe& base, const AdvisorGoal& goal);
/// An EAGLE head for what the steps of `base` make, trained on `tokens`.
Recipe headCandidate(const TechniqueDescriptor& eagle, const Recipe& base, double tokens,
                     const AdvisorGoal& goal);
/// Why no head is worth training for the goal's model, in words; empty if one is.
std::string headRefusal(const AdvisorGoal& goal);
/// Pruning, distilling where there is such a technique, then the steps of `base`.
std::vector<Recipe> pruneCandidates(const std::vector<TechniqueDescriptor>& techniques,
                                    const Recipe& base, double tokens, const AdvisorGoal& goal);

/// Training tokens that a technique takes when nothing is said; 0 where it trains nothing.
double defaultTokens(const TechniqueDescriptor& technique);
/// The recipe with the "tokens" of its training steps multiplied by `share`, at least 1.
Recipe withTokenShare(Recipe recipe, double share);
/// "int4-g32 gptq", "qad lr 3e-05": what distinguishes a recipe of a stage.
std::string candidateTitle(const Recipe& recipe, const std::string& stage);

}  // namespace fettle
