// fettle-cli train: from random weights, on from a model, killed and started again, ended early;
// and recipes that train, killed and resumed.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <thread>

#include "tests/integration/cli_process.h"
#include "tests/support/fixtures.h"

namespace fettle::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Arguments = std::vector<std::string>;

class CliTrain : public testing::Test {
protected:
    void SetUp() override {
        if (!haveDemoModel())
            GTEST_SKIP() << "the bundled model is not there";
        json config = json::parse(bytesOf(demo("teacher/config.json")));
        config["hidden_size"] = 64;
        config["intermediate_size"] = 96;
        config["num_hidden_layers"] = 2;
        config["num_attention_heads"] = 4;
        config["num_key_value_heads"] = 2;
        config["head_dim"] = 16;
        shape = home.write("config.json", config.dump());
        text = home.write("text.txt", bytesOf(demo("texts/train.txt")).substr(0, 60'000));
    }
    static std::string bytesOf(const fs::path& path) {
        std::ifstream file(path, std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }
    static fs::path demo(const std::string& name) {
        return fs::path(FETTLE_RESOURCES_DIR) / "demo" / name;
    }
    /// Options as name and value; one that is there already gets the new value.
    Arguments training(const std::string& out, const Arguments& more = {}) const {
        Arguments words = {"train",
                           shape,
                           "--tokenizer",
                           demo("teacher").string(),
                           "--train",
                           text,
                           "--out",
                           home.file(out),
                           "--tokens",
                           "20480",
                           "--batch-tokens",
                           "1024",
                           "--context",
                           "128",
                           "--learning-rate",
                           "0.003",
                           "--validation-tokens",
                           "1024",
                           "--json"};
        for (std::size_t i = 0; i + 1 < more.size(); i += 2) {
            const auto known = std::find(words.begin(), words.end(), more[i]);
            if (known != words.end())
                *(known + 1) = more[i + 1];
            else
                words.insert(words.end(), {more[i], more[i + 1]});
        }
        return words;
    }
    json ask(const Arguments& arguments) const {
        const CliResult result = home.run(arguments);
        EXPECT_EQ(result.exitCode, 0) << result.err;
        return result.json();
    }
    static bool waitForFile(const fs::path& file, double seconds) {
        for (int i = 0; i < seconds * 200; ++i) {
            if (fs::exists(file))
                return true;
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        return false;
    }

    CliHome home;
    std::string shape, text;
};

TEST_F(CliTrain, LearnsFromRandomWeightsAndGoesOnFromTheResult) {
    const json first = ask(training("small"));
    for (const char* key :
         {"out", "parameters", "steps", "tokens", "end", "train_loss", "validation_loss",
          "validation_perplexity", "best_step", "seconds", "tokens_per_s", "peak_bytes", "series"})
        EXPECT_TRUE(first.contains(key)) << key;
    EXPECT_EQ(first["steps"], 20);
    EXPECT_EQ(first["end"], "budget");
    // It starts at chance, ln 2048, and has learnt something.
    EXPECT_NEAR(first["first_validation_loss"].get<double>(), 7.62, 0.1);
    EXPECT_LT(first["validation_loss"].get<double>(), 6.5);
    EXPECT_EQ(first["series"]["train_loss"].size(), 20u);
    EXPECT_FALSE(fs::exists(home.file("small.checkpoints")));
    const json inspected = ask({"inspect", home.file("small"), "--json"});
    EXPECT_EQ(inspected["parameters"], first["parameters"]);
    EXPECT_EQ(inspected["dtype"], "BF16");

    Arguments on = {"train",
                    home.file("small"),
                    "--train",
                    text,
                    "--out",
                    home.file("small"),
                    "--tokens",
                    "4096",
                    "--batch-tokens",
                    "1024",
                    "--context",
                    "128",
                    "--validation-tokens",
                    "1024",
                    "--json"};
    const json second = ask(on);
    EXPECT_NEAR(second["first_validation_loss"].get<double>(),
                first["validation_loss"].get<double>(), 0.02);
    EXPECT_EQ(ask(training("same"))["validation_loss"], first["validation_loss"]);
    EXPECT_NE(ask(training("other", {"--seed", "2"}))["validation_loss"], first["validation_loss"]);
}

TEST_F(CliTrain, ATeacherIsFollowed) {
    const json result = ask(training("student", {"--teacher", demo("teacher").string()}));
    ASSERT_TRUE(result["series"].contains("validation_kl"));
    const json& curve = result["series"]["validation_kl"];
    EXPECT_LT(curve.back()[1].get<double>(), 0.8 * curve.front()[1].get<double>());
}

TEST_F(CliTrain, AKilledRunGoesOnToTheSameFile) {
    ask(training("whole"));
    const Arguments again = training("killed", {"--checkpoint-every", "3"});
    {
        CliProcess process(again, home.path());
        ASSERT_TRUE(waitForFile(home.file("killed.checkpoints/checkpoint.safetensors"), 120));
        process.signal(SIGKILL);
        EXPECT_EQ(process.wait().exitCode, 128 + SIGKILL);
    }
    EXPECT_FALSE(fs::exists(home.file("killed")));
    const CliResult resumed = home.run(again);
    ASSERT_EQ(resumed.exitCode, 0) << resumed.err;
    EXPECT_NE(resumed.err.find("going on from step"), std::string::npos) << resumed.err;
    EXPECT_EQ(resumed.json()["series"]["train_loss"].size(), 20u);
    EXPECT_EQ(bytesOf(home.file("killed/model.safetensors")),
              bytesOf(home.file("whole/model.safetensors")));
}

TEST_F(CliTrain, EndsEarlyOnASignalAndKeepsWhatThereIs) {
    CliProcess process(training("early", {"--tokens", "100000000", "--checkpoint-every", "2",
                                          "--evaluate-every", "1000"}),
                       home.path());
    ASSERT_TRUE(waitForFile(home.file("early.checkpoints/checkpoint.safetensors"), 120));
    process.signal(SIGUSR1);
    const CliResult result = process.wait();
    ASSERT_EQ(result.exitCode, 0) << result.err;
    EXPECT_EQ(result.json()["end"], "stopped early");
    EXPECT_LT(result.json()["validation_loss"], result.json()["first_validation_loss"]);
    EXPECT_TRUE(fs::exists(home.file("early/model.safetensors")));
}

TEST_F(CliTrain, MistakesAreNamedBeforeAnythingIsTrained) {
    const auto fails = [&](const Arguments& arguments, int code, const std::string& what) {
        const CliResult result = home.run(arguments);
        EXPECT_EQ(result.exitCode, code) << result.err;
        EXPECT_NE(result.err.find(what), std::string::npos) << result.err;
        EXPECT_EQ(result.errorLines(), 1) << result.err;
    };
    fails({"train", shape, "--train", text, "--out", home.file("x")}, 3, "tokenizer.json");
    fails(training("x", {"--train", home.file("absent.txt")}), 3, "absent.txt");
    home.write("full/other.txt", "something else");
    fails(training("full"), 2, "is no model folder");
    fails(training("x", {"--dtype", "int8"}), 2, "--dtype");
    const Arguments wide = training("x", {"--batch-tokens", "64"});
    fails(wide, 2, "does not hold one context");
}

TEST_F(CliTrain, TooLittleMemorySaysWhatTakesLess) {
    if (kSanitized)
        GTEST_SKIP() << "a sanitizer reserves more than any limit";
    rlimit limit{};
    ASSERT_EQ(getrlimit(RLIMIT_AS, &limit), 0);
    const rlim_t before = limit.rlim_cur;
    limit.rlim_cur = 1U << 30;
    ASSERT_EQ(setrlimit(RLIMIT_AS, &limit), 0);
    const CliResult result = home.run(training(
        "starved", {"--batch-tokens", "1048576", "--tokens", "1048576", "--threads", "1"}));
    limit.rlim_cur = before;
    ASSERT_EQ(setrlimit(RLIMIT_AS, &limit), 0);
    EXPECT_EQ(result.exitCode, 4) << result.err;
    EXPECT_EQ(result.errorLines(), 1) << result.err;
    for (const char* word : {"1048576 now", "128 now", "checkpointing"})
        EXPECT_NE(result.err.find(word), std::string::npos) << word << ": " << result.err;
    EXPECT_FALSE(fs::exists(home.file("starved")));
}

TEST_F(CliTrain, AKilledRecipeIsResumedInTheMiddleOfItsTraining) {
    const std::string recipe =
        R"({"name":"three","steps":[)"
        R"({"technique":"distill","params":{"tokens":1024,"batch_tokens":512,"context":64}},)"
        R"({"technique":"ptq","params":{"scheme":"int4-g32","method":"rtn"}},)"
        R"({"technique":"qat","params":{"tokens":3072,"batch_tokens":512,)"
        R"("context":64,"checkpoint_minutes":0.0001}}],"seed":1})";
    const std::string tasks =
        home.write("tasks.jsonl", R"({"prompt":"2 + 2 =","choices":[" 4"," 5"],"answer":0})"
                                  "\n");
    const Arguments run = {"run",       recipe,    "--model",      "demo",       "--tasks",
                           tasks,       "--train", text,           "--no-speed", "--no-baseline",
                           "--context", "64",      "--max-tokens", "256",        "--json"};
    const json whole = ask(run);
    CliProcess process(run, home.path());
    ASSERT_TRUE(waitForFile(home.path() / "artifacts/2.checkpoints/3/checkpoint.safetensors", 300));
    process.signal(SIGKILL);
    process.wait();
    const json list = ask({"experiments", "list", "--json"})["experiments"];
    ASSERT_EQ(list.size(), 2u);
    EXPECT_EQ(list[1]["status"], "interrupted");
    const std::string id = std::to_string(list[1]["id"].get<int>());
    const CliResult resumed = home.run({"experiments", "resume", id, "--json"});
    ASSERT_EQ(resumed.exitCode, 0) << resumed.err;
    // Distilling was finished, training in four bits was not.
    EXPECT_NE(resumed.err.find("going on from step 2 of 2"), std::string::npos) << resumed.err;
    const auto middle = std::regex("going on from step [1-5] of 6");
    EXPECT_TRUE(std::regex_search(resumed.err, middle)) << resumed.err;
    const json shown = ask({"experiments", "show", id, "--json"});
    EXPECT_EQ(shown["metrics"]["perplexity"], whole["metrics"]["perplexity"]);
    const fs::path artifact = shown["artifact"].get<std::string>();
    EXPECT_EQ(bytesOf(artifact / "model.safetensors"),
              bytesOf(fs::path(whole["artifact"].get<std::string>()) / "model.safetensors"));
    EXPECT_FALSE(fs::exists(artifact.string() + ".checkpoints"));
}

/// Heads have no checkpoints: their run starts anew, and what was done before it is kept.
TEST_F(CliTrain, AKilledTrainingOfHeadsIsResumedFromItsBeginning) {
    for (const std::string kind : {"eagle", "medusa"}) {
        const CliHome own;
        const std::string recipe = std::string(R"({"name":"heads","steps":[{"technique":")") +
                                   kind +
                                   R"(","params":{"tokens":TOKENS,"batch_tokens":512}}],"seed":1})";
        const auto words = [&](const char* tokens) {
            std::string filled = recipe;
            filled.replace(filled.find("TOKENS"), 6, tokens);
            return Arguments{"run",          filled,       "--model",       "demo",      "--train",
                             text,           "--no-speed", "--no-baseline", "--context", "64",
                             "--max-tokens", "256",        "--json"};
        };
        CliProcess process(words("51200"), own.path());
        ASSERT_TRUE(process.waitForError(kind == "eagle" ? "EAGLE head" : "Medusa heads", 300));
        std::this_thread::sleep_for(std::chrono::milliseconds(500));
        process.signal(SIGKILL);
        process.wait();
        const json list = own.run({"experiments", "list", "--json"}).json()["experiments"];
        ASSERT_EQ(list.size(), 1u);
        EXPECT_EQ(list[0]["status"], "interrupted");
        const std::string id = std::to_string(list[0]["id"].get<int>());
        EXPECT_FALSE(fs::exists(own.path() / "artifacts" / id)) << "half an artifact";
        const CliResult resumed = own.run({"experiments", "resume", id, "--json"});
        ASSERT_EQ(resumed.exitCode, 0) << resumed.err;
        const json done = own.run({"experiments", "show", id, "--json"}).json();
        EXPECT_EQ(done["status"], "finished");
        const fs::path artifact = done["artifact"].get<std::string>();
        EXPECT_TRUE(fs::exists(artifact / "draft/model.safetensors"));
        const CliResult whole = own.run(words("51200"));
        ASSERT_EQ(whole.exitCode, 0) << whole.err;
        EXPECT_EQ(bytesOf(artifact / "draft/model.safetensors"),
                  bytesOf(fs::path(whole.json()["artifact"].get<std::string>()) /
                          "draft/model.safetensors"))
            << kind;
    }
}

}  // namespace
}  // namespace fettle::test
