#include "storage/experiment_importer.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include "storage/annotation_repository.h"
#include "storage/catalogue_repository.h"
#include "storage/experiment_reader.h"
#include "storage/measurement_repository.h"
#include "storage/sqlite_access.h"
#include "storage/transaction.h"

namespace fettle::storage {
namespace {

bool ended(ExperimentStatus status) {
    return status != ExperimentStatus::Queued && status != ExperimentStatus::Running;
}

}  // namespace

std::int64_t ExperimentImporter::findSame(const ExperimentDetail& detail) const {
    const ExperimentRecord& record = detail.record;
    SQLite::Statement find(
        m_database.sqlite(),
        "SELECT e.id FROM experiments e JOIN models m ON m.id = e.model JOIN recipes r ON r.id = "
        "e.recipe LEFT JOIN devices d ON d.id = e.device WHERE m.path = ? AND m.hash = ? AND "
        "r.hash = ? AND e.seed = ? AND e.started_ms = ? AND e.finished_ms = ? AND e.name = ? AND "
        "coalesce(d.name, '') = ? LIMIT 1");
    find.bind(1, record.modelPath);
    find.bind(2, record.modelHash);
    find.bind(3, recipeHash(record.recipe));
    find.bind(4, signedBits(record.seed));
    find.bind(5, record.startedMs);
    find.bind(6, record.finishedMs);
    find.bind(7, record.name);
    find.bind(8, record.device);
    return find.executeStep() ? find.getColumn(0).getInt64() : 0;
}

std::int64_t ExperimentImporter::insert(const ExperimentDetail& detail) {
    const ExperimentRecord& record = detail.record;
    CatalogueRepository catalogue(m_database);
    SQLite::Statement insert(
        m_database.sqlite(),
        "INSERT INTO experiments (name, model, recipe, recipe_name, device, seed, status, error, "
        "app_version, inputs, measure, estimate, created_ms, started_ms, finished_ms, parent) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    insert.bind(1, record.name);
    insert.bind(2, catalogue.ensureModel(record.modelPath, record.modelHash));
    insert.bind(3, catalogue.ensureRecipe(record.recipe));
    insert.bind(4, record.recipe.name);
    if (!record.device.empty()) {
        RunResult device;
        device.deviceName = record.device;
        device.deviceKind = "imported";
        insert.bind(5, catalogue.ensureDevice(device));
    }
    insert.bind(6, signedBits(record.seed));
    insert.bind(7, toString(record.status));
    insert.bind(8, record.error);
    insert.bind(9, record.appVersion);
    insert.bind(10, compactJson(toJson(detail.inputs)));
    insert.bind(11, compactJson(toJson(detail.measure)));
    if (detail.estimate)
        insert.bind(12, compactJson(toJson(*detail.estimate)));
    insert.bind(13, record.startedMs > 0 ? record.startedMs : nowMs());
    insert.bind(14, record.startedMs);
    insert.bind(15, record.finishedMs);
    if (record.parent)
        if (const auto parent = m_ids.find(*record.parent); parent != m_ids.end())
            insert.bind(16, parent->second);
    insert.exec();
    return m_database.sqlite().getLastInsertRowid();
}

void ExperimentImporter::insertResults(std::int64_t id, const ExperimentDetail& detail) {
    MeasurementRepository measurements(m_database);
    std::vector<Measurement> metrics;
    for (const auto& [name, metric] : detail.record.metrics)
        metrics.push_back(metric);
    measurements.addMetrics(id, metrics);
    measurements.addSteps(id, detail.steps);
    measurements.addLayerMetrics(id, detail.layerMetrics);
    measurements.addSeries(id, detail.series);
    measurements.addSamples(id, detail.samples);
    measurements.addLog(id, detail.log);
    for (const ArtifactReport& artifact : detail.artifacts)
        measurements.addArtifact(id, artifact);
    if (!detail.record.annotations.empty())
        AnnotationRepository(m_database).set(id, detail.record.annotations);
}

void ExperimentImporter::add(const ExperimentDetail& detail) {
    guarded(m_database, "import an experiment", [&] {
        if (!ended(detail.record.status)) {
            ++m_counts.unended;
            return;
        }
        Transaction transaction(m_database);
        if (const std::int64_t same = findSame(detail); same != 0) {
            m_ids[detail.record.id] = same;
            ++m_counts.known;
            return;
        }
        const std::int64_t id = insert(detail);
        insertResults(id, detail);
        transaction.commit();
        m_ids[detail.record.id] = id;
        m_counts.added.push_back(id);
    });
}

void ExperimentImporter::addAll(const Database& other) {
    const ExperimentReader reader(other);
    Transaction transaction(m_database);
    for (const ExperimentRecord& record : reader.list())
        if (const std::optional<ExperimentDetail> detail = reader.detail(record.id))
            add(*detail);
    transaction.commit();
}

}  // namespace fettle::storage
