// fettle-cli experiments favourite, tag, note; list by them; out as JSON and back.
#include <gtest/gtest.h>

#include "cli_process.h"
#include "storage/database.h"
#include "storage/experiment_repository.h"

namespace fettle {
namespace {

using nlohmann::json;
using test::CliHome;
using test::CliResult;

class CliAnnotations : public ::testing::Test {
protected:
    void SetUp() override {
        storage::Database database = storage::Database::open(db);
        storage::ExperimentRepository repository(database);
        for (const char* scheme : {"int8", "int4-g32", "w8a16"}) {
            RunRequest request;
            request.modelPath = "/models/tiny";
            request.recipe.steps = {{"ptq", {{"scheme", scheme}}}};
            const std::int64_t id = repository.create(request, "", "0.1.0");
            repository.setRunning(id);
            RunResult result;
            result.metrics = {
                {"perplexity", 7.0 + static_cast<double>(id), "", {}, {}, true, false, "ppl"}};
            repository.finish(id, result);
        }
    }
    CliResult experiments(std::vector<std::string> words) const {
        words.insert(words.begin(), "experiments");
        words.insert(words.end(), {"--db", db});
        return home.run(words);
    }
    json ask(std::vector<std::string> words) const {
        words.emplace_back("--json");
        const CliResult result = experiments(std::move(words));
        EXPECT_EQ(result.exitCode, 0) << result.err;
        return result.json();
    }

    CliHome home;
    std::string db = home.file("fettle.db");
};

TEST_F(CliAnnotations, StarsTagsAndNotes) {
    EXPECT_EQ(ask({"favourite", "1", "3"})["experiments"].size(), 2U);
    const json tagged = ask({"tag", "2", "3", "--add", "for  the paper", "--add", "small"});
    EXPECT_EQ(tagged["experiments"][0]["tags"], (json{"for the paper", "small"}));
    ask({"tag", "3", "--remove", "small"});
    ask({"note", "3", "lost nothing"});
    EXPECT_EQ(ask({"note", "3"})["note"], "lost nothing");

    json list = ask({"list", "--favourite"})["experiments"];
    ASSERT_EQ(list.size(), 2U);
    EXPECT_EQ(list[0]["id"], 1);
    list = ask({"list", "--favourite", "--tag", "for the paper"})["experiments"];
    ASSERT_EQ(list.size(), 1U);
    EXPECT_EQ(list[0]["id"], 3);
    EXPECT_EQ(list[0]["note"], "lost nothing");
    EXPECT_NE(experiments({"list"}).out.find("* ptq w8a16 [for the paper]"), std::string::npos);
    EXPECT_NE(experiments({"show", "3"}).out.find("lost nothing"), std::string::npos);
    EXPECT_NE(experiments({"list", "--tag", "nobody"}).out.find("so marked"), std::string::npos);

    ask({"favourite", "1", "--off"});
    ask({"note", "3", "--clear"});
    EXPECT_EQ(ask({"list", "--favourite"})["experiments"].size(), 1U);
    EXPECT_EQ(ask({"show", "3"})["note"], "");
}

TEST_F(CliAnnotations, GoOutAndComeBack) {
    ask({"favourite", "2"});
    ask({"tag", "2", "--add", "small"});
    ask({"note", "2", "the one"});
    const std::string file = home.file("all.json");
    ask({"export", file});
    const std::string other = home.file("other.db");
    ASSERT_EQ(home.run({"experiments", "import", file, "--db", other}).exitCode, 0);
    const json list =
        home.run({"experiments", "list", "--tag", "small", "--db", other, "--json"}).json();
    ASSERT_EQ(list["experiments"].size(), 1U);
    EXPECT_EQ(list["experiments"][0]["favourite"], true);
    EXPECT_EQ(list["experiments"][0]["note"], "the one");
}

TEST_F(CliAnnotations, WrongUseChangesNothing) {
    const CliResult unknown = experiments({"favourite", "1", "77"});
    EXPECT_EQ(unknown.exitCode, 2);
    EXPECT_NE(unknown.err.find("77"), std::string::npos) << unknown.err;
    EXPECT_TRUE(ask({"list", "--favourite"})["experiments"].empty());
    EXPECT_EQ(experiments({"tag", "1"}).exitCode, 2);
    EXPECT_EQ(experiments({"tag", "1", "--add", " , "}).exitCode, 2);
    EXPECT_EQ(experiments({"note", "1", "text", "--clear"}).exitCode, 2);
}

}  // namespace
}  // namespace fettle
