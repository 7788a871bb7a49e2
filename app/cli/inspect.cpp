// fettle-cli inspect MODEL
#include <memory>

#include "app/cli/commands.h"
#include "app/cli/engine_session.h"
#include "app/cli/output.h"

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

}  // namespace

void addInspect(CLI::App& app, CommandLine& line) {
    const auto model = std::make_shared<std::string>();
    CLI::App* command = addCommand(
        app, line, "inspect", "Show architecture, sizes and tensors of a model", [&line, model] {
            EngineSession engine(line);
            const auto report = engine.run<ModelReport>(InspectRequest{*model});
            if (line.json)
                printJson(toJson(report));
            else
                print(report);
            return kExitDone;
        });
    command->add_option("MODEL", *model, "Folder, .gguf file, or demo")->required();
}

}  // namespace fettle::cli
