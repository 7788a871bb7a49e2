// Parameters against their schema: defaults, conversions, refusals by name.
#include <gtest/gtest.h>

#include "engine/experiment/technique_schema.h"

namespace fettle {
namespace {

using nlohmann::json;

ParameterSchema parameter(const char* name, ParameterType type, json defaultValue) {
    ParameterSchema schema;
    schema.name = name;
    schema.type = type;
    schema.defaultValue = std::move(defaultValue);
    return schema;
}

TechniqueDescriptor descriptor() {
    TechniqueDescriptor result;
    result.id = "demo";
    result.title = "Demo";
    ParameterSchema count = parameter("count", ParameterType::Int, 8);
    count.minimum = 1;
    count.maximum = 64;
    count.unit = "tokens";
    ParameterSchema ratio = parameter("ratio", ParameterType::Double, 0.5);
    ratio.minimum = 0;
    ratio.maximum = 1;
    ParameterSchema scheme = parameter("scheme", ParameterType::Choice, "int8");
    scheme.choices = {{"int8", "8 bits", ""}, {"4", "4 bits", ""}};
    ParameterSchema clip = parameter("clip", ParameterType::Bool, true);
    clip.visibleWhen = VisibleWhen{"scheme", {"int8"}};
    result.parameters = {count,
                         ratio,
                         scheme,
                         clip,
                         parameter("draft", ParameterType::Text, "auto"),
                         parameter("exclude", ParameterType::PatternList, json::array({"lm_head"})),
                         parameter("teacher", ParameterType::File, nullptr),
                         parameter("limit", ParameterType::Int, nullptr)};
    return result;
}

TEST(ValidateParams, FillsDefaults) {
    const json expected{{"count", 8},   {"ratio", 0.5},    {"scheme", "int8"},
                        {"clip", true}, {"draft", "auto"}, {"exclude", {"lm_head"}},
                        {"teacher", ""}};  // no "limit": unset has no value
    for (const json& given : {json::object(), json(nullptr), json{{"count", nullptr}}}) {
        const ValidatedParams result = validateParams(descriptor(), given);
        EXPECT_TRUE(result.problems.empty());
        EXPECT_EQ(result.params, expected) << given;
    }
}

TEST(ValidateParams, TakesWhatMeansTheSame) {
    struct Case {
        json given;
        const char* name;
        json taken;
    };
    const Case cases[] = {
        {{{"count", 16}}, "count", 16},
        {{{"count", 16.0}}, "count", 16},
        {{{"count", 64}}, "count", 64},
        {{{"ratio", 1}}, "ratio", 1.0},
        {{{"ratio", 0.25}}, "ratio", 0.25},
        {{{"scheme", 4}}, "scheme", "4"},
        {{{"draft", 4}}, "draft", "4"},
        {{{"exclude", "a.*"}}, "exclude", {"a.*"}},
        {{{"exclude", ""}}, "exclude", json::array()},
        {{{"exclude", {"a", "b"}}}, "exclude", {"a", "b"}},
        {{{"teacher", "/m"}}, "teacher", "/m"},
        {{{"clip", false}}, "clip", false},
        {{{"limit", -5}}, "limit", -5},
    };
    for (const Case& c : cases) {
        const ValidatedParams result = validateParams(descriptor(), c.given);
        EXPECT_TRUE(result.problems.empty()) << c.given;
        EXPECT_EQ(result.params[c.name], c.taken) << c.given;
        EXPECT_EQ(result.params[c.name].type() == json::value_t::string,
                  c.taken.type() == json::value_t::string);
    }
    EXPECT_TRUE(
        validateParams(descriptor(), {{"count", 16.0}}).params["count"].is_number_integer());
    EXPECT_TRUE(validateParams(descriptor(), {{"ratio", 1}}).params["ratio"].is_number_float());
}

TEST(ValidateParams, RefusesByName) {
    const std::pair<json, const char*> cases[] = {
        {{{"cout", 1}}, "demo: unknown parameter 'cout'"},
        {{{"count", 0}}, "demo: 'count' 0 is below the minimum of 1 tokens"},
        {{{"count", 65}}, "demo: 'count' 65 is above the maximum of 64 tokens"},
        {{{"count", 1.5}}, "demo: 'count' must be a whole number, not 1.5"},
        {{{"count", "8"}}, "demo: 'count' must be a whole number, not \"8\""},
        {{{"count", 18446744073709551615ull}},
         "demo: 'count' must be a whole number that fits 64 bits, not 18446744073709551615"},
        {{{"count", 1e300}}, "demo: 'count' must be a whole number, not 1e+300"},
        {{{"count", true}}, "demo: 'count' must be a whole number, not true"},
        {{{"ratio", -0.1}}, "demo: 'ratio' -0.1 is below the minimum of 0"},
        {{{"ratio", 1.01}}, "demo: 'ratio' 1.01 is above the maximum of 1"},
        {{{"ratio", "half"}}, "demo: 'ratio' must be a number, not \"half\""},
        {{{"ratio", std::numeric_limits<double>::quiet_NaN()}},
         "demo: 'ratio' must be a number, not null"},
        {{{"scheme", "int7"}}, "demo: 'scheme' unknown choice 'int7'; choices are int8, 4"},
        {{{"scheme", json::array()}}, "demo: 'scheme' must be one of the choices' names, not []"},
        {{{"clip", 1}}, "demo: 'clip' must be true or false, not 1"},
        {{{"clip", "true"}}, "demo: 'clip' must be true or false, not \"true\""},
        {{{"draft", json::object()}}, "demo: 'draft' must be text, not {}"},
        {{{"exclude", {1, 2}}},
         "demo: 'exclude' must be a list of tensor-name patterns, not [1,2]"},
        {{{"teacher", 3}}, "demo: 'teacher' must be a path, not 3"},
        {json::array(), "demo: parameters must be an object, not []"},
    };
    for (const auto& [given, message] : cases) {
        const ValidatedParams result = validateParams(descriptor(), given);
        ASSERT_EQ(result.problems.size(), 1u) << given;
        EXPECT_EQ(result.problems[0], message);
        EXPECT_EQ(result.params["count"], 8) << "a refused value leaves the default";
    }
    EXPECT_EQ(validateParams(descriptor(), {{"count", 0}, {"ratio", 2}, {"x", 1}}).problems.size(),
              3u);
}

TEST(TechniqueSchema, JsonSaysEverything) {
    const json value = toJson(descriptor());
    EXPECT_EQ(value["id"], "demo");
    ASSERT_EQ(value["parameters"].size(), 8u);
    const json& count = value["parameters"][0];
    EXPECT_EQ(count["type"], "int");
    EXPECT_EQ(count["default"], 8);
    EXPECT_EQ(count["minimum"], 1);
    EXPECT_EQ(count["maximum"], 64);
    EXPECT_EQ(count["unit"], "tokens");
    EXPECT_EQ(value["parameters"][2]["choices"][1]["value"], "4");
    EXPECT_EQ(value["parameters"][3]["visible_when"]["param"], "scheme");
    EXPECT_FALSE(value["parameters"][4].contains("minimum"));
}

}  // namespace
}  // namespace fettle
