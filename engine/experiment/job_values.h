// Requests to and events from the engine thread. Plain values: they cross threads by copy, never by
// pointer.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "engine/experiment/draft_values.h"
#include "engine/experiment/model_report.h"
#include "engine/experiment/run_values.h"

namespace fettle {

using JobId = std::uint64_t;

enum class ErrorKind { Usage, BadInput, Device, OutOfMemory, Io, Internal };

/// An error as the user sees it: one line that names the file or setting and the cause.
struct ErrorInfo {
    ErrorKind kind = ErrorKind::Internal;
    std::string message;
};
/// Exit code of the command line for an error: 2 usage, 3 bad input or input/output, 4 device or
/// memory.
int exitCode(ErrorKind kind);

struct InspectRequest {
    std::string path;
};
struct HistogramRequest {
    std::string path;
    std::string tensor;
    int bins = 128;
};
struct EstimateRequest {
    std::string modelPath;
    Recipe recipe;
    RunInputs inputs;
    MeasureOptions measure;
};
/// Runs a recipe (an empty one measures the model as it is: the baseline), measures the result,
/// writes the artifact.
struct RunRequest {
    std::int64_t experiment = 0;  ///< id in the store, echoed in events; 0 = not stored
    std::string modelPath;
    Recipe recipe;
    RunInputs inputs;
    MeasureOptions measure;
    std::string artifactFolder;  ///< folder to write the optimized model to; empty = keep nothing
};
struct EvaluateRequest {
    std::string modelPath;
    std::string baselinePath;  ///< may be empty
    std::string textPath;
    std::string tasksPath;
    MeasureOptions measure;
    std::string kvCache;  ///< type of keys and values; empty: what the model itself names
};
struct ExportRequest {
    std::string modelPath;
    std::string format;  ///< an id of exportFormats()
    std::string outPath;
    bool verify = true;
    std::string calibration = {};  ///< text that codes of K-quants are chosen under; may be empty
    std::int64_t calibrationTokens = 16384;
};
struct GenerateRequest {
    std::string modelPath;
    std::string prompt;
    bool chat = false;  ///< wrap the prompt in the model's chat template, where it has a known one
    int maxNewTokens = 64;
    double temperature = 0;
    int topK = 0;
    double topP = 1;
    double minP = 0;
    std::uint64_t seed = 1;
    int threads = 0;
    std::string draft;  ///< as in a recipe; empty: what the model itself names; "none": no draft
    std::string draftTokens;  ///< empty: what the model itself names, else "auto"
    std::string draftTree;    ///< empty: what the model itself names, else "off"
    std::string kvCache;      ///< type of keys and values; empty: what the model itself names
};

using JobRequest = std::variant<InspectRequest, HistogramRequest, EstimateRequest, RunRequest,
                                EvaluateRequest, ExportRequest, GenerateRequest, DraftTrialRequest>;
/// e.g. "Inspect gemma.gguf": what the queue shows.
std::string jobTitle(const JobRequest& request);

struct EvaluateResult {
    std::vector<Measurement> metrics;
    EvaluationTrace trace;
};
using JobResult = std::variant<ModelReport, TensorHistogram, RecipeEstimate, RunResult,
                               EvaluateResult, ExportReport, GenerateReport, DraftTrialReport>;

struct JobQueued {
    std::string title;
};
struct JobStarted {};
struct JobProgress {
    std::string phase;    ///< "quantizing", "evaluating", ...
    double fraction = 0;  ///< of the whole job, 0..1; negative while unknown
    double tokensPerSecond = 0;
    double secondsLeft = -1;  ///< negative while unknown
    std::string detail;       ///< e.g. tensor name
    bool finishable = false;  ///< what runs now can be ended early and kept
};
struct JobLog {
    enum class Level { Info, Warning, Error } level = Level::Info;
    std::string text;
};
struct JobSeries {
    SeriesPoint point;
};
struct JobMetric {  ///< a metric as soon as it is known, before the run ends
    Measurement metric;
};
struct JobStepFinished {
    StepReport step;
};
struct JobText {  ///< streamed text of a generation
    std::string piece;
    std::vector<TokenPiece> tokens;  ///< the same by tokens, rejected drafts among them
};
struct JobPaused {};
struct JobResumed {};
struct JobFinished {
    JobResult result;
};
struct JobFailed {
    ErrorInfo error;
};
struct JobCancelled {};

using JobEventBody =
    std::variant<JobQueued, JobStarted, JobProgress, JobLog, JobSeries, JobMetric, JobStepFinished,
                 JobText, JobPaused, JobResumed, JobFinished, JobFailed, JobCancelled>;
struct JobEvent {
    JobId job = 0;
    std::int64_t experiment = 0;  ///< of a RunRequest, else 0
    JobEventBody body;
};

}  // namespace fettle
