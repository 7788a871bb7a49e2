#include "engine/technique/qat.h"

#include "engine/technique/quantized_training.h"
#include "engine/technique/training_memory.h"

namespace fettle {

namespace {

TechniqueDescriptor qatDescriptor() {
    TechniqueDescriptor d;
    d.id = "qat";
    d.title = "Quantization-aware training";
    d.help =
        "Goes on training the quantized model on your text, in the very numbers it is deployed "
        "with, until weights and scales have made up for most of what rounding cost. For schemes "
        "that ptq alone damages: four bits with four-bit activations, three bits and fewer. Needs "
        "a training text like the one the model is for; where there is the original to learn from, "
        "qad recovers more from the same tokens.";
    d.usesCalibration = true;
    d.needsTrainingText = true;
    d.parameters = quantizedTrainingParameters();
    return d;
}

}  // namespace

const TechniqueDescriptor& Qat::descriptor() const {
    static const TechniqueDescriptor descriptor = qatDescriptor();
    return descriptor;
}

StepEstimate Qat::estimate(const ModelFacts& model, const nlohmann::json& params,
                           const RunInputs& inputs, const MachineSpeed& speed) const {
    return estimateQuantizedTraining(model, params, inputs, speed, nullptr);
}

Model Qat::apply(Model model, TechniqueContext& context) const {
    return withinMemory(memoryAdvice("qat", "save_memory", context.params), [&] {
        return trainQuantized("qat", std::move(model), TrainLoss{}, nullptr, context);
    });
}

}  // namespace fettle
