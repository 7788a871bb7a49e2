// Post-training quantization: codes and scales for the linear weights, chosen without training.
#pragma once

#include "engine/technique/technique.h"

namespace fettle {

class Ptq : public Technique {
public:
    const TechniqueDescriptor& descriptor() const override;
    StepEstimate estimate(const ModelFacts& model, const nlohmann::json& params,
                          const RunInputs& inputs, const MachineSpeed& speed) const override;
    Model apply(Model model, TechniqueContext& context) const override;
};

}  // namespace fettle
