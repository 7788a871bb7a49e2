// What a technique says about itself. The window's forms, `fettle-cli techniques`, recipe
// validation and the documentation are all made from these values; no option of a technique is
// written anywhere else.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace fettle {

enum class ParameterType { Bool, Int, Double, Choice, Text, PatternList, File };

struct ParameterChoice {
    std::string value;
    std::string title;
    std::string help;
};

/// Show the parameter only while another one holds one of `values`.
struct VisibleWhen {
    std::string param;
    std::vector<std::string> values;
};

struct ParameterSchema {
    std::string name;   ///< the JSON key
    std::string title;  ///< label of the form row
    ParameterType type = ParameterType::Text;
    nlohmann::json defaultValue;
    std::optional<double> minimum;
    std::optional<double> maximum;
    std::vector<ParameterChoice> choices;
    std::string unit;
    std::string help;
    std::optional<VisibleWhen> visibleWhen;
    bool sweepable = false;
};

ParameterSchema parameter(const char* name, const char* title, ParameterType type,
                          nlohmann::json value, const char* help);
/// A parameter that takes a number between `low` and `high`. `type` is Int or Double.
ParameterSchema numberParameter(const char* name, const char* title, ParameterType type,
                                nlohmann::json value, double low, double high, const char* unit,
                                const char* help);

struct TechniqueDescriptor {
    std::string id;
    std::string title;
    std::string help;  ///< one paragraph
    std::vector<ParameterSchema> parameters;
    bool usesCalibration = false;
    bool needsTrainingText = false;
    bool needsTeacher = false;
};

nlohmann::json toJson(const TechniqueDescriptor& descriptor);

/// `params` with defaults filled in, or the reasons why they do not fit. Unknown keys, wrong types,
/// values out of range and unknown choices are each one message that names technique and parameter.
struct ValidatedParams {
    nlohmann::json params;
    std::vector<std::string> problems;
};
ValidatedParams validateParams(const TechniqueDescriptor& descriptor, const nlohmann::json& params);

}  // namespace fettle
