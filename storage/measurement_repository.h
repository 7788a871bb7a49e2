// What a run produces, written as it comes: steps, metrics, metrics per layer, curves, texts,
// values per token, artifacts, log lines. Each call is one short transaction, or a part of the
// caller's Transaction. On the thread of its Database.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/experiment/experiment_record.h"
#include "storage/database.h"

namespace fettle::storage {

class MeasurementRepository {
public:
    explicit MeasurementRepository(Database& database) : m_database(database) {}

    /// A step or metric that is there already is replaced.
    void addSteps(std::int64_t experiment, const std::vector<StepReport>& steps);
    void addMetrics(std::int64_t experiment, const std::vector<Measurement>& metrics);
    void addLayerMetrics(std::int64_t experiment, const std::vector<LayerMetric>& metrics);
    void addSeries(std::int64_t experiment, const std::vector<SeriesPoint>& points);
    void addSamples(std::int64_t experiment, const std::vector<SampleText>& samples);
    void addArtifact(std::int64_t experiment, const ArtifactReport& artifact);
    /// A trace that is there already is replaced.
    void addTrace(std::int64_t experiment, const EvaluationTrace& trace);
    void addLog(std::int64_t experiment, const std::vector<LogLine>& lines);
    /// Forgets the results of an earlier attempt; the log stays.
    void clearResults(std::int64_t experiment);

private:
    Database& m_database;
};

}  // namespace fettle::storage
