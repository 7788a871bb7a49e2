#include "app/cli/run_session.h"

#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>

#include "app/cli/measure_options.h"
#include "engine/eval/tasks.h"
#include "engine/eval/text_windows.h"
#include "engine/job/recipe_runner.h"

namespace fettle::cli {

namespace {

namespace fs = std::filesystem;

/// Stored paths must not depend on the folder the command was started in; "demo" stays as it is.
std::string storedPath(const std::string& path) {
    std::error_code failed;
    if (path.empty() || !fs::exists(path, failed))
        return path;
    const fs::path canonical = fs::canonical(path, failed);
    return failed ? path : canonical.string();
}

RunOptions resolved(RunOptions options, int threads) {
    options.model = storedPath(options.model);
    options.inputs = resolvedInputs(options.model, options.inputs);
    for (std::string* path :
         {&options.inputs.calibration, &options.inputs.train, &options.inputs.evaluate,
          &options.inputs.tasks, &options.inputs.teacher})
        *path = storedPath(*path);
    options.measure.speed = !options.noSpeed;
    options.measure.threads = threads;
    return options;
}

}  // namespace

void addRunOptions(CLI::App& command, RunOptions& options) {
    command.add_option("--model", options.model, "Folder, .gguf file, or demo")->required();
    command.add_option("--calibration", options.inputs.calibration, "Calibration text");
    command.add_option("--train", options.inputs.train, "Training text");
    command.add_option("--evaluate", options.inputs.evaluate, "Text to measure perplexity on");
    command.add_option("--tasks", options.inputs.tasks, "Multiple-choice tasks, JSON lines");
    command.add_option("--teacher", options.inputs.teacher, "Teacher model");
    addDatabaseOption(command, options.database);
    addAccuracyOptions(command, options.measure, options.measure.maxTokens);
    addSpeedOptions(command, options.measure);
    command.add_flag("--no-speed", options.noSpeed, "Do not measure latency");
    command.add_flag("--no-baseline", options.noBaseline,
                     "Do not measure the model as it is first");
}

std::string recipeText(const std::string& argument) {
    const std::size_t first = argument.find_first_not_of(" \t\r\n");
    if (first != std::string::npos && (argument[first] == '{' || argument[first] == '['))
        return argument;
    std::string text;
    if (argument == "-") {
        text.assign(std::istreambuf_iterator<char>(std::cin), {});
    } else {
        std::error_code ignored;
        if (fs::is_directory(argument, ignored))
            throwBadInput(argument, "is a folder, not a recipe");
        std::ifstream file(argument, std::ios::binary);
        if (!file)
            throwBadInput(argument, "no such recipe file");
        text.assign(std::istreambuf_iterator<char>(file), {});
    }
    if (!nlohmann::json::accept(text))
        throwBadInput(argument == "-" ? "standard input" : argument, "is not valid JSON");
    return text;
}

RunSession::RunSession(const CommandLine& line, const RunOptions& options)
    : m_line((requireDevice(line), line)),
      m_options(resolved(options, line.threads)),
      m_store(options.database, ExperimentStore::Mode::Make),
      m_engine(line, [this](const JobEvent& event) { m_store.recorder().handle(event); }) {}

RunRequest RunSession::request(const Recipe& recipe) const {
    RunRequest request;
    request.modelPath = m_options.model;
    request.recipe = recipe;
    request.inputs = m_options.inputs;
    request.measure = m_options.measure;
    return request;
}

ModelReport RunSession::checkInputs() {
    const RunInputs& inputs = m_options.inputs;
    for (const std::string& text : {inputs.calibration, inputs.train, inputs.evaluate})
        if (!text.empty())
            readText(text);
    if (!inputs.tasks.empty())
        readTasks(inputs.tasks);
    ModelReport report = m_engine.run<ModelReport>(InspectRequest{m_options.model});
    report.path = m_options.model;
    m_store.describeModel(report);
    return report;
}

std::int64_t RunSession::ensureBaseline() {
    if (m_options.noBaseline)
        return 0;
    const std::string protocol =
        m_options.inputs.evaluate.empty()
            ? ""
            : accuracyProtocol(m_options.measure, textHash(readText(m_options.inputs.evaluate)));
    if (const auto found = m_store.findBaseline(m_options.model, protocol))
        return *found;
    RunRequest baseline = request(Recipe{});
    setTitle("baseline");
    run(baseline, "");
    setTitle("");
    return baseline.experiment;
}

RunResult RunSession::run(RunRequest& request, const std::string& name) {
    m_store.create(request, name);
    return post(request);
}

RunResult RunSession::runAgain(RunRequest& request, std::int64_t id) {
    m_store.queueAgain(request, id);
    return post(request);
}

RunResult RunSession::runWithin(RunRequest& request, const std::string& name, std::int64_t again,
                                bool keepModel, double seconds) {
    if (again > 0)
        m_store.queueAgain(request, again);
    else
        m_store.create(request, name);
    if (!keepModel)
        request.artifactFolder.clear();
    return post(request, seconds);
}

RecipeEstimate RunSession::estimate(const RunRequest& request) {
    return m_engine.run<RecipeEstimate>(
        EstimateRequest{request.modelPath, request.recipe, request.inputs, request.measure});
}

RunResult RunSession::post(const RunRequest& request, double seconds) {
    try {
        RunResult result = m_engine.runWithin<RunResult>(request, seconds);
        m_store.recorder().flush();
        return result;
    } catch (...) {
        m_store.recorder().flush();
        throw;
    }
}

}  // namespace fettle::cli
