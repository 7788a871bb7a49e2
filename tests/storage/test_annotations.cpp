// Stars, tags and notes: kept, changed one by one, taken over by imports, found in older databases.
#include "storage/annotation_repository.h"
#include "storage/experiment_importer.h"
#include "storage_fixture.h"

namespace fettle::storage {
namespace {

using Tags = std::vector<std::string>;

class AnnotationsTest : public StorageTest {
protected:
    Database m_database = Database::open(file());
    ExperimentRepository m_repository{m_database};
    AnnotationRepository m_annotations{m_database};

    std::int64_t finished(Database& database, const std::string& scheme = "int8") {
        ExperimentRepository repository(database);
        const std::int64_t id = repository.create(requestOf(scheme), "", "0.1.0");
        repository.setRunning(id);
        repository.finish(id, resultOf(7));
        return id;
    }
    Annotations of(std::int64_t id) const {
        return ExperimentReader(m_database).record(id)->annotations;
    }
};

TEST_F(AnnotationsTest, EachIsChangedByItself) {
    const std::int64_t id = finished(m_database);
    EXPECT_TRUE(of(id).empty());
    m_annotations.setNote(id, "two\nlines ✓");
    m_annotations.setFavourite(id, true);
    m_annotations.addTag(id, "paper");
    m_annotations.addTag(id, "  best   of,all ");
    m_annotations.addTag(id, "paper");
    m_annotations.addTag(id, " , ");
    EXPECT_EQ(of(id), (Annotations{true, {"best of all", "paper"}, "two\nlines ✓"}));
    m_annotations.removeTag(id, "best of all");
    m_annotations.removeTag(id, "never there");
    m_annotations.setFavourite(id, false);
    EXPECT_EQ(of(id), (Annotations{false, {"paper"}, "two\nlines ✓"}));
    m_annotations.setNote(id, "");
    m_annotations.removeTag(id, "paper");
    EXPECT_TRUE(of(id).empty());
    m_annotations.set(id, {true, {"b", "a"}, "n"});
    EXPECT_EQ(of(id), (Annotations{true, {"a", "b"}, "n"}));
}

TEST_F(AnnotationsTest, BelongToTheirExperiment) {
    const std::int64_t first = finished(m_database);
    const std::int64_t second = finished(m_database, "int4-g32");
    const std::int64_t third = finished(m_database, "w8a16");
    m_annotations.set(second, {true, {"x"}, ""});
    m_annotations.set(third, {false, {"x", "y"}, "third"});
    const std::vector<ExperimentRecord> records = ExperimentReader(m_database).list();
    ASSERT_EQ(records.size(), 3u);
    EXPECT_TRUE(records[0].annotations.empty());
    EXPECT_EQ(records[1].annotations, (Annotations{true, {"x"}, ""}));
    EXPECT_EQ(records[2].annotations, (Annotations{false, {"x", "y"}, "third"}));
    EXPECT_EQ(m_annotations.allTags(), (Tags{"x", "y"}));

    m_repository.remove({third});
    EXPECT_EQ(m_annotations.allTags(), Tags{"x"});
    m_repository.undoRemoval();
    EXPECT_EQ(of(third).note, "third") << "brought back with everything";
    m_repository.remove({third});
    ArtifactStore artifacts(folder() / "artifacts");
    m_repository.purge(artifacts);
    EXPECT_EQ(m_annotations.allTags(), Tags{"x"});
    EXPECT_TRUE(of(first).empty());
    try {
        m_annotations.addTag(third, "late");
        FAIL();
    } catch (const StorageError& error) {
        EXPECT_EQ(error.cause(), StorageCause::Missing);
        EXPECT_NE(std::string(error.what()).find(std::to_string(third)), std::string::npos);
    }
}

TEST_F(AnnotationsTest, RunningAgainKeepsThem) {
    const std::int64_t id = finished(m_database);
    m_annotations.set(id, {true, {"keep"}, "me"});
    m_repository.setRunning(id);
    EXPECT_TRUE(ExperimentReader(m_database).record(id)->metrics.empty());
    EXPECT_EQ(of(id), (Annotations{true, {"keep"}, "me"}));
}

TEST_F(AnnotationsTest, AreImported) {
    Database other = Database::open(folder() / "other.db");
    const std::int64_t id = finished(other);
    AnnotationRepository(other).set(id, {true, {"a", "b"}, "from elsewhere"});
    ExperimentImporter importer(m_database);
    importer.addAll(other);
    ASSERT_EQ(importer.counts().added.size(), 1u);
    const std::int64_t here = importer.counts().added[0];
    EXPECT_EQ(of(here), (Annotations{true, {"a", "b"}, "from elsewhere"}));

    // What is there already keeps what people here said about it.
    m_annotations.set(here, {false, {"mine"}, ""});
    ExperimentImporter again(m_database);
    again.addAll(other);
    EXPECT_EQ(again.counts().known, 1);
    EXPECT_EQ(of(here), (Annotations{false, {"mine"}, ""}));
}

TEST_F(AnnotationsTest, TravelAsJson) {
    const std::int64_t id = finished(m_database);
    m_annotations.set(id, {true, {"a", "b"}, "note"});
    const nlohmann::json json = toJson(*ExperimentReader(m_database).detail(id));
    EXPECT_EQ(experimentDetailFromJson(json).record.annotations, of(id));
    nlohmann::json edited = json;
    edited["tags"] = {" b ", "a,a", "", "b"};
    EXPECT_EQ(experimentDetailFromJson(edited).record.annotations.tags, (Tags{"a a", "b"}));
    edited.erase("tags");
    edited.erase("note");
    edited.erase("favourite");
    EXPECT_TRUE(experimentDetailFromJson(edited).record.annotations.empty())
        << "a file of an older version";
}

TEST_F(AnnotationsTest, OlderDatabasesAreImportedAsTheyAre) {
    for (const char* name : {"v1.sqlite", "v2.sqlite"}) {
        const std::filesystem::path copy = folder() / name;
        std::filesystem::copy_file(std::filesystem::path(FETTLE_TEST_DATA) / "db" / name, copy);
        OpenOptions options;
        options.create = false;
        options.readOnly = true;
        const Database old = Database::open(copy, options);
        EXPECT_LT(old.schemaVersion(), Database::newestVersion());
        ExperimentImporter importer(m_database);
        importer.addAll(old);
        EXPECT_EQ(
            importer.counts().added.size() + static_cast<std::size_t>(importer.counts().known), 2u)
            << name;
        EXPECT_EQ(ExperimentReader(old).trace(2).has_value(), old.schemaVersion() >= 2);
    }
}

TEST(NormalTag, IsShortAndPlain) {
    EXPECT_EQ(normalTag("int4"), "int4");
    EXPECT_EQ(normalTag("\t a \n b,,c "), "a b c");
    EXPECT_EQ(normalTag(" ,\n"), "");
    EXPECT_EQ(normalTag(std::string(100, 'x')).size(), kMaxTagCharacters);
    // Cut between characters, never inside one.
    std::string umlauts;
    for (int i = 0; i < 60; ++i)
        umlauts += "ä";
    EXPECT_EQ(normalTag(umlauts).size(), 2 * kMaxTagCharacters);
    EXPECT_EQ(normalTag(std::string(39, 'x') + " y").size(), 39u) << "no blank at the end";
}

}  // namespace
}  // namespace fettle::storage
