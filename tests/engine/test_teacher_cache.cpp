// The teacher's predictions on disk: what is kept, who is refused, and that training from them
// follows training with the teacher itself for less work.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <random>

#include "engine/backend/cpu_backend.h"
#include "engine/data/data_loader.h"
#include "engine/distill/teacher_cache.h"
#include "engine/technique/technique.h"
#include "engine/train/trainer.h"
#include "tests/support/fixtures.h"
#include "tests/support/model_files.h"
#include "tests/support/network_state.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;

class LogKeeper : public NullProgress {
public:
    void log(JobLog::Level level, const std::string& text) override {
        (level == JobLog::Level::Info ? infos : warnings).push_back(text);
    }
    std::vector<std::string> infos, warnings;
};

class CachedTeaching : public ::testing::Test {
protected:
    CachedTeaching() {
        std::mt19937 rng(9);
        std::string text;
        for (int document = 0; document < 40; ++document) {
            for (int i = 0; i < 150; ++i)
                text += static_cast<char>('!' + (rng() % 7 == 0 ? rng() % 60 : i * 5 % 60));
            text += "\n\n";
        }
        test::writeFile(folder / "train.txt", text);
        for (const unsigned seed : {1U, 2U}) {
            test::FolderParts parts = test::tinyParts("llama");
            parts.tensors = test::tinyTensors(parts.config, seed);
            test::writeFolder(folder / std::to_string(seed), parts);
        }
        teacher = loadModel((folder / "1").string());
        student = loadModel((folder / "2").string());
    }
    DataLoader texts(std::uint64_t seed = 1) {
        DataOptions options;
        options.path = (folder / "train.txt").string();
        options.context = 32;
        options.batchTokens = 128;
        options.seed = seed;
        return {teacher.tokenizer, options, control};
    }
    TeacherCacheKey key(std::int64_t top, float temperature = 1) {
        return {modelHash(teacher, control), teacher.config.vocabularySize, top, temperature};
    }
    /// Fills `cache` for an epoch; how often the teacher was asked for.
    int fill(TeacherCache& cache, std::uint64_t seed = 1) {
        DataLoader data = texts(seed);
        Network network(teacher, pool);
        const std::unique_ptr<TrainEngine> engine = makeCpuTrainEngine(network, nullptr, {}, pool);
        int asked = 0;
        fillTeacherCache(
            cache, data, 1 << 20,
            [&]() -> TrainEngine& {
                ++asked;
                return *engine;
            },
            pool, control);
        EXPECT_EQ(data.position(), DataPosition{});
        return asked;
    }
    std::vector<fs::path> files(const TeacherCache& cache) {
        std::vector<fs::path> found;
        for (const auto& entry : fs::directory_iterator(cache.folder()))
            found.push_back(entry.path());
        return found;
    }
    Model apply(const std::string& technique, const Model& original, const Model& model,
                nlohmann::json params) {
        const Technique* found = findTechnique(technique);
        const ValidatedParams valid = validateParams(found->descriptor(), params);
        EXPECT_TRUE(valid.problems.empty()) << valid.problems.front();
        RunInputs inputs;
        inputs.train = (folder / "train.txt").string();
        MeasureOptions measure;
        measure.context = 32;
        metrics.clear();
        TechniqueContext context{original,     backend, pool,    inputs,       measure,
                                 valid.params, 1,       control, layerMetrics, metrics};
        context.cacheFolder = (folder / "cache").string();
        return found->apply(model, context);
    }
    double metric(const std::string& name) {
        for (const Measurement& m : metrics)
            if (m.name == name)
                return m.value;
        return NAN;
    }

    test::TempFolder folder;
    CpuBackend backend{2};
    kernels::WorkerPool& pool = backend.pool();
    LogKeeper sink;
    RunControl control{{}, nullptr, sink};
    std::vector<LayerMetric> layerMetrics;
    std::vector<Measurement> metrics;
    Model teacher, student;
};

TEST_F(CachedTeaching, AllTokensKeptAreTheTeacherItselfAndFewerALowerBound) {
    for (const float temperature : {1.0F, 2.0F}) {
        Network live(teacher, pool), learner(student, pool);
        TrainBatch batch = texts().next();
        TrainLoss loss{0.5F, 1, temperature};
        const LossSums want = learner.accumulate(batch, loss, 0.01F, &live, nullptr);
        const std::vector<float> slope = test::gradsOf(learner);
        double size = 0;
        for (const float g : slope)
            size += static_cast<double>(g) * g;
        double before = 0;
        for (const std::int64_t top : {4, 24, 1 << 20}) {
            TeacherCache cache(folder / "cache", key(top, temperature), control);
            fill(cache);
            TrainBatch known = batch;
            ASSERT_TRUE(cache.attach(known));
            learner.zeroGrads();
            const LossSums got = learner.accumulate(known, loss, 0.01F, nullptr, nullptr);
            EXPECT_GT(got.distillation, before);
            EXPECT_LT(got.distillation, want.distillation * 1.001);
            before = got.distillation;
            double apart = 0;
            for (std::size_t i = 0; i < slope.size(); ++i)
                apart += std::pow(static_cast<double>(slope[i]) - learner.grads()[i], 2);
            if (top > teacher.config.vocabularySize) {
                EXPECT_NEAR(got.distillation, want.distillation, 1e-3 * want.distillation);
                EXPECT_LT(std::sqrt(apart / size), 1e-3);
            }
            // Validation speaks of temperature 1, whatever is trained at.
            const auto validated = [&](const TrainBatch& on, Network* with) {
                return validate(*makeCpuTrainEngine(learner, with, {}, pool), {on}, loss, control);
            };
            const Validation exact = validated(batch, &live), coarse = validated(known, nullptr);
            EXPECT_LE(coarse.kl, exact.kl * 1.001);
            EXPECT_NEAR(coarse.perplexity, exact.perplexity, 1e-6 * exact.perplexity);
        }
    }
}

TEST_F(CachedTeaching, TheSlopeOfTheLossAlongTheGradientIsItsSquaredLength) {
    TeacherCache cache(folder / "cache", key(8, 2), control);
    fill(cache);
    Network learner(student, pool);
    TrainBatch batch = texts().next();
    ASSERT_TRUE(cache.attach(batch));
    const TrainLoss loss{0, 1, 2};
    learner.accumulate(batch, loss, 1, nullptr, nullptr);
    const std::vector<float> before = learner.values(), slope = test::gradsOf(learner);
    double power = 0;
    for (const float g : slope)
        power += static_cast<double>(g) * g;
    ASSERT_GT(power, 0);
    const double sum = learner.evaluate(batch, loss, nullptr, nullptr).distillation;
    const double step = 2e-3 * sum / power;
    const auto lossAt = [&](double by) {
        for (std::size_t i = 0; i < before.size(); ++i)
            learner.values()[i] = before[i] + static_cast<float>(by) * slope[i];
        return learner.evaluate(batch, loss, nullptr, nullptr).distillation;
    };
    EXPECT_NEAR((lossAt(step) - lossAt(-step)) / (2 * step * power), 1, 0.02);
}

TEST_F(CachedTeaching, AnotherSeedAndAnotherEpochDoNotAskTheTeacherAgain) {
    {
        TeacherCache cache(folder / "cache", key(16), control);
        EXPECT_GT(fill(cache), 0);
        EXPECT_EQ(cache.added(), cache.tokens());
        EXPECT_GT(cache.bytes(), 0U);
        EXPECT_LT(static_cast<double>(cache.bytes()),
                  1.2 * static_cast<double>(cache.tokens()) *
                      TeacherCache::bytesPerToken(teacher.config.vocabularySize, 16));
    }
    TeacherCache cache(folder / "cache", key(16), control);
    EXPECT_EQ(fill(cache, 7), 0);
    EXPECT_EQ(cache.added(), 0);
    DataLoader data = texts(7);
    CachedTeacherSource source(data, cache);
    EXPECT_NE(source.fingerprint(), data.fingerprint());
    for (const TrainBatch& batch : source.validation())
        EXPECT_FALSE(batch.teacher.empty());
    while (data.position().epoch < 2)
        ASSERT_FALSE(source.next().teacher.empty());
    EXPECT_TRUE(sink.warnings.empty());
    // Other settings are other numbers.
    TeacherCache other(folder / "cache", key(15), control),
        warm(folder / "cache", key(16, 2), control);
    EXPECT_EQ(other.tokens() + warm.tokens(), 0);
}

TEST_F(CachedTeaching, DamagedAndForeignFilesAreNamedRemovedAndMadeAnew) {
    const auto contentOf = [](const fs::path& path) {
        std::ifstream in(path, std::ios::binary);
        return std::string{std::istreambuf_iterator<char>(in), {}};
    };
    std::string whole, foreign;
    fs::path file;
    {
        TeacherCache cache(folder / "cache", key(16), control);
        fill(cache);
        ASSERT_EQ(files(cache).size(), 1U);
        file = files(cache).front();
        whole = contentOf(file);
        TeacherCache other(folder / "cache", key(4), control);
        fill(other);
        foreign = contentOf(files(other).front());
    }
    std::string flipped = whole;
    flipped[whole.size() / 2] ^= 1;
    for (const std::string& content : {whole.substr(0, whole.size() - 100), whole.substr(0, 3),
                                       flipped, foreign, std::string("no cache at all")}) {
        test::writeFile(file, content);
        sink.warnings.clear();
        TeacherCache cache(folder / "cache", key(16), control);
        ASSERT_EQ(sink.warnings.size(), 1U);
        EXPECT_NE(sink.warnings[0].find(file.string()), std::string::npos) << sink.warnings[0];
        EXPECT_NE(sink.warnings[0].find("runs again"), std::string::npos) << sink.warnings[0];
        EXPECT_FALSE(fs::exists(file));
        EXPECT_EQ(cache.tokens(), 0);
        EXPECT_GT(fill(cache), 0);
        EXPECT_EQ(contentOf(file), whole);
    }
}

TEST_F(CachedTeaching, CachesOfATeacherNobodyUsesGoAfterAMonth) {
    const fs::path old = folder / "cache" / "old", own = folder / "cache" / "own";
    test::writeFile(old / "a.teacher", "x");
    test::writeFile(own / "letter.txt", "x");
    for (const fs::path& path : {old, own})
        fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(24 * 31));
    TeacherCache cache(folder / "cache", key(16), control);
    EXPECT_FALSE(fs::exists(old));
    EXPECT_TRUE(fs::exists(own / "letter.txt"));
}

TEST_F(CachedTeaching, TechniquesFollowTheTeacherItselfAndKeepWhatItSaid) {
    for (const std::string technique : {"distill", "qad"}) {
        nlohmann::json params = {
            {"tokens", 12000}, {"batch_tokens", 512}, {"learning_rate", 0.003}};
        if (technique == "qad")
            params["scheme"] = "int4-g32";
        const Model& model = technique == "qad" ? teacher : student;
        apply(technique, teacher, model, params);
        const double live = metric("validation_perplexity");
        params["teacher_cache"] = "on";
        params["teacher_top"] = 32;
        sink.infos.clear();
        const Model first = apply(technique, teacher, model, params);
        EXPECT_NEAR(metric("validation_perplexity"), live, 0.02 * live) << technique;
        const auto newTokens = [&] {
            for (const std::string& line : sink.infos)
                if (const auto at = line.find(" of them new"); at != std::string::npos)
                    return line;
            return std::string("nothing is said");
        };
        EXPECT_NE(newTokens().find("teacher's predictions"), std::string::npos) << newTokens();
        sink.infos.clear();
        const Model second = apply(technique, teacher, model, params);
        EXPECT_NE(newTokens().find(", 0 of them new"), std::string::npos) << newTokens();
        for (const auto& [name, weight] : first.weights)
            ASSERT_EQ(weight.toFloat(), second.weight(name).toFloat()) << name;
    }
    EXPECT_TRUE(sink.warnings.empty()) << sink.warnings.front();
    nlohmann::json params = {{"tokens", 1000}, {"teacher_cache", "on"}, {"hidden_weight", 0.5}};
    apply("distill", teacher, student, params);
    ASSERT_EQ(sink.warnings.size(), 1U);
    EXPECT_NE(sink.warnings[0].find("runs along"), std::string::npos);
}

TEST_F(CachedTeaching, EstimatesSayWhatItTakes) {
    RunInputs inputs;
    inputs.train = (folder / "train.txt").string();
    const Technique* distill = findTechnique("distill");
    const auto estimateOf = [&](const nlohmann::json& params) {
        return distill->estimate(factsOf(teacher),
                                 validateParams(distill->descriptor(), params).params, inputs, {});
    };
    const StepEstimate live = estimateOf({}), cached = estimateOf({{"teacher_cache", "on"}});
    EXPECT_LT(cached.seconds, live.seconds);
    ASSERT_EQ(cached.notes.size(), 1U);
    EXPECT_NE(cached.notes[0].find("of disk"), std::string::npos) << cached.notes[0];
}

}  // namespace
}  // namespace fettle
