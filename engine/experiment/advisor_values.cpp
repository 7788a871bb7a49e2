#include "engine/experiment/advisor_values.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace fettle {

using nlohmann::json;

namespace {

json number(double value) {
    return std::isfinite(value) ? json(value) : json(nullptr);
}

json toJson(const TargetCheck& check) {
    return {{"name", check.name},           {"met", check.met},
            {"measured", check.measured},   {"value", number(check.value)},
            {"limit", number(check.limit)}, {"text", check.text}};
}

json toJson(const AdvisorRung& rung) {
    json metrics = json::object();
    for (const auto& [name, metric] : rung.metrics)
        metrics[name] = number(metric.value);
    json checks = json::array();
    for (const TargetCheck& check : rung.checks)
        checks.push_back(toJson(check));
    json document{{"stage", rung.trial.stage},
                  {"title", rung.title},
                  {"state", toString(rung.state)},
                  {"share", rung.trial.share},
                  {"recipe", fettle::toJson(rung.trial.recipe)},
                  {"experiment", nullptr},
                  {"reused", rung.reused},
                  {"metrics", metrics},
                  {"targets", checks},
                  {"meets", rung.meets()},
                  {"cost",
                   {{"minutes", number(rung.seconds / 60)},
                    {"tokens", number(rung.tokens)},
                    {"memory_bytes", number(rung.peakBytes)}}},
                  {"reason", rung.reason}};
    if (rung.experiment > 0)
        document["experiment"] = rung.experiment;
    if (rung.estimate)
        document["estimate"] = fettle::toJson(*rung.estimate);
    return document;
}

}  // namespace

std::string trialKey(const AdvisorTrial& trial) {
    return recipeHash(trial.recipe) + toJson(trial.inputs).dump() + toJson(trial.measure).dump();
}

bool AdvisorRung::meets() const {
    return state == State::Finished &&
           std::all_of(checks.begin(), checks.end(), [](const TargetCheck& c) { return c.met; });
}

double AdvisorRung::violation() const {
    double sum = 0;
    for (const TargetCheck& check : checks)
        sum += check.violation;
    return sum;
}

std::string toString(AdvisorRung::State state) {
    switch (state) {
        case AdvisorRung::State::Waiting:
            return "waiting";
        case AdvisorRung::State::Running:
            return "running";
        case AdvisorRung::State::Finished:
            return "finished";
        case AdvisorRung::State::Failed:
            return "failed";
        case AdvisorRung::State::Skipped:
            break;
    }
    return "skipped";
}

json toJson(const AdvisorTargets& targets) {
    json document = json::object();
    const auto add = [&](const char* name, const std::optional<double>& value) {
        if (value)
            document[name] = *value;
    };
    add("max_perplexity_increase", targets.maxPerplexityIncrease);
    add("max_kl", targets.maxKl);
    add("min_task_accuracy", targets.minTaskAccuracy);
    add("min_speedup", targets.minSpeedup);
    add("max_memory_bytes", targets.maxMemoryBytes);
    add("max_file_bytes", targets.maxFileBytes);
    return document;
}

json toJson(const AdvisorReport& report) {
    json rungs = json::array();
    for (const AdvisorRung& rung : report.rungs)
        rungs.push_back(toJson(rung));
    json decisions = json::array();
    for (const AdvisorDecision& decision : report.decisions)
        decisions.push_back({{"stage", decision.stage}, {"text", decision.text}});
    json front = json::array();
    for (const std::size_t index : report.front)
        front.push_back(report.rungs[index].experiment);
    json document{{"met", report.met},
                  {"finished", report.finished()},
                  {"rungs", rungs},
                  {"decisions", decisions},
                  {"front", front},
                  {"recommended", nullptr},
                  {"verdict", report.verdict},
                  {"minutes", number(report.seconds / 60)}};
    if (report.recommended)
        document["recommended"] = toJson(report.rungs[*report.recommended]);
    return document;
}

std::optional<double> limitFromText(std::string_view text) {
    static constexpr std::array<std::pair<std::string_view, double>, 9> kUnits{
        {{"", 1},
         {"%", 0.01},
         {"x", 1},
         {"KiB", 1024.0},
         {"MiB", 1048576.0},
         {"GiB", 1073741824.0},
         {"kB", 1e3},
         {"MB", 1e6},
         {"GB", 1e9}}};
    while (!text.empty() && text.front() == ' ')
        text.remove_prefix(1);
    if (!text.empty() && text.front() == '+')
        text.remove_prefix(1);
    double value = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failure != std::errc{} || !std::isfinite(value))
        return std::nullopt;
    std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
    while (!unit.empty() && unit.front() == ' ')
        unit.remove_prefix(1);
    while (!unit.empty() && unit.back() == ' ')
        unit.remove_suffix(1);
    // "KB", "gib": nobody means bits here.
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
    for (const auto& [name, factor] : kUnits)
        if (std::ranges::equal(unit, name, {}, lower, lower))
            return value * factor;
    return std::nullopt;
}

}  // namespace fettle
