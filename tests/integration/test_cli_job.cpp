// The main job through the command line, on the bundled model: JSON keys, the way from a recipe to
// an exported file and back, sweeps that go on, killed runs, cancelling.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <thread>

#include "tests/integration/cli_process.h"

namespace fettle::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Arguments = std::vector<std::string>;

const std::string kInt8 =
    R"({"name":"i8","steps":[{"technique":"ptq","params":{"scheme":"int8","calibration_tokens":512}}],"seed":1})";
Arguments with(Arguments words, const Arguments& more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

void expectKeys(const json& document, const std::vector<std::string>& keys) {
    for (const std::string& key : keys)
        EXPECT_TRUE(document.contains(key))
            << "no \"" << key << "\" in " << document.dump().substr(0, 400);
}

class CliJob : public testing::Test {
protected:
    void SetUp() override {
        if (!haveDemoModel())
            GTEST_SKIP() << "the bundled model is not there";
        // A few tasks and a short text: these tests are about the way, not about the numbers.
        std::ifstream all(resource("tasks.jsonl"));
        std::string few, line;
        for (int i = 0; i < 12 && std::getline(all, line); ++i)
            few += line + "\n";
        quick = {"--context",
                 "128",
                 "--max-tokens",
                 "2048",
                 "--no-speed",
                 "--tasks",
                 home.write("few.jsonl", few)};
    }
    /// Runs with --json; expects success.
    json ask(const Arguments& arguments) const {
        const CliResult result = home.run(with(arguments, {"--json"}));
        EXPECT_EQ(result.exitCode, 0) << arguments[0] << ": " << result.err;
        return result.json();
    }
    std::string resource(const char* name) const {
        return (fs::path(FETTLE_RESOURCES_DIR) / "demo" / name).string();
    }
    double perplexity(const std::string& model) const {
        return ask({"evaluate", model, "--text", resource("texts/evaluate.txt"), "--context", "128",
                    "--max-tokens", "2048"})["perplexity"];
    }

    /// A file of that name anywhere in the home folder, before `seconds` have passed.
    bool waitForFile(const std::string& name, double seconds) const {
        const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
        while (std::chrono::steady_clock::now() < end) {
            std::error_code ignored;
            for (fs::recursive_directory_iterator it(home.path(), ignored), none;
                 it != none && !ignored; it.increment(ignored))
                if (it->path().filename() == name)
                    return true;
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
        return false;
    }

    CliHome home;
    Arguments quick;  ///< a short measurement, the same wherever numbers are compared
};

TEST_F(CliJob, KeysOfLookingAndMeasuring) {
    const json devices = ask({"devices"});
    ASSERT_FALSE(devices.at("devices").empty());
    expectKeys(devices["devices"][0], {"id", "name", "isa", "threads", "memory_bytes", "usable"});
    expectKeys(ask({"inspect", "demo"}),
               {"architecture", "parameters", "layers", "dtype", "file_bytes", "weight_bytes",
                "bits_per_weight", "tensors"});
    const json ids = ask({"tokenize", "demo", "--text", "The cat"});
    ASSERT_FALSE(ids.at("ids").empty());
    const std::string file = home.write("t.txt", "The cat");
    EXPECT_EQ(ask({"tokenize", "demo", "--file", file})["ids"], ids["ids"]);
    EXPECT_TRUE(ask({"tokenize", "demo", "--text", ""})["ids"].empty());
    const json logits = ask({"logits", "demo", "--ids", "1,2,3"});
    expectKeys(logits, {"argmax", "logsumexp", "logits"});
    EXPECT_EQ(logits["logits"].size(),
              ask({"inspect", "demo"})["vocabulary_size"].get<std::size_t>());
    expectKeys(ask({"generate", "demo", "--prompt", "The", "-n", "8"}), {"text", "ids"});
    const json bench =
        ask({"bench", "demo", "--prompt-tokens", "32", "--new-tokens", "8", "--repeats", "1"});
    expectKeys(bench, {"ttft_ms", "prefill_tokens_per_s", "decode_tokens_per_s",
                       "inter_token_ms_p50", "inter_token_ms_p95", "weight_bytes", "peak_bytes",
                       "native", "acceptance_rate", "speedup"});
    const json techniques = ask({"techniques"})["techniques"];
    ASSERT_FALSE(techniques.empty());
    EXPECT_EQ(techniques[0]["id"], "ptq");
    EXPECT_FALSE(techniques[0]["parameters"].empty());
}

TEST_F(CliJob, EvaluateWithBaselineAndTasks) {
    const std::string tasks =
        home.write("tasks.jsonl", R"({"prompt":"2 + 2 =","choices":[" 4"," 5"],"answer":0})"
                                  "\n");
    const json result =
        ask({"evaluate", "demo", "--text", resource("texts/evaluate.txt"), "--baseline", "demo",
             "--tasks", tasks, "--context", "64", "--max-tokens", "512"});
    expectKeys(result, {"perplexity", "tokens", "kl_mean", "kl_median", "kl_p99", "top1_agreement",
                        "task_accuracy"});
    EXPECT_EQ(result["tokens"], 512 - 512 / 64);
    EXPECT_NEAR(result["kl_mean"].get<double>(), 0, 1e-9);
    EXPECT_EQ(result["top1_agreement"], 100);
}

TEST_F(CliJob, FromRecipeToExportedFileAndBack) {
    const json run = ask(with({"run", kInt8, "--model", "demo"}, quick));
    expectKeys(run, {"experiment", "metrics", "artifact", "baseline"});
    ASSERT_TRUE(run["artifact"].is_string());
    const double measured = run["metrics"]["perplexity"];

    // The baseline was measured first, and is not measured again for the next recipe.
    const json list = ask({"experiments", "list"})["experiments"];
    ASSERT_EQ(list.size(), 2U);
    EXPECT_EQ(list[0]["id"], run["baseline"]);
    EXPECT_EQ(list[0]["summary"], "baseline");
    EXPECT_EQ(list[1]["status"], "finished");
    EXPECT_EQ(list[1]["metrics"]["perplexity"], measured);
    const double baseline = list[0]["metrics"]["perplexity"];
    EXPECT_LT(std::abs(measured / baseline - 1), 0.05);
    EXPECT_EQ(ask(with({"run", kInt8, "--model", "demo", "--name", "again"}, quick))["baseline"],
              run["baseline"]);

    // The artifact is a model again, and measures as it did in memory.
    EXPECT_NEAR(perplexity(run["artifact"]) / measured, 1, 1e-6);

    const std::string out = home.file("demo.gguf");
    const json exported = ask({"export", "--experiment", run["experiment"].dump(), "--format",
                               "gguf-q8_0", "--out", out});
    EXPECT_TRUE(exported["verified"]);
    EXPECT_TRUE(fs::exists(out));
    EXPECT_NEAR(perplexity(out) / measured, 1, 0.01);
    EXPECT_EQ(ask({"export", "demo", "--format", "gguf", "--out", home.file("f16.gguf")})["format"],
              "gguf-f16");

    // Comparing, the front, the table for other programs, gates.
    const json compare =
        ask({"experiments", "compare", run["baseline"].dump(), run["experiment"].dump()});
    EXPECT_EQ(compare["experiments"].size(), 2U);
    const json front = ask({"experiments", "pareto", "--x", "file_bytes", "--y", "perplexity"});
    EXPECT_FALSE(front["front"].empty());
    ask({"experiments", "export", home.file("all.csv")});
    EXPECT_GT(fs::file_size(home.file("all.csv")), 100U);
    const Arguments gate{"gate",
                         "--experiment",
                         run["experiment"].dump(),
                         "--baseline",
                         run["baseline"].dump(),
                         "--junit",
                         home.file("gate.xml")};
    EXPECT_EQ(home.run(with(gate, {"--max-perplexity-increase", "50%"})).exitCode, 0);
    EXPECT_EQ(home.run(with(gate, {"--max-perplexity-increase", "-50%"})).exitCode, 1);
    EXPECT_TRUE(fs::exists(home.file("gate.xml")));

    // One page that needs nothing beside it.
    const std::string page = home.file("report.html");
    const json report = ask({"report", run["baseline"].dump(), run["experiment"].dump(), "--out",
                             page, "--title", "<speed> & size"});
    EXPECT_EQ(report["baseline"], run["baseline"]);
    std::ifstream file(page);
    const std::string html{std::istreambuf_iterator<char>(file), {}};
    EXPECT_NE(html.find("&lt;speed&gt; &amp; size"), std::string::npos);
    EXPECT_NE(html.find("id=\"e" + run["experiment"].dump() + "\""), std::string::npos);
    EXPECT_NE(html.find("95% interval, paired over the same tokens"), std::string::npos);
    EXPECT_NE(html.find("fettle-cli run"), std::string::npos);
    for (const char* outside : {"http://", "https://", "<script", "<link", "@import"})
        EXPECT_EQ(html.find(outside), std::string::npos) << outside;
    EXPECT_EQ(home.run({"report", "99", "--out", home.file("none.html")}).exitCode, 2);

    ask({"experiments", "remove", run["experiment"].dump()});
    EXPECT_FALSE(fs::exists(run["artifact"].get<std::string>()));
    EXPECT_EQ(ask({"experiments", "list"})["experiments"].size(), 2U);
}

TEST_F(CliJob, SweepGoesOnWhereItStopped) {
    const std::string sweep = home.write(
        "sweep.json",
        R"({"name":"s","steps":[{"technique":"ptq","params":{"scheme":"int8","calibration_tokens":512}}],"sweep":[{"step":0,"param":"scheme","values":["int8","int4-g32"]}]})");
    const Arguments arguments = with({"sweep", sweep, "--model", "demo", "--no-baseline"}, quick);
    const json first = ask(arguments);
    EXPECT_EQ(first["ran"], 2);
    const json second = ask(arguments);
    EXPECT_EQ(second["ran"], 0);
    EXPECT_EQ(second["skipped"], 2);
    EXPECT_EQ(ask({"experiments", "list"})["experiments"].size(), 2U);
    EXPECT_EQ(second["experiments"][0]["metrics"], first["experiments"][0]["metrics"]);
}

TEST_F(CliJob, KilledRunIsInterruptedAndCanBeResumed) {
    const json finished = ask(with({"run", kInt8, "--model", "demo", "--no-baseline"}, quick));
    {
        // Many short windows: long enough to be hit in the middle.
        CliProcess run(with({"run", kInt8, "--model", "demo", "--no-baseline"},
                            {"--context", "32", "--max-tokens", "12000", "--no-speed", "--tasks",
                             home.file("few.jsonl")}),
                       home.path());
        ASSERT_TRUE(run.waitForError("Evaluating", 120));
        run.signal(SIGKILL);
        EXPECT_EQ(run.wait().exitCode, 128 + SIGKILL);
    }
    const json list = ask({"experiments", "list"})["experiments"];
    ASSERT_EQ(list.size(), 2U);
    EXPECT_EQ(list[0]["status"], "finished");
    EXPECT_EQ(list[0]["metrics"], finished["metrics"]);
    EXPECT_TRUE(fs::exists(finished["artifact"].get<std::string>()));
    EXPECT_EQ(list[1]["status"], "interrupted");

    const std::string id = list[1]["id"].dump();
    EXPECT_EQ(
        home.run({"export", "--experiment", id, "--format", "gguf", "--out", home.file("x.gguf")})
            .exitCode,
        2);
    const json resumed = ask({"experiments", "resume", id})["experiments"];
    ASSERT_EQ(resumed.size(), 1U);
    EXPECT_EQ(resumed[0]["id"], list[1]["id"]);
    EXPECT_EQ(resumed[0]["status"], "finished");
    EXPECT_GT(resumed[0]["metrics"]["perplexity"], 1.0);
    EXPECT_EQ(home.run({"experiments", "resume", id}).exitCode, 2)
        << "a finished experiment is not run again";
}

TEST_F(CliJob, KilledQuantizingGoesOnAtItsLayerToTheSameBytes) {
    const std::string recipe =
        R"({"name":"g","steps":[{"technique":"ptq","params":{"scheme":"int4-g32","method":"gptq","calibration_tokens":4096}}],"seed":1})";
    const Arguments measure = {"--no-baseline", "--no-speed",   "--context",
                               "128",           "--max-tokens", "256"};
    const json whole = ask(with({"run", recipe, "--model", "demo"}, measure));
    {
        CliProcess run(with({"run", recipe, "--model", "demo"}, measure), home.path());
        ASSERT_TRUE(waitForFile("layer-1.safetensors", 120));
        run.signal(SIGKILL);
        EXPECT_EQ(run.wait().exitCode, 128 + SIGKILL);
    }
    const json list = ask({"experiments", "list"})["experiments"];
    ASSERT_EQ(list.size(), 2U);
    ASSERT_EQ(list[1]["status"], "interrupted");
    const CliResult resumed = home.run({"experiments", "resume", list[1]["id"].dump(), "--json"});
    EXPECT_EQ(resumed.exitCode, 0) << resumed.err;
    EXPECT_NE(resumed.err.find("goes on after layer"), std::string::npos) << resumed.err;
    const auto bytes = [](const std::string& folder) {
        std::ifstream file(fs::path(folder) / "model.safetensors", std::ios::binary);
        return std::string(std::istreambuf_iterator<char>(file), {});
    };
    const std::string artifact =
        ask({"experiments", "show", list[1]["id"].dump()})["artifacts"][0]["path"];
    ASSERT_FALSE(bytes(whole["artifact"]).empty());
    EXPECT_TRUE(bytes(artifact) == bytes(whole["artifact"]));
    EXPECT_FALSE(fs::exists(artifact + ".checkpoints"));
}

TEST_F(CliJob, CancelEndsSoon) {
    std::string text;
    const std::string source = resource("texts/evaluate.txt");
    std::ifstream file(source);
    text.assign(std::istreambuf_iterator<char>(file), {});
    std::string large;
    while (large.size() < 3'000'000)
        large += text;
    const std::string path = home.write("large.txt", large);
    double worst = 0;
    for (const int delayMs : {0, 37, 191}) {
        CliProcess run({"evaluate", "demo", "--text", path, "--max-tokens", "2000000"},
                       home.path());
        ASSERT_TRUE(run.waitForError("Evaluating", 120));
        std::this_thread::sleep_for(std::chrono::milliseconds(delayMs));
        const auto start = std::chrono::steady_clock::now();
        run.signal(SIGINT);
        const CliResult result = run.wait();
        const double ms =
            1e3 * std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        EXPECT_EQ(result.exitCode, 130) << result.err;
        EXPECT_EQ(result.errorLines(), 1) << result.err;
        worst = std::max(worst, ms);
    }
    std::printf("cancelled after at most %.0f ms (wanted: 200)\n", worst);
    RecordProperty("cancel_ms", static_cast<int>(worst));
    EXPECT_LT(worst, 500);
}

TEST_F(CliJob, DemoWritesTablesAndCharts) {
    const std::string out = home.file("demo");
    const json demo = ask({"demo", "--quick", "--out", out});
    ASSERT_EQ(demo["experiments"].size(), 9U);  // the baseline among them
    std::set<std::string> names;
    for (const json& experiment : demo["experiments"]) {
        EXPECT_EQ(experiment["status"], "finished");
        names.insert(experiment["name"]);
        expectKeys(experiment["metrics"],
                   {"perplexity", "task_accuracy", "decode_tokens_per_s", "weight_bytes"});
    }
    EXPECT_EQ(names.size(), 9U);
    expectKeys(demo["experiments"][2]["metrics"],
               {"speedup", "expected_speedup", "acceptance_rate", "identical_output"});
    const double baseline = demo["experiments"][0]["metrics"]["weight_bytes"];
    EXPECT_LT(demo["experiments"][1]["metrics"]["weight_bytes"].get<double>(), baseline);
    EXPECT_TRUE(fs::exists(fs::path(out) / "comparison.csv"));
    EXPECT_TRUE(fs::exists(fs::path(out) / "comparison.json"));
    for (const json& chart : demo["charts"])
        EXPECT_GT(fs::file_size(chart.get<std::string>()), 1000U) << chart;
    EXPECT_EQ(ask({"demo", "--quick", "--out", out})["experiments"].size(), 9U) << "a second time";
}

}  // namespace
}  // namespace fettle::test
