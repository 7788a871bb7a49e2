#include "app/core/run_recorder.h"

#include <algorithm>

#include "app/core/logging.h"
#include "storage/durable_file.h"
#include "storage/transaction.h"

namespace fettle::app {
namespace {

namespace fs = std::filesystem;
using storage::StorageCause;
using storage::StorageError;

/// Points of a curve are stored together: at this many, or after this long, or with the next event
/// of another kind.
constexpr std::size_t kSeriesBatch = 256;
constexpr auto kSeriesWait = std::chrono::milliseconds(500);
/// How long to leave a database alone that could not be written, so that a full disk does not slow
/// the run down.
constexpr auto kRetryWait = std::chrono::seconds(2);
constexpr std::size_t kMostWaiting = 200'000;

std::int64_t nowMs() {
    using namespace std::chrono;
    return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

template <typename... Kinds>
bool isOneOf(const JobEventBody& body) {
    return (std::holds_alternative<Kinds>(body) || ...);
}

bool isStored(const JobEventBody& body) {
    return !isOneOf<JobProgress, JobText, JobPaused, JobResumed>(body);
}
bool isLast(const JobEventBody& body) {
    return isOneOf<JobFinished, JobFailed, JobCancelled>(body);
}

/// Size and hash of the artifact, unless the engine has said them. Read back from the disk: what is
/// recorded is there.
void completeArtifact(JobEvent& event) {
    auto* finished = std::get_if<JobFinished>(&event.body);
    auto* result = finished ? std::get_if<RunResult>(&finished->result) : nullptr;
    if (!result || !result->artifact || !result->artifact->hash.empty())
        return;
    try {
        const storage::TreeDigest digest = storage::digestTree(result->artifact->path);
        result->artifact->bytes = digest.bytes;
        result->artifact->hash = digest.hash;
    } catch (const std::exception& error) {
        logWarning(std::string("no hash of the artifact: ") + error.what());
    }
}

}  // namespace

RunRecorder::RunRecorder(fs::path database, fs::path artifactsRoot, ProblemHandler onProblem,
                         int busyMs)
    : m_databasePath(std::move(database)),
      m_artifactsRoot(std::move(artifactsRoot)),
      m_onProblem(std::move(onProblem)),
      m_busyMs(busyMs) {}

RunRecorder::~RunRecorder() {
    if (flush())
        return;
    std::set<std::int64_t> left;
    for (const RecordedEvent& recorded : m_waiting)
        left.insert(recorded.event.experiment);
    for (const std::int64_t experiment : left)
        leaveInFile(experiment);
}

void RunRecorder::handle(const JobEvent& event) noexcept {
    if (event.experiment == 0 || !isStored(event.body))
        return;
    try {
        record(event);
    } catch (const std::exception& error) {
        logError(std::string("an event of a run was lost: ") + error.what());
    }
}

void RunRecorder::record(const JobEvent& event) {
    RecordedEvent recorded{nowMs(), event};
    completeArtifact(recorded.event);  // reads files: outside the lock
    const std::scoped_lock lock(m_mutex);
    const bool isPoint = std::holds_alternative<JobSeries>(event.body);
    if (isPoint && m_waiting.size() >= kMostWaiting)
        return;  // the disk has been full for long; numbers matter more than the finest curve
    m_waiting.push_back(std::move(recorded));

    const auto sinceStore = Clock::now() - m_lastStore;
    const bool last = isLast(event.body);
    if (!m_problem.empty() && !last && sinceStore < kRetryWait)
        return;
    if (isPoint && m_waiting.size() < kSeriesBatch && sinceStore < kSeriesWait)
        return;
    if (!store() && last)
        leaveInFile(event.experiment);
}

bool RunRecorder::flush() noexcept {
    try {
        const std::scoped_lock lock(m_mutex);
        return store();
    } catch (const std::exception& error) {
        logError(error.what());
        return false;
    }
}

std::size_t RunRecorder::waiting() const {
    const std::scoped_lock lock(m_mutex);
    return m_waiting.size();
}

bool RunRecorder::store() {
    m_lastStore = Clock::now();
    if (m_waiting.empty())
        return true;
    try {
        if (!m_database)
            m_database.emplace(storage::Database::openAgain(m_databasePath, m_busyMs));
        try {
            storage::Transaction transaction(*m_database);
            storeEvents(*m_database, m_waiting);
            transaction.commit();
        } catch (const StorageError& error) {
            if (error.cause() != StorageCause::Conflict && error.cause() != StorageCause::Missing)
                throw;
            storeOneByOne();
        }
    } catch (const StorageError& error) {
        m_database.reset();  // a fresh connection next time
        if (m_problem.empty())
            report(std::string(error.what()) + ". The run goes on; its results wait in memory.");
        m_problem = error.what();
        return false;
    }
    m_waiting.clear();
    for (const std::int64_t experiment : m_inFiles) {
        std::error_code ignored;
        fs::remove(unsavedFile(m_artifactsRoot, experiment), ignored);
    }
    m_inFiles.clear();
    m_problem.clear();
    return true;
}

void RunRecorder::storeOneByOne() {
    // An event of an experiment that has been deleted can never be stored; it must not hold up the
    // others.
    while (!m_waiting.empty()) {
        try {
            storage::Transaction transaction(*m_database);
            storeEvent(*m_database, m_waiting.front());
            transaction.commit();
        } catch (const StorageError& error) {
            if (error.cause() != StorageCause::Conflict && error.cause() != StorageCause::Missing)
                throw;
            logWarning(std::string("dropped: ") + error.what());
        }
        m_waiting.erase(m_waiting.begin());
    }
}

void RunRecorder::leaveInFile(std::int64_t experiment) {
    const fs::path file = unsavedFile(m_artifactsRoot, experiment);
    const std::string which = "The results of experiment " + std::to_string(experiment);
    try {
        writeUnsaved(file, experiment, m_waiting);
        m_inFiles.insert(experiment);
        report(m_problem + ". " + which + " are in " + file.string() +
               " and are stored at the next start.");
    } catch (const std::exception& error) {
        report(m_problem + ". " + which + " are in memory only: " + error.what());
    }
}

void RunRecorder::report(const std::string& message) {
    logError(message);
    if (m_onProblem)
        m_onProblem(message);
}

}  // namespace fettle::app
