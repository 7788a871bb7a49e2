// Quantization-aware training: the quantized model goes on training on text, in the numbers it is
// deployed with, so that weights and scales make up for what rounding cost.
#pragma once

#include "engine/technique/technique.h"

namespace fettle {

class Qat : public Technique {
public:
    const TechniqueDescriptor& descriptor() const override;
    StepEstimate estimate(const ModelFacts& model, const nlohmann::json& params,
                          const RunInputs& inputs, const MachineSpeed& speed) const override;
    Model apply(Model model, TechniqueContext& context) const override;
    bool trainsQuantized() const override { return true; }
};

}  // namespace fettle
