// Inputs, estimates and results of a run, and the measuring options that go with them.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/experiment/evaluation_trace.h"
#include "engine/experiment/measurement.h"
#include "engine/experiment/recipe.h"

namespace fettle {

/// Files a run reads. Empty means "not given"; the demo model brings its own.
struct RunInputs {
    std::string calibration;
    std::string train;
    std::string evaluate;
    std::string tasks;
    std::string teacher;
};

nlohmann::json toJson(const RunInputs& inputs);
RunInputs runInputsFromJson(const nlohmann::json& json);

enum class PerplexityProtocol {
    Plain,    ///< windows without overlap, first token of each window unscored
    LlamaCpp  ///< BOS at the start of each window, only its second half scored
};

/// The measuring protocol of one run. Stored with the numbers.
struct MeasureOptions {
    int context = 256;               ///< tokens of an evaluation window
    std::int64_t maxTokens = 16384;  ///< of the evaluation text; 0 = all
    PerplexityProtocol protocol = PerplexityProtocol::Plain;
    bool speed = true;  ///< measure latency as well
    int promptTokens = 512;
    int newTokens = 128;
    int repeats = 3;
    int threads = 0;        ///< 0 = all
    bool bfloat16 = false;  ///< products of bfloat16, see Backend::useProducts
};

nlohmann::json toJson(const MeasureOptions& options);
MeasureOptions measureOptionsFromJson(const nlohmann::json& json);
/// e.g. "ppl windows=256 first-unscored": the part of the options that decides comparability of
/// accuracy numbers.
std::string accuracyProtocol(const MeasureOptions& options, const std::string& textHash);

/// What a recipe will cost, said before anything runs. All numbers are estimates.
struct RecipeEstimate {
    std::uint64_t peakBytes = 0;
    std::uint64_t outputBytes = 0;
    double seconds = 0;
    double bitsPerWeight = 0;
    std::vector<std::string> problems;  ///< non-empty: the recipe cannot run as it stands
    std::vector<std::string> notes;
};

nlohmann::json toJson(const RecipeEstimate& estimate);
RecipeEstimate recipeEstimateFromJson(const nlohmann::json& json);

struct LayerMetric {
    int layer = -1;      ///< -1 for tensors outside the decoder layers
    std::string tensor;  ///< canonical tensor name
    std::string name;    ///< "sqnr_db", "mse", "bits", ...
    double value = 0;
};

struct SeriesPoint {
    std::string name;  ///< "train_loss", ...
    double step = 0;
    double value = 0;
};

struct SampleText {
    std::string prompt;
    std::string text;
};

struct StepReport {
    std::size_t index = 0;
    std::string technique;
    nlohmann::json params;
    double seconds = 0;
};

struct ArtifactReport {
    std::string path;
    std::string format;  ///< "safetensors", "compressed-tensors", "gguf", ...
    std::uint64_t bytes = 0;
    std::string hash;
};

/// Everything a finished run leaves behind.
struct RunResult {
    std::string modelHash;
    std::string deviceName;
    std::string deviceKind;  ///< "cpu" or "cuda"
    std::string deviceIsa;
    std::uint64_t deviceMemory = 0;
    std::vector<StepReport> steps;
    std::vector<Measurement> metrics;
    std::vector<LayerMetric> layerMetrics;
    std::vector<SampleText> samples;
    std::optional<ArtifactReport> artifact;
    std::optional<RecipeEstimate> estimate;  ///< what was promised, to be held against `metrics`
    std::optional<EvaluationTrace> trace;    ///< values per token of the evaluation
};

nlohmann::json toJson(const StepReport& step);
nlohmann::json toJson(const LayerMetric& metric);
nlohmann::json toJson(const SeriesPoint& point);
nlohmann::json toJson(const SampleText& sample);
nlohmann::json toJson(const ArtifactReport& artifact);
nlohmann::json toJson(const Measurement& metric);
nlohmann::json toJson(const RunResult& result);
/// Reads what toJson wrote. Missing fields keep their defaults; throws nlohmann::json::exception
/// for wrong types.
Measurement measurementFromJson(const nlohmann::json& json);
RunResult runResultFromJson(const nlohmann::json& json);

/// A proof that an exported file is what it claims to be.
struct ExportCheck {
    std::string name;  ///< "reload", "codes identical", "logits", "scales finite"
    bool passed = false;
    std::string detail;
};

struct ExportReport {
    std::string path;
    std::string format;
    std::uint64_t bytes = 0;
    std::vector<ExportCheck> checks;
    std::vector<std::string> loadedBy;  ///< runtimes that load this file
    std::vector<std::string> lossy;     ///< what the format cannot keep, in words
    bool verified() const;              ///< there were checks and all of them passed
};
nlohmann::json toJson(const ExportReport& report);

/// What drafting did for one answer.
struct SpeculationReport {
    std::string draft;  ///< in words
    std::int64_t drafted = 0;
    std::int64_t accepted = 0;
    double acceptanceRate = 0;      ///< %, of the drafted tokens that were tried
    double meanAcceptedLength = 0;  ///< tokens per pass of the full model
};

/// A token as it came: by a step of the model itself, drafted and accepted, or drafted and rejected
/// (not part of the answer).
struct TokenPiece {
    enum class Origin { Plain, Accepted, Rejected } origin = Origin::Plain;
    std::string text;        ///< whole UTF-8 sequences; may be empty inside one
    std::int64_t round = 0;  ///< pass of the full model that gave it; 0 is the prompt's
    int node = -1;           ///< number among the drafted tokens of its round; -1: not drafted
    int parent = -1;         ///< the drafted token it follows; -1: the text before the round
    double confidence = 0;   ///< the draft's own guess at its chance, in [0, 1]
    bool operator==(const TokenPiece&) const = default;
};

struct GenerateReport {
    std::string text;
    std::vector<std::int32_t> ids;
    double ttftMs = 0;
    double decodeTokensPerSecond = 0;
    bool stopped = false;  ///< ended by an end-of-text token rather than by the limit
    std::int64_t promptTokens = 0;
    std::string chatFormat;         ///< the template the prompt was wrapped in; empty: raw
    std::uint64_t weightBytes = 0;  ///< weights in memory, a draft's included
    std::uint64_t cacheBytes = 0;   ///< key/value cache of prompt and answer
    std::optional<SpeculationReport> speculation;
};
nlohmann::json toJson(const GenerateReport& report);

/// Export formats with who loads them, for forms and help.
struct ExportFormatInfo {
    std::string id;  ///< "gguf-q4_0", "safetensors", "compressed-tensors", ...
    std::string title;
    std::string help;
    std::vector<std::string> loadedBy;
    bool isFile = false;            ///< one file (gguf) rather than a folder
    bool takesCalibration = false;  ///< codes are chosen under a text where one is given
};
const std::vector<ExportFormatInfo>& exportFormats();
/// The entry for `id`, or nullptr.
const ExportFormatInfo* findExportFormat(std::string_view id);

}  // namespace fettle
