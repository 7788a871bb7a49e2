// Experiments of another database: taken over with everything, once, with their parents.
#include "storage/experiment_importer.h"
#include "storage_fixture.h"

namespace fettle::storage {
namespace {

class ImportTest : public StorageTest {
protected:
    std::int64_t finished(Database& database, const RunRequest& request, double perplexity) {
        ExperimentRepository repository(database);
        const std::int64_t id = repository.create(request, "", "0.1.0");
        repository.setRunning(id);
        MeasurementRepository(database).addSeries(id, {{"train_loss", 1, 3.5}});
        RunResult result = resultOf(perplexity);
        result.artifact = ArtifactReport{"/elsewhere/" + std::to_string(id), "safetensors", 5, "h"};
        repository.finish(id, result);
        return id;
    }

    Database m_here = Database::open(file());
    Database m_there = Database::open(folder() / "other.db");
};

TEST_F(ImportTest, TakesEverythingOver) {
    finished(m_here, requestOf("int8"), 7);
    const std::int64_t old = finished(m_there, requestOf("int4-g32"), 8.5);
    ExperimentImporter importer(m_here);
    importer.addAll(m_there);
    ASSERT_EQ(importer.counts().added.size(), 1u);
    const ExperimentDetail before = *ExperimentReader(m_there).detail(old);
    const ExperimentDetail after = *ExperimentReader(m_here).detail(importer.counts().added[0]);
    nlohmann::json a = toJson(before), b = toJson(after);
    a.erase("id");
    b.erase("id");
    EXPECT_EQ(a, b);
    EXPECT_EQ(ExperimentReader(m_here).list().size(), 2u);
}

TEST_F(ImportTest, TwiceIsOnce) {
    finished(m_there, requestOf("int8"), 7);
    ExperimentImporter(m_here).addAll(m_there);
    ExperimentImporter again(m_here);
    again.addAll(m_there);
    EXPECT_TRUE(again.counts().added.empty());
    EXPECT_EQ(again.counts().known, 1);
    EXPECT_EQ(ExperimentReader(m_here).list().size(), 1u);
}

TEST_F(ImportTest, ParentsAreFoundAgain) {
    finished(m_here, requestOf("int8"), 7);  // numbers differ on both sides
    finished(m_here, requestOf("int4-g64"), 7);
    const std::int64_t parent = finished(m_there, requestOf("int8", "/models/other"), 7);
    finished(m_there, requestOf("int4-g32", "/elsewhere/" + std::to_string(parent)), 9);
    ExperimentImporter importer(m_here);
    importer.addAll(m_there);
    ASSERT_EQ(importer.counts().added.size(), 2u);
    const auto child = ExperimentReader(m_here).record(importer.counts().added[1]);
    ASSERT_TRUE(child->parent);
    EXPECT_EQ(*child->parent, importer.counts().added[0]);
}

TEST_F(ImportTest, WhatStillRunsIsLeftOut) {
    ExperimentRepository(m_there).create(requestOf("int8"), "", "0.1.0");
    ExperimentImporter importer(m_here);
    importer.addAll(m_there);
    EXPECT_EQ(importer.counts().unended, 1);
    EXPECT_TRUE(ExperimentReader(m_here).list().empty());
}

}  // namespace
}  // namespace fettle::storage
