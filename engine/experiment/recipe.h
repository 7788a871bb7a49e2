// A recipe: ordered techniques with their parameters. JSON in and out, canonical hash.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace fettle {

struct RecipeStep {
    std::string technique;  ///< "ptq", "qat", ...
    nlohmann::json params = nlohmann::json::object();
    bool operator==(const RecipeStep&) const = default;
};

struct Recipe {
    std::string name;
    std::vector<RecipeStep> steps;
    std::uint64_t seed = 1;
    bool operator==(const Recipe&) const = default;
};

/// Thrown for text that is not a recipe; the message names the field.
class RecipeError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

nlohmann::json toJson(const Recipe& recipe);
Recipe recipeFromJson(const nlohmann::json& json);
Recipe recipeFromText(std::string_view text);
/// 32 hexadecimal digits over steps, parameters and seed (keys sorted, name left out): equal
/// recipes hash equal.
std::string recipeHash(const Recipe& recipe);

/// A sweep: a recipe whose parameters may be lists under "sweep":
/// [{"step":0,"param":"scheme","values":[...]}].
struct SweepAxis {
    std::size_t step = 0;
    std::string param;
    std::vector<nlohmann::json> values;
};
/// The grid of recipes, in row-major order of the axes; each gets a name that states its values.
std::vector<Recipe> expandSweep(const Recipe& base, const std::vector<SweepAxis>& axes);

/// What `fettle-cli sweep` reads: one recipe, a recipe with "sweep" (its grid), or a list of
/// either, bare or under "recipes". Throws RecipeError.
std::vector<Recipe> recipesFromJson(const nlohmann::json& json);
std::vector<Recipe> recipesFromText(std::string_view text);

}  // namespace fettle
