// Quantization-aware distillation: the quantized model learns, in the numbers it is deployed with,
// to predict what its teacher predicts - by default the original it was made from.
#pragma once

#include "engine/technique/technique.h"

namespace fettle {

class Qad : public Technique {
public:
    const TechniqueDescriptor& descriptor() const override;
    StepEstimate estimate(const ModelFacts& model, const nlohmann::json& params,
                          const RunInputs& inputs, const MachineSpeed& speed) const override;
    Model apply(Model model, TechniqueContext& context) const override;
    bool trainsQuantized() const override { return true; }
};

}  // namespace fettle
