#include "engine/experiment/run_values.h"

#include <algorithm>

namespace fettle {

using nlohmann::json;

json toJson(const RunInputs& inputs) {
    return {{"calibration", inputs.calibration},
            {"train", inputs.train},
            {"evaluate", inputs.evaluate},
            {"tasks", inputs.tasks},
            {"teacher", inputs.teacher}};
}

RunInputs runInputsFromJson(const json& value) {
    return {value.value("calibration", ""), value.value("train", ""), value.value("evaluate", ""),
            value.value("tasks", ""), value.value("teacher", "")};
}

json toJson(const MeasureOptions& options) {
    return {{"context", options.context},
            {"max_tokens", options.maxTokens},
            {"protocol", options.protocol == PerplexityProtocol::LlamaCpp ? "llama.cpp" : "plain"},
            {"speed", options.speed},
            {"prompt_tokens", options.promptTokens},
            {"new_tokens", options.newTokens},
            {"repeats", options.repeats},
            {"threads", options.threads},
            {"compute", options.bfloat16 ? "bf16" : "f32"}};
}

MeasureOptions measureOptionsFromJson(const json& value) {
    MeasureOptions options;
    options.context = value.value("context", options.context);
    options.maxTokens = value.value("max_tokens", options.maxTokens);
    options.protocol = value.value("protocol", "plain") == "llama.cpp"
                           ? PerplexityProtocol::LlamaCpp
                           : PerplexityProtocol::Plain;
    options.speed = value.value("speed", options.speed);
    options.promptTokens = value.value("prompt_tokens", options.promptTokens);
    options.newTokens = value.value("new_tokens", options.newTokens);
    options.repeats = value.value("repeats", options.repeats);
    options.threads = value.value("threads", options.threads);
    options.bfloat16 = value.value("compute", "f32") == "bf16";
    return options;
}

std::string accuracyProtocol(const MeasureOptions& options, const std::string& textHash) {
    std::string text = "ppl windows=" + std::to_string(options.context);
    text += options.protocol == PerplexityProtocol::LlamaCpp ? " second-half" : " first-unscored";
    if (options.maxTokens > 0)
        text += " max-tokens=" + std::to_string(options.maxTokens);
    if (options.bfloat16)
        text += " compute=bf16";
    if (!textHash.empty())
        text += " text=" + textHash;
    return text;
}

bool ExportReport::verified() const {
    return !checks.empty() && std::all_of(checks.begin(), checks.end(),
                                          [](const ExportCheck& check) { return check.passed; });
}

json toJson(const ExportReport& report) {
    json checks = json::array();
    for (const ExportCheck& check : report.checks)
        checks.push_back(
            {{"name", check.name}, {"passed", check.passed}, {"detail", check.detail}});
    return {{"path", report.path},  {"format", report.format},       {"bytes", report.bytes},
            {"checks", checks},     {"verified", report.verified()}, {"loaded_by", report.loadedBy},
            {"lossy", report.lossy}};
}

}  // namespace fettle
