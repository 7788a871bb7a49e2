// The training loop: it learns, reports, keeps the best, stops when asked, survives being killed,
// and says so when training goes wrong.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <thread>

#include "engine/data/data_loader.h"
#include "engine/train/train_checkpoint.h"
#include "engine/train/trainer.h"
#include "kernels/cpu/isa.h"
#include "tests/support/model_files.h"

namespace fettle {
namespace {

/// Keeps what a run reports.
class Report : public NullProgress {
public:
    void series(const SeriesPoint& point) override { curves[point.name][point.step] = point.value; }
    void log(JobLog::Level level, const std::string& text) override {
        if (level == JobLog::Level::Warning)
            warnings.push_back(text);
    }
    void progress(const JobProgress& p) override {
        finishable = finishable || p.finishable;
        // Reports come at most so often; who waits longer misses none, however fast the work is.
        if (!finishable)
            std::this_thread::sleep_for(std::chrono::milliseconds(110));
    }

    std::map<std::string, std::map<double, double>> curves;
    std::vector<std::string> warnings;
    bool finishable = false;
};

class Hook : public TrainHooks {
public:
    explicit Hook(std::function<void(Network&, std::int64_t)> action)
        : m_action(std::move(action)) {}
    void begin(TrainEngine&, std::int64_t step) override { began = step; }
    void afterStep(TrainEngine& engine, std::int64_t step) override {
        m_action(engine.network(), step);
    }

    std::int64_t began = -1;

private:
    std::function<void(Network&, std::int64_t)> m_action;
};

class TrainerTest : public ::testing::Test {
protected:
    void SetUp() override {
        test::writeFolder(folder / "model", test::tinyParts("llama"));
        std::string text;
        for (int i = 0; i < 300; ++i)
            text += std::string("ABCDEFGHIJ").substr(0, static_cast<std::size_t>(4 + i % 5)) +
                    std::to_string(i % 10) + "QRSTUVWX=" + std::to_string(i % 10) + "\n\n";
        test::writeFile(folder / "text.txt", text);
        options.tokens = 24 * 64;
        options.batchTokens = 64;
        options.rate.peak = 1e-2F;
        options.evaluateEvery = 6;
    }
    std::string checkpoints() const { return (folder / "checkpoints").string(); }

    struct Run {
        TrainOutcome outcome;
        std::vector<float> values;
        std::map<std::string, std::map<double, double>> curves;
        std::vector<std::string> warnings;
        bool finishable = false;
    };
    Run run(TrainHooks* hooks = nullptr, int threads = 2, std::int64_t microTokens = 64,
            std::stop_token stop = {}, bool withTeacher = false) {
        Report report;
        RunControl control(stop, &gate, report);
        control.beginPhase("Training", 1);
        const Model model = loadModel((folder / "model").string());
        kernels::WorkerPool pool(threads);
        Network student(model, pool), teacher(model, pool);
        for (std::size_t i = 0; withTeacher && i < student.values().size(); ++i)
            student.values()[i] += 0.05F * std::sin(static_cast<float>(i));
        DataOptions data;
        data.path = (folder / "text.txt").string();
        data.context = 16;
        data.batchTokens = microTokens;
        data.validationTokens = 256;
        data.validationShare = 0.1;
        DataLoader loader(model.tokenizer, data, control);
        const TrainOutcome outcome =
            train(student, loader, options, withTeacher ? &teacher : nullptr, hooks, pool, control);
        return {outcome, student.values(), report.curves, report.warnings, report.finishable};
    }
    std::string errorOf(TrainHooks* hooks = nullptr) {
        try {
            run(hooks);
        } catch (const EngineError& error) {
            return error.what();
        }
        return "no error";
    }
    /// Trains in a child process that is killed in the middle: in its hook after `step`.
    void runKilledAfter(std::int64_t step) {
        int ready[2];
        ASSERT_EQ(pipe(ready), 0);
        const pid_t child = fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            Hook hook([&](Network&, std::int64_t done) {
                if (done != step)
                    return;
                [[maybe_unused]] const ssize_t written = write(ready[1], "x", 1);
                pause();
            });
            try {
                run(&hook);
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

    test::TempFolder folder;
    PauseGate gate;
    TrainerOptions options;
};

TEST_F(TrainerTest, LearnsAndTellsHow) {
    Run a = run();
    EXPECT_EQ(a.outcome.end, TrainEnd::Budget);
    EXPECT_EQ(a.outcome.steps, 24);
    EXPECT_LE(a.outcome.tokens, options.tokens);
    EXPECT_GT(a.outcome.tokens, options.tokens / 2);
    EXPECT_LT(a.outcome.best.loss, 0.75 * a.outcome.first.loss);
    EXPECT_NEAR(a.outcome.last.perplexity, std::exp(a.outcome.last.loss), 1e-6);
    EXPECT_EQ(a.curves["train_loss"].size(), 24u);
    EXPECT_EQ(a.curves["validation_loss"].size(), 5u);
    EXPECT_EQ(a.curves["validation_perplexity"].begin()->first, 0);
    EXPECT_EQ(a.curves.count("validation_kl"), 0u);
    EXPECT_NEAR(a.curves["learning_rate"][24], 1e-3, 1e-6);
    EXPECT_GT(a.curves["gradient_norm"][1], 0);
    EXPECT_GT(a.curves["tokens_per_second"][1], 0);
    EXPECT_TRUE(a.finishable);
    EXPECT_FALSE(gate.finishable());
    EXPECT_TRUE(a.warnings.empty());
    EXPECT_EQ(a.values, run(nullptr, 1).values) << "threads decide nothing";
}

TEST_F(TrainerTest, InBfloat16ItLearnsNearlyTheSame) {
    if (!kernels::hasBf16Products())
        GTEST_SKIP() << "this processor has no products of bfloat16";
    options.loss = {1, 0.5F, 1};
    const Run exact = run(nullptr, 2, 64, {}, true);
    options.bf16 = true;
    const Run rough = run(nullptr, 2, 64, {}, true);
    EXPECT_NE(exact.values, rough.values);
    EXPECT_NEAR(rough.outcome.first.loss, exact.outcome.first.loss,
                0.01 * exact.outcome.first.loss);
    EXPECT_NEAR(rough.outcome.last.loss, exact.outcome.last.loss, 0.05 * exact.outcome.last.loss);
    EXPECT_EQ(rough.values, run(nullptr, 1, 64, {}, true).values) << "threads decide nothing";
    for (const std::string& warning : rough.warnings)
        EXPECT_EQ(warning.rfind("bf16: matrix products take ", 0), 0U) << warning;
}

TEST_F(TrainerTest, Bfloat16IsRefusedWhereTheProcessorHasNone) {
    if (kernels::hasBf16Products())
        GTEST_SKIP() << "this processor has products of bfloat16";
    options.bf16 = true;
    EXPECT_NE(errorOf().find("no products of bfloat16"), std::string::npos) << errorOf();
}

TEST_F(TrainerTest, MicroBatchesEqualOneBatch) {
    options.batchTokens = 128;
    options.tokens = 8 * 128;
    const Run whole = run(nullptr, 2, 128), parts = run(nullptr, 2, 64);
    EXPECT_EQ(whole.outcome.steps, parts.outcome.steps);
    EXPECT_NEAR(whole.outcome.last.loss, parts.outcome.last.loss, 0.1);
}

TEST_F(TrainerTest, ATeacherIsFollowed) {
    options.loss = {0, 1, 1};
    options.rate.peak = 3e-3F;
    Run a = run(nullptr, 2, 64, {}, true);
    EXPECT_GT(a.outcome.first.kl, 1e-4);
    EXPECT_LT(a.outcome.best.kl, 0.5 * a.outcome.first.kl);
    EXPECT_DOUBLE_EQ(a.outcome.best.kl, a.outcome.best.loss);
    EXPECT_EQ(a.curves["validation_kl"].size(), 5u);
}

TEST_F(TrainerTest, TheBestIsKeptAndNotTheLast) {
    const auto spoil = [](Network& network, std::int64_t step) {
        if (step == 20)
            std::reverse(network.values().begin(), network.values().end());
    };
    Hook hook(spoil), again(spoil);
    const Run best = run(&hook);
    EXPECT_LE(best.outcome.bestStep, 18);
    EXPECT_GT(best.outcome.last.loss, best.outcome.best.loss);
    options.keepBest = false;
    EXPECT_NE(run(&again).values, best.values);
}

TEST_F(TrainerTest, KilledRunsEndWithTheSameBits) {
    const Run unbroken = run();
    options.checkpointFolder = checkpoints();
    options.checkpointEvery = 5;
    runKilledAfter(4);  // before the first checkpoint
    runKilledAfter(13);
    runKilledAfter(17);
    Hook hook([](Network&, std::int64_t) {});
    Run resumed = run(&hook);
    EXPECT_EQ(hook.began, 15);
    EXPECT_TRUE(resumed.warnings.empty());
    EXPECT_EQ(resumed.values, unbroken.values);
    EXPECT_EQ(resumed.outcome.steps, unbroken.outcome.steps);
    EXPECT_EQ(resumed.outcome.tokens, unbroken.outcome.tokens);
    EXPECT_EQ(resumed.outcome.bestStep, unbroken.outcome.bestStep);
    EXPECT_EQ(resumed.outcome.trainLoss, unbroken.outcome.trainLoss);
    // The curves are whole: what was seen before the kill comes again.
    for (const char* name : {"train_loss", "validation_loss", "learning_rate", "gradient_norm"})
        EXPECT_EQ(resumed.curves[name], unbroken.curves.at(name)) << name;
    // A finished run is not trained again.
    Hook none([](Network&, std::int64_t) { FAIL(); });
    EXPECT_EQ(run(&none).values, unbroken.values);
}

TEST_F(TrainerTest, KilledAtAnyMomentACheckpointIsWhole) {
    const Run unbroken = run();
    options.checkpointFolder = checkpoints();
    options.checkpointEvery = 1;
    for (int round = 0; round < 6; ++round) {
        const pid_t child = fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            try {
                run();
            } catch (...) {
            }
            _exit(0);
        }
        usleep(static_cast<useconds_t>(20'000 + 13'000 * round));
        kill(child, SIGKILL);
        int status = 0;
        waitpid(child, &status, 0);
        EXPECT_NO_THROW(readTrainCheckpoint(checkpoints()));
    }
    EXPECT_EQ(run().values, unbroken.values);
}

TEST_F(TrainerTest, ACheckpointOfAnotherRunIsNotContinued) {
    options.checkpointFolder = checkpoints();
    run();
    options.rate.peak = 1e-3F;
    Hook hook([](Network&, std::int64_t) {});
    const Run other = run(&hook);
    EXPECT_EQ(hook.began, 0);
    ASSERT_EQ(other.warnings.size(), 1u);
    EXPECT_NE(other.warnings[0].find("checkpoint.safetensors"), std::string::npos);
}

TEST_F(TrainerTest, ABrokenCheckpointIsNamed) {
    options.checkpointFolder = checkpoints();
    run();
    const auto file = checkpointFile(checkpoints());
    const std::string whole = test::readFile(file);
    for (const std::string& broken : {whole.substr(0, whole.size() / 2), std::string("nonsense")}) {
        test::writeFile(file, broken);
        EXPECT_NE(errorOf().find(file.string()), std::string::npos) << errorOf();
    }
    // The identity is right, a vector is not there.
    TrainCheckpoint checkpoint;
    test::writeFile(file, whole);
    checkpoint = *readTrainCheckpoint(checkpoints());
    test::QuietControl quiet;
    writeTrainCheckpoint(checkpoints(), checkpoint.state,
                         {{"values", checkpoint.vectors["values"]}}, quiet.control);
    EXPECT_NE(errorOf().find("no whole checkpoint: first_moments"), std::string::npos);
    checkpoint.state.erase("position");
    writeTrainCheckpoint(checkpoints(), checkpoint.state, {}, quiet.control);
    EXPECT_NE(errorOf().find("no whole checkpoint"), std::string::npos);
}

TEST_F(TrainerTest, EndsEarlyAndKeepsWhatThereIs) {
    options.checkpointFolder = checkpoints();
    gate.finishEarly();  // nothing trains: forgotten
    Hook hook([&](Network&, std::int64_t step) {
        if (step == 9)
            gate.finishEarly();
    });
    const Run early = run(&hook);
    EXPECT_EQ(early.outcome.end, TrainEnd::StoppedEarly);
    EXPECT_EQ(early.outcome.steps, 9);
    EXPECT_LT(early.outcome.best.loss, early.outcome.first.loss);
    EXPECT_EQ(early.curves.at("validation_loss").count(9), 1u);
    EXPECT_FALSE(gate.finishRequested());
    // That it was ended is part of what is kept.
    const Run after = run();
    EXPECT_EQ(after.values, early.values);
    EXPECT_EQ(after.outcome.end, TrainEnd::StoppedEarly);
}

TEST_F(TrainerTest, StopsAtItsTarget) {
    const Run whole = run();
    options.targetLoss = (whole.outcome.first.loss + whole.outcome.best.loss) / 2;
    const Run target = run();
    EXPECT_EQ(target.outcome.end, TrainEnd::Target);
    EXPECT_LT(target.outcome.steps, 24);
    EXPECT_LE(target.outcome.best.loss, options.targetLoss);
}

TEST_F(TrainerTest, OneBadGradientIsSkippedManyEndTheRun) {
    float kept = 0;
    const auto poison = [&](Network& network, std::int64_t step, std::int64_t last) {
        float& value = network.values()[network.parameter("final_norm.weight").offset];
        if (step == 3) {
            kept = value;
            value = std::nanf("");
        } else if (step == last) {
            value = kept;
        }
    };
    Hook once([&](Network& network, std::int64_t step) { poison(network, step, 4); });
    options.evaluateEvery = 100;
    const Run healed = run(&once);
    EXPECT_EQ(healed.outcome.skippedSteps, 1);
    EXPECT_EQ(healed.outcome.steps, 24);
    EXPECT_TRUE(std::all_of(healed.values.begin(), healed.values.end(),
                            [](float v) { return std::isfinite(v); }));
    EXPECT_EQ(healed.warnings.size(), 1u);
    Hook always([&](Network& network, std::int64_t step) { poison(network, step, 100); });
    const std::string error = errorOf(&always);
    EXPECT_NE(error.find("training diverged: no finite gradient in 10 steps"), std::string::npos)
        << error;
    EXPECT_NE(error.find("step 13"), std::string::npos) << error;
}

TEST_F(TrainerTest, ALossThatLeavesForGoodEndsTheRun) {
    options.tokens = 200 * 64;
    options.optimizer.clip = 0;
    Hook hook([](Network& network, std::int64_t step) {
        for (std::size_t i = 0; step > 20 && i < network.values().size(); ++i)
            network.values()[i] = std::sin(static_cast<float>(i % 10007 * (i % 101)));
    });
    options.evaluateEvery = 1000;
    options.rate.peak = 1e-3F;
    const std::string error = errorOf(&hook);
    EXPECT_NE(error.find("training diverged: the loss rose from"), std::string::npos) << error;
}

TEST_F(TrainerTest, CancellingLeavesAtOnce) {
    std::stop_source stop;
    Hook hook([&](Network&, std::int64_t step) {
        if (step == 3)
            stop.request_stop();
        EXPECT_LE(step, 3);
    });
    EXPECT_THROW(run(&hook, 2, 64, stop.get_token()), Cancelled);
    EXPECT_FALSE(gate.finishable());
}

}  // namespace
}  // namespace fettle
