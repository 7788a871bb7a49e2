#include "engine/technique/qad.h"

#include "engine/technique/cached_teacher.h"
#include "engine/technique/quantized_training.h"
#include "engine/technique/training_memory.h"
#include "engine/tokenizer/vocabulary_match.h"

namespace fettle {

namespace {

TechniqueDescriptor qadDescriptor() {
    TechniqueDescriptor d;
    d.id = "qad";
    d.title = "Quantization-aware distillation";
    d.help =
        "Trains the quantized model to predict what its teacher predicts, token for token and in "
        "the very numbers it is deployed with. The teacher is the original unless you name "
        "another. Stays closer to the original than training on text alone and forgets less of "
        "what later stages taught it; any text of the right kind will do.";
    d.usesCalibration = true;
    d.needsTrainingText = true;
    d.needsTeacher = true;
    d.parameters = quantizedTrainingParameters();

    ParameterSchema temperature =
        parameter("temperature", "Temperature", ParameterType::Double, 1.0,
                  "Softens both distributions before they are compared: above 1, unlikely tokens "
                  "count more.");
    temperature.minimum = 0.05;
    temperature.maximum = 100;
    temperature.sweepable = true;

    const ParameterSchema teacher = parameter(
        "teacher", "Teacher", ParameterType::Text, "",
        "A model (folder, .gguf file or demo) with the same vocabulary. Empty: the run's teacher, "
        "and without one the recipe's original model.");

    ParameterSchema labels = parameter(
        "cross_entropy", "Weight of the text itself", ParameterType::Double, 0.0,
        "Adds the loss on the text's own tokens with this weight. 0: the teacher alone counts.");
    labels.minimum = 0;
    labels.maximum = 100;
    labels.sweepable = true;

    ParameterSchema hidden = parameter(
        "hidden_weight", "Weight of hidden states", ParameterType::Double, 0.0,
        "Adds the difference from the teacher's hidden states, layer by layer, relative to their "
        "size. Needs a teacher with as many layers.");
    hidden.minimum = 0;
    hidden.maximum = 100;
    hidden.sweepable = true;

    d.parameters.insert(d.parameters.end(), {temperature, teacher, labels, hidden});
    const std::vector<ParameterSchema> more = teacherParameters();
    d.parameters.insert(d.parameters.end(), more.begin(), more.end());
    return d;
}

std::string teacherPath(const nlohmann::json& params, const RunInputs& inputs) {
    const std::string named = params.at("teacher").get<std::string>();
    return named.empty() ? inputs.teacher : named;
}

/// Throws EngineError(Usage) where the two do not speak of the same tokens.
void refuseOtherVocabulary(const Model& teacher, const Model& student) {
    const VocabularyMatch match = matchVocabularies(*teacher.tokenizer, *student.tokenizer);
    std::string why = match.same ? "" : match.difference;
    if (match.same && teacher.config.vocabularySize != student.config.vocabularySize)
        why = "the first predicts " + std::to_string(teacher.config.vocabularySize) +
              " tokens, the second " + std::to_string(student.config.vocabularySize);
    if (!why.empty())
        throw EngineError(ErrorKind::Usage, "qad: the teacher " + teacher.path +
                                                " does not share the vocabulary of " +
                                                student.path +
                                                " (first: teacher, second: student): " + why);
}

}  // namespace

const TechniqueDescriptor& Qad::descriptor() const {
    static const TechniqueDescriptor descriptor = qadDescriptor();
    return descriptor;
}

StepEstimate Qad::estimate(const ModelFacts& model, const nlohmann::json& params,
                           const RunInputs& inputs, const MachineSpeed& speed) const {
    const std::string path = teacherPath(params, inputs);
    try {
        const ModelFacts teacher = path.empty() ? model : factsOf(loadModel(path));
        return estimateQuantizedTraining(model, params, inputs, speed, &teacher);
    } catch (const EngineError& error) {
        StepEstimate estimate = estimateQuantizedTraining(model, params, inputs, speed, &model);
        estimate.problems.push_back(std::string("teacher: ") + error.what());
        return estimate;
    }
}

Model Qad::apply(Model model, TechniqueContext& context) const {
    const std::string path = teacherPath(context.params, context.inputs);
    const Model teacher = path.empty() ? context.original : loadModel(path, &context.control);
    refuseOtherVocabulary(teacher, model);
    if (!path.empty())
        refuseNonFinite(teacher, context.control);
    TrainLoss loss;
    loss.crossEntropy = context.params.at("cross_entropy").get<float>();
    loss.distillation = 1;
    loss.temperature = context.params.at("temperature").get<float>();
    loss.hidden = context.params.at("hidden_weight").get<float>();
    loss.attention = context.params.at("attention_weight").get<float>();
    if (loss.hidden > 0 && teacher.config.layerCount() != model.config.layerCount())
        throw EngineError(ErrorKind::Usage,
                          "qad: the teacher has " + std::to_string(teacher.config.layerCount()) +
                              " layers, the model " + std::to_string(model.config.layerCount()) +
                              ": their hidden states do not pair; set hidden_weight to 0");
    if (loss.attention > 0)
        Network::requireSameAttention(model.config, teacher.config);
    return withinMemory(memoryAdvice("qad", "save_memory", context.params), [&] {
        return trainQuantized("qad", std::move(model), loss, &teacher, context);
    });
}

}  // namespace fettle
