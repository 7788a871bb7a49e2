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

    ParameterSchema draft = parameter(
        "draft", "Draft", ParameterType::Text, "ngram",
        "Who guesses. A model (folder, .gguf file or demo-draft) that shares the tokenizer; "
        "SCHEME:MODEL, such as int8:demo-draft: the same, rounded once it is loaded, which costs "
        "few guesses and no text; text:MODEL: one with another tokenizer, through the text it "
        "writes; ngram: what followed the same words earlier in the text; suffix: the same for "
        "matches of any "
        "length, earlier texts included; self:N: the model itself without its N least influential "
        "layers; self:SCHEME, such as self:int4-g32: the model itself, quantized more strongly. "
        "ngram+ or suffix+ before any other, such as suffix+int8:demo-draft: a look first, which "
        "costs next to nothing, and the other where that finds nothing good enough.");
    draft.sweepable = true;

    ParameterSchema tokens = parameter(
        "draft_tokens", "Drafted tokens", ParameterType::Text, "auto",
        "Tokens guessed per round: a number from 1 to 16, or auto to follow measured acceptance "
        "and costs.");
    tokens.sweepable = true;

    ParameterSchema tree = parameter(
        "tree", "Tree", ParameterType::Text, "off",
        "Several guesses at one place, checked in the same pass. off: one chain of tokens; auto: "
        "branches where the measured costs and chances say that they pay; widths by depth such as "
        "3-2-1: three guesses at the next token, two after each of them, one after each of those.");
    tree.sweepable = true;

    d.parameters = {draft, tokens, tree};
    return d;
}

std::string textOf(const nlohmann::json& params, const char* name) {
    return params.at(name).get<std::string>();
}

DraftWords wordsOf(const nlohmann::json& params) {
    return {textOf(params, "draft"), textOf(params, "draft_tokens"), textOf(params, "tree")};
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
    try {
        SpeculativeSetup setup = namedDraft(wordsOf(params));
        readHeads(setup);
        if (setup.hasModel() && !setup.heads) {
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
    model.speculative = makeSetup(wordsOf(context.params), model, context.backend,
                                  rankingTexts(model, context), context.control);
    if (!model.speculative->skippedLayers.empty()) {
        std::string layers;
        for (const int layer : model.speculative->skippedLayers)
            layers += (layers.empty() ? "" : ", ") + std::to_string(layer);
        context.control.info("drafts leave out layers " + layers);
    }
    return model;
}

}  // namespace fettle
