// Exit codes and messages of fettle-cli for what users get wrong.
#include <gtest/gtest.h>

#include "tests/integration/cli_process.h"

namespace fettle::test {
namespace {

struct Case {
    const char* name;
    std::vector<std::string> arguments;
    int exitCode;
    const char* says;  ///< part of the message
};

class CliErrors : public testing::TestWithParam<Case> {};

TEST_P(CliErrors, OneLineAndTheRightCode) {
    const Case& wrong = GetParam();
    CliHome home;
    home.write("empty/config.json", "{}");
    home.write("broken.gguf", "GGUF\x03");
    home.write("text.txt", "some text to measure on");
    home.write("notjson.json", "{ this is no JSON");
    home.write("unknown.json", R"({"steps":[{"technique":"magic","params":{}}]})");
    std::vector<std::string> arguments = wrong.arguments;
    for (std::string& argument : arguments)
        if (argument.rfind("@", 0) == 0)
            argument = home.file(argument.substr(1));
    const CliResult result = home.run(arguments);
    EXPECT_EQ(result.exitCode, wrong.exitCode) << result.err;
    EXPECT_EQ(result.errorLines(), 1) << result.err;
    EXPECT_NE(result.err.find(wrong.says), std::string::npos) << result.err;
    EXPECT_TRUE(result.out.empty()) << result.out;
}

INSTANTIATE_TEST_SUITE_P(
    All, CliErrors,
    testing::Values(
        Case{"NoCommand", {}, 2, "subcommand"},
        Case{"UnknownCommand", {"frobnicate"}, 2, "frobnicate"},
        Case{"MissingModel", {"inspect"}, 2, "MODEL"},
        Case{"UnknownOption", {"inspect", "demo", "--frob"}, 2, "--frob"},
        Case{"NegativeThreads", {"devices", "--threads", "-2"}, 2, "--threads"},
        Case{"UnknownDevice", {"inspect", "demo", "--device", "quantum"}, 2, "quantum"},
        Case{"NoCuda", {"inspect", "demo", "--device", "cuda:77"}, 4, "cuda:77"},
        Case{"TokenizeWithoutText", {"tokenize", "demo"}, 2, "--text"},
        Case{"DraftOfTooManyLayers", {"bench", "demo", "--draft", "self:9"}, 2, "layers"},
        Case{"DraftIsMissing",
             {"generate", "demo", "--prompt", "x", "--draft", "@nowhere"},
             3,
             "nowhere"},
        Case{"BadProtocol", {"evaluate", "demo", "--protocol", "mine"}, 2, "--protocol"},
        Case{"NoFile", {"inspect", "@nothing-here"}, 3, "nothing-here"},
        Case{"EmptyConfig", {"inspect", "@empty"}, 3, "empty"},
        Case{"BrokenGguf", {"inspect", "@broken.gguf"}, 3, "broken.gguf"},
        Case{"NotAModel", {"generate", "@text.txt", "--prompt", "x"}, 3, "text.txt"},
        Case{"NoRecipe", {"run", "@nothing.json", "--model", "demo"}, 3, "nothing.json"},
        Case{"RecipeIsNoJson", {"run", "@notjson.json", "--model", "demo"}, 3, "notjson.json"},
        Case{"UnknownTechnique", {"run", "@unknown.json", "--model", "demo"}, 2, "magic"},
        Case{"BadScheme",
             {"run", R"({"steps":[{"technique":"ptq","params":{"scheme":"int1"}}]})", "--model",
              "demo"},
             2,
             "int1"},
        Case{"RecipeWithoutSteps", {"run", R"({"name":"x"})", "--model", "demo"}, 2, "steps"},
        Case{"RunWithoutModel", {"run", R"({"steps":[]})"}, 2, "--model"},
        Case{"RunOnNothing",
             {"run", R"({"steps":[]})", "--model", "@nothing-here"},
             3,
             "nothing-here"},
        Case{
            "EmptySweep",
            {"sweep",
             R"({"steps":[{"technique":"ptq"}],"sweep":[{"step":5,"param":"scheme","values":["int8"]}]})",
             "--model", "demo"},
            2,
            "sweep"},
        Case{"UnknownExperiment", {"experiments", "show", "12345"}, 2, "12345"},
        Case{"NoDatabase", {"experiments", "list", "--db", "@no.db"}, 3, "no.db"},
        Case{"ParetoOfNothing", {"experiments", "pareto", "--x", "beauty"}, 2, "beauty"},
        Case{"ExportUnknownFormat",
             {"export", "demo", "--format", "floppy", "--out", "@x"},
             2,
             "floppy"},
        Case{"ExportNothing", {"export", "--format", "gguf", "--out", "@x"}, 2, "MODEL"},
        Case{"GateWithoutLimit", {"gate", "--experiment", "1", "--baseline", "2"}, 2, "1"}),
    [](const auto& test) { return test.param.name; });

TEST(CliErrorsMore, IdsOutsideTheVocabulary) {
    if (!haveDemoModel())
        GTEST_SKIP() << "the bundled model is not there";
    CliHome home;
    for (const char* ids : {"99999999", "-1", "1,2,4294967296"}) {
        const CliResult result = home.run({"logits", "demo", "--ids", ids});
        EXPECT_EQ(result.exitCode, 2) << ids << ": " << result.err;
        EXPECT_EQ(result.errorLines(), 1) << result.err;
    }
}

TEST(CliErrorsMore, HelpAndVersionAreNoErrors) {
    CliHome home;
    for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
             {"--help"}, {"--version"}, {"run", "--help"}, {"experiments", "--help"}}) {
        const CliResult result = home.run(arguments);
        EXPECT_EQ(result.exitCode, 0);
        EXPECT_FALSE(result.out.empty());
        EXPECT_TRUE(result.err.empty()) << result.err;
    }
}

}  // namespace
}  // namespace fettle::test
