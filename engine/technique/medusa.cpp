#include "engine/technique/medusa.h"

#include <cmath>

#include "engine/core/error.h"
#include "engine/data/data_loader.h"
#include "engine/distill/medusa_trainer.h"
#include "engine/speculative/medusa_proposer.h"

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
    ParameterSchema tokens =
        numberParameter("tokens", "Training tokens", ParameterType::Int, 1000000, 1, 1e13, "tokens",
                        "How much is read, all epochs together.");
    tokens.sweepable = true;
    ParameterSchema vocabulary = numberParameter("vocabulary", "Tokens to guess among",
                                                 ParameterType::Int, 8192, 16, 1e7, "tokens",
                                                 "The commonest of the training text. Fewer are "
                                                 "cheaper; one that is not among them is never "
                                                 "guessed.");
    vocabulary.sweepable = true;
    ParameterSchema rate = numberParameter("learning_rate", "Learning rate", ParameterType::Double,
                                           0.001, 0, 1, "", "Peak of the learning rate.");
    rate.sweepable = true;
    const ParameterSchema batch = numberParameter("batch_tokens", "Batch", ParameterType::Int, 1024,
                                                  16, 65536, "tokens", "Tokens of one step.");
    ParameterSchema drafted;
    drafted.name = "draft_tokens";
    drafted.title = "Drafted tokens";
    drafted.type = ParameterType::Text;
    drafted.defaultValue = "auto";
    drafted.sweepable = true;
    drafted.help = "Tokens guessed per round: a number from 1 to 16, or auto: as many as pay.";
    ParameterSchema tree;
    tree.name = "tree";
    tree.title = "Tree";
    tree.type = ParameterType::Text;
    tree.defaultValue = "auto";
    tree.sweepable = true;
    tree.help =
        "Several guesses at one place, checked in the same pass. auto: branches where they pay; "
        "off: one chain of tokens; or widths by depth such as 3-2-1.";
    d.parameters = {heads, tokens, vocabulary, rate, batch, drafted, tree};
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
    if (inputs.train.empty())
        estimate.problems.push_back("medusa: needs a training text");
    try {
        fixedDraftTokens(params.at("draft_tokens").get<std::string>());
        draftTree(params.at("tree").get<std::string>());
    } catch (const EngineError& error) {
        estimate.problems.push_back(error.what());
    }
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
    if (context.inputs.train.empty())
        throw EngineError(ErrorKind::Usage, "medusa: needs a training text");
    SpeculativeSetup setup;
    setup.draft = kDraftFolder;
    setup.draftTokens = context.params.at("draft_tokens").get<std::string>();
    setup.tree = context.params.at("tree").get<std::string>();
    fixedDraftTokens(setup.draftTokens);
    draftTree(setup.tree);

    DataOptions data;
    data.path = context.inputs.train;
    data.context = std::min<std::int64_t>(context.measure.context, model.config.contextLength);
    data.batchTokens = std::max(data.context, integerOf(context.params, "batch_tokens"));
    data.seed = context.seed;
    DataLoader texts(model.tokenizer, data, context.control);
    context.control.beginPhase("Training Medusa heads", 1);
    Transformer target(model, context.backend, &context.control);
    MedusaOutcome outcome =
        trainMedusa(target, model, texts, medusaOptions(context.params), context.control);
    std::string right;
    for (const double share : outcome.accuracy)
        right += (right.empty() ? "" : ", ") + std::to_string(std::lround(100 * share)) + "%";
    char text[200];
    std::snprintf(text, sizeof text,
                  "medusa: loss on the text held back %.3f before, %.3f after; right at ",
                  outcome.firstLoss, outcome.lastLoss);
    context.control.info(text + right + " of the tokens, head by head");
    Measurement tokens;
    tokens.name = "training_tokens";
    tokens.unit = "tokens";
    tokens.value = static_cast<double>(outcome.tokens);
    context.metrics.push_back(tokens);
    setup.heads = std::make_shared<const DraftHeads>(std::move(outcome.heads));
    model.speculative = std::move(setup);
    return model;
}

}  // namespace fettle
