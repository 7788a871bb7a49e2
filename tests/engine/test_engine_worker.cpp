// The engine thread: order of events, cancelling, pausing, errors, shutting down.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <vector>

#include "engine/io/exporter.h"
#include "engine/job/engine_worker.h"
#include "engine/model/model_initializer.h"
#include "tests/support/fixtures.h"
#include "tests/support/model_files.h"

namespace fettle {
namespace {

// Collects events and lets a test wait for one.
class Events {
public:
    EngineWorker::EventHandler handler() {
        return [this](const JobEvent& event) {
            std::lock_guard lock(m_mutex);
            m_events.push_back(event);
            m_times.push_back(steadySeconds());
            m_changed.notify_all();
        };
    }
    template <typename Body>
    bool waitFor(JobId job, double seconds = test::kSanitized ? 600 : 60) {
        std::unique_lock lock(m_mutex);
        return m_changed.wait_for(lock, std::chrono::duration<double>(seconds),
                                  [&] { return indexOf<Body>(job) >= 0; });
    }
    template <typename Body>
    const Body* get(JobId job) {
        std::lock_guard lock(m_mutex);
        const auto at = indexOf<Body>(job);
        return at < 0 ? nullptr : &std::get<Body>(m_events[static_cast<std::size_t>(at)].body);
    }
    template <typename Body>
    double timeOf(JobId job) {
        std::lock_guard lock(m_mutex);
        return m_times.at(static_cast<std::size_t>(indexOf<Body>(job)));
    }
    template <typename Body>
    int count(JobId job) {
        std::lock_guard lock(m_mutex);
        return static_cast<int>(
            std::count_if(m_events.begin(), m_events.end(), [&](const JobEvent& e) {
                return e.job == job && std::holds_alternative<Body>(e.body);
            }));
    }
    std::vector<JobEvent> of(JobId job) {
        std::lock_guard lock(m_mutex);
        std::vector<JobEvent> events;
        std::copy_if(m_events.begin(), m_events.end(), std::back_inserter(events),
                     [&](const JobEvent& e) { return e.job == job; });
        return events;
    }

private:
    template <typename Body>
    std::ptrdiff_t indexOf(JobId job) const {
        for (std::size_t i = 0; i < m_events.size(); ++i)
            if (m_events[i].job == job && std::holds_alternative<Body>(m_events[i].body))
                return static_cast<std::ptrdiff_t>(i);
        return -1;
    }
    std::mutex m_mutex;
    std::condition_variable m_changed;
    std::vector<JobEvent> m_events;
    std::vector<double> m_times;
};

RunRequest runOn(const std::string& fixture, const nlohmann::json& params) {
    RunRequest request;
    request.experiment = 7;
    request.modelPath = test::fixture(fixture).string();
    request.recipe.steps.push_back({"ptq", params});
    request.inputs.evaluate = test::fixture("texts/evaluate.txt").string();
    request.measure.context = 128;
    request.measure.maxTokens = 2048;
    request.measure.promptTokens = 32;
    request.measure.newTokens = 8;
    request.measure.repeats = 1;
    return request;
}

TEST(EngineWorker, RunsARecipeAndReportsInOrder) {
    FETTLE_NEED_FILE(test::fixture("llama-4m"));
    Events events;
    EngineWorker worker(events.handler(), 2);
    const JobId job = worker.post(runOn("llama-4m", {{"scheme", "int8"}}));
    ASSERT_TRUE(events.waitFor<JobFinished>(job));
    const auto all = events.of(job);
    EXPECT_TRUE(std::holds_alternative<JobQueued>(all.front().body));
    EXPECT_TRUE(std::holds_alternative<JobStarted>(all[1].body));
    EXPECT_TRUE(std::holds_alternative<JobFinished>(all.back().body));
    for (const JobEvent& event : all)
        EXPECT_EQ(event.experiment, 7);
    EXPECT_EQ(events.count<JobStepFinished>(job), 1);

    const RunResult& result = std::get<RunResult>(events.get<JobFinished>(job)->result);
    const auto metric = [&](const std::string& name) {
        for (const Measurement& m : result.metrics)
            if (m.name == name)
                return m.value;
        ADD_FAILURE() << "no metric " << name;
        return 0.0;
    };
    EXPECT_NEAR(metric("ppl_ratio"), 1, 0.02);
    EXPECT_GT(metric("kl_mean"), 0);
    EXPECT_LT(metric("kl_mean"), 0.01);
    EXPECT_GT(metric("top1_agreement"), 95);
    EXPECT_GT(metric("decode_tokens_per_s"), 0);
    EXPECT_LT(metric("bits_per_weight"), 16);
    ASSERT_TRUE(result.estimate);
    EXPECT_GT(result.estimate->outputBytes, 0u);
    EXPECT_FALSE(result.layerMetrics.empty());
    EXPECT_EQ(result.modelHash.size(), 32u);
    double last = 0;
    for (const JobEvent& event : all)
        if (const JobProgress* progress = std::get_if<JobProgress>(&event.body)) {
            EXPECT_GE(progress->fraction, last - 1e-9);
            EXPECT_LE(progress->fraction, 1);
            last = progress->fraction;
        }
}

TEST(EngineWorker, CancelsARunningJobWithin200Milliseconds) {
    FETTLE_NEED_FILE(test::fixture("llama-4m"));
    Events events;
    EngineWorker worker(events.handler(), 2);
    RunRequest request = runOn("llama-4m", {{"scheme", "int4-g32"}});
    request.measure.maxTokens = 0;
    for (int trial = 0; trial < 3; ++trial) {
        const JobId job = worker.post(request);
        ASSERT_TRUE(events.waitFor<JobProgress>(job));
        std::this_thread::sleep_for(std::chrono::milliseconds(100 + 150 * trial));
        const double asked = steadySeconds();
        worker.cancel(job);
        ASSERT_TRUE(events.waitFor<JobCancelled>(job, 10));
        EXPECT_LT(events.timeOf<JobCancelled>(job) - asked, 0.2);
        EXPECT_EQ(events.count<JobFailed>(job), 0);
    }
}

TEST(EngineWorker, SaysInWhatWasMultiplied) {
    if (!EngineWorker::hasBfloat16())
        GTEST_SKIP() << "this processor has no products of bfloat16";
    Events events;
    EngineWorker worker(events.handler(), 2);
    RunRequest request = runOn("", {});
    request.recipe.steps.clear();
    request.modelPath = "demo";
    request.inputs = {};
    request.measure.maxTokens = 512;
    const auto run = [&] {
        const JobId job = worker.post(request);
        EXPECT_TRUE(events.waitFor<JobFinished>(job));
        return std::get<RunResult>(events.get<JobFinished>(job)->result);
    };
    const auto mentions = [](const RunResult& result) {
        EXPECT_FALSE(result.metrics.empty());
        return std::count_if(result.metrics.begin(), result.metrics.end(), [](const auto& metric) {
            return metric.protocol.find("compute=bf16") != std::string::npos;
        });
    };
    const RunResult exact = run();
    EXPECT_EQ(exact.deviceName.find("bfloat16"), std::string::npos);
    EXPECT_EQ(mentions(exact), 0);
    worker.useBfloat16(true);
    const RunResult rounded = run();
    EXPECT_NE(rounded.deviceName.find("bfloat16"), std::string::npos);
    EXPECT_GE(mentions(rounded), 6);
    worker.useBfloat16(false);
    EXPECT_EQ(mentions(run()), 0);
}

TEST(EngineWorker, CancelsAWaitingJob) {
    FETTLE_NEED_FILE(test::fixture("llama-4m"));
    Events events;
    EngineWorker worker(events.handler(), 1);
    const JobId first = worker.post(runOn("llama-4m", {{"scheme", "int8"}}));
    const JobId second = worker.post(runOn("llama-4m", {{"scheme", "int8"}}));
    worker.cancel(second);
    ASSERT_TRUE(events.waitFor<JobFinished>(first));
    ASSERT_TRUE(events.waitFor<JobCancelled>(second));
    EXPECT_EQ(events.count<JobStarted>(second), 0);
}

TEST(EngineWorker, PausesAndGoesOn) {
    FETTLE_NEED_FILE(test::fixture("llama-4m"));
    Events events;
    EngineWorker worker(events.handler(), 1);
    const JobId job = worker.post(runOn("llama-4m", {{"scheme", "int4-g32"}}));
    ASSERT_TRUE(events.waitFor<JobProgress>(job));
    worker.pause(job);
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    const int before = events.count<JobProgress>(job);
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    EXPECT_EQ(events.count<JobProgress>(job), before);
    worker.resume(job);
    EXPECT_TRUE(events.waitFor<JobFinished>(job));
}

TEST(EngineWorker, AnErrorEndsTheJobAndNotTheThread) {
    Events events;
    EngineWorker worker(events.handler(), 1);
    const JobId bad = worker.post(InspectRequest{"/nowhere/model.gguf"});
    ASSERT_TRUE(events.waitFor<JobFailed>(bad));
    EXPECT_EQ(events.get<JobFailed>(bad)->error.kind, ErrorKind::BadInput);
    EXPECT_NE(events.get<JobFailed>(bad)->error.message.find("/nowhere/model.gguf"),
              std::string::npos);
    FETTLE_NEED_FILE(test::fixture("llama-4m"));
    const JobId good = worker.post(InspectRequest{test::fixture("llama-4m").string()});
    EXPECT_TRUE(events.waitFor<JobFinished>(good));
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
/// In a process of its own: a training job that runs into the limit of the address space, then one
/// without. Exit code 0 if the first said what helps and the second finished.
[[noreturn]] void trainWithinTooLittle(const std::string& text) {
    Events events;
    EngineWorker worker(events.handler(), 1);
    RunRequest request = runOn("llama-4m", {});
    request.recipe.steps = {
        {"qat", {{"scheme", "int4-g32"}, {"tokens", 4096}, {"batch_tokens", 4096}}}};
    request.inputs = {};
    request.inputs.train = text;
    request.measure.speed = false;
    const JobId warm = worker.post(InspectRequest{request.modelPath});
    if (!events.waitFor<JobFinished>(warm))
        std::_Exit(2);
    std::uint64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    rlimit limit{};
    getrlimit(RLIMIT_AS, &limit);
    const rlim_t before = limit.rlim_cur;
    limit.rlim_cur = pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)) + (200U << 20);
    setrlimit(RLIMIT_AS, &limit);
    const JobId starved = worker.post(request);
    if (!events.waitFor<JobFailed>(starved, 120))
        std::_Exit(3);
    limit.rlim_cur = before;
    setrlimit(RLIMIT_AS, &limit);
    const ErrorInfo error = events.get<JobFailed>(starved)->error;
    std::fprintf(stderr, "%s\n", error.message.c_str());
    if (error.kind != ErrorKind::OutOfMemory)
        std::_Exit(4);
    request.recipe.steps[0].params["batch_tokens"] = 256;
    request.recipe.steps[0].params["tokens"] = 1024;
    const JobId fed = worker.post(request);
    if (!events.waitFor<JobFinished>(fed, 300))
        std::_Exit(5);
    std::_Exit(0);
}

TEST(EngineWorker, TrainingWithTooLittleMemorySaysWhatTakesLessAndTheNextJobRuns) {
    FETTLE_NEED_FILE(test::fixture("llama-4m"));
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_EXIT(trainWithinTooLittle(test::fixture("texts/evaluate.txt").string()),
                testing::ExitedWithCode(0),
                "qat: not enough memory to train; set save_memory to true, lower batch_tokens "
                "\\(4096 now\\)");
}

/// Likewise, in a process of its own: a draft that fits as its file has it and not rounded beside
/// it, then the same target without.
[[noreturn]] void draftWithinTooLittle(const std::string& draft) {
    Events events;
    EngineWorker worker(events.handler(), 1);
    GenerateRequest request;
    request.modelPath = "demo";
    request.prompt = "The harbour was quiet";
    request.maxNewTokens = 8;
    const JobId warm = worker.post(request);
    if (!events.waitFor<JobFinished>(warm))
        std::_Exit(2);
    std::uint64_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    rlimit limit{};
    getrlimit(RLIMIT_AS, &limit);
    const rlim_t before = limit.rlim_cur;
    const auto file =
        std::filesystem::file_size(std::filesystem::path(draft) / "model.safetensors");
    limit.rlim_cur = pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)) + file + (60U << 20);
    setrlimit(RLIMIT_AS, &limit);
    request.draft = "int8:" + draft;
    const JobId starved = worker.post(request);
    if (!events.waitFor<JobFailed>(starved, 120))
        std::_Exit(3);
    limit.rlim_cur = before;
    setrlimit(RLIMIT_AS, &limit);
    const ErrorInfo error = events.get<JobFailed>(starved)->error;
    std::fprintf(stderr, "%s\n", error.message.c_str());
    if (error.kind != ErrorKind::OutOfMemory)
        std::_Exit(4);
    request.draft.clear();
    const JobId fed = worker.post(request);
    if (!events.waitFor<JobFinished>(fed))
        std::_Exit(5);
    const auto text = [&](JobId job) {
        return std::get<GenerateReport>(events.get<JobFinished>(job)->result).text;
    };
    std::_Exit(text(fed) == text(warm) ? 0 : 6);
}

TEST(EngineWorker, ADraftThatIsTooLargeToRoundEndsInOneMessageAndTheNextJobRuns) {
    const test::TempFolder folder;
    const Model demo = loadModel("demo");
    ModelConfig large = demo.config;
    large.feedForwardSize = 32768;
    NullProgress sink;
    RunControl control({}, nullptr, sink);
    writeModelFolder(randomModel(large, demo.tokenizer, 1, DType::BF16), folder / "draft", control);
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_EXIT(draftWithinTooLittle((folder / "draft").string()), testing::ExitedWithCode(0),
                "draft .*rounded to int8: not enough memory for it beside the model");
}
#endif

TEST(EngineWorker, RefusesAnUnknownParameterWithItsName) {
    FETTLE_NEED_FILE(test::fixture("llama-4m"));
    Events events;
    EngineWorker worker(events.handler(), 1);
    const JobId job = worker.post(runOn("llama-4m", {{"shceme", "int8"}}));
    ASSERT_TRUE(events.waitFor<JobFailed>(job));
    EXPECT_EQ(events.get<JobFailed>(job)->error.kind, ErrorKind::Usage);
    EXPECT_NE(events.get<JobFailed>(job)->error.message.find("shceme"), std::string::npos);
}

TEST(EngineWorker, StopsAtOnceWhenDestroyedInTheMiddle) {
    FETTLE_NEED_FILE(test::fixture("llama-4m"));
    Events events;
    double asked = 0;
    {
        EngineWorker worker(events.handler(), 2);
        RunRequest request = runOn("llama-4m", {{"scheme", "int4-g32"}});
        request.measure.maxTokens = 0;
        const JobId job = worker.post(request);
        worker.post(request);
        ASSERT_TRUE(events.waitFor<JobProgress>(job));
        asked = steadySeconds();
    }
    EXPECT_LT(steadySeconds() - asked, 1.0);
}

}  // namespace
}  // namespace fettle
