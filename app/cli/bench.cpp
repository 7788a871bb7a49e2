// fettle-cli bench MODEL
#include <memory>

#include "app/cli/commands.h"
#include "app/cli/engine_session.h"
#include "app/cli/measure_options.h"
#include "app/cli/output.h"
#include "engine/eval/throughput.h"
#include "engine/model/transformer.h"

namespace fettle::cli {

namespace {

struct Options {
    std::string model;
    std::string draft;
    MeasureOptions measure;
};

int bench(const CommandLine& line, const Options& options) {
    if (!options.draft.empty())
        throw EngineError(ErrorKind::Usage,
                          "--draft: speculative decoding is not part of this version");
    return runDirectly(line, [&](CpuBackend& backend, RunControl& control) {
        control.beginPhase("Loading", 0.1);
        const double start = steadySeconds();
        const Model model = loadModel(options.model, &control);
        Transformer transformer(model, backend, &control);
        const double loadMs = 1e3 * (steadySeconds() - start);
        control.beginPhase("Timing", 0.9);
        const MeasureOptions& measure = options.measure;
        std::vector<Measurement> metrics = measureThroughput(
            transformer, {measure.promptTokens, measure.newTokens, measure.repeats}, control);
        Measurement load;
        load.name = "load_ms";
        load.unit = "ms";
        load.value = loadMs;
        metrics.push_back(load);
        if (!line.json) {
            printMetrics(metrics);
            return kExitDone;
        }
        nlohmann::json document = metricValues(metrics);
        document["model"] = options.model;
        document["native"] = transformer.native();
        document["acceptance_rate"] = nullptr;
        document["speedup"] = nullptr;
        document["device"] = backend.device().name;
        document["isa"] = backend.device().isa;
        document["threads"] = backend.threads();
        document["measurements"] = metricDetails(metrics);
        printJson(document);
        return kExitDone;
    });
}

}  // namespace

void addBench(CLI::App& app, CommandLine& line) {
    const auto options = std::make_shared<Options>();
    CLI::App* command = addCommand(app, line, "bench", "Measure latency, throughput and memory",
                                   [&line, options] { return bench(line, *options); });
    command->add_option("MODEL", options->model, "Folder, .gguf file, or demo")->required();
    addSpeedOptions(*command, options->measure);
    command->add_option("--draft", options->draft, "Draft model for speculative decoding (later)");
}

}  // namespace fettle::cli
