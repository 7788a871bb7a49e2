// An experiment as stored, and the orderings that charts and tables need.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/experiment/run_values.h"

namespace fettle {

enum class ExperimentStatus { Queued, Running, Finished, Failed, Cancelled, Interrupted };
std::string toString(ExperimentStatus status);
ExperimentStatus experimentStatusFromString(const std::string& text);

/// One row of the experiment list: enough for tables and scatter charts.
struct ExperimentRecord {
    std::int64_t id = 0;
    std::string name;
    std::string modelHash;
    std::string modelName;
    std::string modelPath;
    std::string recipeHash;
    Recipe recipe;  ///< no steps: the baseline
    std::string device;
    ExperimentStatus status = ExperimentStatus::Queued;
    std::string error;  ///< message of a failed run
    std::uint64_t seed = 1;
    std::string appVersion;
    std::int64_t startedMs = 0;   ///< Unix time in ms; 0 = not yet
    std::int64_t finishedMs = 0;
    std::optional<std::int64_t> parent;
    std::string artifactPath;
    std::map<std::string, Measurement> metrics;

    bool isBaseline() const { return recipe.steps.empty(); }
    /// "baseline", "ptq int8", "ptq int4-g32 + qat": what was done, in few words.
    std::string summary() const;
};

struct LogLine {
    std::int64_t timeMs = 0;
    std::string level;
    std::string text;
};

/// Everything stored about one experiment.
struct ExperimentDetail {
    ExperimentRecord record;
    RunInputs inputs;
    MeasureOptions measure;
    std::vector<StepReport> steps;
    std::vector<LayerMetric> layerMetrics;
    std::vector<SeriesPoint> series;
    std::vector<SampleText> samples;
    std::vector<ArtifactReport> artifacts;
    std::vector<LogLine> log;
};

/// Indices of the points no other point beats in both metrics at once, sorted by x. Points that lack a metric are
/// left out. `xBetter`/`yBetter` say which direction is good (Neither is taken as Lower).
std::vector<std::size_t> paretoFront(const std::vector<ExperimentRecord>& records, const std::string& xMetric,
                                     BetterWhen xBetter, const std::string& yMetric, BetterWhen yBetter);

}  // namespace fettle
