#include "engine/technique/medusa.h"

#include <cmath>

#include "engine/distill/medusa_trainer.h"
#include "engine/speculative/medusa_proposer.h"
#include "engine/technique/draft_head_steps.h"

namespace fettle {

namespace {

TechniqueDescriptor medusaDescriptor() {
    TechniqueDescriptor d;
    d.id = "medusa";
    d.title = "Medusa heads";
    d.help =
        "Trains a few small heads that guess several tokens ahead from what the model itself has "
        "in "
        "mind; the model checks them all in one pass. The model and its text stay exactly as they "
        "are; only the speed changes. Cheaper to draft with than a second model, and trained in "
        "minutes. Needs a training text like the one the model is for.";
    d.needsTrainingText = true;

    ParameterSchema heads = numberParameter(
        "heads", "Heads", ParameterType::Int, 4, 1, static_cast<double>(kMostHeads), "",
        "Tokens that are guessed ahead. Each is right less often than the one before.");
    heads.sweepable = true;
    d.parameters = {heads};
    for (ParameterSchema& parameter : draftHeadParameters())
        d.parameters.push_back(std::move(parameter));
    return d;
}

std::int64_t integerOf(const nlohmann::json& params, const char* name) {
    return params.at(name).get<std::int64_t>();
}

MedusaOptions medusaOptions(const nlohmann::json& params) {
    MedusaOptions options;
    options.heads = integerOf(params, "heads");
    options.tokens = integerOf(params, "tokens");
    options.vocabulary = integerOf(params, "vocabulary");
    options.rate.peak = params.at("learning_rate").get<float>();
    return options;
}

}  // namespace

const TechniqueDescriptor& Medusa::descriptor() const {
    static const TechniqueDescriptor descriptor = medusaDescriptor();
    return descriptor;
}

StepEstimate Medusa::estimate(const ModelFacts& model, const nlohmann::json& params,
                              const RunInputs& inputs, const MachineSpeed& speed) const {
    StepEstimate estimate;
    estimate.output = model;
    checkDraftHeads("medusa", params, inputs, estimate);
    const MedusaOptions options = medusaOptions(params);
    const auto width = static_cast<double>(model.config.hiddenSize),
               heads = static_cast<double>(options.heads),
               rows =
                   static_cast<double>(std::min(options.vocabulary, model.config.vocabularySize));
    // Blocks go through three products, output rows through two.
    const double perToken = model.activeElements() + heads * width * (2 * width + 2 * rows);
    estimate.seconds = static_cast<double>(options.tokens) * perToken / speed.multiplyRate;
    constexpr double kBytesPerValue = 16;  // value, gradient and two moments
    estimate.peakBytes =
        model.activeBytes() + heads * width * width * kBytesPerValue +
        rows * (width + static_cast<double>(integerOf(params, "batch_tokens"))) * sizeof(float);
    return estimate;
}

Model Medusa::apply(Model model, TechniqueContext& context) const {
    SpeculativeSetup setup = draftHeadSetup(context.params);
    DataLoader texts = draftHeadText("medusa", model, context);
    context.control.beginPhase("Training Medusa heads", 1);
    Transformer target(model, context.backend, &context.control);
    MedusaOutcome outcome =
        trainMedusa(target, model, texts, medusaOptions(context.params), context.control);
    char text[200];
    std::snprintf(text, sizeof text,
                  "medusa: loss on the text held back %.3f before, %.3f after; right at ",
                  outcome.firstLoss, outcome.lastLoss);
    context.control.info(text + percentList(outcome.accuracy) + " of the tokens, head by head");
    return withDraftHeads(std::move(model), std::move(setup), std::move(outcome.heads),
                          outcome.tokens, context);
}

}  // namespace fettle
