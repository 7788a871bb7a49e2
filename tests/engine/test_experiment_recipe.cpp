// Recipes: reading, refusing, hashing, sweeps.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "engine/experiment/recipe.h"

namespace fettle {
namespace {

std::string hashOf(const std::string& text) {
    return recipeHash(recipeFromText(text));
}

TEST(Recipe, ReadsAndWrites) {
    const Recipe recipe = recipeFromText(
        R"({"name": "n", "description": "d", "steps": [{"technique": "ptq", "params": {"scheme": "int4-g32"}}, {"technique": "qat"}], "seed": 18446744073709551615})");
    EXPECT_EQ(recipe.name, "n");
    EXPECT_EQ(recipe.seed, 18446744073709551615ull);
    ASSERT_EQ(recipe.steps.size(), 2u);
    EXPECT_EQ(recipe.steps[0].params["scheme"], "int4-g32");
    EXPECT_TRUE(recipe.steps[1].params.is_object());
    EXPECT_EQ(recipeFromJson(toJson(recipe)), recipe);
    EXPECT_TRUE(recipeFromText(R"({"steps": []})").steps.empty());
}

TEST(Recipe, RefusesByName) {
    const std::pair<const char*, const char*> cases[] = {
        {"", "not JSON"},
        {"[]", "must be an object"},
        {"{}", "'steps' is missing"},
        {R"({"steps": {}})", "'steps' must be a list"},
        {R"({"steps": [], "seeds": 1})", "unknown field 'seeds'"},
        {R"({"steps": [], "seed": -1})", "'seed'"},
        {R"({"steps": [], "seed": 1.5})", "'seed'"},
        {R"({"steps": [], "seed": "1"})", "'seed'"},
        {R"({"steps": [], "name": 3})", "'name'"},
        {R"({"steps": [3]})", "steps[0]"},
        {R"({"steps": [{"technique": "ptq"}, {}]})", "'steps[1].technique' is missing"},
        {R"({"steps": [{"technique": ""}]})", "'steps[0].technique'"},
        {R"({"steps": [{"technique": "ptq", "params": []}]})", "'steps[0].params'"},
        {R"({"steps": [{"technique": "ptq", "parameters": {}}]})", "'steps[0].parameters'"},
        {R"({"steps": [], "sweep": []})", "unknown field 'sweep'"},
    };
    for (const auto& [text, message] : cases) {
        try {
            recipeFromText(text);
            ADD_FAILURE() << text;
        } catch (const RecipeError& error) {
            EXPECT_NE(std::string(error.what()).find(message), std::string::npos)
                << text << ": " << error.what();
        }
    }
    EXPECT_THROW(recipeFromText(std::string(100000, '[')), RecipeError);
    EXPECT_THROW(
        recipeFromText(R"({"steps": )" + std::string(100000, '[') + std::string(100000, ']') + "}"),
        RecipeError);
}

TEST(RecipeHash, IgnoresWhatDoesNotMatter) {
    const std::string base = hashOf(
        R"({"name": "a", "steps": [{"technique": "ptq", "params": {"scheme": "int8", "ratio": 2, "x": {"b": 1, "a": [1, 0.5]}}}], "seed": 1})");
    EXPECT_EQ(base.size(), 32u);
    EXPECT_EQ(base.find_first_not_of("0123456789abcdef"), std::string::npos);
    EXPECT_EQ(
        base,
        hashOf(
            R"({"seed": 1, "steps": [{"params": {"x": {"a": [1.0, 5e-1], "b": 1}, "ratio": 2.0, "scheme": "int8"}, "technique": "ptq"}], "name": "other"})"));
    EXPECT_EQ(
        base,
        hashOf(
            R"({"steps": [{"technique": "ptq", "params": {"scheme": "int8", "ratio": 2, "x": {"b": 1, "a": [1, 0.5]}}}]})"));
    EXPECT_EQ(hashOf(R"({"steps": [{"technique": "t", "params": {"x": 0}}]})"),
              hashOf(R"({"steps": [{"technique": "t", "params": {"x": -0.0}}]})"));
    EXPECT_EQ(hashOf(R"({"steps": [{"technique": "t"}]})"),
              hashOf(R"({"steps": [{"technique": "t", "params": {}}]})"));
}

TEST(RecipeHash, SeesWhatMatters) {
    std::set<std::string> hashes;
    const char* texts[] = {
        R"({"steps": []})",
        R"({"steps": [], "seed": 2})",
        R"({"steps": [{"technique": "ptq"}]})",
        R"({"steps": [{"technique": "qat"}]})",
        R"({"steps": [{"technique": "ptq"}, {"technique": "qat"}]})",
        R"({"steps": [{"technique": "qat"}, {"technique": "ptq"}]})",
        R"({"steps": [{"technique": "ptq", "params": {"a": 1}}]})",
        R"({"steps": [{"technique": "ptq", "params": {"a": "1"}}]})",
        R"({"steps": [{"technique": "ptq", "params": {"a": true}}]})",
        R"({"steps": [{"technique": "ptq", "params": {"a": [1, 2]}}]})",
        R"({"steps": [{"technique": "ptq", "params": {"a": [2, 1]}}]})",
    };
    for (const char* text : texts)
        EXPECT_TRUE(hashes.insert(hashOf(text)).second) << text;
}

TEST(RecipeHash, StaysWhatItIs) {
    // Stored in every database: a change of the canonical form would part old experiments from new
    // ones.
    EXPECT_EQ(
        hashOf(
            R"({"steps": [{"technique": "ptq", "params": {"scheme": "int4-g32", "method": "gptq", "damp": 0.01}}], "seed": 1})"),
        "61ce0cfb5b515e1c85633d9023a4f16c");
}

TEST(Sweep, GridIsRowMajorAndNamed) {
    const Recipe base = recipeFromText(
        R"({"name": "b", "steps": [{"technique": "ptq", "params": {"method": "rtn"}}, {"technique": "qat"}]})");
    const std::vector<Recipe> recipes =
        expandSweep(base, {{0, "scheme", {"int8", "int4-g32"}}, {1, "tokens", {1000, 2000, 3000}}});
    ASSERT_EQ(recipes.size(), 6u);
    EXPECT_EQ(recipes[0].name, "b: scheme=int8, tokens=1000");
    EXPECT_EQ(recipes[1].name, "b: scheme=int8, tokens=2000");
    EXPECT_EQ(recipes[3].name, "b: scheme=int4-g32, tokens=1000");
    EXPECT_EQ(recipes[5].steps[0].params["method"], "rtn");
    EXPECT_EQ(recipes[5].steps[1].params["tokens"], 3000);
    std::set<std::string> hashes;
    for (const Recipe& recipe : recipes)
        hashes.insert(recipeHash(recipe));
    EXPECT_EQ(hashes.size(), 6u);
}

TEST(Sweep, SameParameterOfTwoStepsIsToldApart) {
    const Recipe base =
        recipeFromText(R"({"steps": [{"technique": "prune"}, {"technique": "prune"}]})");
    EXPECT_EQ(expandSweep(base, {{0, "ratio", {0.5}}, {1, "ratio", {0.25}}})[0].name,
              "step 1 ratio=0.5, step 2 ratio=0.25");
}

TEST(Sweep, RefusesWhatCannotBe) {
    const Recipe base = recipeFromText(R"({"steps": [{"technique": "ptq"}]})");
    EXPECT_THROW(expandSweep(base, {{1, "scheme", {"int8"}}}), RecipeError);
    EXPECT_THROW(expandSweep(base, {{0, "scheme", {}}}), RecipeError);
    const std::vector<nlohmann::json> many(1000, 1);
    EXPECT_THROW(expandSweep(base, {{0, "a", many}, {0, "b", many}, {0, "c", many}}), RecipeError);
    EXPECT_EQ(expandSweep(base, {}).size(), 1u);
}

TEST(Sweep, FilesMayHoldARecipeAGridOrAList) {
    EXPECT_EQ(recipesFromText(R"({"steps": []})").size(), 1u);
    const std::string grid =
        R"({"steps": [{"technique": "ptq"}], "sweep": [{"step": 0, "param": "scheme", "values": ["int8", "int4-g32"]}]})";
    EXPECT_EQ(recipesFromText(grid).size(), 2u);
    EXPECT_EQ(recipesFromText("[" + grid + R"(, {"steps": []}])").size(), 3u);
    EXPECT_EQ(recipesFromText(R"({"recipes": [)" + grid + "]}").size(), 2u);
    EXPECT_THROW(recipesFromText("[[]]"), RecipeError);
    EXPECT_THROW(recipesFromText(R"({"steps": [], "sweep": 3})"), RecipeError);
    EXPECT_THROW(
        recipesFromText(
            R"({"steps": [{"technique": "t"}], "sweep": [{"step": -1, "param": "x", "values": [1]}]})"),
        RecipeError);
    EXPECT_THROW(recipesFromText(R"({"steps": [{"technique": "t"}], "sweep": [{"values": [1]}]})"),
                 RecipeError);
    EXPECT_THROW(recipesFromText("3"), RecipeError);
}

TEST(Recipe, BundledPresetsAreRecipes) {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(FETTLE_RESOURCES_DIR "/recipes")) {
        std::ifstream file(entry.path());
        const std::string text{std::istreambuf_iterator<char>(file), {}};
        EXPECT_NO_THROW(recipesFromText(text)) << entry.path();
        ++count;
    }
    EXPECT_GT(count, 0);
}

}  // namespace
}  // namespace fettle
