#include "storage/measurement_repository.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include "storage/sqlite_access.h"
#include "storage/transaction.h"

namespace fettle::storage {
namespace {

/// One statement, prepared once, run for each item. Parameter 1 is the experiment; `bind` fills the
/// others.
template <typename T, typename Bind>
void insertAll(Database& database, std::int64_t experiment, const std::vector<T>& items,
               const char* action, const char* sql, Bind bind) {
    if (items.empty())
        return;
    guarded(database, action, [&] {
        Transaction transaction(database);
        SQLite::Statement insert(database.sqlite(), sql);
        for (const T& item : items) {
            insert.bind(1, experiment);
            bind(insert, item);
            insert.exec();
            insert.reset();
        }
        transaction.commit();
    });
}

}  // namespace

void MeasurementRepository::addSteps(std::int64_t experiment,
                                     const std::vector<StepReport>& steps) {
    insertAll(m_database, experiment, steps, "store the steps",
              "INSERT OR REPLACE INTO steps (experiment, step, technique, params, seconds) VALUES "
              "(?, ?, ?, ?, ?)",
              [](SQLite::Statement& insert, const StepReport& step) {
                  insert.bind(2, signedBits(step.index));
                  insert.bind(3, step.technique);
                  insert.bind(4, compactJson(step.params.is_null() ? nlohmann::json::object()
                                                                   : step.params));
                  insert.bind(5, step.seconds);
              });
}

void MeasurementRepository::addMetrics(std::int64_t experiment,
                                       const std::vector<Measurement>& metrics) {
    insertAll(m_database, experiment, metrics, "store the metrics",
              "INSERT OR REPLACE INTO metrics (experiment, name, value, unit, low, high, native, "
              "estimated, protocol) "
              "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
              [](SQLite::Statement& insert, const Measurement& metric) {
                  insert.bind(2, metric.name);
                  insert.bind(3, metric.value);
                  insert.bind(4, metric.unit);
                  bindOptional(insert, 5, metric.low);
                  bindOptional(insert, 6, metric.high);
                  insert.bind(7, metric.native ? 1 : 0);
                  insert.bind(8, metric.estimated ? 1 : 0);
                  insert.bind(9, metric.protocol);
              });
}

void MeasurementRepository::addLayerMetrics(std::int64_t experiment,
                                            const std::vector<LayerMetric>& metrics) {
    insertAll(
        m_database, experiment, metrics, "store the metrics of the layers",
        "INSERT INTO layer_metrics (experiment, layer, tensor, name, value) VALUES (?, ?, ?, ?, ?)",
        [](SQLite::Statement& insert, const LayerMetric& metric) {
            insert.bind(2, metric.layer);
            insert.bind(3, metric.tensor);
            insert.bind(4, metric.name);
            insert.bind(5, metric.value);
        });
}

void MeasurementRepository::addSeries(std::int64_t experiment,
                                      const std::vector<SeriesPoint>& points) {
    insertAll(m_database, experiment, points, "store a curve",
              "INSERT INTO series (experiment, name, step, value) VALUES (?, ?, ?, ?)",
              [](SQLite::Statement& insert, const SeriesPoint& point) {
                  insert.bind(2, point.name);
                  insert.bind(3, std::isfinite(point.step) ? point.step : 0.0);
                  insert.bind(4, point.value);
              });
}

void MeasurementRepository::addSamples(std::int64_t experiment,
                                       const std::vector<SampleText>& samples) {
    insertAll(m_database, experiment, samples, "store the sample texts",
              "INSERT INTO samples (experiment, prompt, text) VALUES (?, ?, ?)",
              [](SQLite::Statement& insert, const SampleText& sample) {
                  insert.bind(2, sample.prompt);
                  insert.bind(3, sample.text);
              });
}

void MeasurementRepository::addArtifact(std::int64_t experiment, const ArtifactReport& artifact) {
    insertAll(m_database, experiment, std::vector<ArtifactReport>{artifact}, "store the artifact",
              "INSERT OR REPLACE INTO artifacts (experiment, path, format, bytes, hash) VALUES (?, "
              "?, ?, ?, ?)",
              [](SQLite::Statement& insert, const ArtifactReport& entry) {
                  insert.bind(2, entry.path);
                  insert.bind(3, entry.format);
                  insert.bind(4, signedBits(entry.bytes));
                  insert.bind(5, entry.hash);
              });
}

void MeasurementRepository::addTrace(std::int64_t experiment, const EvaluationTrace& trace) {
    insertAll(m_database, experiment, std::vector<std::string>{compactJson(toJson(trace))},
              "store the values per token",
              "INSERT OR REPLACE INTO evaluation_traces (experiment, json) VALUES (?, ?)",
              [](SQLite::Statement& insert, const std::string& json) { insert.bind(2, json); });
}

void MeasurementRepository::addLog(std::int64_t experiment, const std::vector<LogLine>& lines) {
    insertAll(m_database, experiment, lines, "store the log",
              "INSERT INTO log (experiment, time_ms, level, text) VALUES (?, ?, ?, ?)",
              [](SQLite::Statement& insert, const LogLine& line) {
                  insert.bind(2, line.timeMs);
                  insert.bind(3, line.level);
                  insert.bind(4, line.text);
              });
}

void MeasurementRepository::clearResults(std::int64_t experiment) {
    guarded(m_database, "clear earlier results", [&] {
        Transaction transaction(m_database);
        for (const char* table : {"steps", "metrics", "layer_metrics", "series", "samples",
                                  "artifacts", "evaluation_traces"}) {
            SQLite::Statement clear(m_database.sqlite(),
                                    std::string("DELETE FROM ") + table + " WHERE experiment = ?");
            clear.bind(1, experiment);
            clear.exec();
        }
        transaction.commit();
    });
}

}  // namespace fettle::storage
