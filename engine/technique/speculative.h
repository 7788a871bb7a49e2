// Speculative decoding as a technique: the model keeps its weights and its text, and gets a draft.
#pragma once

#include "engine/technique/technique.h"

namespace fettle {

class Speculative : public Technique {
public:
    const TechniqueDescriptor& descriptor() const override;
    StepEstimate estimate(const ModelFacts& model, const nlohmann::json& params,
                          const RunInputs& inputs, const MachineSpeed& speed) const override;
    Model apply(Model model, TechniqueContext& context) const override;
};

}  // namespace fettle
