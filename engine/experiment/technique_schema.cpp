#include "engine/experiment/technique_schema.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace fettle {

ParameterSchema parameter(const char* name, const char* title, ParameterType type,
                          nlohmann::json value, const char* help) {
    ParameterSchema p;
    p.name = name;
    p.title = title;
    p.type = type;
    p.defaultValue = std::move(value);
    p.help = help;
    return p;
}

ParameterSchema numberParameter(const char* name, const char* title, ParameterType type,
                                nlohmann::json value, double low, double high, const char* unit,
                                const char* help) {
    ParameterSchema p = parameter(name, title, type, std::move(value), help);
    p.minimum = low;
    p.maximum = high;
    p.unit = unit;
    return p;
}
namespace {

using nlohmann::json;

std::string typeName(ParameterType type) {
    switch (type) {
        case ParameterType::Bool:
            return "bool";
        case ParameterType::Int:
            return "int";
        case ParameterType::Double:
            return "double";
        case ParameterType::Choice:
            return "choice";
        case ParameterType::Text:
            return "text";
        case ParameterType::PatternList:
            return "patterns";
        case ParameterType::File:
            return "file";
    }
    return "text";
}

std::string dumped(const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

/// The shortest text of a limit: "0.5", "4096".
std::string limitText(double value) {
    std::array<char, 64> buffer{};
    const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
    return {buffer.data(), result.ptr};
}

/// One value against its schema. `reason` stays empty when it fits.
struct Checked {
    json value;
    std::string reason;
};

Checked mustBe(const std::string& wanted, const json& found) {
    return {{}, "must be " + wanted + ", not " + dumped(found)};
}

Checked checkRange(const ParameterSchema& schema, json value) {
    const double number = value.get<double>();
    const std::string unit = schema.unit.empty() ? "" : " " + schema.unit;
    if (schema.minimum && number < *schema.minimum)
        return {{},
                dumped(value) + " is below the minimum of " + limitText(*schema.minimum) + unit};
    if (schema.maximum && number > *schema.maximum)
        return {{},
                dumped(value) + " is above the maximum of " + limitText(*schema.maximum) + unit};
    return {std::move(value), {}};
}

Checked checkInt(const ParameterSchema& schema, const json& value) {
    if (value.is_number_unsigned() &&
        value.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX))
        return mustBe("a whole number that fits 64 bits", value);
    if (value.is_number_integer())
        return checkRange(schema, value.get<std::int64_t>());
    if (value.is_number_float()) {  // 16.0 and 1e6 are whole numbers
        const double number = value.get<double>();
        if (std::floor(number) == number && std::abs(number) < 9007199254740992.0)
            return checkRange(schema, static_cast<std::int64_t>(number));
    }
    return mustBe("a whole number", value);
}

Checked checkDouble(const ParameterSchema& schema, const json& value) {
    if (!value.is_number() || !std::isfinite(value.get<double>()))
        return mustBe("a number", value);
    return checkRange(schema, value.get<double>());
}

Checked checkChoice(const ParameterSchema& schema, const json& value) {
    if (!value.is_string() && !value.is_number())
        return mustBe("one of the choices' names", value);
    const std::string text = value.is_string() ? value.get<std::string>() : dumped(value);
    std::string known;
    for (const ParameterChoice& choice : schema.choices) {
        if (choice.value == text)
            return {text, {}};
        known += (known.empty() ? "" : ", ") + choice.value;
    }
    return {{}, "unknown choice '" + text + "'; choices are " + known};
}

Checked checkPatterns(const json& value) {
    if (value.is_string())
        return {value.get_ref<const std::string&>().empty() ? json::array() : json::array({value}),
                {}};
    if (!value.is_array() ||
        !std::all_of(value.begin(), value.end(), [](const json& item) { return item.is_string(); }))
        return mustBe("a list of tensor-name patterns", value);
    return {value, {}};
}

Checked check(const ParameterSchema& schema, const json& value) {
    switch (schema.type) {
        case ParameterType::Bool:
            return value.is_boolean() ? Checked{value, {}} : mustBe("true or false", value);
        case ParameterType::Int:
            return checkInt(schema, value);
        case ParameterType::Double:
            return checkDouble(schema, value);
        case ParameterType::Choice:
            return checkChoice(schema, value);
        case ParameterType::PatternList:
            return checkPatterns(value);
        case ParameterType::File:
            return value.is_string() ? Checked{value, {}} : mustBe("a path", value);
        case ParameterType::Text:
            break;
    }
    // "draft_tokens": 4 and "draft_tokens": "4" mean the same.
    if (value.is_number())
        return {dumped(value), {}};
    return value.is_string() ? Checked{value, {}} : mustBe("text", value);
}

json defaultOf(const ParameterSchema& schema) {
    if (!schema.defaultValue.is_null())
        return schema.defaultValue;
    if (schema.type == ParameterType::Text || schema.type == ParameterType::File)
        return "";
    if (schema.type == ParameterType::PatternList)
        return json::array();
    return nullptr;
}

json toJson(const ParameterSchema& schema) {
    json result{{"name", schema.name},           {"title", schema.title},
                {"type", typeName(schema.type)}, {"default", schema.defaultValue},
                {"unit", schema.unit},           {"help", schema.help},
                {"sweepable", schema.sweepable}};
    if (schema.minimum)
        result["minimum"] = *schema.minimum;
    if (schema.maximum)
        result["maximum"] = *schema.maximum;
    if (!schema.choices.empty()) {
        json& choices = result["choices"] = json::array();
        for (const ParameterChoice& choice : schema.choices)
            choices.push_back(
                {{"value", choice.value}, {"title", choice.title}, {"help", choice.help}});
    }
    if (schema.visibleWhen)
        result["visible_when"] = {{"param", schema.visibleWhen->param},
                                  {"values", schema.visibleWhen->values}};
    return result;
}

}  // namespace

json toJson(const TechniqueDescriptor& descriptor) {
    json parameters = json::array();
    for (const ParameterSchema& schema : descriptor.parameters)
        parameters.push_back(toJson(schema));
    return {{"id", descriptor.id},
            {"title", descriptor.title},
            {"help", descriptor.help},
            {"uses_calibration", descriptor.usesCalibration},
            {"needs_training_text", descriptor.needsTrainingText},
            {"needs_teacher", descriptor.needsTeacher},
            {"parameters", parameters}};
}

ValidatedParams validateParams(const TechniqueDescriptor& descriptor, const json& params) {
    ValidatedParams result{json::object(), {}};
    for (const ParameterSchema& schema : descriptor.parameters) {
        if (json value = defaultOf(schema); !value.is_null())
            result.params[schema.name] = std::move(value);
    }
    if (params.is_null())
        return result;
    if (!params.is_object()) {
        result.problems.push_back(descriptor.id + ": parameters must be an object, not " +
                                  dumped(params));
        return result;
    }
    for (const auto& item : params.items()) {
        const auto schema =
            std::find_if(descriptor.parameters.begin(), descriptor.parameters.end(),
                         [&](const ParameterSchema& entry) { return entry.name == item.key(); });
        if (schema == descriptor.parameters.end()) {
            result.problems.push_back(descriptor.id + ": unknown parameter '" + item.key() + "'");
            continue;
        }
        if (item.value().is_null())  // as if it had not been written
            continue;
        Checked checked = check(*schema, item.value());
        if (checked.reason.empty())
            result.params[schema->name] = std::move(checked.value);
        else
            result.problems.push_back(descriptor.id + ": '" + schema->name + "' " + checked.reason);
    }
    return result;
}

}  // namespace fettle
