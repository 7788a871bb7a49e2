// The experiment database: one SQLite file in WAL mode. Opens it, brings its schema up to date, and
// says what it found.
//
// Thread rule: a Database is one connection and belongs to one thread. Another thread opens its own
// (openAgain); WAL lets readers go on while one of them writes. Writers wait for each other up to
// `busyMs`. The file must lie on a local disk: WAL needs memory shared between the processes that
// use it.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "storage/storage_error.h"

namespace SQLite {
class Database;
}

namespace fettle::storage {

enum class OpenOutcome {
    Opened,
    Created,
    Migrated,        ///< was written by an older version
    ReadOnlyNewer,   ///< was written by a newer version: can be read, not changed
    SetAsideCorrupt  ///< was damaged: renamed, a new one is in its place
};

struct OpenOptions {
    bool create = true;     ///< make the file (and its folder) where there is none
    bool readOnly = false;  ///< never write; an older version is then read as it is
    bool check = true;      ///< look for damage first; reads the whole file
    int busyMs = 10'000;
};

class Database {
public:
    /// Throws StorageError: no permission, full disk, the file of another program, still busy.
    static Database open(const std::filesystem::path& path, const OpenOptions& options = {});
    /// A connection for another thread to a database that `open` has dealt with already.
    static Database openAgain(const std::filesystem::path& path, int busyMs = 10'000);

    Database(Database&&) noexcept;
    Database& operator=(Database&&) noexcept;
    ~Database();

    const std::filesystem::path& path() const { return m_path; }
    OpenOutcome outcome() const { return m_outcome; }
    bool readOnly() const { return m_readOnly; }
    int schemaVersion() const { return m_version; }
    /// Where the damaged file is now; empty unless the outcome is SetAsideCorrupt.
    const std::filesystem::path& setAsideAs() const { return m_setAsideAs; }
    /// One or two sentences for the user when the file could not be opened as asked; else empty.
    const std::string& notice() const { return m_notice; }

    /// The schema version that this build writes.
    static int newestVersion();

    /// For storage/*.cpp only.
    SQLite::Database& sqlite() const { return *m_sqlite; }

private:
    Database();
    static Database openOnce(const std::filesystem::path& path, const OpenOptions& options);

    std::filesystem::path m_path;
    std::filesystem::path m_setAsideAs;
    std::string m_notice;
    OpenOutcome m_outcome = OpenOutcome::Opened;
    bool m_readOnly = false;
    int m_version = 0;
    std::unique_ptr<SQLite::Database> m_sqlite;
};

}  // namespace fettle::storage
