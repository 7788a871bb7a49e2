// Stores what runs report, as it comes. Sits between the engine and the window: it is called on the
// engine thread, with its own connection to the database, before an event is passed on.
//
// A database that cannot be written (full disk, locked) does not end a run: events wait in memory
// and are stored with the next ones; when a run ends and they still wait, they are also written to
// a file beside the artifacts, which importUnsaved() takes over at the next start.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "app/core/unsaved_results.h"
#include "engine/experiment/job_values.h"
#include "storage/database.h"

namespace fettle::app {

class RunRecorder {
public:
    /// One line that names the file and the cause, and where the results are. Called on the thread
    /// that called handle, which must not be called from within it.
    using ProblemHandler = std::function<void(const std::string& message)>;

    /// The database must have been opened (and brought up to date) by Database::open before.
    /// `busyMs`: how long the engine waits for another writer before the event is put off.
    RunRecorder(std::filesystem::path database, std::filesystem::path artifactsRoot,
                ProblemHandler onProblem = {}, int busyMs = 3000);
    /// Stores what waits, or leaves it in files.
    ~RunRecorder();
    RunRecorder(const RunRecorder&) = delete;
    RunRecorder& operator=(const RunRecorder&) = delete;

    /// Any thread (JobQueued comes on the posting one). Events of jobs without an experiment are
    /// ignored. Never throws.
    void handle(const JobEvent& event) noexcept;
    /// Tries to store what waits; true when nothing is left.
    bool flush() noexcept;
    /// Events that could not be stored yet.
    std::size_t waiting() const;

private:
    using Clock = std::chrono::steady_clock;

    void record(const JobEvent& event);
    bool store();
    void storeOneByOne();
    void leaveInFile(std::int64_t experiment);
    void report(const std::string& message);

    const std::filesystem::path m_databasePath;
    const std::filesystem::path m_artifactsRoot;
    const ProblemHandler m_onProblem;
    const int m_busyMs;

    mutable std::mutex m_mutex;  ///< guards all below
    std::optional<storage::Database> m_database;
    std::vector<RecordedEvent> m_waiting;
    std::set<std::int64_t> m_inFiles;  ///< experiments whose waiting events are also in a file
    Clock::time_point m_lastStore{};
    std::string m_problem;  ///< why storing failed last; empty while it works
};

}  // namespace fettle::app
