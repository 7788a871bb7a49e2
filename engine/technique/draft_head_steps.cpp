#include "engine/technique/draft_head_steps.h"

#include <algorithm>
#include <cmath>

#include "engine/core/error.h"

namespace fettle {

std::vector<ParameterSchema> draftHeadParameters() {
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
    ParameterSchema drafted =
        parameter("draft_tokens", "Drafted tokens", ParameterType::Text, "auto",
                  "Tokens guessed per round: a number from 1 to 16, or auto: as many as pay.");
    drafted.sweepable = true;
    ParameterSchema tree = parameter(
        "tree", "Tree", ParameterType::Text, "auto",
        "Several guesses at one place, checked in the same pass. auto: branches where they pay; "
        "off: one chain of tokens; or widths by depth such as 3-2-1.");
    tree.sweepable = true;
    return {tokens, vocabulary, rate, batch, drafted, tree};
}

void checkDraftHeads(const std::string& technique, const nlohmann::json& params,
                     const RunInputs& inputs, StepEstimate& estimate) {
    if (inputs.train.empty())
        estimate.problems.push_back(technique + ": needs a training text");
    try {
        draftHeadSetup(params);
    } catch (const EngineError& error) {
        estimate.problems.push_back(error.what());
    }
}

SpeculativeSetup draftHeadSetup(const nlohmann::json& params) {
    SpeculativeSetup setup;
    setup.draft = kDraftFolder;
    setup.draftTokens = params.at("draft_tokens").get<std::string>();
    setup.tree = params.at("tree").get<std::string>();
    fixedDraftTokens(setup.draftTokens);
    draftTree(setup.tree);
    return setup;
}

DataLoader draftHeadText(const std::string& technique, const Model& model,
                         TechniqueContext& context) {
    if (context.inputs.train.empty())
        throw EngineError(ErrorKind::Usage, technique + ": needs a training text");
    if (const std::string& device = context.backend.device().id; device != "cpu")
        context.control.info(technique + ": the model runs on " + device +
                             ", its heads train on the CPU");
    DataOptions data;
    data.path = context.inputs.train;
    data.context = std::min<std::int64_t>(context.measure.context, model.config.contextLength);
    data.batchTokens =
        std::max(data.context, context.params.at("batch_tokens").get<std::int64_t>());
    data.seed = context.seed;
    return {model.tokenizer, data, context.control};
}

std::string percentList(const std::vector<double>& shares) {
    std::string text;
    for (const double share : shares)
        text += (text.empty() ? "" : ", ") + std::to_string(std::lround(100 * share)) + "%";
    return text;
}

Model withDraftHeads(Model model, SpeculativeSetup setup, DraftHeads heads, std::int64_t tokens,
                     TechniqueContext& context) {
    Measurement read;
    read.name = "training_tokens";
    read.unit = "tokens";
    read.value = static_cast<double>(tokens);
    context.metrics.push_back(read);
    setup.heads = std::make_shared<const DraftHeads>(std::move(heads));
    model.speculative = std::move(setup);
    return model;
}

}  // namespace fettle
