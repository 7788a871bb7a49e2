// The folder in which optimized models live, one folder per experiment, named after its id.
//
// An artifact is whole or absent: it is written to a folder beside (begin), flushed, renamed
// (commit), and only then recorded in the database. What a killed process left half-written is
// removed when the store is next opened. May be used from any thread; two threads must not write
// the same experiment.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/experiment/run_values.h"
#include "storage/storage_error.h"

namespace fettle::storage {

class ArtifactStore {
public:
    /// Makes the folder and cleans up. Throws StorageError with path and cause (full disk, no
    /// permission).
    explicit ArtifactStore(std::filesystem::path root);

    const std::filesystem::path& root() const { return m_root; }
    std::filesystem::path folder(std::int64_t experiment) const;

    /// An empty folder to write to; what is there of an earlier attempt of this process is gone.
    std::filesystem::path begin(std::int64_t experiment);
    /// Flushes what was written, puts it in the place of folder(experiment), and says what it is.
    ArtifactReport commit(std::int64_t experiment, const std::string& format);
    void abandon(std::int64_t experiment);

    /// Deletes the artifact and what an unfinished run keeps beside it in FOLDER.checkpoints; no
    /// error when there is none. Renamed first, so that no half of it keeps its name.
    void remove(std::int64_t experiment);
    /// Removes half-written folders whose process is gone; returns how many.
    int cleanUp();

private:
    std::filesystem::path partialFolder(std::int64_t experiment) const;

    std::filesystem::path m_root;
};

}  // namespace fettle::storage
