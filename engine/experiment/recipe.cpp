#include "engine/experiment/recipe.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace fettle {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxSteps = 1000;
constexpr int kMaxDepth = 64;
constexpr std::size_t kMaxSweep = 100'000;

std::string described(const json& value) {
    std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
    if (text.size() > 60)
        text = text.substr(0, 57) + "...";
    return text;
}

[[noreturn]] void refuse(const std::string& field, const std::string& wanted, const json& found) {
    throw RecipeError("recipe: '" + field + "' must be " + wanted + ", not " + described(found));
}

/// Keys besides the known ones are typing errors; free text for people is the exception.
void checkKeys(const json& object, const std::string& where,
               std::initializer_list<std::string_view> known) {
    for (const auto& item : object.items()) {
        static constexpr std::array<std::string_view, 5> notes{"description", "help", "title",
                                                               "comment", "$schema"};
        if (std::find(known.begin(), known.end(), item.key()) == known.end() &&
            std::find(notes.begin(), notes.end(), item.key()) == notes.end())
            throw RecipeError("recipe: unknown field '" + where + item.key() + "'");
    }
}

std::uint64_t seedFromJson(const json& value) {
    if (value.is_number_unsigned())
        return value.get<std::uint64_t>();
    if (value.is_number_integer() && value.get<std::int64_t>() >= 0)
        return static_cast<std::uint64_t>(value.get<std::int64_t>());
    refuse("seed", "a whole number of at least 0", value);
}

RecipeStep stepFromJson(const json& value, std::size_t index) {
    const std::string where = "steps[" + std::to_string(index) + "]";
    if (!value.is_object())
        refuse(where, "an object with 'technique' and 'params'", value);
    checkKeys(value, where + ".", {"technique", "params"});
    RecipeStep step;
    const auto technique = value.find("technique");
    if (technique == value.end())
        throw RecipeError("recipe: '" + where + ".technique' is missing");
    if (!technique->is_string() || technique->get_ref<const std::string&>().empty())
        refuse(where + ".technique", "the id of a technique", *technique);
    step.technique = technique->get<std::string>();
    if (const auto params = value.find("params"); params != value.end() && !params->is_null()) {
        if (!params->is_object())
            refuse(where + ".params", "an object", *params);
        step.params = *params;
    }
    return step;
}

/// 2.0 and 2 are the same setting, as are -0.0 and 0: whole numbers become integers.
json canonical(const json& value) {
    if (value.is_object() || value.is_array()) {
        json result = value;
        for (json& item : result)
            item = canonical(item);
        return result;
    }
    if (value.is_number_float()) {
        const double number = value.get<double>();
        if (std::floor(number) == number && std::abs(number) < 9007199254740992.0)
            return static_cast<std::int64_t>(number);
    }
    return value;
}

Recipe recipeFromObject(const json& object) {
    Recipe recipe;
    if (const auto name = object.find("name"); name != object.end() && !name->is_null()) {
        if (!name->is_string())
            refuse("name", "text", *name);
        recipe.name = name->get<std::string>();
    }
    const auto steps = object.find("steps");
    if (steps == object.end())
        throw RecipeError("recipe: 'steps' is missing");
    if (!steps->is_array())
        refuse("steps", "a list", *steps);
    if (steps->size() > kMaxSteps)
        throw RecipeError("recipe: 'steps' has " + std::to_string(steps->size()) +
                          " entries, at most " + std::to_string(kMaxSteps) + " are possible");
    for (std::size_t i = 0; i < steps->size(); ++i)
        recipe.steps.push_back(stepFromJson((*steps)[i], i));
    if (const auto seed = object.find("seed"); seed != object.end())
        recipe.seed = seedFromJson(*seed);
    return recipe;
}

SweepAxis axisFromJson(const json& value, std::size_t index) {
    const std::string where = "sweep[" + std::to_string(index) + "]";
    if (!value.is_object())
        refuse(where, "an object with 'step', 'param' and 'values'", value);
    checkKeys(value, where + ".", {"step", "param", "values"});
    SweepAxis axis;
    if (const auto step = value.find("step"); step != value.end()) {
        if (!step->is_number_integer() || *step < 0)
            refuse(where + ".step", "the index of a step, counted from 0", *step);
        axis.step = step->get<std::size_t>();
    }
    const auto param = value.find("param");
    if (param == value.end() || !param->is_string())
        throw RecipeError("recipe: '" + where + ".param' must name a parameter");
    axis.param = param->get<std::string>();
    const auto values = value.find("values");
    if (values == value.end() || !values->is_array())
        throw RecipeError("recipe: '" + where + ".values' must be a list");
    axis.values.assign(values->begin(), values->end());
    return axis;
}

json parse(std::string_view text) {
    // Deep nesting says nothing in a recipe, but what walks over it later does so by recursion.
    const auto limited = [](int depth, json::parse_event_t, json&) {
        if (depth > kMaxDepth)
            throw RecipeError("recipe: nested more than " + std::to_string(kMaxDepth) + " deep");
        return true;
    };
    try {
        return json::parse(text, limited);
    } catch (const json::parse_error& error) {
        throw RecipeError("recipe: not JSON, at byte " + std::to_string(error.byte));
    }
}

std::string valueText(const json& value) {
    return value.is_string() ? value.get<std::string>()
                             : value.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

json toJson(const Recipe& recipe) {
    json steps = json::array();
    for (const RecipeStep& step : recipe.steps)
        steps.push_back({{"technique", step.technique}, {"params", step.params}});
    return {{"name", recipe.name}, {"steps", steps}, {"seed", recipe.seed}};
}

Recipe recipeFromJson(const json& value) {
    if (!value.is_object())
        throw RecipeError("recipe: must be an object with 'name', 'steps' and 'seed', not " +
                          described(value));
    checkKeys(value, "", {"name", "steps", "seed"});
    return recipeFromObject(value);
}

Recipe recipeFromText(std::string_view text) {
    return recipeFromJson(parse(text));
}

std::string recipeHash(const Recipe& recipe) {
    // nlohmann::json keeps object keys sorted and writes the shortest text that reads back as the
    // same number.
    json form = toJson(recipe);
    form.erase("name");
    const std::string text = canonical(form).dump(-1, ' ', false, json::error_handler_t::replace);
    const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
    XXH128_canonical_t bytes;
    XXH128_canonicalFromHash(&bytes, hash);
    std::string hex;
    for (const unsigned char byte : bytes.digest) {
        static constexpr std::string_view digits = "0123456789abcdef";
        hex += digits[byte >> 4];
        hex += digits[byte & 15];
    }
    return hex;
}

std::vector<Recipe> expandSweep(const Recipe& base, const std::vector<SweepAxis>& axes) {
    std::size_t count = 1;
    for (const SweepAxis& axis : axes) {
        if (axis.step >= base.steps.size())
            throw RecipeError("sweep: step " + std::to_string(axis.step) + " of '" + axis.param +
                              "' is not in the recipe, which has " +
                              std::to_string(base.steps.size()) + " steps");
        if (axis.values.empty())
            throw RecipeError("sweep: '" + axis.param + "' has no values");
        if (axis.values.size() > kMaxSweep / count)
            throw RecipeError("sweep: more than " + std::to_string(kMaxSweep) + " recipes");
        count *= axis.values.size();
    }

    std::vector<Recipe> recipes;
    recipes.reserve(count);
    for (std::size_t number = 0; number < count; ++number) {
        Recipe recipe = base;
        std::string settings;
        std::size_t stride = count;
        for (const SweepAxis& axis : axes) {
            stride /= axis.values.size();
            const json& value = axis.values[number / stride % axis.values.size()];
            recipe.steps[axis.step].params[axis.param] = value;
            const bool ambiguous =
                std::count_if(axes.begin(), axes.end(), [&](const SweepAxis& other) {
                    return other.param == axis.param;
                }) > 1;
            settings += settings.empty() ? "" : ", ";
            settings +=
                ambiguous ? "step " + std::to_string(axis.step + 1) + " " + axis.param : axis.param;
            settings.append(1, '=').append(valueText(value));
        }
        if (!settings.empty())
            recipe.name = recipe.name.empty() ? settings : recipe.name + ": " + settings;
        recipes.push_back(std::move(recipe));
    }
    return recipes;
}

std::vector<Recipe> recipesFromJson(const json& value) {
    if (value.is_array() || (value.is_object() && value.contains("recipes"))) {
        if (value.is_object())
            checkKeys(value, "", {"recipes", "name"});
        const json& list = value.is_array() ? value : value["recipes"];
        if (!list.is_array())
            refuse("recipes", "a list of recipes", list);
        std::vector<Recipe> recipes;
        for (const json& item : list) {
            if (item.is_array() || (item.is_object() && item.contains("recipes")))
                throw RecipeError("recipe: a list of recipes cannot hold another list");
            for (Recipe& recipe : recipesFromJson(item))
                recipes.push_back(std::move(recipe));
        }
        return recipes;
    }
    if (!value.is_object() || !value.contains("sweep"))
        return {recipeFromJson(value)};
    checkKeys(value, "", {"name", "steps", "seed", "sweep"});
    const json& sweep = value["sweep"];
    if (!sweep.is_array())
        refuse("sweep", "a list of axes", sweep);
    std::vector<SweepAxis> axes;
    for (std::size_t i = 0; i < sweep.size(); ++i)
        axes.push_back(axisFromJson(sweep[i], i));
    return expandSweep(recipeFromObject(value), axes);
}

std::vector<Recipe> recipesFromText(std::string_view text) {
    return recipesFromJson(parse(text));
}

}  // namespace fettle
