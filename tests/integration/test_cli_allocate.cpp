// Mixed precision through the command line: a run, then other budgets out of its scores.
#include <gtest/gtest.h>

#include <set>

#include "tests/integration/cli_process.h"

namespace fettle::test {
namespace {

using nlohmann::json;

TEST(CliAllocate, AnotherBudgetNeedsTheStoredScoresOnly) {
    if (!haveDemoModel())
        GTEST_SKIP() << "the bundled model is not there";
    const CliHome home;
    const std::string database = home.file("runs.db");
    const CliResult run = home.run(
        {"run",
         R"({"steps":[{"technique":"ptq","params":{"target_bits":3.2,"sensitivity":"fisher","method":"rtn","calibration_tokens":1024,"mix":["int2-g64","int3-g128","int4-g32"]}}]})",
         "--model", "demo", "--max-tokens", "1024", "--no-speed", "--no-baseline", "--db", database,
         "--json"});
    ASSERT_EQ(run.exitCode, 0) << run.err;
    const std::string id = std::to_string(run.json().at("experiment").get<int>());
    EXPECT_LE(run.json().at("metrics").at("mixed_bits").get<double>(), 3.2);

    const auto allocate = [&](const std::vector<std::string>& more) {
        std::vector<std::string> words = {"allocate", "--experiment", id,
                                          "--db",     database,       "--json"};
        words.insert(words.end(), more.begin(), more.end());
        return home.run(words);
    };
    const json small = allocate({"--target-bits", "2.6"}).json(),
               large = allocate({"--target-bits", "4"}).json();
    EXPECT_LE(small.at("bits_per_weight").get<double>(), 2.6);
    EXPECT_LE(large.at("bits_per_weight").get<double>(), 4.0);
    EXPECT_GT(small.at("predicted_loss").get<double>(), large.at("predicted_loss").get<double>());
    const json pinned =
        allocate({"--target-bits", "2.6", "--pin", "layers.0.attn.qkv=int4-g32"}).json();
    EXPECT_EQ(pinned.at("units").at(0).at("scheme"), "int4-g32");
    EXPECT_LE(pinned.at("bits_per_weight").get<double>(), 2.6);

    EXPECT_EQ(pinned.at("schemes").at(0), "layers.0.attn.qkv=int4-g32");
    EXPECT_EQ(pinned.at("schemes").size(), pinned.at("units").size());

    EXPECT_EQ(allocate({"--target-bits", "1"}).exitCode, 1);
    EXPECT_EQ(allocate({"--target-bits", "3", "--pin", "layers.0.attn.qkv=fp8"}).exitCode, 2);
    EXPECT_EQ(allocate({"--target-bits", "3", "--pin", "nothing=int4-g32"}).exitCode, 2);
    EXPECT_EQ(home.run({"allocate", "--experiment", "999", "--target-bits", "3", "--db", database})
                  .exitCode,
              2);
}

}  // namespace
}  // namespace fettle::test
