// Pruning: a model with fewer weights. Structured methods cut out a smaller plain model, the others
// set single weights to zero.
#pragma once

#include "engine/technique/technique.h"

namespace fettle {

class Prune : public Technique {
public:
    const TechniqueDescriptor& descriptor() const override;
    StepEstimate estimate(const ModelFacts& model, const nlohmann::json& params,
                          const RunInputs& inputs, const MachineSpeed& speed) const override;
    Model apply(Model model, TechniqueContext& context) const override;
};

}  // namespace fettle
