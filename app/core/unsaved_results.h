// Events of a run that could not be stored, as a file beside the artifacts, and back into the
// database.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/experiment/job_values.h"
#include "storage/database.h"

namespace fettle::app {

/// An event worth storing, and when it happened.
struct RecordedEvent {
    std::int64_t timeMs = 0;
    JobEvent event;
};

/// Writes one event to the database, inside the caller's transaction. Throws storage::StorageError.
void storeEvent(storage::Database& database, const RecordedEvent& recorded);
/// The same for many, with neighbouring points of curves and log lines written together.
void storeEvents(storage::Database& database, const std::vector<RecordedEvent>& events);

/// Where the unsaved results of an experiment lie: <artifacts>/unsaved/experiment-<id>.json.
std::filesystem::path unsavedFile(const std::filesystem::path& artifactsRoot,
                                  std::int64_t experiment);
void writeUnsaved(const std::filesystem::path& file, std::int64_t experiment,
                  const std::vector<RecordedEvent>& events);

struct ImportOutcome {
    std::vector<std::int64_t> experiments;  ///< now stored
    std::vector<std::string>
        problems;  ///< one line per file that could not be taken over; the file stays
};
/// Stores what earlier runs had to leave in files, and deletes the files. To be called once the
/// database is open, before runs are marked as interrupted.
ImportOutcome importUnsaved(storage::Database& database,
                            const std::filesystem::path& artifactsRoot);

}  // namespace fettle::app
