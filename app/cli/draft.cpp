// fettle-cli draft --model MODEL: makes what guesses for MODEL - a small model, pruned from it and
// taught by it, or heads on its hidden states - and says what it cost and how often its guesses are
// right
#include <cstdio>
#include <memory>

#include "app/cli/commands.h"
#include "app/cli/output.h"
#include "app/cli/run_session.h"
#include "engine/job/recipe_runner.h"
#include "engine/speculative/speculation_measure.h"

namespace fettle::cli {

namespace {

struct DraftArguments {
    DraftMaking making;
    RunOptions run;
};

/// What decoding gains with the draft, in turns with plain decoding.
SpeculationMeasure probe(const CommandLine& line, const DraftArguments& options,
                         const RunRequest& request, const std::string& draft) {
    SpeculationMeasure measure;
    runDirectly(line, [&](Backend& backend, RunControl& control) {
        control.beginPhase("Trying the draft", 1);
        const Model model = loadModel(options.run.model, &control);
        Transformer transformer(model, backend, &control);
        const bool heads = options.making.heads();
        const auto setup =
            requestedSetup(draft, "auto", heads ? "auto" : "off", model, backend, control);
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

int draft(const CommandLine& line, const DraftArguments& options) {
    RunRequest request;
    RunResult result;
    {
        RunSession session(line, options.run);
        session.checkInputs();
        request = session.request(draftRecipe(options.making));
        result = session.run(request, request.recipe.name);
    }
    // Heads come inside a copy of the model that they belong to.
    const std::string made =
        options.making.heads() ? result.artifact->path + "/" + kDraftFolder : result.artifact->path;
    const SpeculationMeasure measure = probe(line, options, request, made);
    std::vector<Measurement> metrics = result.metrics;
    metrics.insert(metrics.end(), measure.metrics.begin(), measure.metrics.end());
    if (line.json) {
        printJson({{"experiment", request.experiment},
                   {"draft", made},
                   {"metrics", metricValues(metrics)},
                   {"measurements", metricDetails(metrics)},
                   {"verdict", measure.trial.verdict}});
        return kExitDone;
    }
    printMetrics(metrics);
    std::printf("draft: %s\n%s\n", made.c_str(), measure.trial.verdict.c_str());
    return kExitDone;
}

}  // namespace

void addDraft(CLI::App& app, CommandLine& line) {
    const auto options = std::make_shared<DraftArguments>();
    options->run.noBaseline = true;
    CLI::App* command = addCommand(app, line, "draft",
                                   "Make a draft for speculative decoding out of a model: one "
                                   "pruned from it and taught by it, "
                                   "or heads on its hidden states",
                                   [&line, options] { return draft(line, *options); });
    addRunOptions(*command, options->run);
    command->add_option("--layers", options->making.layers,
                        "Share of the layers that the draft does without (default 0.5)");
    command->add_option("--width", options->making.width,
                        "Share of the parameters of what is left that goes as well (default 0.4)");
    command->add_option("--tokens", options->making.tokens, "Training tokens (default 1000000)");
    command
        ->add_option("--kind", options->making.kind,
                     "model (default): pruned and distilled; medusa or eagle: heads that guess "
                     "from what the model has in mind")
        ->check(CLI::IsMember({"model", "medusa", "eagle"}));
}

}  // namespace fettle::cli
