// The advisor through the command line, on the bundled model: targets met and missed, exit codes, a
// killed ladder that goes on from the experiments in the database; experiments out and in again.
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>

#include "tests/integration/cli_process.h"

namespace fettle::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Arguments = std::vector<std::string>;

class CliAdvise : public testing::Test {
protected:
    void SetUp() override {
        if (!haveDemoModel())
            GTEST_SKIP() << "the bundled model is not there";
        few = home.write("few.jsonl", firstTask());
        // A copy brings no calibration text with it: rounding to nearest alone keeps the ladder
        // short.
        const fs::path demo = fs::path(FETTLE_RESOURCES_DIR) / "demo";
        fs::copy(demo / "teacher", model, fs::copy_options::recursive);
        text = (demo / "texts" / "evaluate.txt").string();
    }
    static std::string firstTask() {
        std::ifstream all(fs::path(FETTLE_RESOURCES_DIR) / "demo" / "tasks.jsonl");
        std::string line;
        std::getline(all, line);
        return line + "\n";
    }
    Arguments advise(const Arguments& targets) const {
        Arguments words{"advise", "--model",      model,  "--evaluate",      text, "--context",
                        "128",    "--max-tokens", "1024", "--tasks",         few,  "--new-tokens",
                        "8",      "--repeats",    "1",    "--prompt-tokens", "32", "--db",
                        db};
        words.insert(words.end(), targets.begin(), targets.end());
        return words;
    }

    CliHome home;
    std::string few;
    std::string text;
    std::string model = home.file("model");
    std::string db = home.file("advise.db");
};

TEST_F(CliAdvise, MeetsASizeAndSaysWhy) {
    const CliResult result =
        home.run(advise({"--max-memory", "4MiB", "--max-perplexity-increase", "20%", "--json"}));
    ASSERT_EQ(result.exitCode, 0) << result.err;
    const json report = result.json();
    EXPECT_TRUE(report["met"]);
    EXPECT_TRUE(report["finished"]);
    EXPECT_FALSE(report["decisions"].empty());
    EXPECT_TRUE(fs::exists(report["artifact"].get<std::string>())) << report["artifact"];
    EXPECT_LE(report["recommended"]["metrics"]["weight_bytes"].get<double>(), 4 * 1048576.0);
    for (const json& rung : report["rungs"]) {
        EXPECT_TRUE(rung.contains("cost")) << rung;
        if (rung["state"] == "finished") {
            EXPECT_GT(rung["cost"]["minutes"].get<double>(), 0);
            EXPECT_GT(rung["cost"]["memory_bytes"].get<double>(), 0);
        }
    }
    // The same once more runs nothing.
    const json again =
        home.run(advise({"--max-memory", "4MiB", "--max-perplexity-increase", "20%", "--json"}))
            .json();
    EXPECT_EQ(again["experiment"], report["experiment"]);
    for (const json& rung : again["rungs"])
        EXPECT_TRUE(rung["state"] != "finished" || rung["reused"].get<bool>()) << rung;
}

TEST_F(CliAdvise, AMissIsExitCodeOne) {
    const CliResult result = home.run(advise({"--max-memory", "1KiB", "--json"}));
    EXPECT_EQ(result.exitCode, 1) << result.err;
    EXPECT_FALSE(result.json()["met"]);
}

TEST_F(CliAdvise, GoesOnAfterBeingKilled) {
    const Arguments words =
        advise({"--max-memory", "4MiB", "--max-perplexity-increase", "20%", "--json"});
    {
        CliProcess first(words, home.path());
        ASSERT_TRUE(first.waitForError("ptq", 120));
        first.signal(SIGKILL);
        first.wait();
    }
    const CliResult second = home.run(words);
    ASSERT_EQ(second.exitCode, 0) << second.err;
    const json report = second.json();
    EXPECT_TRUE(report["rungs"][0]["reused"].get<bool>()) << "the baseline was measured before";
    const json list = home.run({"experiments", "list", "--db", db, "--json"}).json();
    for (const json& experiment : list["experiments"])
        EXPECT_EQ(experiment["status"], "finished") << experiment["name"];
}

TEST_F(CliAdvise, SaysWhatIsMissing) {
    const CliResult none = home.run(advise({}));
    EXPECT_EQ(none.exitCode, 2);
    EXPECT_NE(none.err.find("no target"), std::string::npos) << none.err;
    const CliResult wrong = home.run(advise({"--min-speedup", "fast"}));
    EXPECT_EQ(wrong.exitCode, 2);
    EXPECT_NE(wrong.err.find("--min-speedup fast"), std::string::npos) << wrong.err;
}

TEST_F(CliAdvise, ExperimentsGoOutAndComeBack) {
    const std::string recipe =
        R"({"name":"i8","steps":[{"technique":"ptq","params":{"scheme":"int8","calibration_tokens":512}}]})";
    ASSERT_EQ(home.run({"run", recipe, "--model", "demo", "--context", "128", "--max-tokens",
                        "1024", "--no-speed", "--tasks", few, "--db", db})
                  .exitCode,
              0);
    const std::string file = home.file("all.json");
    ASSERT_EQ(home.run({"experiments", "export", file, "--db", db}).exitCode, 0);
    const std::string other = home.file("other.db");
    const json first = home.run({"experiments", "import", file, "--db", other, "--json"}).json();
    EXPECT_EQ(first["added"].size(), 2u);
    const json merged = home.run({"experiments", "import", db, "--db", other, "--json"}).json();
    EXPECT_EQ(merged["known"], 2) << "a database and its export are the same";
    const json was = home.run({"experiments", "show", "2", "--db", db, "--json"}).json();
    const json is = home.run({"experiments", "show", "2", "--db", other, "--json"}).json();
    for (const char* key : {"metrics", "recipe", "steps", "layer_metrics", "samples", "inputs"})
        EXPECT_EQ(was[key], is[key]) << key;

    const std::string store = home.file("mlruns");
    ASSERT_EQ(home.run({"experiments", "export", store, "--format", "mlflow", "--db", db}).exitCode,
              0);
    int runs = 0;
    for (const auto& entry : fs::recursive_directory_iterator(store))
        if (entry.path().filename() == "perplexity" &&
            entry.path().parent_path().filename() == "metrics") {
            ++runs;
            std::ifstream metric(entry.path());
            std::int64_t time = 0;
            double value = 0, step = -1;
            EXPECT_TRUE(metric >> time >> value >> step);
            EXPECT_GT(value, 1);
            EXPECT_TRUE(fs::exists(entry.path().parent_path().parent_path() / "meta.yaml"));
        }
    EXPECT_EQ(runs, 2);
    EXPECT_EQ(home.run({"experiments", "import", few, "--db", other}).exitCode, 3);
    EXPECT_EQ(home.run({"experiments", "export", store, "--format", "mlflow", "--db", db}).exitCode,
              3)
        << "what is there is not overwritten";
}

}  // namespace
}  // namespace fettle::test
