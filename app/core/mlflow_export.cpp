#include "app/core/mlflow_export.h"

#include <array>
#include <charconv>
#include <cmath>
#include <map>

#include "storage/durable_file.h"
#include "storage/storage_error.h"

namespace fettle::app {
namespace {

namespace fs = std::filesystem;

/// JSON strings are YAML strings.
std::string yamlText(const std::string& text) {
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// MLflow allows letters, digits and "_-. /" in keys; a key is a path below its folder.
std::string keyOf(const std::string& name) {
    std::string key;
    for (const char c : name) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                           (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
        key += plain ? c : '_';
    }
    return key.empty() || key.front() == '.' ? "_" + key : key;
}

std::string numberText(double value) {
    if (std::isnan(value))
        return "nan";
    if (std::isinf(value))
        return value > 0 ? "inf" : "-inf";
    std::array<char, 64> buffer{};
    const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
    return {buffer.data(), result.ptr};
}

void write(const fs::path& file, const std::string& text) {
    std::error_code failed;
    fs::create_directories(file.parent_path(), failed);
    if (failed)
        throw storage::StorageError(file.parent_path().string(), failed.message());
    storage::writeFileDurably(file, text);
}

/// 32 hexadecimal digits, as MLflow's run ids are; the same for the same experiment.
std::string runId(const ExperimentRecord& record) {
    std::array<char, 40> text{};
    const auto put = [&](std::uint64_t value, std::size_t at) {
        static constexpr char kDigits[] = "0123456789abcdef";
        for (std::size_t i = 0; i < 16; ++i)
            text[at + i] = kDigits[(value >> (60 - 4 * i)) & 15];
    };
    put(static_cast<std::uint64_t>(record.id), 0);
    put(static_cast<std::uint64_t>(record.startedMs) ^
            (static_cast<std::uint64_t>(record.finishedMs) << 20),
        16);
    return {text.data(), 32};
}

/// MLflow's RunStatus numbers.
int statusNumber(ExperimentStatus status) {
    switch (status) {
        case ExperimentStatus::Queued:
            return 2;  // SCHEDULED
        case ExperimentStatus::Running:
            return 1;
        case ExperimentStatus::Finished:
            return 3;
        case ExperimentStatus::Failed:
            return 4;
        case ExperimentStatus::Cancelled:
        case ExperimentStatus::Interrupted:
            break;
    }
    return 5;  // KILLED
}

void writeParams(const fs::path& folder, const ExperimentDetail& detail) {
    const ExperimentRecord& record = detail.record;
    std::map<std::string, std::string> params{
        {"recipe", record.summary()},
        {"recipe_hash", record.recipeHash},
        {"seed", std::to_string(record.seed)},
        {"model_path", record.modelPath},
        {"device", record.device},
        {"context", std::to_string(detail.measure.context)},
        {"max_tokens", std::to_string(detail.measure.maxTokens)}};
    for (std::size_t i = 0; i < record.recipe.steps.size(); ++i) {
        const RecipeStep& step = record.recipe.steps[i];
        const std::string prefix = "step" + std::to_string(i + 1) + "." + step.technique;
        params[prefix] = "on";
        for (const auto& [name, value] : step.params.items())
            params[prefix + "." + name] =
                value.is_string() ? value.get<std::string>() : value.dump();
    }
    for (const auto& [name, value] : params)
        write(folder / "params" / keyOf(name), value);
}

void writeMetrics(const fs::path& folder, const ExperimentDetail& detail) {
    const std::string time = std::to_string(detail.record.finishedMs);
    std::map<std::string, std::string> files;
    for (const auto& [name, metric] : detail.record.metrics) {
        files[keyOf(name)] = time + " " + numberText(metric.value) + " 0\n";
        if (metric.low)
            files[keyOf(name + "_low")] = time + " " + numberText(*metric.low) + " 0\n";
        if (metric.high)
            files[keyOf(name + "_high")] = time + " " + numberText(*metric.high) + " 0\n";
    }
    for (const SeriesPoint& point : detail.series)
        files[keyOf("series." + point.name)] +=
            time + " " + numberText(point.value) + " " +
            std::to_string(static_cast<std::int64_t>(std::llround(point.step))) + "\n";
    for (const auto& [name, text] : files)
        write(folder / "metrics" / name, text);
}

void writeRun(const fs::path& experiment, const std::string& experimentId,
              const ExperimentDetail& detail) {
    const ExperimentRecord& record = detail.record;
    const std::string id = runId(record);
    const fs::path folder = experiment / id;
    const std::string artifacts =
        record.artifactPath.empty() ? (folder / "artifacts").string() : record.artifactPath;
    write(folder / "meta.yaml",
          "artifact_uri: " + yamlText("file://" + artifacts) +
              "\nend_time: " + std::to_string(record.finishedMs) +
              "\nentry_point_name: ''\nexperiment_id: " + yamlText(experimentId) +
              "\nlifecycle_stage: active\nrun_id: " + id + "\nrun_name: " + yamlText(record.name) +
              "\nrun_uuid: " + id + "\nsource_name: ''\nsource_type: 4\nsource_version: ''\n" +
              "start_time: " + std::to_string(record.startedMs) + "\nstatus: " +
              std::to_string(statusNumber(record.status)) + "\ntags: []\nuser_id: ''\n");
    writeParams(folder, detail);
    writeMetrics(folder, detail);
    write(folder / "tags" / "mlflow.runName", record.name);
    write(folder / "tags" / "mlflow.source.name", "fettle " + record.appVersion);
    if (!record.error.empty())
        write(folder / "tags" / "error", record.error);
    // Readers look for the folder.
    std::error_code ignored;
    fs::create_directories(folder / "artifacts", ignored);
}

}  // namespace

void exportMlflow(const std::vector<ExperimentDetail>& details, const fs::path& folder) {
    std::error_code ignored;
    if (fs::exists(folder, ignored) && !fs::is_empty(folder, ignored))
        throw storage::StorageError(folder.string(), "is not an empty folder");
    // "0" is MLflow's default experiment, which a store must have.
    std::map<std::string, std::string> experiments;
    write(folder / "0" / "meta.yaml",
          "artifact_location: " + yamlText("file://" + (fs::absolute(folder) / "0").string()) +
              "\nexperiment_id: '0'\nlifecycle_stage: active\nname: Default\n");
    for (const ExperimentDetail& detail : details) {
        const std::string& model = detail.record.modelName;
        const auto [entry, isNew] =
            experiments.try_emplace(model, std::to_string(experiments.size() + 1));
        const fs::path experiment = fs::absolute(folder) / entry->second;
        if (isNew)
            write(experiment / "meta.yaml",
                  "artifact_location: " + yamlText("file://" + experiment.string()) +
                      "\nexperiment_id: " + yamlText(entry->second) +
                      "\nlifecycle_stage: active\nname: " + yamlText(model) + "\n");
        writeRun(experiment, entry->second, detail);
    }
}

}  // namespace fettle::app
