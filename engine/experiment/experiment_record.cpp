#include "engine/experiment/experiment_record.h"

#include <array>
#include <charconv>
#include <utility>

namespace fettle {
namespace {

constexpr std::array<std::pair<ExperimentStatus, const char*>, 6> kStatusNames{{
    {ExperimentStatus::Queued, "queued"},
    {ExperimentStatus::Running, "running"},
    {ExperimentStatus::Finished, "finished"},
    {ExperimentStatus::Failed, "failed"},
    {ExperimentStatus::Cancelled, "cancelled"},
    {ExperimentStatus::Interrupted, "interrupted"},
}};

/// A parameter as a word: "int4-g32", "4", nothing for what is unset or left to the technique.
std::string word(const RecipeStep& step, const char* name) {
    if (!step.params.is_object())
        return {};
    const auto value = step.params.find(name);
    if (value == step.params.end())
        return {};
    if (value->is_string())
        return *value == "auto" ? "" : value->get<std::string>();
    return value->is_number() ? value->dump() : "";
}

std::string percent(const std::string& share) {
    double value = 0;
    const auto result = std::from_chars(share.data(), share.data() + share.size(), value);
    if (result.ec != std::errc{} || value < 0 || value > 1)
        return share;
    std::array<char, 32> buffer{};
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value * 100,
                                   std::chars_format::general, 3);
    return std::string(buffer.data(), end.ptr) + "%";
}

std::string stepSummary(const RecipeStep& step) {
    std::string text = step.technique;
    const bool single = step.params.is_object() && step.params.contains("schemes") &&
                        !step.params.at("schemes").empty();
    const auto add = [&](const std::string& part) {
        if (!part.empty())
            text.append(1, ' ').append(part);
    };
    add(single ? "mixed" : word(step, "scheme"));
    add(word(step, "method"));
    if (step.technique == "prune") {
        add(percent(word(step, "ratio")));
        if (word(step, "pattern") != "unstructured")
            add(word(step, "pattern"));
    } else if (step.technique == "speculative") {
        const std::string draft = word(step, "draft");
        add(draft.substr(draft.rfind('/') == std::string::npos ? 0 : draft.rfind('/') + 1));
    }
    return text;
}

}  // namespace

std::string toString(ExperimentStatus status) {
    for (const auto& [value, name] : kStatusNames) {
        if (value == status)
            return name;
    }
    return "interrupted";
}

ExperimentStatus experimentStatusFromString(const std::string& text) {
    for (const auto& [value, name] : kStatusNames) {
        if (text == name)
            return value;
    }
    // A state that only a newer version knows: nothing here may take it for finished or for
    // running.
    return ExperimentStatus::Interrupted;
}

std::string recipeSummary(const Recipe& recipe) {
    if (recipe.steps.empty())
        return "baseline";
    std::string text;
    for (const RecipeStep& step : recipe.steps)
        text += (text.empty() ? "" : " + ") + stepSummary(step);
    return text;
}

std::string ExperimentRecord::summary() const {
    return recipeSummary(recipe);
}

}  // namespace fettle
