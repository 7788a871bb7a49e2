// An experiment as stored, and the orderings that charts and tables need.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/experiment/annotations.h"
#include "engine/experiment/run_values.h"

namespace fettle {

enum class ExperimentStatus { Queued, Running, Finished, Failed, Cancelled, Interrupted };
std::string toString(ExperimentStatus status);
ExperimentStatus experimentStatusFromString(const std::string& text);

/// "baseline", "ptq int8", "ptq int4-g32 + qat": what a recipe does, in few words.
std::string recipeSummary(const Recipe& recipe);

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
    std::int64_t startedMs = 0;  ///< Unix time in ms; 0 = not yet
    std::int64_t finishedMs = 0;
    std::optional<std::int64_t> parent;
    std::string artifactPath;
    std::map<std::string, Measurement> metrics;
    Annotations annotations;

    bool isBaseline() const { return recipe.steps.empty(); }
    std::string summary() const;  ///< recipeSummary of its recipe
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
    std::optional<RecipeEstimate>
        estimate;  ///< what was promised before the run, if it was asked for
    std::vector<StepReport> steps;
    std::vector<LayerMetric> layerMetrics;
    std::vector<SeriesPoint> series;
    std::vector<SampleText> samples;
    std::vector<ArtifactReport> artifacts;
    std::vector<LogLine> log;
};

nlohmann::json toJson(const ExperimentRecord& record);
/// The record's fields, and "inputs", "measure", "estimate", "steps", "layer_metrics", "series",
/// "samples", "artifacts", "log" beside them.
nlohmann::json toJson(const ExperimentDetail& detail);
/// Reads what toJson wrote; missing fields keep their defaults. Throws RecipeError or
/// nlohmann::json::exception for what is no experiment.
ExperimentDetail experimentDetailFromJson(const nlohmann::json& json);

/// Indices of the points no other point beats, sorted by x: a point is beaten by one that is at
/// least as good in both metrics and better in one. Equal points beat each other in nothing: both
/// stand, in the order of their indices. Points that lack a metric, or whose value is not a finite
/// number, are left out. `xBetter`/`yBetter` say which direction is good (Neither is taken as
/// Lower).
std::vector<std::size_t> paretoFront(const std::vector<ExperimentRecord>& records,
                                     const std::string& xMetric, BetterWhen xBetter,
                                     const std::string& yMetric, BetterWhen yBetter);

}  // namespace fettle
