// fettle-cli bench MODEL
#include <cstdio>
#include <memory>

#include "app/cli/commands.h"
#include "app/cli/engine_session.h"
#include "app/cli/measure_options.h"
#include "app/cli/output.h"
#include "engine/eval/throughput.h"
#include "engine/job/recipe_runner.h"
#include "engine/model/transformer.h"
#include "engine/speculative/speculation_measure.h"

namespace fettle::cli {

namespace {

struct BenchArguments {
    std::string model;
    std::string draft;
    std::string draftTokens;
    std::string draftTree;
    std::string text;
    bool thorough = false;
    std::string kvCache;
    MeasureOptions measure;
};

int bench(const CommandLine& line, const BenchArguments& options) {
    return runDirectly(line, [&](Backend& backend, RunControl& control) {
        control.beginPhase("Loading", 0.1);
        const double start = steadySeconds();
        Model model = loadModel(options.model, &control);
        if (!options.kvCache.empty())
            model.config.kvType = kvTypeNamed(options.kvCache);
        Transformer transformer(model, backend, &control);
        const double loadMs = 1e3 * (steadySeconds() - start);
        const auto setup = requestedSetup(options.draft, options.draftTokens, options.draftTree,
                                          model, backend, control);
        control.beginPhase("Timing", setup ? 0.3 : 0.9);
        const MeasureOptions& measure = options.measure;
        std::vector<Measurement> metrics = measureThroughput(
            transformer, {measure.promptTokens, measure.newTokens, measure.repeats}, control);
        Measurement load;
        load.name = "load_ms";
        load.unit = "ms";
        load.value = loadMs;
        metrics.push_back(load);
        SpeculationMeasure speculation;
        if (setup) {
            const auto proposer =
                makeProposer(*setup, model, transformer, backend, backend.pool(), control);
            control.beginPhase("Timing speculative decoding", 0.6);
            speculation = measureSpeculation(
                transformer, model, *proposer, *setup, speculationText(options.text),
                {measure.promptTokens, measure.newTokens, measure.repeats, options.thorough},
                control);
            mergeSpeculation(metrics, speculation.metrics);
        }
        if (!line.json) {
            printMetrics(metrics);
            if (setup)
                std::printf("%s: %s\n", setup->draft.c_str(), speculation.trial.verdict.c_str());
            return kExitDone;
        }
        nlohmann::json document = metricValues(metrics);
        document["model"] = options.model;
        document["native"] = transformer.native();
        if (!setup) {
            document["acceptance_rate"] = nullptr;
            document["speedup"] = nullptr;
        } else {
            document["draft"] = setup->draft;
            document["verdict"] = speculation.trial.verdict;
            nlohmann::json& series = document["series"] = nlohmann::json::array();
            for (const SeriesPoint& point : speculation.trial.series)
                series.push_back(toJson(point));
        }
        document["device"] = backend.device().name;
        document["isa"] = backend.device().isa;
        document["threads"] = backend.threads();
        document["compute"] = backend.products() == kernels::Products::BFloat16 ? "bf16" : "f32";
        document["measurements"] = metricDetails(metrics);
        printJson(document);
        return kExitDone;
    });
}

}  // namespace

void addBench(CLI::App& app, CommandLine& line) {
    const auto options = std::make_shared<BenchArguments>();
    CLI::App* command = addCommand(app, line, "bench", "Measure latency, throughput and memory",
                                   [&line, options] { return bench(line, *options); });
    command->add_option("MODEL", options->model, "Folder, .gguf file, or demo")->required();
    addSpeedOptions(*command, options->measure);
    addKvCacheOption(*command, options->kvCache);
    addDraftOptions(*command, options->draft, options->draftTokens, options->draftTree);
    command->add_option("--text", options->text,
                        "Text whose pieces are the prompts for --draft (default: the bundled one)");
    command->add_flag("--thorough", options->thorough,
                      "With --draft: also prompts that copy or make no sense, and temperatures");
}

}  // namespace fettle::cli
