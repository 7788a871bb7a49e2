// The life of experiments: created, running, ended, removed, brought back. Reading them is
// ExperimentReader's work. On the thread of its Database. All methods throw StorageError.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/experiment/experiment_record.h"
#include "engine/experiment/job_values.h"
#include "storage/artifact_store.h"
#include "storage/database.h"

namespace fettle::storage {

class ExperimentRepository {
public:
    explicit ExperimentRepository(Database& database) : m_database(database) {}

    /// A new experiment in state "queued", owned by this process. An empty `name` becomes the
    /// recipe's name or summary. A model that is the artifact of another experiment makes that one
    /// the parent.
    std::int64_t create(const RunRequest& request, const std::string& name,
                        const std::string& appVersion);
    void rename(std::int64_t id, const std::string& name);

    /// Queued once more, owned by this process.
    void setQueued(std::int64_t id);
    /// Running, owned by this process; the results of an earlier attempt are cleared.
    void setRunning(std::int64_t id);
    /// Failed, cancelled or interrupted, with the reason.
    void setEnded(std::int64_t id, ExperimentStatus status, const std::string& error = {});
    /// Everything a finished run leaves behind, and the state "finished", in one transaction.
    void finish(std::int64_t id, const RunResult& result);
    /// What was promised before the run.
    void setEstimate(std::int64_t id, const RecipeEstimate& estimate);

    /// Turns queued and running experiments whose process is gone into interrupted ones; returns
    /// them.
    std::vector<std::int64_t> markInterrupted();

    /// Hides experiments, all with one number, which `undoRemoval` takes. 0 when there was nothing
    /// to hide.
    std::int64_t remove(const std::vector<std::int64_t>& ids);
    /// Brings the experiments of a removal back, by default of the last one; returns them.
    std::vector<std::int64_t> undoRemoval(std::int64_t removal = 0);
    /// Deletes hidden experiments for good: first their folders in `artifacts`, then their rows.
    /// Those that still run stay. Returns what was deleted.
    std::vector<std::int64_t> purge(ArtifactStore& artifacts);

private:
    void setStatus(std::int64_t id, ExperimentStatus status, const std::string& error);
    void setModelHash(std::int64_t id, const std::string& hash);

    Database& m_database;
};

}  // namespace fettle::storage
