// The advisor: climbs PTQ, QAT/QAD, speculative decoding, pruning with distillation, cheapest
// first, until the targets hold. It runs nothing itself: from what is known so far it says what it
// wants to know next, or that it is done. Whoever drives it answers and asks again; since it
// decides from the answers alone, a ladder that was killed goes on from the experiments in the
// database.
#pragma once

#include <vector>

#include "engine/experiment/advisor_values.h"
#include "engine/experiment/technique_schema.h"

namespace fettle {

/// The ladder as far as `known` reaches. Deterministic. Within a stage parameters are chosen by
/// successive halving (Jamieson and Talwalkar 2016): all candidates on a quarter of the evaluation,
/// the better half on a half, the best two in full.
AdvisorReport advise(const AdvisorGoal& goal, const std::vector<TechniqueDescriptor>& techniques,
                     const AdvisorKnowledge& known);

}  // namespace fettle
