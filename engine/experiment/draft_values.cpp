#include "engine/experiment/draft_values.h"

#include <algorithm>

namespace fettle {

Recipe draftRecipe(const DraftMaking& making) {
    Recipe recipe;
    recipe.name = "draft";
    if (making.heads()) {
        recipe.steps = {{making.kind, {{"tokens", making.tokens}}}};
        return recipe;
    }
    recipe.steps = {{"prune", {{"method", "layers"}, {"ratio", making.layers}}},
                    {"prune", {{"method", "width"}, {"ratio", making.width}}},
                    {"distill", {{"tokens", making.tokens}}}};
    return recipe;
}

int DraftTrialReport::best() const {
    int best = -1;
    double speedup = 1;
    for (std::size_t i = 0; i < trials.size(); ++i)
        if (trials[i].refusal.empty() && trials[i].speedup > speedup) {
            best = static_cast<int>(i);
            speedup = trials[i].speedup;
        }
    return best;
}

nlohmann::json toJson(const DraftTrial& trial) {
    nlohmann::json json{
        {"draft", trial.draft}, {"draft_tokens", trial.draftTokens}, {"tree", trial.tree}};
    if (!trial.refusal.empty()) {
        json["refusal"] = trial.refusal;
        return json;
    }
    json.update({{"description", trial.description},
                 {"verdict", trial.verdict},
                 {"acceptance_rate", 100 * trial.acceptance},
                 {"draft_cost", 100 * trial.draftCost},
                 {"mean_depth", trial.meanDepth},
                 {"verify_cost", trial.verifyCost},
                 {"mean_accepted_length", trial.acceptedLength},
                 {"speedup", trial.speedup},
                 {"speedup_low", trial.speedupLow},
                 {"speedup_high", trial.speedupHigh},
                 {"expected_speedup", trial.expected},
                 {"speedup_copy",
                  trial.copySpeedup > 0 ? nlohmann::json(trial.copySpeedup) : nlohmann::json()},
                 {"decode_tokens_per_s", trial.tokensPerSecond},
                 {"ttft_ms", trial.ttftMs},
                 {"ttft_ms_plain", trial.plainTtftMs},
                 {"draft_bytes", trial.draftBytes},
                 {"identical_output", trial.identical}});
    nlohmann::json& series = json["series"] = nlohmann::json::array();
    for (const SeriesPoint& point : trial.series)
        series.push_back(toJson(point));
    return json;
}

nlohmann::json toJson(const DraftTrialReport& report) {
    nlohmann::json trials = nlohmann::json::array();
    for (const DraftTrial& trial : report.trials)
        trials.push_back(toJson(trial));
    const int best = report.best();
    return {{"model", report.model},
            {"step_ms", report.stepMs},
            {"verify_cost", report.verifyCost},
            {"trials", trials},
            {"best", best >= 0 ? nlohmann::json(best) : nlohmann::json()}};
}

double expectedTokens(double acceptance, int drafted) {
    double sum = 1, power = 1;
    for (int i = 0; i < drafted; ++i)
        sum += power *= acceptance;
    return sum;
}

double expectedSpeedup(double acceptance, int drafted, double draftCost, double verifyCost) {
    return expectedTokens(acceptance, drafted) / (drafted * draftCost + verifyCost);
}

double neededAcceptance(double speedup, int drafted, double draftCost, double verifyCost) {
    if (expectedSpeedup(1, drafted, draftCost, verifyCost) < speedup)
        return 2;
    double low = 0, high = 1;
    while (high - low > 1e-6) {
        const double middle = (low + high) / 2;
        (expectedSpeedup(middle, drafted, draftCost, verifyCost) < speedup ? low : high) = middle;
    }
    return high;
}

double neededAcceptance(double speedup, double draftCost, const std::vector<double>& verifyCost) {
    double least = 2;
    for (std::size_t drafted = 1; drafted < verifyCost.size(); ++drafted)
        least = std::min(least, neededAcceptance(speedup, static_cast<int>(drafted), draftCost,
                                                 verifyCost[drafted]));
    return least;
}

}  // namespace fettle
