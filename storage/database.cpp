#include "storage/database.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <fstream>
#include <string_view>
#include <thread>

#include "storage/schema_migrator.h"
#include "storage/sqlite_access.h"

namespace fettle::storage {
namespace {

namespace fs = std::filesystem;

/// Thrown inside this file only: the file is there but is no sound database.
struct Damaged {
    std::string reason;
    ino_t inode = 0;
};

bool isDamage(int code) {
    return code == SQLITE_CORRUPT || code == SQLITE_NOTADB;
}

ino_t inodeOf(const fs::path& path) {
    struct stat info {};
    return ::stat(path.c_str(), &info) == 0 ? info.st_ino : 0;
}

/// SQLite takes a file too short for a page as an empty database and writes over it, so the head is
/// looked at first.
void checkHead(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::array<char, 16> head{};
    file.read(head.data(), head.size());
    const std::string_view found(head.data(), static_cast<std::size_t>(file.gcount()));
    if (!found.empty() && found != std::string_view("SQLite format 3\0", 16))
        throw Damaged{"it does not start as a database does", inodeOf(path)};
}

void checkWhole(SQLite::Database& database, const fs::path& path) {
    SQLite::Statement check(database, "PRAGMA quick_check(1)");
    if (check.executeStep() && check.getColumn(0).getString() != "ok")
        throw Damaged{check.getColumn(0).getString(), inodeOf(path)};
}

bool isEmpty(SQLite::Database& database) {
    return database.execAndGet("SELECT count(*) FROM sqlite_master").getInt() == 0;
}

/// WAL is entered under an exclusive lock that SQLite does not wait for; two first starts at once
/// meet here.
void enterWal(SQLite::Database& database) {
    for (int attempt = 0;; ++attempt) {
        try {
            database.exec("PRAGMA journal_mode = WAL");
            return;
        } catch (const SQLite::Exception& error) {
            if ((error.getErrorCode() != SQLITE_BUSY && error.getErrorCode() != SQLITE_LOCKED) ||
                attempt == 100)
                throw;
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
        }
    }
}

std::string timestamp() {
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    localtime_r(&now, &local);
    std::array<char, 32> text{};
    std::strftime(text.data(), text.size(), "%Y%m%d-%H%M%S", &local);
    return text.data();
}

/// Holds an flock on a folder, so that two processes do not set the same file aside, the second one
/// a sound one.
class FolderLock {
public:
    explicit FolderLock(const fs::path& folder)
        : m_fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
        if (m_fd >= 0)
            ::flock(m_fd, LOCK_EX);
    }
    ~FolderLock() {
        if (m_fd >= 0)
            ::close(m_fd);
    }
    FolderLock(const FolderLock&) = delete;
    FolderLock& operator=(const FolderLock&) = delete;

private:
    int m_fd;
};

/// Renames the damaged file and what SQLite keeps beside it. Returns the new name, empty when
/// another process was faster and the file is a different one by now.
fs::path setAside(const fs::path& path, ino_t damagedInode) {
    const FolderLock lock(path.has_parent_path() ? path.parent_path() : fs::path("."));
    if (inodeOf(path) != damagedInode)
        return {};
    const std::string base = path.string() + ".corrupt-" + timestamp();
    fs::path target = base;
    for (int n = 2; fs::exists(target); ++n)
        target = base + "-" + std::to_string(n);
    if (std::rename(path.c_str(), target.c_str()) != 0)
        throwErrno(path.string(), "set the damaged database aside", errno);
    // The write-ahead log may hold what the damaged file lacks, and would spoil a new database of
    // the old name.
    for (const char* ending : {"-wal", "-shm", "-journal"})
        std::rename((path.string() + ending).c_str(), (target.string() + ending).c_str());
    return target;
}

void checkSupported(SQLite::Database& database, const fs::path& path) {
    // One look at all three: another process may be making the file this program's right now.
    const SQLite::Transaction snapshot(database);
    const int version = database.execAndGet("PRAGMA user_version").getInt();
    const int application = database.execAndGet("PRAGMA application_id").getInt();
    if (application != kApplicationId && (version != 0 || !isEmpty(database)))
        throw StorageError(path.string(), "is the database of another program",
                           StorageCause::Conflict);
}

void configure(SQLite::Database& database) {
    // FULL: each commit reaches the disk before it returns. NORMAL would survive kill -9 as well,
    // but not a power cut: the last transactions could vanish, and one of them may be the result of
    // a night's training. Commits are few (a handful per second at most), so the price, one fsync
    // each, is not felt.
    database.exec("PRAGMA synchronous = FULL");
    database.exec("PRAGMA foreign_keys = ON");
    // A log that a long reader has let grow is cut back once it is no longer needed.
    database.exec("PRAGMA journal_size_limit = 67108864");
}

}  // namespace

void throwSqlite(const fs::path& path, const std::string& action, const SQLite::Exception& error) {
    StorageCause cause = StorageCause::Other;
    switch (error.getErrorCode()) {
        case SQLITE_FULL:
            cause = StorageCause::Full;
            break;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
            cause = StorageCause::Busy;
            break;
        case SQLITE_READONLY:
            cause = StorageCause::ReadOnly;
            break;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
            cause = StorageCause::Corrupt;
            break;
        case SQLITE_CONSTRAINT:
            cause = StorageCause::Conflict;
            break;
        case SQLITE_CANTOPEN:
            cause = StorageCause::Permission;
            break;
        default:
            break;
    }
    throw StorageError(path.string(), "cannot " + action + ": " + error.what(), cause);
}

std::int64_t nowMs() {
    using namespace std::chrono;
    return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

Database::Database() = default;
Database::Database(Database&&) noexcept = default;
Database& Database::operator=(Database&&) noexcept = default;
Database::~Database() = default;

int Database::newestVersion() {
    return newestSchemaVersion();
}

Database Database::openOnce(const fs::path& path, const OpenOptions& options) {
    if (fs::exists(path) && !fs::is_regular_file(path))
        throw StorageError(path.string(), "is not a file");
    const bool existed = fs::exists(path) && fs::file_size(path) > 0;
    if (existed)
        checkHead(path);
    else if (!options.create || options.readOnly)
        throw StorageError(path.string(), "there is no such database", StorageCause::Missing);

    Database result;
    result.m_path = path;
    try {
        // One connection belongs to one thread: SQLite's own locks around every call are a tenth of
        // the time of reading a large database.
        const int flags = SQLite::OPEN_NOMUTEX |
                          (options.readOnly ? SQLite::OPEN_READONLY
                                            : SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
        result.m_sqlite = std::make_unique<SQLite::Database>(path.string(), flags, options.busyMs);
        checkSupported(result.sqlite(), path);
        result.m_version = result.sqlite().execAndGet("PRAGMA user_version").getInt();
        if (existed && options.check)
            checkWhole(result.sqlite(), path);

        if (result.m_version > newestVersion()) {
            result.m_sqlite = std::make_unique<SQLite::Database>(
                path.string(), SQLite::OPEN_READONLY | SQLite::OPEN_NOMUTEX, options.busyMs);
            result.m_readOnly = true;
            result.m_outcome = OpenOutcome::ReadOnlyNewer;
            result.m_notice = path.string() + " was written by a newer version of Fettle (schema " +
                              std::to_string(result.m_version) + ", this one knows " +
                              std::to_string(newestVersion()) +
                              "). It is open for reading only; new runs are not stored.";
            return result;
        }
        // SQLite opens a file it may not write for reading, and says so only here.
        result.m_readOnly = sqlite3_db_readonly(result.sqlite().getHandle(), "main") == 1;
        if (result.m_readOnly) {
            // Who asks for reading only (to import) takes an older file as it is; readers know
            // which tables it lacks.
            if (result.m_version < newestVersion() && (!options.readOnly || result.m_version == 0))
                throw StorageError(path.string(),
                                   "was written by an older version and cannot be brought up to "
                                   "date: no permission to write",
                                   StorageCause::ReadOnly);
            if (!options.readOnly)
                result.m_notice =
                    path.string() + " cannot be written; it is open for reading only.";
            return result;
        }
        enterWal(result.sqlite());
        const int before = migrateSchema(result.sqlite());
        configure(result.sqlite());
        result.m_version = newestVersion();
        result.m_outcome = before == 0                ? OpenOutcome::Created
                           : before < newestVersion() ? OpenOutcome::Migrated
                                                      : OpenOutcome::Opened;
    } catch (const SQLite::Exception& error) {
        if (isDamage(error.getErrorCode()))
            throw Damaged{error.what(), inodeOf(path)};
        throwSqlite(path, "open the database", error);
    }
    return result;
}

Database Database::open(const fs::path& given, const OpenOptions& options) {
    const fs::path path = fs::absolute(given).lexically_normal();
    std::error_code failed;
    if (options.create && !options.readOnly)
        fs::create_directories(path.parent_path(), failed);
    if (failed)
        throwErrno(path.parent_path().string(), "make the folder", failed.value());
    try {
        return openOnce(path, options);
    } catch (const Damaged& damage) {
        if (options.readOnly)
            throw StorageError(path.string(), "is damaged: " + damage.reason,
                               StorageCause::Corrupt);
        const fs::path target = setAside(path, damage.inode);
        if (target.empty())  // another process set it aside just now
            return open(path, options);
        try {
            OpenOptions fresh = options;
            fresh.create = true;
            Database result = openOnce(path, fresh);
            result.m_outcome = OpenOutcome::SetAsideCorrupt;
            result.m_setAsideAs = target;
            result.m_notice = path.string() + " was damaged (" + damage.reason +
                              "). It was set aside as " + target.filename().string() +
                              "; a new, empty database is in use.";
            return result;
        } catch (const Damaged& second) {
            throw StorageError(path.string(), "is damaged: " + second.reason,
                               StorageCause::Corrupt);
        }
    }
}

Database Database::openAgain(const fs::path& path, int busyMs) {
    OpenOptions options;
    options.create = false;
    options.check = false;
    options.busyMs = busyMs;
    try {
        return openOnce(fs::absolute(path).lexically_normal(), options);
    } catch (const Damaged& damage) {
        throw StorageError(path.string(), "is damaged: " + damage.reason, StorageCause::Corrupt);
    }
}

}  // namespace fettle::storage
