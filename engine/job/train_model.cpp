#include "engine/job/train_model.h"

#include <algorithm>
#include <filesystem>

#include "engine/eval/memory_probe.h"
#include "engine/io/exporter.h"
#include "engine/io/staged_output.h"
#include "engine/io/strict_json.h"
#include "engine/job/recipe_runner.h"
#include "engine/model/model_initializer.h"
#include "engine/technique/training_memory.h"

namespace fettle {

namespace {

namespace fs = std::filesystem;

constexpr double kTrainLoadShare = 0.03;
constexpr double kTrainShare = 0.95;
constexpr double kTrainWriteShare = 0.02;

/// Passes everything on and keeps the curves.
class SeriesKeeper : public ProgressSink {
public:
    explicit SeriesKeeper(RunControl& outer) : m_outer(outer) {}
    void progress(const JobProgress& p) override {
        m_outer.progress(p.fraction, p.detail, p.tokensPerSecond);
    }
    void log(JobLog::Level level, const std::string& text) override {
        m_outer.sink().log(level, text);
    }
    void series(const SeriesPoint& point) override {
        points.push_back(point);
        m_outer.sink().series(point);
    }
    void metric(const Measurement& metric) override { m_outer.sink().metric(metric); }
    void stepFinished(const StepReport& step) override { m_outer.sink().stepFinished(step); }
    void text(const std::string& piece) override { m_outer.sink().text(piece); }

    std::vector<SeriesPoint> points;

private:
    RunControl& m_outer;
};

DType typeOf(const std::string& name, const nlohmann::json& config) {
    std::string wanted = name;
    for (const char* key : {"dtype", "torch_dtype"})
        if (wanted.empty() && config.is_object() && config.contains(key) &&
            config.at(key).is_string())
            wanted = config.at(key).get<std::string>();
    if (wanted == "f32" || wanted == "float32")
        return DType::F32;
    if (wanted == "f16" || wanted == "float16")
        return DType::F16;
    if (wanted == "bf16" || wanted == "bfloat16" || wanted.empty())
        return DType::BF16;
    throw EngineError(ErrorKind::Usage, "\"" + wanted +
                                            "\" is no type to train in; f32, f16 and "
                                            "bf16 are");
}

/// The tokenizer's own files, for the folder that is written.
std::vector<fs::path> tokenizerFiles(const fs::path& folder) {
    std::vector<fs::path> files;
    std::error_code ignored;
    for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                             "added_tokens.json", "generation_config.json"})
        if (fs::exists(folder / name, ignored))
            files.push_back(folder / name);
    return files;
}

Model startingModel(const TrainRequest& request, RunControl& control) {
    std::error_code ignored;
    const fs::path path = request.model;
    const bool description = path.extension() == ".json" && fs::is_regular_file(path, ignored);
    if (!description && !request.fresh) {
        if (!request.tokenizer.empty())
            throw EngineError(ErrorKind::Usage, "a model that is trained on keeps its tokenizer");
        Model model = loadModel(request.model, &control);
        refuseNonFinite(model, control);
        return request.type.empty() ? model : withType(model, typeOf(request.type, {}));
    }
    ModelConfig config;
    std::shared_ptr<const Tokenizer> tokenizer;
    std::vector<fs::path> files;
    if (description) {
        config = modelConfigFromHuggingFace(readJsonObject(path), path.string());
    } else {
        const Model shape = loadModel(request.model, &control);
        config = shape.config;
        tokenizer = shape.tokenizer;
        files = shape.sideFiles;
    }
    if (description || !request.tokenizer.empty()) {
        const fs::path folder =
            request.tokenizer.empty() ? path.parent_path() : fs::path(request.tokenizer);
        tokenizer = Tokenizer::fromFolder(folder);
        files = tokenizerFiles(folder);
    }
    if (tokenizer->vocabularySize() > config.vocabularySize)
        throwBadInput(request.model, "describes " + std::to_string(config.vocabularySize) +
                                         " tokens, the tokenizer has " +
                                         std::to_string(tokenizer->vocabularySize()));
    const DType type = typeOf(request.type, config.source);
    Model model = randomModel(std::move(config), std::move(tokenizer), request.seed, type);
    model.path = request.model;
    model.sideFiles = std::move(files);
    return model;
}

void checkTeacher(const Model& teacher, const Model& student) {
    if (teacher.tokenizer->toGguf().tokens != student.tokenizer->toGguf().tokens)
        throwBadInput(teacher.path, "its tokenizer is another than the student's");
}

}  // namespace

nlohmann::json toJson(const TrainReport& report) {
    const TrainOutcome& o = report.outcome;
    const char* ends[] = {"budget", "target", "stopped early"};
    nlohmann::json json = {{"out", report.path},
                           {"parameters", report.parameters},
                           {"steps", o.steps},
                           {"tokens", o.tokens},
                           {"end", ends[static_cast<int>(o.end)]},
                           {"train_loss", o.trainLoss},
                           {"validation_loss", nullptr},
                           {"validation_perplexity", nullptr},
                           {"first_validation_loss", nullptr},
                           {"best_step", nullptr},
                           {"skipped_steps", o.skippedSteps},
                           {"seconds", o.seconds},
                           {"tokens_per_s", o.tokensPerSecond},
                           {"peak_bytes", report.peakBytes},
                           {"device", report.device}};
    if (o.best.perplexity > 0) {
        json["validation_loss"] = o.best.loss;
        json["validation_perplexity"] = o.best.perplexity;
        json["first_validation_loss"] = o.first.loss;
        json["best_step"] = o.bestStep;
    }
    json["series"] = nlohmann::json::object();
    for (const SeriesPoint& point : report.series)
        json["series"][point.name].push_back({point.step, point.value});
    return json;
}

namespace {

std::string memoryAdvice(const TrainRequest& request) {
    return "train: not enough memory; fewer micro-tokens (" +
           std::to_string(request.data.batchTokens) + " now), a shorter context (" +
           std::to_string(request.data.context) + " now) or a smaller model take less" +
           (request.trainer.checkpointing
                ? ""
                : ", and so does checkpointing, which computes activations again");
}

TrainReport trainWithinMemory(const TrainRequest& request, Backend& backend, RunControl& control) {
    if (request.trainer.loss.distillation > 0 && request.teacher.empty())
        throw EngineError(ErrorKind::Usage, "distillation needs a teacher");
    resetPeakResident();
    control.beginPhase("Loading", kTrainLoadShare);
    const Model start = startingModel(request, control);
    // That the result has a place is known before hours are spent on it.
    StagedOutput(request.out, StagedOutput::Kind::Folder, start.weightBytes());
    DataLoader data(start.tokenizer, request.data, control);
    Network student(start, backend.pool());
    std::optional<Network> teacher;
    if (!request.teacher.empty()) {
        const Model model = loadModel(request.teacher, &control);
        checkTeacher(model, start);
        teacher.emplace(model, backend.pool());
    }
    TrainerOptions options = request.trainer;
    if (options.checkpointMinutes > 0 || options.checkpointEvery > 0)
        options.checkpointFolder = checkpointsOf(request.out);

    control.beginPhase("Training", kTrainShare);
    SeriesKeeper keeper(control);
    RunControl inner = control.nested(keeper);
    inner.beginPhase("Training", 1);
    TrainReport report;
    std::vector<const ModelConfig*> models = {&student.config()};
    if (teacher)
        models.push_back(&teacher->config());
    const TrainPlace place("train", backend, models, options.loss, "", control);
    const std::unique_ptr<TrainEngine> engine =
        place.engine(student, teacher ? &*teacher : nullptr, engineOptions(options));
    report.device = engine->where();
    report.outcome = train(*engine, data, options, nullptr, inner);
    report.series = std::move(keeper.points);
    report.parameters = static_cast<std::uint64_t>(student.values().size());
    report.peakBytes = peakResidentBytes();

    control.beginPhase("Writing", kTrainWriteShare);
    const ExportReport written = writeModelFolder(student.toModel(start), request.out, control);
    for (const std::string& note : written.lossy)
        control.warn(note);
    report.path = written.path;
    std::error_code ignored;
    fs::remove_all(checkpointsOf(request.out), ignored);
    return report;
}

}  // namespace

TrainReport trainModel(const TrainRequest& request, Backend& backend, RunControl& control) {
    return withinMemory(memoryAdvice(request),
                        [&] { return trainWithinMemory(request, backend, control); });
}

}  // namespace fettle
