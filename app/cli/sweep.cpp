// fettle-cli sweep SWEEP --model MODEL: a grid or list of recipes, going on where it stopped
#include <cstdio>
#include <memory>

#include "app/cli/commands.h"
#include "app/cli/output.h"
#include "app/cli/run_session.h"
#include "engine/job/recipe_runner.h"

namespace fettle::cli {

namespace {

struct SweepArguments {
    std::string sweep;
    RunOptions run;
};

struct Outcome {
    nlohmann::json experiments = nlohmann::json::array();
    std::vector<std::vector<std::string>> rows;
    int ran = 0;
    int skipped = 0;
    int failed = 0;
    int exitCode = kExitDone;
};

/// Runs one recipe unless the store holds its result already; a failure is noted and the sweep goes
/// on.
void runOne(RunSession& session, const Recipe& recipe, Outcome& outcome) {
    RunRequest request = session.request(recipe);
    const std::optional<ExperimentRecord> same = session.store().findSame(request);
    std::int64_t id = same ? same->id : 0;
    if (same && same->status == ExperimentStatus::Finished) {
        ++outcome.skipped;
    } else {
        try {
            if (same && same->status != ExperimentStatus::Running)
                session.runAgain(request, same->id);
            else
                session.run(request, recipe.name);
            ++outcome.ran;
        } catch (const EngineError& error) {
            printError(recipe.name + ": " + error.what());
            ++outcome.failed;
            outcome.exitCode = exitCode(error.kind());
        }
        id = request.experiment;
    }
    const ExperimentRecord record = session.store().record(id);
    outcome.experiments.push_back(experimentJson(record));
    const auto cell = [&](const char* metric) {
        const auto found = record.metrics.find(metric);
        return found == record.metrics.end() ? std::string()
                                             : formatMetric(metric, found->second.value);
    };
    outcome.rows.push_back({std::to_string(id) + "  " + record.name, toString(record.status),
                            cell("perplexity"), cell("kl_mean"), cell("decode_tokens_per_s"),
                            cell("weight_bytes")});
}

int sweep(const CommandLine& line, const SweepArguments& options) {
    const std::vector<Recipe> recipes = recipesFromText(recipeText(options.sweep));
    for (const Recipe& recipe : recipes)
        checkedRecipe(recipe);
    RunSession session(line, options.run);
    session.checkInputs();
    const std::int64_t baseline = session.ensureBaseline();
    Outcome outcome;
    for (std::size_t i = 0; i < recipes.size(); ++i) {
        session.setTitle(std::to_string(i + 1) + " of " + std::to_string(recipes.size()) + ", " +
                         recipes[i].name);
        runOne(session, recipes[i], outcome);
    }
    if (line.json) {
        printJson({{"experiments", outcome.experiments},
                   {"baseline", baseline > 0 ? nlohmann::json(baseline) : nlohmann::json(nullptr)},
                   {"ran", outcome.ran},
                   {"skipped", outcome.skipped},
                   {"failed", outcome.failed}});
    } else {
        printTable({"experiment", "status", "perplexity", "KL", "decode", "weights"}, outcome.rows);
        std::printf("%d ran, %d were there already, %d failed\n", outcome.ran, outcome.skipped,
                    outcome.failed);
    }
    return outcome.exitCode;
}

}  // namespace

void addSweep(CLI::App& app, CommandLine& line) {
    const auto options = std::make_shared<SweepArguments>();
    CLI::App* command =
        addCommand(app, line, "sweep", "Run a grid or list of recipes; goes on where it stopped",
                   [&line, options] { return sweep(line, *options); });
    command
        ->add_option("SWEEP", options->sweep,
                     "File, - for standard input, or JSON: a recipe with \"sweep\", or a list")
        ->required();
    addRunOptions(*command, options->run);
}

}  // namespace fettle::cli
