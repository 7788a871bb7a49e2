// Killed processes, full disks, writers beside readers: what is stored stays, what is half-done is
// seen as such.
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <atomic>
#include <thread>

#include "storage/artifact_store.h"
#include "storage/durable_file.h"
#include "storage/process_identity.h"
#include "storage/transaction.h"
#include "storage_fixture.h"

namespace fettle::storage {
namespace {

namespace fs = std::filesystem;

/// Runs `work` in a child until it writes a byte, then kills it with SIGKILL and reaps it.
template <typename Work>
void killInTheMiddle(Work work) {
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        try {
            work([&] { [[maybe_unused]] const ssize_t written = write(ready[1], "x", 1); });
        } catch (const std::exception& error) {
            fprintf(stderr, "child: %s\n", error.what());
        }
        _exit(1);
    }
    close(ready[1]);
    char byte = 0;
    EXPECT_EQ(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status)) << "the child ended by itself";
}

using CrashTest = StorageTest;

TEST_F(CrashTest, KilledInTheMiddleOfARun) {
    Database::open(file());
    for (int round = 0; round < 3; ++round) {
        killInTheMiddle([&](auto ready) {
            Database database = Database::open(file());
            ExperimentRepository repository(database);
            MeasurementRepository measurements(database);
            for (int i = 0; i < 5; ++i) {
                const std::int64_t id = repository.create(requestOf("int8"), "done", "0.1.0");
                repository.setRunning(id);
                repository.finish(id, resultOf(7));
            }
            repository.create(requestOf("int8"), "waiting", "0.1.0");
            const std::int64_t id = repository.create(requestOf("int8"), "running", "0.1.0");
            repository.setRunning(id);
            ready();
            for (int step = 0;; ++step)
                measurements.addSeries(
                    id, {{"train_loss", static_cast<double>(step), 1.0 / (step + 1)}});
        });
    }
    Database database = Database::open(file());
    EXPECT_EQ(database.outcome(), OpenOutcome::Opened);
    EXPECT_EQ(ExperimentRepository(database).markInterrupted().size(), 6u);
    int finished = 0;
    for (const ExperimentRecord& record : ExperimentReader(database).list()) {
        if (record.name == "done") {
            ++finished;
            EXPECT_EQ(record.status, ExperimentStatus::Finished);
            EXPECT_EQ(record.metrics.size(), 3u);
            continue;
        }
        EXPECT_EQ(record.status, ExperimentStatus::Interrupted) << record.name;
        EXPECT_FALSE(record.error.empty());
        // What the run had stored is there, without gaps.
        const ExperimentDetail detail = *ExperimentReader(database).detail(record.id);
        for (std::size_t i = 0; i < detail.series.size(); ++i)
            EXPECT_EQ(detail.series[i].step, static_cast<double>(i));
    }
    EXPECT_EQ(finished, 15);
    EXPECT_TRUE(ExperimentRepository(database).markInterrupted().empty());
}

TEST_F(CrashTest, KilledInTheMiddleOfStoringAResult) {
    Database::open(file());
    killInTheMiddle([&](auto ready) {
        Database database = Database::open(file());
        ExperimentRepository repository(database);
        const std::int64_t id = repository.create(requestOf("int8"), "", "");
        Transaction transaction(database);
        repository.finish(id, resultOf(7));
        ready();
        pause();
    });
    Database database = Database::open(file());
    ExperimentRepository(database).markInterrupted();
    const ExperimentRecord record = ExperimentReader(database).list().at(0);
    EXPECT_EQ(record.status, ExperimentStatus::Interrupted);
    EXPECT_TRUE(record.metrics.empty()) << "all of a result or nothing";
}

TEST_F(CrashTest, ZombieIsNotAlive) {
    EXPECT_TRUE(thisProcess().alive());
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        const ProcessIdentity self = thisProcess();
        [[maybe_unused]] const ssize_t written = write(ready[1], &self.start, sizeof self.start);
        _exit(0);
    }
    ProcessIdentity identity{child, 0, thisProcess().boot};
    ASSERT_EQ(read(ready[0], &identity.start, sizeof identity.start),
              static_cast<ssize_t>(sizeof identity.start));
    siginfo_t info{};
    ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT),
              0);  // dead, not reaped
    EXPECT_FALSE(identity.alive());
    waitpid(child, nullptr, 0);
    EXPECT_FALSE(identity.alive());
    close(ready[0]);
    close(ready[1]);
    ProcessIdentity reused = thisProcess();
    reused.start += 1;
    EXPECT_FALSE(reused.alive()) << "same pid, another process";
    ProcessIdentity earlier = thisProcess();
    earlier.boot = "00000000-0000-0000-0000-000000000000";
    EXPECT_FALSE(earlier.alive()) << "before a restart";
}

TEST_F(CrashTest, ReadersGoOnWhileOneWrites) {
    Database database = Database::open(file());
    std::atomic<bool> done = false;
    std::atomic<int> lists = 0;
    std::thread reader([&] {
        const Database own = Database::openAgain(file());
        std::size_t last = 0;
        while (!done) {
            const std::vector<ExperimentRecord> records = ExperimentReader(own).list();
            EXPECT_GE(records.size(), last);
            last = records.size();
            for (const ExperimentRecord& record : records) {
                // One state of the database: finished experiments have all their metrics.
                if (record.status == ExperimentStatus::Finished)
                    EXPECT_EQ(record.metrics.size(), 3u);
                else
                    EXPECT_TRUE(record.metrics.empty());
            }
            ++lists;
        }
    });
    std::thread second([&] {  // another writer
        Database own = Database::openAgain(file());
        while (!done)
            ExperimentRepository(own).rename(1, "renamed");
    });
    ExperimentRepository repository(database);
    for (int i = 0; i < 60 || lists < 5; ++i)
        repository.finish(repository.create(requestOf("int8"), "", ""), resultOf(7));
    done = true;
    reader.join();
    second.join();
    EXPECT_GE(lists, 5);
}

using ArtifactTest = StorageTest;

TEST_F(ArtifactTest, IsWholeOrAbsent) {
    ArtifactStore store(folder() / "artifacts");
    const fs::path partial = store.begin(7);
    writeText(partial / "config.json", "{}");
    fs::create_directory(partial / "sub");
    writeText(partial / "sub" / "weights", "0123456789");
    EXPECT_FALSE(fs::exists(store.folder(7)));
    const ArtifactReport report = store.commit(7, "safetensors");
    EXPECT_EQ(report.path, store.folder(7).string());
    EXPECT_EQ(report.bytes, 12u);
    EXPECT_EQ(report.hash.size(), 32u);
    EXPECT_EQ(textIn(store.folder(7) / "sub" / "weights"), "0123456789");
    EXPECT_FALSE(fs::exists(partial));
    EXPECT_THROW(store.commit(7, "safetensors"), StorageError) << "nothing begun";

    // A second attempt takes the place of the first.
    writeText(store.begin(7) / "config.json", "{ }");
    EXPECT_EQ(store.commit(7, "safetensors").bytes, 3u);
    EXPECT_FALSE(fs::exists(store.folder(7) / "sub"));
    store.begin(8);
    store.abandon(8);
    store.remove(7);
    store.remove(7);
    EXPECT_TRUE(fs::is_empty(store.root()));
}

TEST_F(ArtifactTest, HashSeesNamesAndContents) {
    ArtifactStore store(folder() / "artifacts");
    const auto hashOf = [&](const std::string& name, const std::string& content) {
        writeText(store.begin(1) / name, content);
        return store.commit(1, "").hash;
    };
    const std::string base = hashOf("a", "x");
    EXPECT_EQ(base, hashOf("a", "x"));
    EXPECT_NE(base, hashOf("b", "x"));
    EXPECT_NE(base, hashOf("a", "y"));
    EXPECT_NE(base, hashOf("a", ""));
}

TEST_F(ArtifactTest, KilledBetweenWriteAndRename) {
    const fs::path root = folder() / "artifacts";
    ArtifactStore before(root);
    writeText(before.begin(1) / "weights", "old");
    before.commit(1, "safetensors");
    killInTheMiddle([&](auto ready) {
        ArtifactStore store(root);
        writeText(store.begin(1) / "weights", "new, but never finished");
        writeText(store.begin(2) / "weights", "never finished");
        ready();
        pause();
    });
    const fs::path mine = before.begin(3);  // of a living process
    writeText(root / ".partial-of-somebody-else", "");
    const auto entries = [&] {
        return std::distance(fs::directory_iterator(root), fs::directory_iterator());
    };
    EXPECT_EQ(entries(), 5);
    ArtifactStore after(root);
    EXPECT_EQ(entries(), 3);
    EXPECT_EQ(textIn(after.folder(1) / "weights"), "old");
    EXPECT_FALSE(fs::exists(after.folder(2)));
    EXPECT_TRUE(fs::exists(mine));
}

/// No file may grow beyond `bytes` in this scope: what a full disk looks like to a program that
/// ignores SIGXFSZ.
class FileSizeLimit {
public:
    explicit FileSizeLimit(rlim_t bytes) {
        getrlimit(RLIMIT_FSIZE, &m_before);
        m_handler = signal(SIGXFSZ, SIG_IGN);
        rlimit limit = m_before;
        limit.rlim_cur = bytes;
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    ~FileSizeLimit() {
        setrlimit(RLIMIT_FSIZE, &m_before);
        signal(SIGXFSZ, m_handler);
    }

private:
    rlimit m_before{};
    sighandler_t m_handler = SIG_DFL;
};

TEST_F(ArtifactTest, FullDiskLeavesTheOldFile) {
    const fs::path target = folder() / "report.json";
    writeFileDurably(target, "old");
    {
        const FileSizeLimit limit(1000);
        try {
            writeFileDurably(target, std::string(5000, 'x'));
            FAIL();
        } catch (const StorageError& error) {
            EXPECT_EQ(error.cause(), StorageCause::Full) << error.what();
            EXPECT_NE(std::string(error.what()).find("report.json"), std::string::npos)
                << error.what();
        }
    }
    EXPECT_EQ(textIn(target), "old");
    EXPECT_EQ(std::distance(fs::directory_iterator(folder()), fs::directory_iterator()), 1)
        << "nothing beside it";
}

TEST_F(ArtifactTest, UnusableFolderIsAnErrorWithPathAndCause) {
    writeText(folder() / "file", "");
    try {
        ArtifactStore store(folder() / "file" / "artifacts");
        FAIL();
    } catch (const StorageError& error) {
        EXPECT_NE(std::string(error.what()).find("file/artifacts"), std::string::npos)
            << error.what();
    }
}

TEST_F(CrashTest, FullDiskIsAnErrorAndTheDatabaseStaysSound) {
    Database database = Database::open(file());
    ExperimentRepository repository(database);
    const std::int64_t id = repository.create(requestOf("int8"), "", "");
    bool failed = false;
    {
        const FileSizeLimit limit(600'000);
        RunResult result = resultOf(7);
        for (int i = 0; i < 20'000; ++i)
            result.layerMetrics.push_back(
                {i, "a tensor with a rather long name", "sqnr_db", 1.0 * i});
        try {
            repository.finish(id, result);
        } catch (const StorageError& error) {
            failed = true;
            EXPECT_NE(std::string(error.what()).find("fettle.db"), std::string::npos)
                << error.what();
        }
    }
    EXPECT_TRUE(failed);
    EXPECT_EQ(ExperimentReader(database).record(id)->status, ExperimentStatus::Queued);
    repository.finish(id, resultOf(7));  // room again
    EXPECT_EQ(ExperimentReader(Database::open(file())).record(id)->metrics.size(), 3u);
}

}  // namespace
}  // namespace fettle::storage
