// fettle-cli inspect MODEL
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>

#include "app/cli/commands.h"
#include "app/cli/engine_session.h"
#include "app/cli/output.h"
#include "engine/quant/activation_report.h"

namespace fettle::cli {

namespace {

std::string shapeText(const std::vector<std::int64_t>& shape) {
    std::string text;
    for (const std::int64_t size : shape)
        text += (text.empty() ? "" : " x ") + std::to_string(size);
    return text;
}

std::string bitsText(double bits) {
    char text[32];
    std::snprintf(text, sizeof text, "%.2f", bits);
    return text;
}

void print(const ModelReport& report) {
    const auto number = [](auto value) { return std::to_string(value); };
    printFields({{"path", report.path},
                 {"format", report.format},
                 {"architecture", report.architecture},
                 {"parameters", number(report.parameters)},
                 {"layers", number(report.layers)},
                 {"hidden size", number(report.hiddenSize)},
                 {"heads", number(report.heads) + " (" + number(report.kvHeads) +
                               " for keys and values) of " + number(report.headDim)},
                 {"feed-forward size", number(report.feedForwardSize)},
                 {"vocabulary", number(report.vocabularySize)},
                 {"context", number(report.contextLength)},
                 {"tokenizer", report.tokenizer},
                 {"type of most weights", report.scheme.empty() ? report.dtype : report.scheme},
                 {"bits per weight", bitsText(report.bitsPerWeight)},
                 {"file", formatBytes(static_cast<double>(report.fileBytes))},
                 {"weights", formatBytes(static_cast<double>(report.weightBytes))},
                 {"KV cache per token", formatBytes(static_cast<double>(report.kvBytesPerToken))}});
    for (const std::string& warning : report.warnings)
        std::printf("warning: %s\n", warning.c_str());
    std::printf("\n");
    std::vector<std::vector<std::string>> rows;
    for (const TensorReport& tensor : report.tensors)
        rows.push_back({tensor.name, tensor.dtype, shapeText(tensor.shape),
                        formatBytes(static_cast<double>(tensor.bytes)),
                        bitsText(tensor.bitsPerWeight)});
    printTable({"tensor", "type", "shape", "size", "bits"}, rows);
}

struct InspectArguments {
    std::string model;
    std::string activations;
    std::int64_t tokens = 4096;
};

/// One column a half octave, '.' to '#' by the logarithm of its share.
std::string bars(const std::vector<std::int64_t>& histogram) {
    constexpr const char* kLevels = " .:-=+*#";
    std::int64_t all = 0;
    for (const std::int64_t count : histogram)
        all += count;
    std::string text;
    for (const std::int64_t count : histogram) {
        const double share =
            static_cast<double>(count) / static_cast<double>(std::max<std::int64_t>(1, all));
        const int level =
            count == 0
                ? 0
                : std::clamp(7 + static_cast<int>(std::floor(std::log10(share) * 1.5)), 1, 7);
        text += kLevels[level];
    }
    return text;
}

int inspectActivations(const CommandLine& line, const InspectArguments& options) {
    return runDirectly(line, [&](Backend& backend, RunControl& control) {
        control.beginPhase("Loading", 0.1);
        const Model model = loadModel(options.model, &control);
        const CalibrationText text =
            sampleCalibration(*model.tokenizer, options.activations, options.tokens,
                              std::min<std::int64_t>(256, model.config.contextLength), 1);
        control.beginPhase("Running the text", 0.9);
        const std::vector<ActivationSummary> all =
            summarizeActivations(model, text, backend, control);
        if (line.json) {
            nlohmann::json inputs = nlohmann::json::array();
            for (const ActivationSummary& each : all)
                inputs.push_back(toJson(each));
            printJson({{"model", options.model}, {"tokens", text.tokens}, {"activations", inputs}});
            return kExitDone;
        }
        std::vector<std::vector<std::string>> rows;
        for (const ActivationSummary& s : all) {
            char numbers[4][32];
            std::snprintf(numbers[0], sizeof numbers[0], "%.3g", s.rms);
            std::snprintf(numbers[1], sizeof numbers[1], "%.3g", s.largest);
            std::snprintf(numbers[2], sizeof numbers[2], "%.3g", s.kurtosis);
            std::snprintf(numbers[3], sizeof numbers[3], "%.0f%%", 100 * s.outlierEnergy);
            std::string worst = std::to_string(s.outliers.size());
            if (!s.outliers.empty())
                worst += std::string(" (") + numbers[3] + " of the power, first " +
                         std::to_string(s.outliers.front().index) + ")";
            rows.push_back({s.name, numbers[0], numbers[1], numbers[2], worst, bars(s.histogram)});
        }
        printTable({"input of", "rms", "max", "kurtosis", "outlier channels",
                    "|x| from 2^-16 to 2^16, half octaves"},
                   rows);
        return kExitDone;
    });
}

}  // namespace

void addInspect(CLI::App& app, CommandLine& line) {
    const auto options = std::make_shared<InspectArguments>();
    CLI::App* command = addCommand(
        app, line, "inspect", "Show architecture, sizes and tensors of a model", [&line, options] {
            if (!options->activations.empty())
                return inspectActivations(line, *options);
            EngineSession engine(line);
            const auto report = engine.run<ModelReport>(InspectRequest{options->model});
            if (line.json)
                printJson(toJson(report));
            else
                print(report);
            return kExitDone;
        });
    command->add_option("MODEL", options->model, "Folder, .gguf file, or demo")->required();
    command->add_option("--activations", options->activations,
                        "Text to run through the model: shows the distribution of every weight's "
                        "inputs and the channels that stand out");
    command
        ->add_option("--activation-tokens", options->tokens, "Tokens of it to use (default 4096)")
        ->check(CLI::PositiveNumber);
}

}  // namespace fettle::cli
