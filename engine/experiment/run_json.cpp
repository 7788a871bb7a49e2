// Results of runs as JSON: for the command line, for the store's side files and back.
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/experiment/experiment_record.h"

namespace fettle {
namespace {

using nlohmann::json;

/// JSON has no infinities; they and "not a number" travel as text, so that a broken model's
/// perplexity is not lost.
json number(double value) {
    if (std::isfinite(value))
        return value;
    return std::isnan(value) ? "nan" : (value > 0 ? "inf" : "-inf");
}

double numberFrom(const json& value) {
    if (value.is_number())
        return value.get<double>();
    const std::string& text = value.get_ref<const std::string&>();
    if (text == "nan")
        return std::numeric_limits<double>::quiet_NaN();
    return (text == "-inf" ? -1 : 1) * std::numeric_limits<double>::infinity();
}

double numberAt(const json& object, const char* key) {
    const auto found = object.find(key);
    return found == object.end() ? 0 : numberFrom(*found);
}

template <typename T, typename Read>
std::vector<T> listAt(const json& object, const char* key, Read read) {
    std::vector<T> result;
    if (const auto found = object.find(key); found != object.end()) {
        for (const json& item : *found)
            result.push_back(read(item));
    }
    return result;
}

template <typename T>
json listOf(const std::vector<T>& items) {
    json result = json::array();
    for (const T& item : items)
        result.push_back(toJson(item));
    return result;
}

StepReport stepFrom(const json& value) {
    return {value.value("index", std::size_t{0}), value.value("technique", ""),
            value.value("params", json::object()), numberAt(value, "seconds")};
}
LayerMetric layerMetricFrom(const json& value) {
    return {value.value("layer", -1), value.value("tensor", ""), value.value("name", ""),
            numberAt(value, "value")};
}
SampleText sampleFrom(const json& value) {
    return {value.value("prompt", ""), value.value("text", "")};
}
ArtifactReport artifactFrom(const json& value) {
    return {value.value("path", ""), value.value("format", ""),
            value.value("bytes", std::uint64_t{0}), value.value("hash", "")};
}

}  // namespace

json toJson(const StepReport& step) {
    return {{"index", step.index},
            {"technique", step.technique},
            {"params", step.params},
            {"seconds", number(step.seconds)}};
}
json toJson(const LayerMetric& metric) {
    return {{"layer", metric.layer},
            {"tensor", metric.tensor},
            {"name", metric.name},
            {"value", number(metric.value)}};
}
json toJson(const SeriesPoint& point) {
    return {{"name", point.name}, {"step", number(point.step)}, {"value", number(point.value)}};
}
json toJson(const SampleText& sample) {
    return {{"prompt", sample.prompt}, {"text", sample.text}};
}
json toJson(const ArtifactReport& artifact) {
    return {{"path", artifact.path},
            {"format", artifact.format},
            {"bytes", artifact.bytes},
            {"hash", artifact.hash}};
}

json toJson(const RecipeEstimate& estimate) {
    return {
        {"peak_bytes", estimate.peakBytes},    {"output_bytes", estimate.outputBytes},
        {"seconds", number(estimate.seconds)}, {"bits_per_weight", number(estimate.bitsPerWeight)},
        {"problems", estimate.problems},       {"notes", estimate.notes}};
}

RecipeEstimate recipeEstimateFromJson(const json& value) {
    return {value.value("peak_bytes", std::uint64_t{0}),
            value.value("output_bytes", std::uint64_t{0}),
            numberAt(value, "seconds"),
            numberAt(value, "bits_per_weight"),
            value.value("problems", std::vector<std::string>{}),
            value.value("notes", std::vector<std::string>{})};
}

json toJson(const Measurement& metric) {
    json result{{"name", metric.name},           {"value", number(metric.value)},
                {"unit", metric.unit},           {"native", metric.native},
                {"estimated", metric.estimated}, {"protocol", metric.protocol}};
    if (metric.low)
        result["low"] = number(*metric.low);
    if (metric.high)
        result["high"] = number(*metric.high);
    return result;
}

Measurement measurementFromJson(const json& value) {
    Measurement metric;
    metric.name = value.value("name", "");
    metric.value = numberAt(value, "value");
    metric.unit = value.value("unit", "");
    metric.native = value.value("native", true);
    metric.estimated = value.value("estimated", false);
    metric.protocol = value.value("protocol", "");
    if (value.contains("low"))
        metric.low = numberFrom(value["low"]);
    if (value.contains("high"))
        metric.high = numberFrom(value["high"]);
    return metric;
}

json toJson(const RunResult& result) {
    json value{{"model_hash", result.modelHash},
               {"device",
                {{"name", result.deviceName},
                 {"kind", result.deviceKind},
                 {"isa", result.deviceIsa},
                 {"memory_bytes", result.deviceMemory}}},
               {"steps", listOf(result.steps)},
               {"metrics", listOf(result.metrics)},
               {"layer_metrics", listOf(result.layerMetrics)},
               {"samples", listOf(result.samples)}};
    if (result.artifact)
        value["artifact"] = toJson(*result.artifact);
    if (result.estimate)
        value["estimate"] = toJson(*result.estimate);
    if (result.trace)
        value["trace"] = toJson(*result.trace);
    return value;
}

RunResult runResultFromJson(const json& value) {
    RunResult result;
    result.modelHash = value.value("model_hash", "");
    const json device = value.value("device", json::object());
    result.deviceName = device.value("name", "");
    result.deviceKind = device.value("kind", "");
    result.deviceIsa = device.value("isa", "");
    result.deviceMemory = device.value("memory_bytes", std::uint64_t{0});
    result.steps = listAt<StepReport>(value, "steps", stepFrom);
    result.metrics = listAt<Measurement>(value, "metrics", measurementFromJson);
    result.layerMetrics = listAt<LayerMetric>(value, "layer_metrics", layerMetricFrom);
    result.samples = listAt<SampleText>(value, "samples", sampleFrom);
    if (value.contains("artifact"))
        result.artifact = artifactFrom(value["artifact"]);
    if (value.contains("estimate"))
        result.estimate = recipeEstimateFromJson(value["estimate"]);
    if (value.contains("trace"))
        result.trace = evaluationTraceFromJson(value["trace"]);
    return result;
}

json toJson(const GenerateReport& report) {
    json result{{"text", report.text},
                {"ids", report.ids},
                {"ttft_ms", number(report.ttftMs)},
                {"decode_tokens_per_s", number(report.decodeTokensPerSecond)},
                {"stopped", report.stopped},
                {"prompt_tokens", report.promptTokens},
                {"chat_format", nullptr},
                {"weight_bytes", report.weightBytes},
                {"cache_bytes", report.cacheBytes},
                {"acceptance_rate", nullptr}};
    if (!report.chatFormat.empty())
        result["chat_format"] = report.chatFormat;
    if (report.speculation) {
        const SpeculationReport& speculation = *report.speculation;
        result["draft"] = speculation.draft;
        result["drafted"] = speculation.drafted;
        result["accepted"] = speculation.accepted;
        result["acceptance_rate"] = number(speculation.acceptanceRate);
        result["mean_accepted_length"] = number(speculation.meanAcceptedLength);
    }
    return result;
}

json toJson(const ExperimentRecord& record) {
    json metrics = json::object();
    for (const auto& [name, metric] : record.metrics)
        metrics[name] = toJson(metric);
    json value{
        {"id", record.id},
        {"name", record.name},
        {"status", toString(record.status)},
        {"model",
         {{"name", record.modelName}, {"path", record.modelPath}, {"hash", record.modelHash}}},
        {"summary", record.summary()},
        {"recipe", toJson(record.recipe)},
        {"recipe_hash", record.recipeHash},
        {"seed", record.seed},
        {"device", record.device},
        {"app_version", record.appVersion},
        {"started_ms", record.startedMs},
        {"finished_ms", record.finishedMs},
        {"artifact", record.artifactPath},
        {"error", record.error},
        {"metrics", metrics},
        {"favourite", record.annotations.favourite},
        {"tags", record.annotations.tags},
        {"note", record.annotations.note}};
    if (record.parent)
        value["parent"] = *record.parent;
    return value;
}

json toJson(const ExperimentDetail& detail) {
    json value = toJson(detail.record);
    value["inputs"] = toJson(detail.inputs);
    value["measure"] = toJson(detail.measure);
    if (detail.estimate)
        value["estimate"] = toJson(*detail.estimate);
    value["steps"] = listOf(detail.steps);
    value["layer_metrics"] = listOf(detail.layerMetrics);
    value["series"] = listOf(detail.series);
    value["samples"] = listOf(detail.samples);
    value["artifacts"] = listOf(detail.artifacts);
    json& log = value["log"] = json::array();
    for (const LogLine& line : detail.log)
        log.push_back({{"time_ms", line.timeMs}, {"level", line.level}, {"text", line.text}});
    return value;
}

namespace {

LogLine logLineFrom(const json& value) {
    return {value.value("time_ms", std::int64_t{0}), value.value("level", "info"),
            value.value("text", "")};
}

SeriesPoint seriesPointFrom(const json& value) {
    return {value.value("name", ""), numberAt(value, "step"), numberAt(value, "value")};
}

/// Tags of a file that people may have edited: made normal, sorted, each once.
Annotations annotationsFrom(const json& value) {
    Annotations annotations;
    annotations.favourite = value.value("favourite", false);
    annotations.note = value.value("note", "");
    for (const json& tag : value.value("tags", json::array()))
        if (std::string normal = normalTag(tag.get<std::string>()); !normal.empty())
            annotations.tags.push_back(std::move(normal));
    std::sort(annotations.tags.begin(), annotations.tags.end());
    annotations.tags.erase(std::unique(annotations.tags.begin(), annotations.tags.end()),
                           annotations.tags.end());
    return annotations;
}

ExperimentRecord recordFrom(const json& value) {
    ExperimentRecord record;
    record.id = value.value("id", std::int64_t{0});
    record.name = value.value("name", "");
    record.status = experimentStatusFromString(value.value("status", "finished"));
    const json model = value.at("model");
    record.modelName = model.value("name", "");
    record.modelPath = model.at("path").get<std::string>();
    record.modelHash = model.value("hash", "");
    record.recipe = recipeFromJson(value.at("recipe"));
    record.recipeHash = value.value("recipe_hash", recipeHash(record.recipe));
    record.seed = value.value("seed", std::uint64_t{1});
    record.device = value.value("device", "");
    record.appVersion = value.value("app_version", "");
    record.startedMs = value.value("started_ms", std::int64_t{0});
    record.finishedMs = value.value("finished_ms", std::int64_t{0});
    record.artifactPath = value.value("artifact", "");
    record.error = value.value("error", "");
    if (value.contains("parent") && value["parent"].is_number())
        record.parent = value["parent"].get<std::int64_t>();
    record.annotations = annotationsFrom(value);
    const json metrics = value.value("metrics", json::object());
    for (const auto& [name, metric] : metrics.items()) {
        Measurement read = measurementFromJson(metric);
        read.name = name;
        record.metrics[name] = std::move(read);
    }
    return record;
}

}  // namespace

ExperimentDetail experimentDetailFromJson(const json& value) {
    ExperimentDetail detail;
    detail.record = recordFrom(value);
    detail.inputs = runInputsFromJson(value.value("inputs", json::object()));
    detail.measure = measureOptionsFromJson(value.value("measure", json::object()));
    if (value.contains("estimate") && value["estimate"].is_object())
        detail.estimate = recipeEstimateFromJson(value["estimate"]);
    detail.steps = listAt<StepReport>(value, "steps", stepFrom);
    detail.layerMetrics = listAt<LayerMetric>(value, "layer_metrics", layerMetricFrom);
    detail.series = listAt<SeriesPoint>(value, "series", seriesPointFrom);
    detail.samples = listAt<SampleText>(value, "samples", sampleFrom);
    detail.artifacts = listAt<ArtifactReport>(value, "artifacts", artifactFrom);
    detail.log = listAt<LogLine>(value, "log", logLineFrom);
    return detail;
}

}  // namespace fettle
