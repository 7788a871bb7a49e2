#include "app/core/unsaved_results.h"

#include <fstream>
#include <iterator>
#include <optional>

#include "storage/durable_file.h"
#include "storage/experiment_repository.h"
#include "storage/measurement_repository.h"
#include "storage/process_identity.h"
#include "storage/transaction.h"

namespace fettle::app {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using storage::ExperimentRepository;
using storage::MeasurementRepository;

std::string levelName(JobLog::Level level) {
    return level == JobLog::Level::Error     ? "error"
           : level == JobLog::Level::Warning ? "warning"
                                             : "info";
}

JobLog::Level levelFrom(const std::string& name) {
    return name == "error"     ? JobLog::Level::Error
           : name == "warning" ? JobLog::Level::Warning
                               : JobLog::Level::Info;
}

struct Store {
    storage::Database& database;
    std::int64_t id;
    std::int64_t timeMs;

    void operator()(const JobQueued&) const { ExperimentRepository(database).setQueued(id); }
    void operator()(const JobStarted&) const { ExperimentRepository(database).setRunning(id); }
    void operator()(const JobLog& log) const {
        MeasurementRepository(database).addLog(id, {{timeMs, levelName(log.level), log.text}});
    }
    void operator()(const JobSeries& series) const {
        MeasurementRepository(database).addSeries(id, {series.point});
    }
    void operator()(const JobMetric& metric) const {
        MeasurementRepository(database).addMetrics(id, {metric.metric});
    }
    void operator()(const JobStepFinished& finished) const {
        MeasurementRepository(database).addSteps(id, {finished.step});
    }
    void operator()(const JobFinished& finished) const {
        if (const auto* result = std::get_if<RunResult>(&finished.result))
            ExperimentRepository(database).finish(id, *result);
    }
    void operator()(const JobFailed& failed) const {
        MeasurementRepository(database).addLog(id, {{timeMs, "error", failed.error.message}});
        ExperimentRepository(database).setEnded(id, ExperimentStatus::Failed, failed.error.message);
    }
    void operator()(const JobCancelled&) const {
        ExperimentRepository(database).setEnded(id, ExperimentStatus::Cancelled);
    }
    template <typename Other>
    void operator()(const Other&) const {}
};

struct ToJson {
    json operator()(const JobQueued&) const { return {{"type", "queued"}}; }
    json operator()(const JobStarted&) const { return {{"type", "started"}}; }
    json operator()(const JobLog& log) const {
        return {{"type", "log"}, {"level", levelName(log.level)}, {"text", log.text}};
    }
    json operator()(const JobSeries& series) const {
        // As a measurement: that is where numbers that JSON has no word for are spelt.
        return {
            {"type", "series"},
            {"step", series.point.step},
            {"point", toJson(Measurement{
                          series.point.name, series.point.value, "", {}, {}, true, false, ""})}};
    }
    json operator()(const JobMetric& metric) const {
        return {{"type", "metric"}, {"metric", toJson(metric.metric)}};
    }
    json operator()(const JobStepFinished& finished) const {
        return {{"type", "step"}, {"step", toJson(finished.step)}};
    }
    json operator()(const JobFinished& finished) const {
        const auto* result = std::get_if<RunResult>(&finished.result);
        return result ? json{{"type", "finished"}, {"result", toJson(*result)}}
                      : json{{"type", "other"}};
    }
    json operator()(const JobFailed& failed) const {
        return {{"type", "failed"}, {"message", failed.error.message}};
    }
    json operator()(const JobCancelled&) const { return {{"type", "cancelled"}}; }
    template <typename Other>
    json operator()(const Other&) const {
        return {{"type", "other"}};
    }
};

JobEventBody bodyFrom(const json& value) {
    const std::string type = value.value("type", "");
    if (type == "queued")
        return JobQueued{};
    if (type == "started")
        return JobStarted{};
    if (type == "log")
        return JobLog{levelFrom(value.value("level", "")), value.value("text", "")};
    if (type == "series") {
        const Measurement point = measurementFromJson(value.at("point"));
        return JobSeries{{point.name,
                          value.at("step").is_number() ? value.at("step").get<double>() : 0,
                          point.value}};
    }
    if (type == "metric")
        return JobMetric{measurementFromJson(value.at("metric"))};
    if (type == "step")  // a step is read as part of a result
        return JobStepFinished{
            runResultFromJson({{"steps", json::array({value.at("step")})}}).steps.front()};
    if (type == "finished")
        return JobFinished{runResultFromJson(value.at("result"))};
    if (type == "failed")
        return JobFailed{{ErrorKind::Internal, value.value("message", "")}};
    if (type == "cancelled")
        return JobCancelled{};
    return JobProgress{};  // of a newer version: not stored
}

json documentIn(const fs::path& file) {
    std::ifstream stream(file, std::ios::binary);
    if (!stream)
        throw std::runtime_error("cannot be read");
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    return json::parse(text);
}

/// True while the process that wrote the file lives: it still has the events in memory and stores
/// them itself.
bool hasLivingOwner(const json& document) {
    const json owner = document.value("owner", json::object());
    const storage::ProcessIdentity identity{owner.value("pid", std::int64_t{0}),
                                            owner.value("start", std::int64_t{0}),
                                            owner.value("boot", "")};
    return identity != storage::thisProcess() && identity.alive();
}

std::vector<RecordedEvent> eventsIn(const json& document) {
    const std::int64_t experiment = document.at("experiment").get<std::int64_t>();
    std::vector<RecordedEvent> events;
    for (const json& item : document.at("events"))
        events.push_back({item.value("time_ms", std::int64_t{0}), {0, experiment, bodyFrom(item)}});
    return events;
}

}  // namespace

void storeEvent(storage::Database& database, const RecordedEvent& recorded) {
    std::visit(Store{database, recorded.event.experiment, recorded.timeMs}, recorded.event.body);
}

void storeEvents(storage::Database& database, const std::vector<RecordedEvent>& events) {
    for (std::size_t i = 0; i < events.size();) {
        const std::int64_t id = events[i].event.experiment;
        std::vector<SeriesPoint> points;
        std::size_t next = i;
        while (next < events.size() && events[next].event.experiment == id) {
            const auto* series = std::get_if<JobSeries>(&events[next].event.body);
            if (!series)
                break;
            points.push_back(series->point);
            ++next;
        }
        if (points.empty()) {
            storeEvent(database, events[i]);
            ++next;
        }
        MeasurementRepository(database).addSeries(id, points);
        i = next;
    }
}

fs::path unsavedFile(const fs::path& artifactsRoot, std::int64_t experiment) {
    return artifactsRoot / "unsaved" / ("experiment-" + std::to_string(experiment) + ".json");
}

void writeUnsaved(const fs::path& file, std::int64_t experiment,
                  const std::vector<RecordedEvent>& events) {
    json list = json::array();
    for (const RecordedEvent& recorded : events) {
        if (recorded.event.experiment != experiment)
            continue;
        json item = std::visit(ToJson{}, recorded.event.body);
        item["time_ms"] = recorded.timeMs;
        list.push_back(std::move(item));
    }
    const storage::ProcessIdentity self = storage::thisProcess();
    const json document{{"experiment", experiment},
                        {"owner", {{"pid", self.pid}, {"start", self.start}, {"boot", self.boot}}},
                        {"events", list}};
    std::error_code ignored;
    fs::create_directories(file.parent_path(), ignored);
    storage::writeFileDurably(file, document.dump(1, ' ', false, json::error_handler_t::replace));
}

ImportOutcome importUnsaved(storage::Database& database, const fs::path& artifactsRoot) {
    ImportOutcome outcome;
    std::error_code failed;
    for (fs::directory_iterator entry(artifactsRoot / "unsaved", failed);
         !failed && entry != fs::directory_iterator(); entry.increment(failed)) {
        const fs::path file = entry->path();
        if (file.extension() != ".json")
            continue;
        try {
            const json document = documentIn(file);
            if (hasLivingOwner(document))
                continue;
            const std::vector<RecordedEvent> events = eventsIn(document);
            storage::Transaction transaction(database);
            storeEvents(database, events);
            transaction.commit();
            std::error_code ignored;
            fs::remove(file, ignored);
            if (!events.empty())
                outcome.experiments.push_back(events.front().event.experiment);
        } catch (const std::exception& error) {
            outcome.problems.push_back(file.string() + ": " + error.what());
        }
    }
    return outcome;
}

}  // namespace fettle::app
