#include "engine/advisor/candidates.h"

#include <algorithm>
#include <cmath>

#include "engine/advisor/targets.h"

namespace fettle {

using nlohmann::json;

namespace {

struct SchemeMethods {
    const char* scheme;
    std::vector<std::string>
        methods;            ///< worth a try with calibration text; without: the first one
    bool anyDevice = true;  ///< false: processors decode it in software only
};

/// Most bits first: what costs least accuracy is tried before what saves most.
const std::vector<SchemeMethods>& schemeMethods() {
    static const std::vector<SchemeMethods> all{
        {"int8", {"rtn", "smoothquant"}}, {"w8a16", {"rtn"}},
        {"fp8", {"rtn"}, false},          {"int4-g32", {"rtn", "gptq", "awq"}},
        {"int4-g128", {"gptq", "awq"}},   {"int4-g128-a8", {"gptq"}},
        {"nvfp4", {"rtn"}, false},        {"mxfp4", {"rtn"}, false},
        {"int3-g64", {"gptq"}},
    };
    return all;
}

constexpr double kPruneRatios[] = {0.15, 0.3};
constexpr double kSmallerRate = 1.0 / 3;
// Where a head can draft for much less than a pass of its model takes: below this width a pass is
// short and checking several tokens costs much of another, and a head that guesses among its usual
// 8192 tokens multiplies as much as the model's own output matrix where there are no more of them.
constexpr std::int64_t kLeastHeadWidth = 512, kLeastHeadVocabulary = 8192;

bool eightBits(const std::string& scheme) {
    return scheme.find('8') == scheme.find_first_of("0123456789");
}

Recipe appended(Recipe recipe, const std::string& technique, json params) {
    recipe.steps.push_back({technique, std::move(params)});
    recipe.name.clear();
    return recipe;
}

json withTokens(const TechniqueDescriptor& technique, double tokens) {
    json params = json::object();
    if (tokens > 0 && findParameter(technique, "tokens"))
        params["tokens"] = static_cast<std::int64_t>(tokens);
    return params;
}

std::string wordOf(const json& params, const char* name) {
    const auto found = params.find(name);
    if (found == params.end())
        return {};
    if (found->is_string())
        return found->get<std::string>();
    return found->dump();
}

}  // namespace

const TechniqueDescriptor* findDescriptor(const std::vector<TechniqueDescriptor>& techniques,
                                          const std::string& id) {
    const auto found = std::find_if(techniques.begin(), techniques.end(),
                                    [&](const TechniqueDescriptor& t) { return t.id == id; });
    return found == techniques.end() ? nullptr : &*found;
}

const ParameterSchema* findParameter(const TechniqueDescriptor& technique,
                                     const std::string& name) {
    const auto found = std::find_if(technique.parameters.begin(), technique.parameters.end(),
                                    [&](const ParameterSchema& p) { return p.name == name; });
    return found == technique.parameters.end() ? nullptr : &*found;
}

bool hasChoice(const TechniqueDescriptor& technique, const std::string& parameter,
               const std::string& value) {
    const ParameterSchema* schema = findParameter(technique, parameter);
    return schema && std::any_of(schema->choices.begin(), schema->choices.end(),
                                 [&](const ParameterChoice& c) { return c.value == value; });
}

std::vector<Recipe> ptqCandidates(const TechniqueDescriptor& ptq, const AdvisorGoal& goal) {
    std::vector<Recipe> recipes;
    const bool calibrated = !goal.inputs.calibration.empty();
    for (const SchemeMethods& entry : schemeMethods()) {
        // Taken through dequantization, a speed holds no target.
        if (!hasChoice(ptq, "scheme", entry.scheme) ||
            (!entry.anyDevice && goal.targets.minSpeedup))
            continue;
        for (const std::string& method :
             calibrated ? entry.methods : std::vector<std::string>{"rtn"}) {
            if (findParameter(ptq, "method") && !hasChoice(ptq, "method", method))
                continue;
            json params{{"scheme", entry.scheme}};
            if (findParameter(ptq, "method"))
                params["method"] = method;
            recipes.push_back(appended({{}, {}, goal.seed}, "ptq", std::move(params)));
        }
    }
    return recipes;
}

double defaultTokens(const TechniqueDescriptor& technique) {
    const ParameterSchema* tokens = findParameter(technique, "tokens");
    return tokens && tokens->defaultValue.is_number() ? tokens->defaultValue.get<double>() : 0;
}

std::vector<Recipe> trainingCandidates(const std::vector<TechniqueDescriptor>& techniques,
                                       const Recipe& base, double tokens, const AdvisorGoal&) {
    std::vector<Recipe> recipes;
    for (const char* id : {"qad", "qat"}) {
        const TechniqueDescriptor* technique = findDescriptor(techniques, id);
        if (!technique)
            continue;
        json params = withTokens(*technique, tokens);
        recipes.push_back(appended(base, id, params));
        if (findParameter(*technique, "rate_factor")) {
            params["rate_factor"] = kSmallerRate;
            recipes.push_back(appended(base, id, std::move(params)));
        }
    }
    return recipes;
}

std::vector<Recipe> draftCandidates(const Recipe& base, const AdvisorGoal& goal) {
    std::vector<std::string> drafts{"ngram", "suffix"};
    const bool strong =
        std::any_of(base.steps.begin(), base.steps.end(), [](const RecipeStep& step) {
            const std::string scheme = wordOf(step.params, "scheme");
            return step.technique == "ptq" && !scheme.empty() && !eightBits(scheme);
        });
    if (!strong)
        drafts.emplace_back("self:int4-g32");
    if (goal.layers >= 4)
        drafts.push_back("self:" + std::to_string(goal.layers / 2));
    if (goal.modelPath == "demo")
        drafts.emplace_back("demo-draft");
    if (!goal.draft.empty() && std::find(drafts.begin(), drafts.end(), goal.draft) == drafts.end())
        drafts.push_back(goal.draft);
    std::vector<Recipe> recipes;
    for (const std::string& draft : drafts)
        recipes.push_back(appended(base, "speculative", {{"draft", draft}}));
    for (Recipe& recipe : recipes)
        recipe.seed = goal.seed;
    return recipes;
}

Recipe headCandidate(const TechniqueDescriptor& eagle, const Recipe& base, double tokens,
                     const AdvisorGoal& goal) {
    Recipe recipe = appended(base, "eagle", withTokens(eagle, tokens));
    recipe.seed = goal.seed;
    return recipe;
}

std::string headRefusal(const AdvisorGoal& goal) {
    const std::string& draft = goal.draft;
    const bool lookup = draft == "ngram" || draft == "suffix" || draft.rfind("self:", 0) == 0;
    if (!draft.empty() && !lookup)
        return "there is a draft model, " + draft;
    if (goal.modelPath == "demo")
        return "the bundled model has a draft model of its own";
    if (goal.hiddenSize < kLeastHeadWidth || goal.vocabulary < kLeastHeadVocabulary)
        return "a model of " + std::to_string(goal.hiddenSize) + " values a token and " +
               std::to_string(goal.vocabulary) + " tokens is too small for one to pay; it takes " +
               std::to_string(kLeastHeadWidth) + " and " + std::to_string(kLeastHeadVocabulary);
    if (goal.inputs.train.empty())
        return "it needs a training text";
    return {};
}

std::vector<Recipe> pruneCandidates(const std::vector<TechniqueDescriptor>& techniques,
                                    const Recipe& base, double tokens, const AdvisorGoal& goal) {
    std::vector<Recipe> recipes;
    const TechniqueDescriptor* prune = findDescriptor(techniques, "prune");
    const TechniqueDescriptor* distill = findDescriptor(techniques, "distill");
    if (!prune)
        return recipes;
    for (const char* method : {"width", "ffn", "layers"}) {
        // Width shares the removal between neurons, heads and channels: neurons alone are in it.
        const bool inWidth =
            method == std::string_view("ffn") && hasChoice(*prune, "method", "width");
        if (inWidth || !hasChoice(*prune, "method", method))
            continue;
        for (const double ratio : kPruneRatios) {
            Recipe recipe =
                appended({{}, {}, goal.seed}, "prune", {{"method", method}, {"ratio", ratio}});
            if (distill)
                recipe = appended(std::move(recipe), "distill", withTokens(*distill, tokens));
            recipe.steps.insert(recipe.steps.end(), base.steps.begin(), base.steps.end());
            recipes.push_back(std::move(recipe));
        }
    }
    return recipes;
}

Recipe withTokenShare(Recipe recipe, double share) {
    for (RecipeStep& step : recipe.steps)
        if (const auto tokens = step.params.find("tokens");
            tokens != step.params.end() && tokens->is_number())
            *tokens = std::max<std::int64_t>(
                1, static_cast<std::int64_t>(std::llround(tokens->get<double>() * share)));
    return recipe;
}

std::string candidateTitle(const Recipe& recipe, const std::string& stage) {
    if (recipe.steps.empty())
        return "as it is";
    std::string title = recipeSummary(recipe);
    if (stage == "qat" || stage == "qad")
        for (const RecipeStep& step : recipe.steps)
            if (step.params.contains("rate_factor"))
                title += " rate x" + formatMetric("kl_mean", step.params["rate_factor"]);
    return title;
}

}  // namespace fettle
