// fettle-cli run RECIPE --model MODEL
#include <cstdio>
#include <memory>

#include "app/cli/commands.h"
#include "app/cli/output.h"
#include "app/cli/run_session.h"
#include "engine/job/recipe_runner.h"

namespace fettle::cli {

namespace {

struct RunArguments {
    std::string recipe;
    std::string name;
    RunOptions run;
};

void print(const RunRequest& request, const RunResult& result, std::int64_t baseline) {
    std::printf("experiment %lld%s\n", static_cast<long long>(request.experiment),
                baseline > 0 && baseline != request.experiment
                    ? (", baseline " + std::to_string(baseline)).c_str()
                    : "");
    printMetrics(result.metrics);
    if (result.estimate)
        std::printf("estimated before: %s of memory, %s, %s\n",
                    formatBytes(static_cast<double>(result.estimate->peakBytes)).c_str(),
                    formatBytes(static_cast<double>(result.estimate->outputBytes)).c_str(),
                    formatDuration(result.estimate->seconds).c_str());
    if (result.artifact)
        std::printf("model: %s\n", result.artifact->path.c_str());
}

nlohmann::json document(const RunRequest& request, const RunResult& result, std::int64_t baseline) {
    nlohmann::json json{{"experiment", request.experiment},
                        {"metrics", metricValues(result.metrics)},
                        {"artifact", nullptr},
                        {"baseline", nullptr},
                        {"measurements", metricDetails(result.metrics)},
                        {"recipe", toJson(request.recipe)},
                        {"model", request.modelPath},
                        {"device", result.deviceName}};
    if (result.artifact) {
        json["artifact"] = result.artifact->path;
        json["artifact_format"] = result.artifact->format;
        json["artifact_bytes"] = result.artifact->bytes;
    }
    if (baseline > 0)
        json["baseline"] = baseline;
    if (result.estimate)
        json["estimate"] = toJson(*result.estimate);
    return json;
}

int run(const CommandLine& line, const RunArguments& options) {
    const Recipe recipe = recipeFromText(recipeText(options.recipe));
    checkedRecipe(recipe);
    RunSession session(line, options.run);
    session.checkInputs();
    const bool isBaseline = recipe.steps.empty();
    std::int64_t baseline = isBaseline ? 0 : session.ensureBaseline();
    RunRequest request = session.request(recipe);
    const RunResult result = session.run(request, options.name);
    if (isBaseline)
        baseline = request.experiment;
    if (line.json)
        printJson(document(request, result, baseline));
    else
        print(request, result, baseline);
    return kExitDone;
}

}  // namespace

void addRun(CLI::App& app, CommandLine& line) {
    const auto options = std::make_shared<RunArguments>();
    CLI::App* command =
        addCommand(app, line, "run", "Run a recipe on a model and measure the result",
                   [&line, options] { return run(line, *options); });
    command->add_option("RECIPE", options->recipe, "File, - for standard input, or JSON")
        ->required();
    command->add_option("--name", options->name, "Name of the experiment");
    addRunOptions(*command, options->run);
}

}  // namespace fettle::cli
