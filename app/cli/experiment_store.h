// The experiment database as commands use it: opened, brought up to date, killed runs marked,
// results recorded. Used on the main thread; the recorder may be handed to the engine thread.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/core/run_recorder.h"
#include "engine/experiment/experiment_record.h"
#include "storage/annotation_repository.h"
#include "storage/artifact_store.h"
#include "storage/database.h"
#include "storage/experiment_importer.h"

namespace fettle::cli {

/// --db FILE; empty = the window's database.
void addDatabaseOption(CLI::App& command, std::string& file);

class ExperimentStore {
public:
    enum class Mode {
        Make,     ///< where there is no database, make one
        Existing  ///< a database that was named must be there; without a name, an absent one counts
                  ///< as empty
    };

    /// Throws storage::StorageError, naming the file.
    ExperimentStore(const std::string& file, Mode mode);

    /// A new experiment in state "queued", its id and folder filled into `request`.
    void create(RunRequest& request, const std::string& name);
    /// Queues an experiment that did not finish once more, under its own id.
    void queueAgain(RunRequest& request, std::int64_t id);
    void describeModel(const ModelReport& report);

    std::vector<ExperimentRecord> list() const;
    /// Throws EngineError(Usage) for an id that is not there.
    ExperimentRecord record(std::int64_t id) const;
    ExperimentDetail detail(std::int64_t id) const;
    std::optional<EvaluationTrace> trace(std::int64_t id) const;
    std::optional<RunRequest> requestFor(std::int64_t id) const;
    std::optional<std::int64_t> findBaseline(const std::string& model,
                                             const std::string& protocol) const;
    std::optional<ExperimentRecord> findSame(const RunRequest& request) const;
    /// Takes over what another database or a JSON file holds.
    storage::ImportCounts importFrom(const std::string& file);
    /// Runs `work` for each experiment in one transaction. Throws EngineError(Usage) for an id that
    /// is not there; then nothing has changed.
    void annotate(const std::vector<std::int64_t>& ids,
                  const std::function<void(storage::AnnotationRepository&, std::int64_t)>& work);
    /// Takes experiments and their files away for good.
    void remove(const std::vector<std::int64_t>& ids);

    app::RunRecorder& recorder() { return *m_recorder; }

private:
    void requireWritable() const;

    std::optional<storage::Database> m_database;  ///< none: an empty store that nobody wrote to yet
    std::unique_ptr<storage::ArtifactStore> m_artifacts;
    std::unique_ptr<app::RunRecorder> m_recorder;
};

/// The model that an experiment left behind. Throws EngineError(Usage) where there is none.
std::string artifactOf(const std::string& database, std::int64_t experiment);

/// An experiment as commands print it: `metrics` holds plain numbers, `measurements` everything
/// about them.
nlohmann::json experimentJson(const ExperimentRecord& record);

}  // namespace fettle::cli
