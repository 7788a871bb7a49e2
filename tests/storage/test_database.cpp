// Opening: new, old, newer, damaged, foreign and unwritable files.
#include <SQLiteCpp/SQLiteCpp.h>
#include <sys/stat.h>

#include <thread>

#include "storage/annotation_repository.h"
#include "storage/schema_migrator.h"
#include "storage_fixture.h"

namespace fettle::storage {
namespace {

namespace fs = std::filesystem;

using DatabaseTest = StorageTest;

void makeDatabase(const fs::path& file, int experiments = 1) {
    Database database = Database::open(file);
    for (int i = 0; i < experiments; ++i) {
        ExperimentRepository repository(database);
        repository.finish(repository.create(requestOf("int8"), "", "0.1.0"), resultOf(7));
    }
}

TEST_F(DatabaseTest, IsCreatedThenOpened) {
    {
        const Database database = Database::open(folder() / "a" / "b" / "new.db");
        EXPECT_EQ(database.outcome(), OpenOutcome::Created);
        EXPECT_EQ(database.schemaVersion(), Database::newestVersion());
        EXPECT_TRUE(database.notice().empty());
        EXPECT_EQ(database.sqlite().execAndGet("PRAGMA journal_mode").getString(), "wal");
        EXPECT_EQ(database.sqlite().execAndGet("PRAGMA foreign_keys").getInt(), 1);
        EXPECT_EQ(database.sqlite().execAndGet("PRAGMA synchronous").getInt(), 2);
    }
    EXPECT_EQ(Database::open(folder() / "a" / "b" / "new.db").outcome(), OpenOutcome::Opened);
}

TEST_F(DatabaseTest, EveryTableIsStrict) {
    const Database database = Database::open(file());
    SQLite::Statement tables(database.sqlite(),
                             "SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND "
                             "name NOT LIKE 'sqlite_%'");
    int count = 0;
    while (tables.executeStep()) {
        EXPECT_EQ(tables.getColumn(1).getInt(), 1) << tables.getColumn(0).getString();
        ++count;
    }
    EXPECT_GE(count, 13);
}

TEST_F(DatabaseTest, MissingFileIsAnErrorWhenNotToBeCreated) {
    OpenOptions options;
    options.create = false;
    try {
        Database::open(file(), options);
        FAIL();
    } catch (const StorageError& error) {
        EXPECT_EQ(error.cause(), StorageCause::Missing);
        EXPECT_NE(std::string(error.what()).find("fettle.db"), std::string::npos);
    }
    EXPECT_FALSE(fs::exists(file()));
}

// Databases of released schemas, kept for good: each must open with everything in it.
class StoredVersion : public DatabaseTest, public ::testing::WithParamInterface<int> {};

TEST_P(StoredVersion, Opens) {
    const fs::path stored =
        fs::path(FETTLE_TEST_DATA) / "db" / ("v" + std::to_string(GetParam()) + ".sqlite");
    fs::copy_file(stored, file());
    const Database database = Database::open(file());
    EXPECT_EQ(database.outcome(), Database::newestVersion() == GetParam() ? OpenOutcome::Opened
                                                                          : OpenOutcome::Migrated);
    EXPECT_EQ(database.schemaVersion(), Database::newestVersion());
    const ExperimentReader reader(database);
    const std::vector<ExperimentRecord> records = reader.list();
    ASSERT_EQ(records.size(), 2u);
    EXPECT_TRUE(records[0].isBaseline());
    EXPECT_EQ(records[1].summary(), "ptq int4-g32");
    EXPECT_EQ(records[1].status, ExperimentStatus::Finished);
    EXPECT_EQ(records[1].seed, 18446744073709551615ull);
    EXPECT_EQ(records[1].metrics.at("perplexity").value, 7.5);
    EXPECT_EQ(records[1].metrics.at("perplexity").low, 7.0);
    const ExperimentDetail detail = *reader.detail(records[1].id);
    EXPECT_EQ(detail.layerMetrics.size(), 2u);
    EXPECT_EQ(detail.series.size(), 1u);
    EXPECT_EQ(detail.samples.at(0).text, " upon a time");
    EXPECT_EQ(detail.artifacts.at(0).hash, "ff");
    EXPECT_EQ(detail.log.at(0).text, "a line");
    EXPECT_EQ(records[1].annotations,
              GetParam() >= 3 ? (Annotations{true, {"kept"}, "a note"}) : Annotations{});
    const std::optional<EvaluationTrace> trace = reader.trace(records[1].id);
    ASSERT_EQ(trace.has_value(), GetParam() >= 2);
    if (trace) {
        EXPECT_EQ(trace->blocks.at(0).nll, 500.5);
    }
}

INSTANTIATE_TEST_SUITE_P(Database, StoredVersion, ::testing::Values(1, 2, 3));

// Writes the file for the test above when a new schema is released; run by name, with
// --gtest_also_run_disabled_tests.
TEST_F(DatabaseTest, DISABLED_StoreThisVersion) {
    const fs::path target = fs::path(FETTLE_TEST_DATA) / "db" /
                            ("v" + std::to_string(Database::newestVersion()) + ".sqlite");
    fs::create_directories(target.parent_path());
    fs::remove(target);
    {
        Database database = Database::open(target);
        ExperimentRepository repository(database);
        MeasurementRepository measurements(database);
        repository.finish(repository.create(requestOf(""), "base", "0.1.0"), resultOf(7));
        RunRequest request = requestOf("int4-g32");
        request.recipe.seed = 18446744073709551615ull;
        const std::int64_t id = repository.create(request, "small", "0.1.0");
        repository.setRunning(id);
        measurements.addSeries(id, {{"train_loss", 1, 2.5}});
        measurements.addLog(id, {{1000, "info", "a line"}});
        RunResult result = resultOf(7.5);
        result.artifact = ArtifactReport{"/artifacts/2", "compressed-tensors", 1000, "ff"};
        repository.finish(id, result);
        AnnotationRepository(database).set(id, {true, {"kept"}, "a note"});
    }
    ASSERT_FALSE(fs::exists(target.string() + "-wal"));
}

TEST_F(DatabaseTest, FailedMigrationLeavesNoTrace) {
    SQLite::Database database(file().string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    const std::vector<SchemaFile> good{
        {1, "one", "CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (1);"}};
    EXPECT_EQ(migrateSchema(database, good), 0);
    std::vector<SchemaFile> bad = good;
    bad.push_back({2, "two", "ALTER TABLE a ADD COLUMN y INTEGER; DROP TABLE missing;"});
    EXPECT_THROW(migrateSchema(database, bad), SQLite::Exception);
    EXPECT_EQ(database.execAndGet("PRAGMA user_version").getInt(), 1);
    EXPECT_EQ(database.execAndGet("SELECT count(*) FROM pragma_table_info('a')").getInt(), 1);
    EXPECT_EQ(database.execAndGet("SELECT x FROM a").getInt(), 1);

    bad[1] = {2, "two", "CREATE TABLE b (a INTEGER REFERENCES a (x)); INSERT INTO b VALUES (99);"};
    EXPECT_THROW(migrateSchema(database, bad), SQLite::Exception) << "rows without a parent";
    bad[1] = {2, "two", "ALTER TABLE a ADD COLUMN y INTEGER;"};
    EXPECT_EQ(migrateSchema(database, bad), 1);
    EXPECT_EQ(migrateSchema(database, bad), 2);
}

TEST_F(DatabaseTest, NewerVersionIsReadOnly) {
    makeDatabase(file());
    {
        SQLite::Database database(file().string(), SQLite::OPEN_READWRITE);
        database.exec("CREATE TABLE of_the_future (x); PRAGMA user_version = 99");
    }
    Database database = Database::open(file());
    EXPECT_EQ(database.outcome(), OpenOutcome::ReadOnlyNewer);
    EXPECT_TRUE(database.readOnly());
    EXPECT_NE(database.notice().find("newer"), std::string::npos);
    EXPECT_EQ(ExperimentReader(database).list().size(), 1u);
    try {
        ExperimentRepository(database).create(requestOf("int8"), "", "");
        FAIL();
    } catch (const StorageError& error) {
        EXPECT_EQ(error.cause(), StorageCause::ReadOnly) << error.what();
    }
    EXPECT_EQ(database.sqlite().execAndGet("PRAGMA user_version").getInt(), 99);
}

void expectSetAside(const fs::path& file, const std::string& content) {
    const Database database = Database::open(file);
    EXPECT_EQ(database.outcome(), OpenOutcome::SetAsideCorrupt);
    EXPECT_TRUE(ExperimentReader(database).list().empty());
    ASSERT_TRUE(fs::exists(database.setAsideAs()));
    EXPECT_EQ(database.setAsideAs().filename().string().rfind("fettle.db.corrupt-", 0), 0u);
    EXPECT_NE(database.notice().find(database.setAsideAs().filename().string()), std::string::npos)
        << database.notice();
    EXPECT_EQ(textIn(database.setAsideAs()), content) << "nothing of it is lost";
}

TEST_F(DatabaseTest, WhatIsNoDatabaseIsSetAside) {
    for (const std::string& content :
         {std::string("x"), std::string("These are notes, not a database."),
          std::string(100'000, '\0'), std::string("SQLite format 3")}) {
        writeText(file(), content);
        expectSetAside(file(), content);
        fs::remove(file());
    }
}

TEST_F(DatabaseTest, DamagedPagesAreSetAside) {
    makeDatabase(file(), 200);
    std::string content = textIn(file());
    ASSERT_GT(content.size(), 40'960u);
    for (std::size_t i = 8192; i < content.size(); i += 512)
        content.replace(i, 32, 32, '\x5a');
    writeText(file(), content);
    expectSetAside(file(), content);
    makeDatabase(file());
    EXPECT_EQ(Database::open(file()).outcome(), OpenOutcome::Opened) << "the new one is sound";
}

TEST_F(DatabaseTest, TruncatedFileIsSetAside) {
    makeDatabase(file(), 200);
    const std::string content = textIn(file()).substr(0, 20'000);
    writeText(file(), content);
    expectSetAside(file(), content);
}

TEST_F(DatabaseTest, LogOfADamagedFileGoesWithIt) {
    makeDatabase(file(), 3);
    writeText(file(), "garbage");
    writeText(file().string() + "-wal", "log");
    const Database database = Database::open(file());
    EXPECT_TRUE(fs::exists(database.setAsideAs().string() + "-wal"));
    EXPECT_TRUE(ExperimentReader(database).list().empty());
}

TEST_F(DatabaseTest, TwoSetAsideFilesInOneSecondHaveTwoNames) {
    writeText(file(), "first");
    const fs::path first = Database::open(file()).setAsideAs();
    for (const char* ending : {"", "-wal", "-shm"})
        fs::remove(file().string() + ending);
    writeText(file(), "second");
    const fs::path second = Database::open(file()).setAsideAs();
    EXPECT_EQ(textIn(first), "first");
    EXPECT_EQ(textIn(second), "second");
}

TEST_F(DatabaseTest, EmptyFileIsANewDatabase) {
    writeText(file(), "");
    EXPECT_EQ(Database::open(file()).outcome(), OpenOutcome::Created);
}

TEST_F(DatabaseTest, DatabaseOfAnotherProgramIsLeftAlone) {
    {
        SQLite::Database other(file().string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
        other.exec("CREATE TABLE bookmarks (x)");
    }
    const std::string before = textIn(file());
    try {
        Database::open(file());
        FAIL();
    } catch (const StorageError& error) {
        EXPECT_EQ(error.cause(), StorageCause::Conflict);
    }
    EXPECT_EQ(textIn(file()), before);
}

TEST_F(DatabaseTest, UnwritableFileIsOpenForReading) {
    if (::geteuid() == 0)
        GTEST_SKIP() << "everything is writable for root";
    makeDatabase(file());
    fs::permissions(file(), fs::perms::owner_read);
    const Database database = Database::open(file());
    EXPECT_TRUE(database.readOnly());
    EXPECT_FALSE(database.notice().empty());
    EXPECT_EQ(ExperimentReader(database).list().size(), 1u);
}

TEST_F(DatabaseTest, FolderThatCannotBeMadeIsAnError) {
    writeText(folder() / "file", "");
    EXPECT_THROW(Database::open(folder() / "file" / "fettle.db"), StorageError);
    EXPECT_THROW(Database::open(folder()), StorageError) << "a folder";
}

TEST_F(DatabaseTest, FirstStartOfManyAtOnce) {
    std::vector<std::thread> threads;
    std::atomic<int> failures = 0;
    for (int t = 0; t < 8; ++t) {
        threads.emplace_back([&] {
            try {
                Database database = Database::open(file());
                ExperimentRepository(database).create(requestOf("int8"), "", "");
            } catch (const std::exception& error) {
                ++failures;
                ADD_FAILURE() << error.what();
            }
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(failures, 0);
    EXPECT_EQ(ExperimentReader(Database::open(file())).list().size(), 8u);
}

}  // namespace
}  // namespace fettle::storage
