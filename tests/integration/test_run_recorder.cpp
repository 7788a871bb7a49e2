// Events of runs on their way into the database: in order, at once, and not lost when the database
// cannot be written.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "app/core/run_recorder.h"
#include "storage/durable_file.h"
#include "storage/experiment_reader.h"
#include "storage/experiment_repository.h"
#include "storage/transaction.h"

namespace fettle::app {
namespace {

namespace fs = std::filesystem;
using storage::Database;
using storage::ExperimentReader;
using storage::ExperimentRepository;

class RunRecorderTest : public ::testing::Test {
protected:
    RunRecorderTest() {
        std::string name = (fs::temp_directory_path() / "fettle-recorder-XXXXXX").string();
        m_folder = mkdtemp(name.data());
        Database::open(databasePath());
        fs::create_directories(artifacts());
    }
    ~RunRecorderTest() override {
        std::error_code ignored;
        fs::remove_all(m_folder, ignored);
    }

    fs::path folder() const { return m_folder; }
    fs::path databasePath() const { return m_folder / "fettle.db"; }
    fs::path artifacts() const { return m_folder / "artifacts"; }
    std::int64_t create() {
        Database database = Database::openAgain(databasePath());
        RunRequest request;
        request.modelPath = "/models/tiny";
        request.recipe.steps = {{"ptq", {{"scheme", "int8"}}}};
        return ExperimentRepository(database).create(request, "", "0.1.0");
    }
    ExperimentDetail detail(std::int64_t id) {
        return *ExperimentReader(Database::openAgain(databasePath())).detail(id);
    }
    RunRecorder recorder() {
        return RunRecorder(
            databasePath(), artifacts(),
            [this](const std::string& text) { m_problems.push_back(text); }, 50);
    }

    static RunResult result() {
        RunResult result;
        result.modelHash = "h";
        result.deviceName = "cpu";
        result.deviceKind = "cpu";
        result.steps = {{0, "ptq", {{"scheme", "int8"}}, 2.0}};
        result.metrics = {{"perplexity", 7, "", 6.5, 7.5, true, false, "p"}};
        result.layerMetrics = {{0, "q", "sqnr_db", 40}};
        result.samples = {{"a", "b"}};
        return result;
    }

    fs::path m_folder;
    std::vector<std::string> m_problems;
};

/// A write lock that another connection holds: the recorder finds the database busy.
class Locked {
public:
    explicit Locked(const fs::path& path)
        : m_database(Database::openAgain(path)), m_transaction(m_database) {}

private:
    Database m_database;
    storage::Transaction m_transaction;
};

TEST_F(RunRecorderTest, StoresARunAsItGoes) {
    const std::int64_t id = create();
    RunRecorder recorder(databasePath(), artifacts());
    const auto send = [&](JobEventBody body) { recorder.handle({1, id, std::move(body)}); };
    send(JobQueued{"t"});
    send(JobStarted{});
    EXPECT_EQ(detail(id).record.status, ExperimentStatus::Running);
    send(JobProgress{"quantizing", 0.5, 0, 1, ""});
    send(JobLog{JobLog::Level::Warning, "careful"});
    EXPECT_EQ(detail(id).log.at(0).level, "warning");
    send(JobStepFinished{{0, "ptq", {{"scheme", "int8"}}, 2.0}});
    EXPECT_EQ(detail(id).steps.size(), 1u);
    send(JobMetric{{"bits_per_weight", 8.1, "bits", {}, {}, true, false, ""}});
    EXPECT_EQ(detail(id).record.metrics.size(), 1u);
    for (int step = 0; step < 1000; ++step)
        send(JobSeries{{"train_loss", static_cast<double>(step), 1.0 / (1 + step)}});
    EXPECT_GE(detail(id).series.size(), 512u) << "stored in batches while the run goes on";
    fs::create_directories(artifacts() / "1");
    std::ofstream(artifacts() / "1" / "config.json") << "{}";
    RunResult finished = result();
    finished.artifact = ArtifactReport{(artifacts() / "1").string(), "safetensors", 0, ""};
    send(JobFinished{finished});

    const ExperimentDetail stored = detail(id);
    EXPECT_EQ(stored.record.status, ExperimentStatus::Finished);
    EXPECT_EQ(stored.record.metrics.size(), 2u);
    ASSERT_EQ(stored.series.size(), 1000u);
    for (std::size_t i = 0; i < stored.series.size(); ++i)
        EXPECT_EQ(stored.series[i].step, static_cast<double>(i));
    EXPECT_EQ(stored.artifacts.at(0).bytes, 2u);
    EXPECT_EQ(stored.artifacts.at(0).hash.size(), 32u);
    EXPECT_EQ(recorder.waiting(), 0u);
}

TEST_F(RunRecorderTest, FailedAndCancelled) {
    const std::int64_t failed = create();
    const std::int64_t cancelled = create();
    RunRecorder recorder(databasePath(), artifacts());
    recorder.handle({1, failed, JobStarted{}});
    recorder.handle({1, failed, JobSeries{{"train_loss", 1, 2}}});
    recorder.handle({1, failed, JobFailed{{ErrorKind::BadInput, "model.safetensors: cut short"}}});
    recorder.handle({2, cancelled, JobCancelled{}});
    EXPECT_EQ(detail(failed).record.status, ExperimentStatus::Failed);
    EXPECT_EQ(detail(failed).record.error, "model.safetensors: cut short");
    EXPECT_EQ(detail(failed).series.size(), 1u);
    EXPECT_EQ(detail(cancelled).record.status, ExperimentStatus::Cancelled);
}

TEST_F(RunRecorderTest, IgnoresWhatIsNotStored) {
    RunRecorder recorder(databasePath(), artifacts());
    recorder.handle({1, 0, JobStarted{}});
    recorder.handle({1, 0, JobFinished{EvaluateResult{}}});
    EXPECT_EQ(recorder.waiting(), 0u);
}

TEST_F(RunRecorderTest, DeletedExperimentDoesNotHoldUpOthers) {
    const std::int64_t id = create();
    RunRecorder recorder(databasePath(), artifacts());
    recorder.handle({1, 999, JobStarted{}});
    recorder.handle({1, 999, JobSeries{{"train_loss", 1, 1}}});
    recorder.handle({2, id, JobStarted{}});
    recorder.handle({1, 999, JobFinished{result()}});
    recorder.handle({2, id, JobFinished{result()}});
    EXPECT_EQ(recorder.waiting(), 0u);
    EXPECT_EQ(detail(id).record.status, ExperimentStatus::Finished);
}

TEST_F(RunRecorderTest, ResultsOfAnUnwritableDatabaseAreKeptAndImported) {
    const std::int64_t id = create();
    {
        RunRecorder recorder = this->recorder();
        recorder.handle({1, id, JobStarted{}});
        {
            const Locked lock(databasePath());
            recorder.handle({1, id, JobSeries{{"train_loss", 1, 0.5}}});
            recorder.handle({1, id, JobLog{JobLog::Level::Info, "line"}});
            ASSERT_EQ(m_problems.size(), 1u);
            EXPECT_NE(m_problems[0].find("fettle.db"), std::string::npos) << m_problems[0];
            recorder.handle({1, id, JobFinished{result()}});
            EXPECT_GT(recorder.waiting(), 0u);
            ASSERT_EQ(m_problems.size(), 2u);
            EXPECT_NE(m_problems[1].find(unsavedFile(artifacts(), id).string()), std::string::npos)
                << m_problems[1];
            EXPECT_TRUE(fs::exists(unsavedFile(artifacts(), id)));
            fs::copy_file(unsavedFile(artifacts(), id), folder() / "copy.json");
        }
        EXPECT_TRUE(recorder.flush()) << "writable again";
        EXPECT_FALSE(fs::exists(unsavedFile(artifacts(), id)));
        EXPECT_EQ(detail(id).record.status, ExperimentStatus::Finished);
    }
    // As if the program had ended before it was writable again.
    fs::create_directories(artifacts() / "unsaved");
    fs::copy_file(folder() / "copy.json", unsavedFile(artifacts(), id));
    Database database = Database::open(databasePath());
    ExperimentRepository(database).setRunning(id);
    std::ofstream(artifacts() / "unsaved" / "experiment-7.json") << "{broken";
    const ImportOutcome outcome = importUnsaved(database, artifacts());
    EXPECT_EQ(outcome.experiments, std::vector<std::int64_t>{id});
    ASSERT_EQ(outcome.problems.size(), 1u);
    EXPECT_NE(outcome.problems[0].find("experiment-7.json"), std::string::npos);
    EXPECT_TRUE(fs::exists(artifacts() / "unsaved" / "experiment-7.json")) << "never deleted";
    EXPECT_FALSE(fs::exists(unsavedFile(artifacts(), id)));
    const ExperimentDetail stored = detail(id);
    EXPECT_EQ(stored.record.status, ExperimentStatus::Finished);
    EXPECT_EQ(stored.record.metrics.at("perplexity").low, 6.5);
    EXPECT_EQ(stored.layerMetrics.size(), 1u);
    EXPECT_EQ(stored.series.size(), 1u);
    EXPECT_EQ(stored.log.at(0).text, "line");
}

TEST_F(RunRecorderTest, FileOfALivingProcessIsLeftToIt) {
    const std::int64_t id = create();
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        writeUnsaved(unsavedFile(artifacts(), id), id, {{1, {1, id, JobFinished{result()}}}});
        [[maybe_unused]] const ssize_t written = write(ready[1], "x", 1);
        pause();
        _exit(0);
    }
    char byte = 0;
    ASSERT_EQ(read(ready[0], &byte, 1), 1);
    Database database = Database::open(databasePath());
    EXPECT_TRUE(importUnsaved(database, artifacts()).experiments.empty());
    EXPECT_EQ(detail(id).record.status, ExperimentStatus::Queued);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    EXPECT_EQ(importUnsaved(database, artifacts()).experiments.size(), 1u);
    EXPECT_EQ(detail(id).record.status, ExperimentStatus::Finished);
    close(ready[0]);
    close(ready[1]);
}

TEST_F(RunRecorderTest, WhatWaitsAtTheEndIsLeftInAFile) {
    const std::int64_t id = create();
    const Locked lock(databasePath());
    {
        RunRecorder recorder = this->recorder();
        recorder.handle({1, id, JobSeries{{"train_loss", 1, 0.5}}});
    }
    EXPECT_TRUE(fs::exists(unsavedFile(artifacts(), id)));
}

TEST_F(RunRecorderTest, MissingDatabaseAndFolderAreReported) {
    RunRecorder recorder(folder() / "gone" / "fettle.db", folder() / "fettle.db" / "no folder",
                         [this](const std::string& text) { m_problems.push_back(text); });
    recorder.handle({1, 5, JobFinished{result()}});
    ASSERT_EQ(m_problems.size(), 2u);
    EXPECT_NE(m_problems[1].find("in memory only"), std::string::npos) << m_problems[1];
    EXPECT_EQ(recorder.waiting(), 1u);
}

TEST_F(RunRecorderTest, KilledRunIsInterruptedAndKeepsItsCurve) {
    const std::int64_t finished = create();
    const std::int64_t killed = create();
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        RunRecorder recorder(databasePath(), artifacts());
        recorder.handle({1, finished, JobStarted{}});
        recorder.handle({1, finished, JobFinished{result()}});
        recorder.handle({2, killed, JobStarted{}});
        for (int step = 0; step < 600; ++step)
            recorder.handle({2, killed, JobSeries{{"train_loss", static_cast<double>(step), 1.0}}});
        [[maybe_unused]] const ssize_t written = write(ready[1], "x", 1);
        pause();
        _exit(0);
    }
    char byte = 0;
    ASSERT_EQ(read(ready[0], &byte, 1), 1);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    close(ready[0]);
    close(ready[1]);

    Database database = Database::open(databasePath());
    EXPECT_EQ(ExperimentRepository(database).markInterrupted(), std::vector<std::int64_t>{killed});
    EXPECT_EQ(detail(finished).record.status, ExperimentStatus::Finished);
    EXPECT_EQ(detail(killed).record.status, ExperimentStatus::Interrupted);
    EXPECT_GE(detail(killed).series.size(), 512u);
}

TEST_F(RunRecorderTest, PostingThreadAndEngineThreadMayCallAtOnce) {
    std::vector<std::int64_t> ids;
    for (int i = 0; i < 20; ++i)
        ids.push_back(create());
    RunRecorder recorder(databasePath(), artifacts());
    std::thread poster([&] {
        for (const std::int64_t id : ids)
            recorder.handle({1, id, JobLog{JobLog::Level::Info, "posted"}});
    });
    for (const std::int64_t id : ids) {
        recorder.handle({1, id, JobStarted{}});
        recorder.handle({1, id, JobFinished{result()}});
    }
    poster.join();
    for (const std::int64_t id : ids) {
        EXPECT_EQ(detail(id).record.status, ExperimentStatus::Finished);
        EXPECT_EQ(detail(id).log.size(), 1u);
    }
}

}  // namespace
}  // namespace fettle::app
