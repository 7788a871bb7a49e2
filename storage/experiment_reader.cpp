#include "storage/experiment_reader.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include <future>
#include <span>
#include <unordered_map>

#include "storage/row_reader.h"

namespace fettle::storage {
namespace {

// A database of an older version that is opened for reading only (to import it) is not migrated.
constexpr int kFirstVersionWithTraces = 2;
constexpr int kFirstVersionWithAnnotations = 3;

/// A recipe is parsed once, however many experiments share it. One that does not parse (a newer
/// version's) keeps its hash and is shown without steps.
class RecipeCache {
public:
    const Recipe& get(const RowReader& row, int idColumn, int jsonColumn) {
        const auto [entry, isNew] = m_recipes.try_emplace(row.integer(idColumn));
        if (isNew) {
            try {
                entry->second = recipeFromText(row.text(jsonColumn));
            } catch (const RecipeError&) {
                entry->second.steps.push_back({"unknown", nlohmann::json::object()});
            }
        }
        return entry->second;
    }

private:
    std::unordered_map<std::int64_t, Recipe> m_recipes;
};

ExperimentRecord recordIn(const RowReader& row, RecipeCache& recipes) {
    ExperimentRecord record;
    record.id = row.integer(0);
    record.name = row.text(1);
    record.modelHash = row.text(2);
    record.modelName = row.text(3);
    record.modelPath = row.text(4);
    record.recipeHash = row.text(5);
    record.recipe = recipes.get(row, 6, 7);
    record.recipe.name = row.text(8);
    record.device = row.text(9);
    record.status = experimentStatusFromString(row.text(10));
    record.error = row.text(11);
    record.seed = unsignedBits(row.integer(12));
    record.appVersion = row.text(13);
    record.startedMs = row.integer(14);
    record.finishedMs = row.integer(15);
    if (!row.isNull(16))
        record.parent = row.integer(16);
    return record;
}

Measurement measurementIn(const RowReader& row) {
    Measurement metric;
    metric.name = row.text(1);
    metric.value = row.real(2);
    metric.unit = row.text(3);
    metric.low = row.optionalReal(4);
    metric.high = row.optionalReal(5);
    metric.native = row.integer(6) != 0;
    metric.estimated = row.integer(7) != 0;
    metric.protocol = row.text(8);
    return metric;
}

/// Rows that start with an experiment's id, in its order, handed to the records of the same order.
template <typename Add>
void merge(RowReader& rows, std::span<ExperimentRecord> records, Add add) {
    auto record = records.begin();
    while (rows.next()) {
        const std::int64_t id = rows.integer(0);
        while (record != records.end() && record->id < id)
            ++record;
        if (record == records.end())
            return;
        if (record->id == id)
            add(*record);
    }
}

/// The metrics of records whose ids lie between those of the first and the last.
void readMetrics(const Database& database, std::span<ExperimentRecord> records) {
    if (records.empty())
        return;
    RowReader rows(database,
                   "SELECT experiment, name, value, unit, low, high, native, estimated, protocol "
                   "FROM metrics WHERE experiment BETWEEN ?1 AND ?2 ORDER BY experiment, name");
    rows.bind(1, records.front().id).bind(2, records.back().id);
    merge(rows, records, [&](ExperimentRecord& record) {
        Measurement metric = measurementIn(rows);
        std::string name = metric.name;
        record.metrics.emplace_hint(record.metrics.end(), std::move(name), std::move(metric));
    });
}

// Metrics are most of what there is to read, and reading them is work for the processor. So many
// experiments are shared by two connections; in WAL mode neither waits for the other.
constexpr std::size_t kSharedFrom = 20'000;

void readMetricsShared(const Database& database, std::span<ExperimentRecord> records) {
    const std::size_t half = records.size() / 2;
    std::future<void> other =
        std::async(std::launch::async, [path = database.path(), mine = records.subspan(half)] {
            readMetrics(Database::open(path, {.create = false, .readOnly = true, .check = false}),
                        mine);
        });
    readMetrics(database, records.first(half));
    other.get();
}

nlohmann::json jsonOf(const std::string& text) {
    nlohmann::json value = nlohmann::json::parse(text, nullptr, false);
    return value.is_object() ? value : nlohmann::json::object();
}

/// Stored JSON of another version may hold other types; what cannot be read keeps its default.
template <typename Read>
auto tolerant(Read read, const std::string& text) {
    try {
        return read(jsonOf(text));
    } catch (const nlohmann::json::exception&) {
        return read(nlohmann::json::object());
    }
}

template <typename T, typename Read>
std::vector<T> rowsOf(const Database& database, std::int64_t id, const char* sql, Read read) {
    RowReader rows(database, sql);
    rows.bind(1, id);
    std::vector<T> result;
    while (rows.next())
        result.push_back(read(rows));
    return result;
}

}  // namespace

std::vector<ExperimentRecord> ExperimentReader::read(std::optional<std::int64_t> id) const {
    const ReadSnapshot snapshot(m_database);
    std::vector<ExperimentRecord> records;
    RecipeCache recipes;
    RowReader rows(
        m_database,
        std::string(
            "SELECT e.id, e.name, m.hash, m.name, m.path, r.hash, r.id, r.json, e.recipe_name, "
            "coalesce(d.name, ''), e.status, e.error, e.seed, e.app_version, e.started_ms, "
            "e.finished_ms, e.parent FROM experiments e JOIN models m ON m.id = e.model "
            "JOIN recipes r ON r.id = e.recipe LEFT JOIN devices d ON d.id = e.device "
            "WHERE e.removed = 0 ") +
            (id ? "AND e.id = ?1" : "ORDER BY e.id"));
    if (id)
        rows.bind(1, *id);
    while (rows.next())
        records.push_back(recordIn(rows, recipes));
    if (records.empty())
        return records;

    const std::string where = id ? " WHERE experiment = ?1" : "";
    // A transaction of our own has written what no other connection sees yet.
    records.size() >= kSharedFrom&& snapshot.isOwn() ? readMetricsShared(m_database, records)
                                                     : readMetrics(m_database, records);
    RowReader artifacts(
        m_database, "SELECT experiment, path FROM artifacts" + where + " ORDER BY experiment, id");
    if (id)
        artifacts.bind(1, *id);
    merge(artifacts, records,
          [&](ExperimentRecord& record) { record.artifactPath = artifacts.text(1); });
    readAnnotations(id, records);
    return records;
}

void ExperimentReader::readAnnotations(std::optional<std::int64_t> id,
                                       std::vector<ExperimentRecord>& records) const {
    if (m_database.schemaVersion() < kFirstVersionWithAnnotations)
        return;
    const std::string where = id ? " WHERE experiment = ?1" : "";
    RowReader annotations(m_database, "SELECT experiment, favourite, note FROM annotations" +
                                          where + " ORDER BY experiment");
    if (id)
        annotations.bind(1, *id);
    merge(annotations, records, [&](ExperimentRecord& record) {
        record.annotations.favourite = annotations.integer(1) != 0;
        record.annotations.note = annotations.text(2);
    });
    RowReader tags(m_database,
                   "SELECT experiment, tag FROM tags" + where + " ORDER BY experiment, tag");
    if (id)
        tags.bind(1, *id);
    merge(tags, records,
          [&](ExperimentRecord& record) { record.annotations.tags.push_back(tags.text(1)); });
}

std::vector<ExperimentRecord> ExperimentReader::list() const {
    return guarded(m_database, "list the experiments", [&] { return read(std::nullopt); });
}

std::optional<ExperimentRecord> ExperimentReader::record(std::int64_t id) const {
    return guarded(m_database, "read an experiment", [&]() -> std::optional<ExperimentRecord> {
        std::vector<ExperimentRecord> records = read(id);
        return records.empty() ? std::nullopt : std::optional(std::move(records.front()));
    });
}

std::optional<ExperimentDetail> ExperimentReader::detail(std::int64_t id) const {
    return guarded(m_database, "read an experiment", [&]() -> std::optional<ExperimentDetail> {
        const ReadSnapshot snapshot(m_database);
        std::optional<ExperimentRecord> found = record(id);
        if (!found)
            return std::nullopt;
        ExperimentDetail detail;
        detail.record = std::move(*found);
        RowReader row(m_database,
                      "SELECT inputs, measure, estimate FROM experiments WHERE id = ?1");
        if (row.bind(1, id).next()) {
            detail.inputs = tolerant(runInputsFromJson, row.text(0));
            detail.measure = tolerant(measureOptionsFromJson, row.text(1));
            if (!row.isNull(2))
                detail.estimate = tolerant(recipeEstimateFromJson, row.text(2));
        }
        detail.steps =
            rowsOf<StepReport>(m_database, id,
                               "SELECT step, technique, params, seconds FROM steps WHERE "
                               "experiment = ?1 ORDER BY step",
                               [](const RowReader& r) {
                                   return StepReport{static_cast<std::size_t>(r.integer(0)),
                                                     r.text(1), jsonOf(r.text(2)), r.real(3)};
                               });
        detail.layerMetrics = rowsOf<LayerMetric>(
            m_database, id,
            "SELECT layer, tensor, name, value FROM layer_metrics WHERE experiment = ?1 ORDER BY "
            "id",
            [](const RowReader& r) {
                return LayerMetric{static_cast<int>(r.integer(0)), r.text(1), r.text(2), r.real(3)};
            });
        detail.series = rowsOf<SeriesPoint>(
            m_database, id,
            "SELECT name, step, value FROM series WHERE experiment = ?1 ORDER BY id",
            [](const RowReader& r) {
                return SeriesPoint{r.text(0), r.real(1), r.real(2)};
            });
        detail.samples = rowsOf<SampleText>(
            m_database, id, "SELECT prompt, text FROM samples WHERE experiment = ?1 ORDER BY id",
            [](const RowReader& r) {
                return SampleText{r.text(0), r.text(1)};
            });
        detail.artifacts = rowsOf<ArtifactReport>(
            m_database, id,
            "SELECT path, format, bytes, hash FROM artifacts WHERE experiment = ?1 ORDER BY id",
            [](const RowReader& r) {
                return ArtifactReport{r.text(0), r.text(1), unsignedBits(r.integer(2)), r.text(3)};
            });
        detail.log = rowsOf<LogLine>(
            m_database, id,
            "SELECT time_ms, level, text FROM log WHERE experiment = ?1 ORDER BY id",
            [](const RowReader& r) {
                return LogLine{r.integer(0), r.text(1), r.text(2)};
            });
        return detail;
    });
}

std::optional<EvaluationTrace> ExperimentReader::trace(std::int64_t id) const {
    return guarded(m_database, "read values per token", [&]() -> std::optional<EvaluationTrace> {
        if (m_database.schemaVersion() < kFirstVersionWithTraces)
            return std::nullopt;
        RowReader row(m_database, "SELECT json FROM evaluation_traces WHERE experiment = ?1");
        if (!row.bind(1, id).next())
            return std::nullopt;
        EvaluationTrace trace = tolerant(evaluationTraceFromJson, row.text(0));
        return trace.empty() ? std::nullopt : std::optional(std::move(trace));
    });
}

std::optional<RunRequest> ExperimentReader::requestFor(std::int64_t id) const {
    return guarded(m_database, "read an experiment", [&]() -> std::optional<RunRequest> {
        RowReader row(m_database,
                      "SELECT m.path, r.json, e.recipe_name, e.inputs, e.measure FROM experiments "
                      "e JOIN models m ON m.id = e.model "
                      "JOIN recipes r ON r.id = e.recipe WHERE e.id = ?1");
        if (!row.bind(1, id).next())
            return std::nullopt;
        RunRequest request;
        request.experiment = id;
        request.modelPath = row.text(0);
        try {
            request.recipe = recipeFromText(row.text(1));
        } catch (const RecipeError& error) {
            throw StorageError(m_database.path().string(),
                               "experiment " + std::to_string(id) + ": " + error.what());
        }
        request.recipe.name = row.text(2);
        request.inputs = tolerant(runInputsFromJson, row.text(3));
        request.measure = tolerant(measureOptionsFromJson, row.text(4));
        return request;
    });
}

std::optional<std::int64_t> ExperimentReader::findBaseline(const std::string& modelPathOrHash,
                                                           const std::string& protocol) const {
    if (modelPathOrHash.empty())
        return std::nullopt;
    return guarded(m_database, "look for a baseline", [&]() -> std::optional<std::int64_t> {
        RowReader row(m_database,
                      "SELECT e.id FROM experiments e JOIN models m ON m.id = e.model JOIN recipes "
                      "r ON r.id = e.recipe "
                      "WHERE (m.path = ?1 OR m.hash = ?1) AND r.steps = 0 AND e.status = "
                      "'finished' AND e.removed = 0 "
                      "AND (?2 = '' OR EXISTS (SELECT 1 FROM metrics x WHERE x.experiment = e.id "
                      "AND x.name = 'perplexity' "
                      "AND x.protocol = ?2)) ORDER BY e.id DESC LIMIT 1");
        row.bind(1, modelPathOrHash).bind(2, protocol);
        return row.next() ? std::optional(row.integer(0)) : std::nullopt;
    });
}

std::optional<std::int64_t> ExperimentReader::findSame(const RunRequest& request) const {
    return guarded(m_database, "look for an experiment", [&]() -> std::optional<std::int64_t> {
        const std::string hash = recipeHash(request.recipe);
        const std::string inputs =
            toJson(request.inputs).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
        const std::string measure = toJson(request.measure).dump();
        RowReader row(m_database,
                      "SELECT e.id FROM recipes r JOIN experiments e ON e.recipe = r.id JOIN "
                      "models m ON m.id = e.model "
                      "WHERE r.hash = ?1 AND m.path = ?2 AND e.inputs = ?3 AND e.measure = ?4 AND "
                      "e.removed = 0 "
                      "ORDER BY e.status = 'finished' DESC, e.id DESC LIMIT 1");
        row.bind(1, hash).bind(2, request.modelPath).bind(3, inputs).bind(4, measure);
        return row.next() ? std::optional(row.integer(0)) : std::nullopt;
    });
}

}  // namespace fettle::storage
