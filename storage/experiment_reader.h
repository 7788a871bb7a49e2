// Reads experiments. Lists of ten thousands are meant to be quick: one query each for experiments,
// metrics and artifacts, merged in the order of their ids. On the thread of its Database. All
// methods throw StorageError.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/experiment/experiment_record.h"
#include "engine/experiment/job_values.h"
#include "storage/database.h"

namespace fettle::storage {

class ExperimentReader {
public:
    explicit ExperimentReader(const Database& database) : m_database(database) {}

    /// All that are not removed, oldest first.
    std::vector<ExperimentRecord> list() const;
    std::optional<ExperimentRecord> record(std::int64_t id) const;
    std::optional<ExperimentDetail> detail(std::int64_t id) const;
    /// Values per token; none where nothing was evaluated, or by a version that did not keep them.
    std::optional<EvaluationTrace> trace(std::int64_t id) const;

    /// What to post to run an experiment once more. `artifactFolder` is left to the caller.
    std::optional<RunRequest> requestFor(std::int64_t id) const;
    /// The latest finished baseline of a model, given by path or hash. With `protocol`, only one
    /// whose perplexity was measured in that way.
    std::optional<std::int64_t> findBaseline(const std::string& modelPathOrHash,
                                             const std::string& protocol = {}) const;
    /// The experiment that did or would do the same (model, recipe, inputs, measuring): a finished
    /// one if there is one, else the latest. For sweeps that go on where they stopped.
    std::optional<std::int64_t> findSame(const RunRequest& request) const;

private:
    std::vector<ExperimentRecord> read(std::optional<std::int64_t> id) const;
    void readAnnotations(std::optional<std::int64_t> id,
                         std::vector<ExperimentRecord>& records) const;

    const Database& m_database;
};

}  // namespace fettle::storage
