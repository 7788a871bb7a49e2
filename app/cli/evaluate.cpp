// fettle-cli evaluate MODEL --text FILE [--baseline MODEL] [--tasks FILE]
#include <memory>

#include "app/cli/commands.h"
#include "app/cli/engine_session.h"
#include "app/cli/measure_options.h"
#include "app/cli/output.h"

namespace fettle::cli {

namespace {

int evaluate(const CommandLine& line, EvaluateRequest request) {
    request.measure.threads = line.threads;
    EngineSession engine(line);
    const auto result = engine.run<EvaluateResult>(request);
    if (!line.json) {
        printMetrics(result.metrics);
        return kExitDone;
    }
    nlohmann::json document = metricValues(result.metrics);
    document["model"] = request.modelPath;
    document["measurements"] = metricDetails(result.metrics);
    printJson(document);
    return kExitDone;
}

}  // namespace

void addEvaluate(CLI::App& app, CommandLine& line) {
    const auto request = std::make_shared<EvaluateRequest>();
    CLI::App* command =
        addCommand(app, line, "evaluate", "Measure perplexity, divergence and task accuracy",
                   [&line, request] { return evaluate(line, *request); });
    command->add_option("MODEL", request->modelPath, "Folder, .gguf file, or demo")->required();
    command->add_option("--text", request->textPath, "Text to measure perplexity on");
    command->add_option("--tasks", request->tasksPath,
                        "Multiple-choice tasks, one JSON object per line");
    command->add_option("--baseline", request->baselinePath,
                        "Model to compare with, token by token (KL divergence, same top token)");
    addAccuracyOptions(*command, request->measure, 0);
    addKvCacheOption(*command, request->kvCache);
}

}  // namespace fettle::cli
