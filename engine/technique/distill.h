// Distillation: a smaller model learns to predict what a larger one predicts. Hinton et al. 2015.
#pragma once

#include "engine/technique/technique.h"

namespace fettle {

class Distill : public Technique {
public:
    const TechniqueDescriptor& descriptor() const override;
    StepEstimate estimate(const ModelFacts& model, const nlohmann::json& params,
                          const RunInputs& inputs, const MachineSpeed& speed) const override;
    Model apply(Model model, TechniqueContext& context) const override;
};

}  // namespace fettle
