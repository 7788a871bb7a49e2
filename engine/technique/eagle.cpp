#include "engine/technique/eagle.h"

#include "engine/distill/eagle_trainer.h"
#include "engine/technique/draft_head_steps.h"

namespace fettle {

namespace {

TechniqueDescriptor eagleDescriptor() {
    TechniqueDescriptor d;
    d.id = "eagle";
    d.title = "EAGLE head";
    d.help =
        "Trains one small layer that runs along the model's own states and guesses what comes next "
        "from them; the model checks the guesses in one pass. The model and its text stay exactly "
        "as they are; only the speed changes. Right more often than Medusa heads, since each guess "
        "is made knowing the one before; a little dearer. Needs a training text like the one the "
        "model is for.";
    d.needsTrainingText = true;
    ParameterSchema passes = numberParameter(
        "passes", "Passes", ParameterType::Int, 2, 1, 4, "",
        "How often each text is read in a step: first with the model's states, then with those "
        "that the layer itself made of them, as when it drafts several tokens ahead.");
    passes.sweepable = true;
    d.parameters = draftHeadParameters();
    d.parameters.insert(d.parameters.begin() + 1, passes);
    return d;
}

EagleOptions eagleOptions(const nlohmann::json& params, std::uint64_t seed) {
    EagleOptions options;
    options.tokens = params.at("tokens").get<std::int64_t>();
    options.passes = params.at("passes").get<int>();
    options.vocabulary = params.at("vocabulary").get<std::int64_t>();
    options.rate.peak = params.at("learning_rate").get<float>();
    options.seed = seed;
    return options;
}

}  // namespace

const TechniqueDescriptor& Eagle::descriptor() const {
    static const TechniqueDescriptor descriptor = eagleDescriptor();
    return descriptor;
}

StepEstimate Eagle::estimate(const ModelFacts& model, const nlohmann::json& params,
                             const RunInputs& inputs, const MachineSpeed& speed) const {
    StepEstimate estimate;
    estimate.output = model;
    checkDraftHeads("eagle", params, inputs, estimate);
    const EagleOptions options = eagleOptions(params, 1);
    const ModelConfig shape = eagleConfig(model.config);
    const auto width = static_cast<double>(shape.hiddenSize),
               heads = static_cast<double>(shape.headDim * (2 * shape.heads + 2 * shape.kvHeads)),
               rows =
                   static_cast<double>(std::min(options.vocabulary, model.config.vocabularySize));
    const double layer = width * (heads + 3 * static_cast<double>(shape.feedForwardSize)),
                 fusion = 2 * width * width;
    // Layer and fusion go through three products, output rows through two and the model's through
    // one more.
    const double perToken =
        model.activeElements() + options.passes * (3 * (layer + fusion) + 3 * width * rows);
    estimate.seconds = static_cast<double>(options.tokens) * perToken / speed.multiplyRate;
    constexpr double kBytesPerValue = 16;  // value, gradient and two moments
    constexpr double kTokenRows = 512;     // of logits, the head's and the model's
    estimate.peakBytes = model.activeBytes() + (layer + fusion) * kBytesPerValue +
                         rows * (width + kTokenRows) * sizeof(float);
    return estimate;
}

Model Eagle::apply(Model model, TechniqueContext& context) const {
    SpeculativeSetup setup = draftHeadSetup(context.params);
    DataLoader texts = draftHeadText("eagle", model, context);
    context.control.beginPhase("Training an EAGLE head", 1);
    Transformer target(model, context.backend, &context.control);
    const EagleOutcome outcome = trainEagle(
        target, model, texts, eagleOptions(context.params, context.seed), context.control);
    char text[200];
    std::snprintf(text, sizeof text,
                  "eagle: divergence on the text held back %.3f before, %.3f after; ",
                  outcome.firstLoss, outcome.lastLoss);
    context.control.info(text + percentList(outcome.agreement) +
                         " of the guesses are the model's own, one token ahead and on");
    return withDraftHeads(model, std::move(setup), toDraftHeads(outcome.head, model),
                          outcome.tokens, context);
}

}  // namespace fettle
