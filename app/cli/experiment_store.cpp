#include "app/cli/experiment_store.h"

#include <algorithm>
#include <filesystem>

#include "app/cli/output.h"
#include "app/core/experiment_exchange.h"
#include "app/core/paths.h"
#include "app/core/version.h"
#include "engine/core/error.h"
#include "storage/catalogue_repository.h"
#include "storage/experiment_reader.h"
#include "storage/experiment_repository.h"
#include "storage/transaction.h"

namespace fettle::cli {

namespace {

namespace fs = std::filesystem;

[[noreturn]] void throwUnknown(std::int64_t id) {
    throw EngineError(ErrorKind::Usage, "there is no experiment " + std::to_string(id) +
                                            "; `fettle-cli experiments list` shows them");
}

}  // namespace

void addDatabaseOption(CLI::App& command, std::string& file) {
    command.add_option("--db", file, "Experiment database (default: the window's)");
}

ExperimentStore::ExperimentStore(const std::string& file, Mode mode) {
    const fs::path path = file.empty() ? app::defaultDatabasePath() : fs::absolute(file);
    std::error_code ignored;
    if (mode == Mode::Existing && file.empty() && !fs::exists(path, ignored))
        return;
    storage::OpenOptions options;
    options.create = mode == Mode::Make;
    m_database = storage::Database::open(path, options);
    if (!m_database->notice().empty())
        printError(m_database->notice());
    if (m_database->readOnly())
        return;
    const fs::path artifacts = app::artifactsRootFor(path);
    m_artifacts = std::make_unique<storage::ArtifactStore>(artifacts);
    const app::ImportOutcome imported = app::importUnsaved(*m_database, artifacts);
    for (const std::string& problem : imported.problems)
        printError(problem);
    storage::ExperimentRepository(*m_database).markInterrupted();
    m_recorder = std::make_unique<app::RunRecorder>(
        path, artifacts, [](const std::string& problem) { printError(problem); });
}

void ExperimentStore::requireWritable() const {
    if (!m_database || m_database->readOnly())
        throw EngineError(ErrorKind::Io, m_database ? m_database->notice()
                                                    : "there is no experiment database yet");
}

void ExperimentStore::create(RunRequest& request, const std::string& name) {
    requireWritable();
    request.experiment =
        storage::ExperimentRepository(*m_database).create(request, name, applicationVersion());
    request.artifactFolder = m_artifacts->folder(request.experiment).string();
}

void ExperimentStore::queueAgain(RunRequest& request, std::int64_t id) {
    requireWritable();
    storage::ExperimentRepository(*m_database).setQueued(id);
    request.experiment = id;
    request.artifactFolder = m_artifacts->folder(id).string();
}

void ExperimentStore::describeModel(const ModelReport& report) {
    requireWritable();
    storage::CatalogueRepository(*m_database).describeModel(report);
}

std::vector<ExperimentRecord> ExperimentStore::list() const {
    return m_database ? storage::ExperimentReader(*m_database).list()
                      : std::vector<ExperimentRecord>{};
}

ExperimentRecord ExperimentStore::record(std::int64_t id) const {
    std::optional<ExperimentRecord> found;
    if (m_database)
        found = storage::ExperimentReader(*m_database).record(id);
    if (!found)
        throwUnknown(id);
    return *found;
}

ExperimentDetail ExperimentStore::detail(std::int64_t id) const {
    std::optional<ExperimentDetail> found;
    if (m_database)
        found = storage::ExperimentReader(*m_database).detail(id);
    if (!found)
        throwUnknown(id);
    return *found;
}

std::optional<EvaluationTrace> ExperimentStore::trace(std::int64_t id) const {
    return m_database ? storage::ExperimentReader(*m_database).trace(id) : std::nullopt;
}

std::optional<RunRequest> ExperimentStore::requestFor(std::int64_t id) const {
    if (!m_database)
        return std::nullopt;
    return storage::ExperimentReader(*m_database).requestFor(id);
}

std::optional<std::int64_t> ExperimentStore::findBaseline(const std::string& model,
                                                          const std::string& protocol) const {
    if (!m_database)
        return std::nullopt;
    return storage::ExperimentReader(*m_database).findBaseline(model, protocol);
}

std::optional<ExperimentRecord> ExperimentStore::findSame(const RunRequest& request) const {
    if (!m_database)
        return std::nullopt;
    const storage::ExperimentReader reader(*m_database);
    const std::optional<std::int64_t> id = reader.findSame(request);
    return id ? reader.record(*id) : std::nullopt;
}

storage::ImportCounts ExperimentStore::importFrom(const std::string& file) {
    requireWritable();
    return app::importExperiments(*m_database, file);
}

void ExperimentStore::annotate(
    const std::vector<std::int64_t>& ids,
    const std::function<void(storage::AnnotationRepository&, std::int64_t)>& work) {
    for (const std::int64_t id : ids)
        record(id);
    requireWritable();
    storage::Transaction transaction(*m_database);
    storage::AnnotationRepository repository(*m_database);
    for (const std::int64_t id : ids)
        work(repository, id);
    transaction.commit();
}

void ExperimentStore::remove(const std::vector<std::int64_t>& ids) {
    for (const std::int64_t id : ids)
        record(id);  // all of them or none
    requireWritable();
    storage::ExperimentRepository repository(*m_database);
    repository.remove(ids);
    repository.purge(*m_artifacts);
}

std::string artifactOf(const std::string& database, std::int64_t experiment) {
    const ExperimentRecord record =
        ExperimentStore(database, ExperimentStore::Mode::Existing).record(experiment);
    const std::string name = "experiment " + std::to_string(experiment);
    if (record.status != ExperimentStatus::Finished)
        throw EngineError(ErrorKind::Usage,
                          name + " is " + toString(record.status) + ": it has no model to export");
    if (!record.artifactPath.empty())
        return record.artifactPath;
    if (record.isBaseline())
        return record.modelPath;
    throw EngineError(ErrorKind::Usage, name + " kept no model");
}

nlohmann::json experimentJson(const ExperimentRecord& record) {
    std::vector<Measurement> metrics;
    for (const auto& [name, metric] : record.metrics)
        metrics.push_back(metric);
    nlohmann::json document = toJson(record);
    document["metrics"] = metricValues(metrics);
    document["measurements"] = metricDetails(metrics);
    return document;
}

}  // namespace fettle::cli
