// What the advisor is asked for and what it answers: targets, the ladder of rungs with their costs,
// and every decision with the numbers that caused it. Plain values for command line, window and
// tests; the planning is in engine/advisor.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/experiment/experiment_record.h"

namespace fettle {

/// What the user wants to hold. Unset: no such wish.
struct AdvisorTargets {
    std::optional<double> maxPerplexityIncrease;  ///< share, 0.02 is 2%; paired over equal tokens
    std::optional<double> maxKl;                  ///< nats, mean over tokens
    std::optional<double> minTaskAccuracy;        ///< share of the tasks, 0..1
    std::optional<double> minSpeedup;             ///< decode speed against the model as it is
    std::optional<double> maxMemoryBytes;         ///< weights in memory, a draft's included
    std::optional<double> maxFileBytes;           ///< size on disk

    bool any() const { return accuracy() || minSpeedup || size(); }
    bool accuracy() const { return maxPerplexityIncrease || maxKl || minTaskAccuracy; }
    bool size() const { return maxMemoryBytes || maxFileBytes; }
};

struct AdvisorGoal {
    std::string modelPath;
    std::int64_t layers = 0;                      ///< decoder layers of the model; 0: unknown
    std::int64_t hiddenSize = 0, vocabulary = 0;  ///< likewise
    AdvisorTargets targets;
    RunInputs inputs;
    MeasureOptions measure;  ///< of an evaluation in full
    double minutes = 0;      ///< budget of measured time; 0: none
    std::string draft;       ///< a draft model to try beside those that need none
    std::uint64_t seed = 1;
};

/// One run of the ladder. `share` < 1: on a part of the evaluation and of the training tokens, to
/// choose among parameters.
struct AdvisorTrial {
    std::string stage;  ///< "baseline", "ptq", "qat", "qad", "speculative", "prune"
    Recipe recipe;
    RunInputs inputs;
    MeasureOptions measure;
    double share = 1;

    bool inFull() const { return share >= 1; }
};
/// Equal for trials that would do the same.
std::string trialKey(const AdvisorTrial& trial);

/// What came of a trial.
struct AdvisorOutcome {
    std::int64_t experiment = 0;
    ExperimentStatus status = ExperimentStatus::Finished;
    std::string error;
    std::map<std::string, Measurement> metrics;
    double seconds = 0;   ///< wall time; of a stopped run until it stopped
    bool reused = false;  ///< was in the database before
};

/// All that is known so far: the advisor decides from this and nothing else, so a ladder that was
/// killed goes on where it stopped.
struct AdvisorKnowledge {
    std::map<std::string, RecipeEstimate> estimates;  ///< by trialKey
    std::map<std::string, AdvisorOutcome> outcomes;
};

/// One target held against one result.
struct TargetCheck {
    std::string name;  ///< "max-perplexity-increase", ...: as the command line spells it
    bool met = false;
    bool measured = false;
    double value = std::numeric_limits<double>::quiet_NaN();
    double limit = 0;
    double violation = 0;  ///< 0 when met; otherwise how far off, relative to the limit
    std::string text;      ///< "perplexity +0.8% (+0.5% to +1.1%), at most +2%"
};

struct AdvisorRung {
    enum class State { Waiting, Running, Finished, Failed, Skipped };
    State state = State::Waiting;
    AdvisorTrial trial;
    std::string title;  ///< "int4-g32 gptq"
    std::int64_t experiment = 0;
    bool reused = false;
    std::map<std::string, Measurement> metrics;
    std::vector<TargetCheck> checks;
    std::optional<RecipeEstimate> estimate;
    double seconds = 0;
    double tokens = 0;     ///< of calibration and training
    double peakBytes = 0;  ///< most memory held while it was made and measured
    std::string reason;    ///< why it was skipped or failed

    bool meets() const;
    double violation() const;  ///< sum over the checks
};

struct AdvisorDecision {
    std::string stage;
    std::string text;  ///< one sentence with its numbers
};

/// What the advisor wants to know next.
struct AdvisorQuestion {
    enum class Kind { Estimate, Run } kind = Kind::Run;
    AdvisorTrial trial;
    double secondsLeft = 0;  ///< of the budget, for a Run; infinite without one
};

struct AdvisorReport {
    std::vector<AdvisorRung> rungs;
    std::vector<AdvisorDecision> decisions;
    std::optional<AdvisorQuestion> question;  ///< none: the ladder is at its end
    bool met = false;
    std::optional<std::size_t> recommended;  ///< index in `rungs`
    std::vector<std::size_t> front;          ///< indices in `rungs`: not beaten by another one
    std::string verdict;                     ///< why this one, in a few sentences
    double seconds = 0;                      ///< measured time of all rungs

    bool finished() const { return !question; }
};

std::string toString(AdvisorRung::State state);
nlohmann::json toJson(const AdvisorTargets& targets);
nlohmann::json toJson(const AdvisorReport& report);

/// "2%" is 0.02, "2GiB" 2147483648, "1.5" or "1.5x" 1.5; nothing for text that is none of these.
std::optional<double> limitFromText(std::string_view text);

}  // namespace fettle
