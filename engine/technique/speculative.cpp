#include "engine/technique/speculative.h"

#include "engine/core/error.h"
#include "engine/eval/text_windows.h"
#include "engine/speculative/draft_source.h"

namespace fettle {

namespace {

constexpr std::int64_t kRankingTokens = 2048;

TechniqueDescriptor speculativeDescriptor() {
    TechniqueDescriptor d;
    d.id = "speculative";
    d.title = "Speculative decoding";
    d.help =
        "Lets something cheap guess the next tokens and has the model check them all in one pass. "
        "The text stays exactly the model's own; only the speed changes. Pays when guesses are "
        "often right and cheap against a step of the model, which is measured: drafting stops by "
        "itself where it does not pay.";
    d.usesCalibration = true;

    ParameterSchema draft;
    draft.name = "draft";
    draft.title = "Draft";
    draft.type = ParameterType::Text;
    draft.defaultValue = "ngram";
    draft.sweepable = true;
    draft.help =
        "Who guesses. A model (folder, .gguf file or demo-draft) that shares the tokenizer; ngram: "
        "what followed the same words earlier in the text; suffix: the same for matches of any "
        "length, earlier texts included; self:N: the model itself without its N least influential "
        "layers; self:SCHEME, such as self:int4-g32: the model itself, quantized more strongly.";

    ParameterSchema tokens;
    tokens.name = "draft_tokens";
    tokens.title = "Drafted tokens";
    tokens.type = ParameterType::Text;
    tokens.defaultValue = "auto";
    tokens.sweepable = true;
    tokens.help =
        "Tokens guessed per round: a number from 1 to 16, or auto to follow measured acceptance "
        "and costs.";

    d.parameters = {draft, tokens};
    return d;
}

std::string textOf(const nlohmann::json& params, const char* name) {
    return params.at(name).get<std::string>();
}

std::vector<std::vector<std::int32_t>> rankingTexts(const Model& model, TechniqueContext& context) {
    std::vector<std::vector<std::int32_t>> texts;
    if (context.inputs.calibration.empty())
        return texts;
    MeasureOptions options = context.measure;
    options.maxTokens = kRankingTokens;
    options.protocol = PerplexityProtocol::Plain;
    for (TextWindow& window :
         makeWindows(*model.tokenizer, readText(context.inputs.calibration), options))
        texts.push_back(std::move(window.ids));
    return texts;
}

}  // namespace

const TechniqueDescriptor& Speculative::descriptor() const {
    static const TechniqueDescriptor descriptor = speculativeDescriptor();
    return descriptor;
}

StepEstimate Speculative::estimate(const ModelFacts& model, const nlohmann::json& params,
                                   const RunInputs&, const MachineSpeed& speed) const {
    StepEstimate estimate;
    estimate.output = model;
    estimate.peakBytes = model.activeBytes();
    SpeculativeSetup setup;
    setup.draft = textOf(params, "draft");
    try {
        fixedDraftTokens(textOf(params, "draft_tokens"));
        if (setup.draft.empty())
            estimate.problems.push_back("speculative: name a draft");
        else if (setup.hasModel()) {
            const ModelFacts draft = factsOf(loadModel(setup.draft));
            estimate.peakBytes += draft.activeBytes();
            const double cost = draft.activeBytes() / model.activeBytes();
            if (cost >= 1)
                estimate.notes.push_back(
                    "the draft reads as many bytes per token as the model: it cannot pay");
        } else if (setup.draft.rfind("self:", 0) == 0 && findQuantScheme(setup.draft.substr(5))) {
            estimate.peakBytes *= 2;
            estimate.seconds = model.activeElements() / (10 * speed.quantizeRate);
        }
    } catch (const EngineError& error) {
        estimate.problems.push_back(error.what());
    }
    return estimate;
}

Model Speculative::apply(Model model, TechniqueContext& context) const {
    context.control.beginPhase("Checking the draft", 1);
    model.speculative =
        makeSetup(textOf(context.params, "draft"), textOf(context.params, "draft_tokens"), model,
                  context.backend, rankingTexts(model, context), context.control);
    if (!model.speculative->skippedLayers.empty()) {
        std::string layers;
        for (const int layer : model.speculative->skippedLayers)
            layers += (layers.empty() ? "" : ", ") + std::to_string(layer);
        context.control.info("drafts leave out layers " + layers);
    }
    return model;
}

}  // namespace fettle
