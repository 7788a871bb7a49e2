// Trying drafts for speculative decoding: which ones, with how many tokens a round and in which
// trees, and what each is worth.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/experiment/recipe.h"
#include "engine/experiment/run_values.h"

namespace fettle {

/// A draft made from its target: a model pruned from it, then taught by it, or heads.
struct DraftMaking {
    double layers = 0.5;  ///< share of the layers that it does without
    double width = 0.4;   ///< share of the parameters of what is left that goes as well
    std::int64_t tokens = 1'000'000;
    std::string kind = "model";  ///< or "medusa", "eagle": heads on the model's hidden states

    bool heads() const { return kind != "model"; }
};
/// Depth first: a draft writes one token at a time, which is as slow as it is deep.
Recipe draftRecipe(const DraftMaking& making);

/// Each of `drafts` is tried with each of `draftTokens` and each of `trees`, all as in a recipe.
struct DraftTrialRequest {
    std::string modelPath;
    std::vector<std::string> drafts;
    std::vector<std::string> draftTokens{"auto"};
    std::vector<std::string> trees{"off"};
    /// Also a draft made so, for this job alone: `tokens` few enough to be a probe.
    std::optional<DraftMaking> probe;
    RunInputs inputs;  ///< evaluate: the prompts; train: what a probe learns from
    MeasureOptions measure;
};

/// Costs are in steps of the model: the time of one token decoded without drafting.
struct DraftTrial {
    std::string draft, draftTokens, tree;
    std::string description;    ///< of the draft, in words
    std::string refusal;        ///< why it cannot draft for the model; then nothing else is known
    std::string verdict;        ///< whether it pays and why, with figures
    double acceptance = 0;      ///< of the drafted tokens that were tried, in [0, 1]
    double draftCost = 0;       ///< of one level of drafted tokens
    double meanDepth = 0;       ///< drafted levels of a round that drafts
    double verifyCost = 0;      ///< of such a round's pass
    double acceptedLength = 0;  ///< tokens per pass, the model's own included
    double speedup = 0, speedupLow = 0, speedupHigh = 0;
    double expected = 0;     ///< what the formula promises from the above
    double copySpeedup = 0;  ///< on prompts whose answer repeats them; 0: not measured
    double tokensPerSecond = 0;
    double ttftMs = 0, plainTtftMs = 0;
    double draftBytes = 0;
    double identical = 0;             ///< %, answers equal to those without drafting
    std::vector<SeriesPoint> series;  ///< acceptance_by_position, verify_cost
};

struct DraftTrialReport {
    std::string model;
    double stepMs = 0;               ///< one token without drafting
    std::vector<double> verifyCost;  ///< of a pass over 1, 2, ... tokens
    std::vector<DraftTrial> trials;

    /// Index of the fastest; -1 where none is faster than no draft.
    int best() const;
};
nlohmann::json toJson(const DraftTrial& trial);
nlohmann::json toJson(const DraftTrialReport& report);

/// With acceptance a, g drafted tokens a round: tokens per round, and the speed-up where drafting
/// one costs c and a pass over g + 1 tokens v in steps: (1 - a^(g+1)) / ((1 - a)(g c + v)).
/// Leviathan et al. 2023, theorem 3.8, with a v that grows.
double expectedTokens(double acceptance, int drafted);
double expectedSpeedup(double acceptance, int drafted, double draftCost, double verifyCost);
/// The acceptance from which on `drafted` tokens a round reach `speedup`; above 1 where they never
/// do.
double neededAcceptance(double speedup, int drafted, double draftCost, double verifyCost);
/// The same with the number of drafted tokens for which it is least; `verifyCost` of a pass over 1,
/// 2, ... tokens.
double neededAcceptance(double speedup, double draftCost, const std::vector<double>& verifyCost);

}  // namespace fettle
