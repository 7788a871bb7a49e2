// What pruning costs and what training wins back: runs recipes on a model and prints a line of JSON
// for each.
//
//     bench_recovery MODEL TRAIN CALIBRATION EVALUATE TASKS CONTEXT WORK [RECIPES [NAME...]]
//
// TASKS may be "-". RECIPES holds one recipe per line (default: recovery.jsonl beside this file);
// NAMEs pick some. "$WORK" in a recipe is the folder WORK, where the model of a recipe named N is
// written to N: so that one can train anew what another ended with. The evaluation text is for the
// table: settings are chosen by "recovery", which is measured on text held back from TRAIN.
// FETTLE_THREADS is the number of threads, all by default.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "engine/backend/cpu_backend.h"
#include "engine/job/recipe_runner.h"

namespace {

using namespace fettle;

class Log : public NullProgress {
public:
    void log(JobLog::Level, const std::string& text) override {
        std::fprintf(stderr, "    %s\n", text.c_str());
    }
};

void replaceAll(std::string& text, const std::string& what, const std::string& with) {
    for (std::size_t at = text.find(what); at != std::string::npos;
         at = text.find(what, at + with.size()))
        text.replace(at, what.size(), with);
}

void runLine(std::string line, RunRequest request, const std::string& work,
             const std::vector<std::string>& names, CpuBackend& backend) {
    replaceAll(line, "$WORK", work);
    request.recipe = recipeFromText(line);
    const std::string& name = request.recipe.name;
    if (!names.empty() && std::find(names.begin(), names.end(), name) == names.end())
        return;
    if (!request.recipe.steps.empty())
        request.artifactFolder = work + "/" + name;
    Log log;
    RunControl control({}, nullptr, log);
    const RunResult result = runRecipe(request, backend, control);
    nlohmann::json row{{"run", name}};
    for (const Measurement& m : result.metrics)
        for (const char* wanted :
             {"perplexity", "ppl_ratio", "kl_mean", "task_accuracy", "recovery", "training_tokens",
              "sparsity", "parameters", "recipe_seconds"})
            if (m.name == wanted) {
                row[m.name] = m.value;
                if (m.low && m.high)
                    row[m.name + "_interval"] = {*m.low, *m.high};
            }
    std::printf("%s\n", row.dump().c_str());
    std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 8) {
        std::fprintf(stderr,
                     "usage: bench_recovery MODEL TRAIN CALIBRATION EVALUATE TASKS CONTEXT WORK "
                     "[RECIPES [NAME...]]\n");
        return 2;
    }
    try {
        RunRequest request;
        request.modelPath = argv[1];
        request.inputs.train = argv[2];
        request.inputs.calibration = argv[3];
        request.inputs.evaluate = argv[4];
        request.inputs.tasks = std::string(argv[5]) == "-" ? "" : argv[5];
        request.measure.context = std::atoi(argv[6]);
        request.measure.speed = false;
        const char* threads = std::getenv("FETTLE_THREADS");
        CpuBackend backend(threads ? std::atoi(threads) : 0);
        const std::string recipes =
            argc > 8 ? argv[8] : std::string(FETTLE_BENCH_FOLDER) + "/recovery.jsonl";
        std::ifstream file(recipes);
        if (!file)
            throwBadInput(recipes, "cannot be read");
        const std::vector<std::string> names(argv + std::min(argc, 9), argv + argc);
        for (std::string line; std::getline(file, line);)
            if (!line.empty())
                runLine(line, request, argv[7], names, backend);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
