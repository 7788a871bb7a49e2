#include "engine/speculative/draft_source.h"

#include <charconv>

#include "engine/core/error.h"
#include "engine/quant/rtn.h"
#include "engine/speculative/block_influence.h"
#include "engine/speculative/eagle_proposer.h"
#include "engine/speculative/lookup_first_proposer.h"
#include "engine/speculative/lookup_proposer.h"
#include "engine/speculative/medusa_proposer.h"
#include "engine/speculative/model_proposer.h"
#include "engine/speculative/reencoding_proposer.h"
#include "engine/tokenizer/vocabulary_match.h"

namespace fettle {

namespace {

constexpr const char* kRankingText =
    "The harbour was quiet that morning. Two boats had gone out before dawn, and the rest lay "
    "against the wall while their owners mended nets and talked about the price of fish. A girl "
    "came down the steps with a basket of bread, counted the loaves twice, and asked who had "
    "ordered twelve. Nobody answered. \"Then I shall eat them myself,\" she said, and sat down on "
    "a coil of rope to wait for the ferry, which was due at nine and never came before ten.";

/// What follows "self:": a number of layers or a scheme.
struct SelfDraft {
    int layers = 0;
    std::optional<QuantScheme> scheme;
};

[[noreturn]] void refuseDraft(const std::string& draft, const std::string& why) {
    throw EngineError(ErrorKind::Usage, "draft \"" + draft + "\": " + why);
}

SelfDraft parseSelf(const std::string& draft, const ModelConfig& target) {
    const std::string rest = draft.substr(5);
    SelfDraft self;
    const auto [end, failed] = std::from_chars(rest.data(), rest.data() + rest.size(), self.layers);
    if (failed == std::errc() && end == rest.data() + rest.size()) {
        const std::int64_t layers = target.layerCount();
        if (self.layers < 1 || self.layers >= layers)
            refuseDraft(draft, "of " + std::to_string(layers) + " layers, 1 to " +
                                   std::to_string(layers - 1) + " can be left out");
        return self;
    }
    self.layers = 0;
    self.scheme = findQuantScheme(rest);
    if (!self.scheme || !self.scheme->hasQuantizer())
        refuseDraft(draft,
                    "self: is followed by a number of layers to leave out or by a scheme such as "
                    "int4-g32");
    return self;
}

constexpr const char* kTextPrefix = "text:";

/// Splits "ngram+DRAFT" and "suffix+DRAFT"; other words stay whole.
void takeLookup(SpeculativeSetup& setup) {
    const std::size_t plus = setup.draft.find('+');
    if (plus == std::string::npos || !isLookup(setup.draft.substr(0, plus)))
        return;
    setup.lookup = setup.draft.substr(0, plus);
    setup.draft.erase(0, plus + 1);
}

/// Splits "SCHEME:MODEL"; other words stay whole.
void takeScheme(SpeculativeSetup& setup) {
    const std::size_t colon = setup.draft.find(':');
    if (colon == std::string::npos)
        return;
    const std::string id = setup.draft.substr(0, colon);
    const std::optional<QuantScheme> scheme = findQuantScheme(id);
    if (!scheme)
        return;
    if (!scheme->hasQuantizer())
        refuseDraft(setup.draft, "a draft cannot be rounded to " + id +
                                     " while it is loaded; int8, int4-g32 and others can, or "
                                     "quantize it first (ptq) and name what comes out");
    setup.draftScheme = id;
    setup.draft.erase(0, colon + 1);
}

QuantScheme schemeOf(const SpeculativeSetup& setup) {
    const std::optional<QuantScheme> scheme = findQuantScheme(setup.draftScheme);
    if (!scheme || !scheme->hasQuantizer())
        refuseDraft(setup.draft, "there is no scheme \"" + setup.draftScheme + "\" to round it to");
    return *scheme;
}

/// Rounds `draft` where the setup wants that, and prepares it.
std::unique_ptr<Transformer> preparedDraft(const SpeculativeSetup& setup, Model& draft,
                                           Backend& backend, kernels::WorkerPool& pool,
                                           RunControl& control) {
    const auto outOfMemory = [&] {
        const std::string to = setup.draftScheme.empty() ? "" : ", rounded to " + setup.draftScheme;
        throw EngineError(ErrorKind::OutOfMemory,
                          "draft \"" + setup.draft + "\"" + to +
                              ": not enough memory for it beside the model; a smaller draft, "
                              "ngram or suffix needs less");
    };
    try {
        if (!setup.draftScheme.empty()) {
            draft = quantizedCopy(draft, schemeOf(setup), true, pool, control);
            draft.name += " as " + setup.draftScheme;
        }
        return std::make_unique<Transformer>(draft, backend, nullptr);
    } catch (const EngineError& error) {
        if (error.kind() != ErrorKind::OutOfMemory)
            throw;
        outOfMemory();
    } catch (const std::bad_alloc&) {
        outOfMemory();
    }
    return nullptr;
}

std::unique_ptr<Proposer> makeLookup(const std::string& word) {
    if (word == "ngram")
        return std::make_unique<NgramProposer>();
    return std::make_unique<SuffixProposer>();
}

Model loadDraft(const SpeculativeSetup& setup, const Model& target, RunControl& control) {
    Model draft = loadModel(setup.draft, &control);
    if (setup.reencode)
        return draft;
    const std::string refusal = draftRefusal(target, draft);
    if (!refusal.empty())
        throwBadInput(setup.draft, "cannot draft for " + target.name + ": " + refusal + "; " +
                                       kTextPrefix + setup.draft +
                                       " has them meet as text instead");
    return draft;
}

}  // namespace

std::string draftRefusal(const Model& target, const Model& draft) {
    const VocabularyMatch match = matchVocabularies(*target.tokenizer, *draft.tokenizer);
    if (match.same)
        return {};
    return "the two speak of different tokens (first the target, second the draft): " +
           match.difference;
}

Model quantizedCopy(const Model& model, const QuantScheme& scheme, bool head,
                    kernels::WorkerPool& pool, RunControl& control) {
    Model copy = model;
    if (head && copy.config.tiedEmbeddings) {
        copy.weights["lm_head.weight"] = copy.weight("embed.weight");
        copy.config.tiedEmbeddings = false;
    }
    RtnOptions options;
    options.scheme = scheme;
    options.search = ScaleSearch::Absmax;
    for (const std::string& name : linearWeightNames(copy.config)) {
        control.check();
        if (!copy.has(name) || (name == "lm_head.weight" && !head))
            continue;
        const Weight weight = copy.weight(name);
        const std::int64_t cols = weight.shape().at(1);
        if (cols % 32 != 0 || (scheme.groupSize > 0 && cols % scheme.groupSize != 0))
            continue;
        copy.weights[name] = Weight(quantizeRtn(name, weight, options, pool, control).tensor);
        weight.dropPages();
    }
    return copy;
}

SpeculativeSetup namedDraft(const DraftWords& words) {
    SpeculativeSetup setup;
    setup.draft = words.draft;
    takeLookup(setup);
    setup.reencode = setup.draft.rfind(kTextPrefix, 0) == 0;
    if (setup.reencode)
        setup.draft.erase(0, std::string_view(kTextPrefix).size());
    takeScheme(setup);
    setup.draftTokens = words.draftTokens.empty() ? "auto" : words.draftTokens;
    setup.tree = words.tree.empty() ? "off" : words.tree;
    fixedDraftTokens(setup.draftTokens);
    draftTree(setup.tree);
    if (setup.draft.empty() ||
        ((setup.reencode || !setup.draftScheme.empty()) && !setup.hasModel()) ||
        (!setup.lookup.empty() && isLookup(setup.draft)))
        refuseDraft(words.draft,
                    "name a model, SCHEME:MODEL, text:MODEL, ngram, suffix, self:N or self:SCHEME; "
                    "ngram+ or suffix+ may stand before all but those two");
    return setup;
}

SpeculativeSetup makeSetup(const DraftWords& words, const Model& target, Backend& backend,
                           const std::vector<std::vector<std::int32_t>>& rankingTexts,
                           RunControl& control) {
    SpeculativeSetup setup = namedDraft(words);
    const std::string& draft = setup.draft;
    readHeads(setup);
    if (setup.heads) {
        if (setup.heads->kind == kEagle)
            eagleHeadOf(*setup.heads, target);
        else if (const std::string refusal = headsRefusal(*setup.heads, target); !refusal.empty())
            throwBadInput(draft, "cannot draft for " + target.name + ": " + refusal);
    } else if (setup.hasModel()) {
        setup.draftModel = std::make_shared<const Model>(loadDraft(setup, target, control));
    } else if (draft.rfind("self:", 0) == 0) {
        const SelfDraft self = parseSelf(draft, target.config);
        if (self.layers > 0) {
            Transformer transformer(target, backend, nullptr);
            std::vector<std::vector<std::int32_t>> texts = rankingTexts;
            if (texts.empty())
                texts.push_back(target.tokenizer->encode(kRankingText, true));
            setup.skippedLayers =
                leastInfluential(blockInfluence(transformer, texts, control), self.layers);
        }
    }
    return setup;
}

std::unique_ptr<Proposer> makeProposer(const SpeculativeSetup& setup, const Model& target,
                                       Transformer& targetTransformer, Backend& backend,
                                       kernels::WorkerPool& pool, RunControl& control) {
    if (!setup.lookup.empty()) {
        SpeculativeSetup alone = setup;
        alone.lookup.clear();
        return std::make_unique<LookupFirstProposer>(
            makeLookup(setup.lookup),
            makeProposer(alone, target, targetTransformer, backend, pool, control));
    }
    if (isLookup(setup.draft))
        return makeLookup(setup.draft);
    if (setup.heads && setup.heads->kind == kEagle)
        return std::make_unique<EagleProposer>(*setup.heads, target, backend, control);
    if (setup.heads)
        return std::make_unique<MedusaProposer>(*setup.heads, target, backend, control);
    if (setup.hasModel()) {
        Model draft = setup.draftModel ? *setup.draftModel : loadDraft(setup, target, control);
        auto transformer = preparedDraft(setup, draft, backend, pool, control);
        if (setup.reencode)
            return std::make_unique<ReencodingProposer>(
                "draft model " + draft.name + " through its text", std::move(transformer),
                draft.tokenizer, target.tokenizer);
        return std::make_unique<ModelProposer>("draft model " + draft.name, std::move(transformer));
    }
    const SelfDraft self = parseSelf(setup.draft, target.config);
    if (self.scheme)
        return std::make_unique<SelfProposer>(
            "the model itself as " + self.scheme->id, targetTransformer,
            std::make_unique<Transformer>(quantizedCopy(target, *self.scheme, false, pool, control),
                                          backend, nullptr),
            Transformer::SkippedLayers{});
    Transformer::SkippedLayers skipped(static_cast<std::size_t>(target.config.layerCount()));
    for (const int layer : setup.skippedLayers) {
        if (layer < 0 || layer >= static_cast<int>(skipped.size()))
            refuseDraft(setup.draft, "the model has no layer " + std::to_string(layer));
        skipped[static_cast<std::size_t>(layer)] = true;
    }
    return std::make_unique<SelfProposer>(
        "the model itself without " + std::to_string(self.layers) + " layers", targetTransformer,
        nullptr, std::move(skipped));
}

std::unique_ptr<DraftLength> makeDraftLength(const SpeculativeSetup& setup) {
    if (const std::optional<int> fixed = fixedDraftTokens(setup.draftTokens))
        return std::make_unique<FixedDraftLength>(*fixed);
    if (!setup.lookup.empty())
        return std::make_unique<EitherDraftLength>();
    return std::make_unique<AdaptiveDraftLength>();
}

}  // namespace fettle
