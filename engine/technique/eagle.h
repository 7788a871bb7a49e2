// An EAGLE head as a technique: the model keeps its weights and its text, and gets a layer that
// drafts from its hidden states.
#pragma once

#include "engine/technique/technique.h"

namespace fettle {

class Eagle : public Technique {
public:
    const TechniqueDescriptor& descriptor() const override;
    StepEstimate estimate(const ModelFacts& model, const nlohmann::json& params,
                          const RunInputs& inputs, const MachineSpeed& speed) const override;
    Model apply(Model model, TechniqueContext& context) const override;
};

}  // namespace fettle
