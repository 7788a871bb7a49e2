// Takes experiments of another database, or of a file, over into this one: everything that is
// stored about them, under new ids. What is there already is not taken twice. On the thread of its
// Database. All methods throw StorageError.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "engine/experiment/experiment_record.h"
#include "storage/database.h"

namespace fettle::storage {

struct ImportCounts {
    std::vector<std::int64_t> added;  ///< new ids, in the order of the old ones
    int known = 0;                    ///< were there already
    int unended = 0;                  ///< queued or running: left out
};

class ExperimentImporter {
public:
    explicit ExperimentImporter(Database& database) : m_database(database) {}

    /// One experiment. An equal one (same model, recipe, seed, times and device) counts as known.
    /// Parents are found among those taken before.
    void add(const ExperimentDetail& detail);
    /// All experiments of another database that are not removed, in one transaction.
    void addAll(const Database& other);
    const ImportCounts& counts() const { return m_counts; }

private:
    std::int64_t findSame(const ExperimentDetail& detail) const;
    std::int64_t insert(const ExperimentDetail& detail);
    void insertResults(std::int64_t id, const ExperimentDetail& detail);

    Database& m_database;
    ImportCounts m_counts;
    std::map<std::int64_t, std::int64_t> m_ids;  ///< old to new
};

}  // namespace fettle::storage
