// The life of experiments: stored, listed, removed, brought back, found again.
#include <cmath>
#include <limits>

#include "storage/catalogue_repository.h"
#include "storage/library_repository.h"
#include "storage/transaction.h"
#include "storage_fixture.h"

namespace fettle::storage {
namespace {

namespace fs = std::filesystem;

class ExperimentsTest : public StorageTest {
protected:
    Database m_database = Database::open(file());
    ExperimentRepository m_repository{m_database};
    ExperimentReader m_reader{m_database};
    MeasurementRepository m_measurements{m_database};

    std::int64_t finished(const RunRequest& request, double perplexity = 7) {
        const std::int64_t id = m_repository.create(request, "", "0.1.0");
        m_repository.setRunning(id);
        m_repository.finish(id, resultOf(perplexity));
        return id;
    }
    std::vector<std::int64_t> listed() const {
        std::vector<std::int64_t> ids;
        for (const ExperimentRecord& record : m_reader.list())
            ids.push_back(record.id);
        return ids;
    }
    using Ids = std::vector<std::int64_t>;
};

TEST_F(ExperimentsTest, EverythingIsKept) {
    RunRequest request = requestOf("int4-g32", "/models/Qwen3-0.6B.gguf");
    request.recipe.name = "My recipe";
    request.recipe.seed = std::numeric_limits<std::uint64_t>::max();
    request.inputs.calibration = "/texts/cal.txt";
    request.measure.context = 512;
    const std::int64_t id = m_repository.create(request, "First", "9.9");
    ExperimentRecord record = *m_reader.record(id);
    EXPECT_EQ(record.name, "First");
    EXPECT_EQ(record.modelName, "Qwen3-0.6B");
    EXPECT_EQ(record.recipe, request.recipe);
    EXPECT_EQ(record.recipeHash, recipeHash(request.recipe));
    EXPECT_EQ(record.seed, request.recipe.seed);
    EXPECT_EQ(record.status, ExperimentStatus::Queued);
    EXPECT_EQ(record.startedMs, 0);
    EXPECT_TRUE(record.modelHash.empty());

    m_repository.setRunning(id);
    m_measurements.addSeries(
        id, {{"train_loss", 1, 3.5}, {"train_loss", 2, std::nan("")}, {"train_loss", 3, 2.5}});
    m_measurements.addLog(id, {{5, "warning", "careful"}, {6, "info", std::string("a\0b", 3)}});
    m_measurements.addMetrics(id, {metricOf("perplexity", 99)});  // early, replaced by the result
    RunResult result = resultOf(7.25);
    result.metrics.push_back(metricOf("kl_mean", std::numeric_limits<double>::infinity()));
    result.metrics.push_back(metricOf("kl_max", std::nan("")));
    result.artifact = ArtifactReport{"/artifacts/1", "compressed-tensors", 1ull << 50, "abc"};
    result.estimate = RecipeEstimate{10, 20, 30, 4.5, {}, {"note"}};
    m_repository.finish(id, result);
    m_repository.finish(id, result);  // once more changes nothing

    const ExperimentDetail detail = *m_reader.detail(id);
    EXPECT_EQ(detail.record.status, ExperimentStatus::Finished);
    EXPECT_EQ(detail.record.modelHash, "hash-of-tiny");
    EXPECT_EQ(detail.record.device, "test cpu");
    EXPECT_EQ(detail.record.artifactPath, "/artifacts/1");
    EXPECT_GT(detail.record.startedMs, 1'600'000'000'000);
    EXPECT_GE(detail.record.finishedMs, detail.record.startedMs);
    ASSERT_EQ(detail.record.metrics.size(), 5u);
    EXPECT_EQ(detail.record.metrics.at("perplexity"), result.metrics[0]);
    EXPECT_EQ(detail.record.metrics.at("decode_tokens_per_s"), result.metrics[1]);
    EXPECT_EQ(detail.record.metrics.at("weight_bytes"), result.metrics[2]);
    EXPECT_TRUE(std::isinf(detail.record.metrics.at("kl_mean").value));
    EXPECT_TRUE(std::isnan(detail.record.metrics.at("kl_max").value));
    EXPECT_EQ(detail.inputs.calibration, "/texts/cal.txt");
    EXPECT_EQ(detail.measure.context, 512);
    ASSERT_EQ(detail.steps.size(), 1u);
    EXPECT_EQ(detail.steps[0].params["scheme"], "int8");
    EXPECT_EQ(detail.steps[0].seconds, 1.5);
    ASSERT_EQ(detail.layerMetrics.size(), 2u);
    EXPECT_EQ(detail.layerMetrics[1].layer, -1);
    ASSERT_EQ(detail.series.size(), 3u);
    EXPECT_TRUE(std::isnan(detail.series[1].value));
    ASSERT_EQ(detail.samples.size(), 1u);
    ASSERT_EQ(detail.artifacts.size(), 1u);
    EXPECT_EQ(detail.artifacts[0].bytes, 1ull << 50);
    ASSERT_EQ(detail.log.size(), 2u);
    EXPECT_EQ(detail.log[1].text.size(), 3u);
    ASSERT_TRUE(detail.estimate);
    EXPECT_EQ(detail.estimate->notes.at(0), "note");
    EXPECT_FALSE(m_reader.record(12345));
    EXPECT_FALSE(m_reader.detail(12345));

    const RunRequest again = *m_reader.requestFor(id);
    EXPECT_EQ(again.experiment, id);
    EXPECT_EQ(again.modelPath, request.modelPath);
    EXPECT_EQ(again.recipe, request.recipe);
    EXPECT_EQ(again.inputs.calibration, request.inputs.calibration);
    EXPECT_EQ(toJson(again.measure), toJson(request.measure));
}

TEST_F(ExperimentsTest, RunningOnceMoreStartsAfresh) {
    const std::int64_t id = finished(requestOf("int8"));
    m_measurements.addLog(id, {{1, "info", "first attempt"}});
    m_repository.setRunning(id);
    ExperimentDetail detail = *m_reader.detail(id);
    EXPECT_TRUE(detail.record.metrics.empty());
    EXPECT_TRUE(detail.layerMetrics.empty());
    EXPECT_EQ(detail.record.finishedMs, 0);
    EXPECT_EQ(detail.log.size(), 1u);
    m_repository.setEnded(id, ExperimentStatus::Failed, "tensor w: shape [2] is not [3]");
    detail = *m_reader.detail(id);
    EXPECT_EQ(detail.record.status, ExperimentStatus::Failed);
    EXPECT_EQ(detail.record.error, "tensor w: shape [2] is not [3]");
    EXPECT_GT(detail.record.finishedMs, 0);
    m_repository.setQueued(id);
    EXPECT_EQ(m_reader.record(id)->status, ExperimentStatus::Queued);
    EXPECT_TRUE(m_reader.record(id)->error.empty());
}

TEST_F(ExperimentsTest, UnknownExperimentIsAnError) {
    EXPECT_THROW(m_repository.setRunning(77), StorageError);
    EXPECT_THROW(m_repository.finish(77, resultOf(1)), StorageError);
    EXPECT_THROW(m_measurements.addMetrics(77, {metricOf("perplexity", 1)}), StorageError);
    EXPECT_TRUE(m_reader.list().empty());
}

TEST_F(ExperimentsTest, ListMergesMetricsOfTheRightExperiments) {
    for (int i = 0; i < 20; ++i) {
        const std::int64_t id =
            m_repository.create(requestOf(i % 3 ? "int8" : ""), "e" + std::to_string(i), "");
        if (i % 2)
            m_measurements.addMetrics(id, {metricOf("perplexity", i), metricOf("a", -i)});
    }
    m_repository.remove({4, 8, 20});
    const std::vector<ExperimentRecord> records = m_reader.list();
    ASSERT_EQ(records.size(), 17u);
    for (const ExperimentRecord& record : records) {
        const int i = static_cast<int>(record.id) - 1;
        EXPECT_EQ(record.name, "e" + std::to_string(i));
        ASSERT_EQ(record.metrics.size(), i % 2 ? 2u : 0u);
        if (i % 2) {
            EXPECT_EQ(record.metrics.at("perplexity").value, i);
        }
        EXPECT_EQ(record.isBaseline(), i % 3 == 0);
        EXPECT_EQ(toJson(record), toJson(*m_reader.record(record.id)));
    }
}

TEST_F(ExperimentsTest, RemoveUndoPurge) {
    ArtifactStore artifacts(folder() / "artifacts");
    for (int i = 0; i < 5; ++i)
        finished(requestOf("int8"));
    artifacts.begin(2);
    artifacts.commit(2, "safetensors");

    const std::int64_t first = m_repository.remove({2, 3});
    const std::int64_t second = m_repository.remove({5, 2});  // 2 is gone already
    EXPECT_EQ(listed(), (Ids{1, 4}));
    EXPECT_EQ(m_repository.remove({2, 99}), 0) << "nothing to hide";
    EXPECT_FALSE(m_reader.record(2));
    EXPECT_EQ(m_repository.undoRemoval(), (Ids{5}));
    EXPECT_NE(first, second);
    EXPECT_EQ(m_repository.undoRemoval(first), (Ids{2, 3}));
    EXPECT_EQ(listed(), (Ids{1, 2, 3, 4, 5}));
    EXPECT_TRUE(m_repository.undoRemoval().empty());

    m_repository.remove({2, 4});
    EXPECT_TRUE(fs::exists(artifacts.folder(2)));
    EXPECT_EQ(m_repository.purge(artifacts), (Ids{2, 4}));
    EXPECT_FALSE(fs::exists(artifacts.folder(2)));
    EXPECT_TRUE(m_repository.undoRemoval().empty());
    EXPECT_EQ(listed(), (Ids{1, 3, 5}));
    EXPECT_TRUE(m_repository.purge(artifacts).empty());
    EXPECT_EQ(m_repository.create(requestOf("int8"), "", ""), 6) << "ids are never used again";
}

TEST_F(ExperimentsTest, PurgeSparesWhatRuns) {
    ArtifactStore artifacts(folder() / "artifacts");
    const std::int64_t id = m_repository.create(requestOf("int8"), "", "");
    m_repository.setRunning(id);
    m_repository.remove({id});
    EXPECT_TRUE(m_repository.purge(artifacts).empty());
    m_repository.finish(id, resultOf(7));
    EXPECT_EQ(m_repository.purge(artifacts).size(), 1u);
}

TEST_F(ExperimentsTest, Rename) {
    const std::int64_t id = finished(requestOf("int8"));
    EXPECT_EQ(m_reader.record(id)->name, "ptq int8");
    m_repository.rename(id, "'; DROP TABLE experiments; --");
    EXPECT_EQ(m_reader.record(id)->name, "'; DROP TABLE experiments; --");
}

TEST_F(ExperimentsTest, ParentIsTheExperimentWhoseArtifactTheModelIs) {
    const std::int64_t id = m_repository.create(requestOf("int8"), "", "");
    RunResult result = resultOf(7);
    result.artifact = ArtifactReport{"/artifacts/1", "compressed-tensors", 1, ""};
    m_repository.finish(id, result);
    const std::int64_t child = m_repository.create(requestOf("int4-g32", "/artifacts/1"), "", "");
    EXPECT_EQ(m_reader.record(child)->parent, id);
    EXPECT_FALSE(m_reader.record(id)->parent);

    ArtifactStore artifacts(folder() / "artifacts");
    m_repository.remove({id});
    m_repository.purge(artifacts);
    EXPECT_FALSE(m_reader.record(child)->parent) << "the child outlives its parent";
}

TEST_F(ExperimentsTest, FindBaseline) {
    EXPECT_FALSE(m_reader.findBaseline("/models/tiny"));
    m_repository.create(requestOf(""), "", "");  // queued
    finished(requestOf("int8"));
    EXPECT_FALSE(m_reader.findBaseline("/models/tiny"));
    const std::int64_t id = finished(requestOf(""));
    EXPECT_EQ(m_reader.findBaseline("/models/tiny"), id);
    EXPECT_EQ(m_reader.findBaseline("hash-of-tiny"), id);
    EXPECT_EQ(m_reader.findBaseline("hash-of-tiny", "ppl windows=256"), id);
    EXPECT_FALSE(m_reader.findBaseline("hash-of-tiny", "ppl windows=512"));
    EXPECT_FALSE(m_reader.findBaseline("/models/other"));
    EXPECT_FALSE(m_reader.findBaseline(""));
    m_repository.remove({id});
    EXPECT_FALSE(m_reader.findBaseline("/models/tiny"));
}

TEST_F(ExperimentsTest, FindSameForSweepsThatGoOn) {
    const RunRequest request = requestOf("int8");
    EXPECT_FALSE(m_reader.findSame(request));
    const std::int64_t interrupted = m_repository.create(request, "", "");
    EXPECT_EQ(m_reader.findSame(request), interrupted);
    const std::int64_t done = finished(request);
    m_repository.create(request, "", "");
    EXPECT_EQ(m_reader.findSame(request), done);
    RunRequest other = request;
    other.recipe.name = "another name";
    EXPECT_EQ(m_reader.findSame(other), done);
    other.measure.context = 512;
    EXPECT_FALSE(m_reader.findSame(other));
    other = request;
    other.inputs.calibration = "/texts/cal.txt";
    EXPECT_FALSE(m_reader.findSame(other));
    other = request;
    other.recipe.seed = 2;
    EXPECT_FALSE(m_reader.findSame(other));
}

TEST_F(ExperimentsTest, OwnRunsAreNotInterrupted) {
    const std::int64_t queued = m_repository.create(requestOf("int8"), "", "");
    const std::int64_t running = m_repository.create(requestOf("int8"), "", "");
    m_repository.setRunning(running);
    EXPECT_TRUE(m_repository.markInterrupted().empty());
    EXPECT_EQ(m_reader.record(queued)->status, ExperimentStatus::Queued);
    EXPECT_EQ(m_reader.record(running)->status, ExperimentStatus::Running);
}

TEST_F(ExperimentsTest, TransactionsNest) {
    {
        Transaction outer(m_database);
        const std::int64_t kept = m_repository.create(requestOf("int8"), "kept", "");
        try {
            Transaction inner(m_database);
            m_repository.create(requestOf("int8"), "dropped", "");
            m_measurements.addMetrics(kept, {metricOf("perplexity", 1)});
            throw std::runtime_error("changed my mind");
        } catch (const std::runtime_error&) {
        }
        outer.commit();
    }
    ASSERT_EQ(m_reader.list().size(), 1u);
    EXPECT_EQ(m_reader.list()[0].name, "kept");
    EXPECT_TRUE(m_reader.list()[0].metrics.empty());
    {
        Transaction abandoned(m_database);
        m_repository.remove({1});
    }
    EXPECT_EQ(m_reader.list().size(), 1u);
}

TEST_F(ExperimentsTest, ModelsAreDescribedOnce) {
    finished(requestOf("int8"));
    ModelReport report;
    report.path = "/models/tiny";
    report.hash = "hash-of-tiny";
    report.name = "Tiny Model";
    report.architecture = "llama";
    report.parameters = 1000;
    CatalogueRepository(m_database).describeModel(report);
    EXPECT_EQ(m_reader.list()[0].modelName, "Tiny Model");
    finished(requestOf("int4-g32"));
    EXPECT_EQ(m_reader.list()[1].modelName, "Tiny Model");
    EXPECT_EQ(modelNameFromPath("/models/qwen/"), "qwen");
    EXPECT_EQ(modelNameFromPath("demo"), "demo");
    EXPECT_EQ(modelNameFromPath("/"), "/");
}

TEST_F(ExperimentsTest, Library) {
    LibraryRepository library(m_database);
    EXPECT_TRUE(library.list().empty());
    const std::int64_t model =
        library.add({0, LibraryKind::Model, "Tiny", "/models/tiny", "llama", false});
    library.add({0, LibraryKind::Text, "Wiki", "/texts/wiki.txt", "", false});
    library.add({0, LibraryKind::Tasks, "Demo tasks", "/demo/tasks.jsonl", "", true});
    EXPECT_EQ(library.add({0, LibraryKind::Model, "Tiny 2", "/models/tiny", "llama, 8 MB", false}),
              model);
    const std::vector<LibraryEntry> entries = library.list();
    ASSERT_EQ(entries.size(), 3u);
    EXPECT_EQ(entries[0].kind, LibraryKind::Tasks);
    EXPECT_TRUE(entries[0].bundled);
    EXPECT_EQ(entries[1].name, "Tiny 2");
    EXPECT_EQ(entries[1].detail, "llama, 8 MB");
    library.remove(model);
    EXPECT_EQ(library.list().size(), 2u);
}

}  // namespace
}  // namespace fettle::storage
