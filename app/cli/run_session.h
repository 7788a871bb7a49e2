// Recipes on one model, one after the other, measured and stored: what run, sweep, demo and resume
// have in common.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "app/cli/engine_session.h"
#include "app/cli/experiment_store.h"

namespace fettle::cli {

/// Options that say what a recipe is run on and how the result is measured.
struct RunOptions {
    std::string model;
    RunInputs inputs;
    MeasureOptions measure;
    std::string database;
    bool noSpeed = false;
    bool noBaseline = false;
};
void addRunOptions(CLI::App& command, RunOptions& options);

/// The text of RECIPE: a file, "-" for standard input, or the JSON itself. Throws
/// EngineError(BadInput).
std::string recipeText(const std::string& argument);

class RunSession {
public:
    RunSession(const CommandLine& line, const RunOptions& options);

    ExperimentStore& store() { return m_store; }
    /// What `recipe` would run as: absolute paths, bundled texts, the measuring options.
    RunRequest request(const Recipe& recipe) const;
    /// Reads the model's description and the texts, so that a wrong path is an error before
    /// anything is stored.
    ModelReport checkInputs();
    /// The measured baseline under the same protocol; measured first where there is none. 0 with
    /// --no-baseline.
    std::int64_t ensureBaseline();
    /// Stores and runs one recipe. Throws EngineError and Cancelled after they were recorded.
    RunResult run(RunRequest& request, const std::string& name);
    /// The same under the id of an experiment that did not finish.
    RunResult runAgain(RunRequest& request, std::int64_t id);
    /// Stores and runs `request`, or runs experiment `again` once more; cancelled after `seconds`.
    /// `keepModel` false: measured, not written.
    RunResult runWithin(RunRequest& request, const std::string& name, std::int64_t again,
                        bool keepModel, double seconds);
    /// What a recipe would cost.
    RecipeEstimate estimate(const RunRequest& request);
    /// Put before every line of progress.
    void setTitle(const std::string& title) { m_engine.printer().setTitle(title); }

private:
    RunResult post(const RunRequest& request,
                   double seconds = std::numeric_limits<double>::infinity());

    const CommandLine& m_line;
    RunOptions m_options;
    ExperimentStore m_store;
    EngineSession m_engine;
};

}  // namespace fettle::cli
