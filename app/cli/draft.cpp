// fettle-cli draft MODEL: makes a small model that guesses for MODEL - pruned from it, then taught
// by it - and says what it cost and how often its guesses are right
#include <cstdio>
#include <memory>

#include "app/cli/commands.h"
#include "app/cli/output.h"
#include "app/cli/run_session.h"
#include "engine/job/recipe_runner.h"
#include "engine/speculative/speculation_measure.h"

namespace fettle::cli {

namespace {

struct Options {
    double layers = 0.5;
    double width = 0.4;
    std::int64_t tokens = 1000000;
    RunOptions run;
};

Recipe draftRecipe(const Options& options) {
    Recipe recipe;
    recipe.name = "draft";
    // Depth first: a draft writes one token at a time, which is as slow as it is deep.
    recipe.steps = {{"prune", {{"method", "layers"}, {"ratio", options.layers}}},
                    {"prune", {{"method", "width"}, {"ratio", options.width}}},
                    {"distill", {{"tokens", options.tokens}}}};
    return recipe;
}

/// What decoding gains with the draft, in turns with plain decoding.
SpeculationMeasure probe(const CommandLine& line, const Options& options, const RunRequest& request,
                         const std::string& draft) {
    SpeculationMeasure measure;
    runDirectly(line, [&](Backend& backend, RunControl& control) {
        control.beginPhase("Trying the draft", 1);
        const Model model = loadModel(options.run.model, &control);
        Transformer transformer(model, backend, &control);
        const auto setup = requestedSetup(draft, "auto", model, backend, control);
        const auto proposer =
            makeProposer(*setup, model, transformer, backend, backend.pool(), control);
        const MeasureOptions& m = request.measure;
        measure = measureSpeculation(transformer, model, *proposer, *setup,
                                     speculationText(request.inputs.evaluate),
                                     {m.promptTokens, m.newTokens, m.repeats, false}, control);
        return kExitDone;
    });
    return measure;
}

int draft(const CommandLine& line, const Options& options) {
    RunRequest request;
    RunResult result;
    {
        RunSession session(line, options.run);
        session.checkInputs();
        request = session.request(draftRecipe(options));
        result = session.run(request, request.recipe.name);
    }
    const SpeculationMeasure measure = probe(line, options, request, result.artifact->path);
    std::vector<Measurement> metrics = result.metrics;
    metrics.insert(metrics.end(), measure.metrics.begin(), measure.metrics.end());
    if (line.json) {
        printJson({{"experiment", request.experiment},
                   {"draft", result.artifact->path},
                   {"metrics", metricValues(metrics)},
                   {"measurements", metricDetails(metrics)},
                   {"verdict", measure.verdict}});
        return kExitDone;
    }
    printMetrics(metrics);
    std::printf("draft: %s\n%s\n", result.artifact->path.c_str(), measure.verdict.c_str());
    return kExitDone;
}

}  // namespace

void addDraft(CLI::App& app, CommandLine& line) {
    const auto options = std::make_shared<Options>();
    options->run.noBaseline = true;
    CLI::App* command = addCommand(
        app, line, "draft",
        "Make a draft for speculative decoding out of a model: pruned, then taught by it",
        [&line, options] { return draft(line, *options); });
    addRunOptions(*command, options->run);
    command->add_option("--layers", options->layers,
                        "Share of the layers that the draft does without (default 0.5)");
    command->add_option("--width", options->width,
                        "Share of the parameters of what is left that goes as well (default 0.4)");
    command->add_option("--tokens", options->tokens, "Training tokens (default 1000000)");
}

}  // namespace fettle::cli
