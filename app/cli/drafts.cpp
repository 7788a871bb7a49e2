// fettle-cli drafts MODEL --draft A,B: tries drafts with several lengths and trees and says which
// is worth it
#include <cstdio>
#include <memory>

#include "app/cli/commands.h"
#include "app/cli/engine_session.h"
#include "app/cli/measure_options.h"
#include "app/cli/output.h"

namespace fettle::cli {

namespace {

struct DraftsArguments {
    DraftTrialRequest request;
    std::int64_t probeTokens = 0;
    std::string probeKind = "model";
};

std::string times(double value) {
    return formatMetric("speedup", value);
}

std::string share(double value) {
    return formatMetric("acceptance_rate", 100 * value);
}

void print(const DraftTrialReport& report) {
    std::vector<std::vector<std::string>> rows;
    for (const DraftTrial& trial : report.trials) {
        const std::string name = trial.draft + " · " + trial.draftTokens +
                                 (trial.tree == "off" ? "" : " · tree " + trial.tree);
        if (!trial.refusal.empty()) {
            rows.push_back({name, "refused", "", "", "", "", ""});
            continue;
        }
        rows.push_back({name, times(trial.speedup), times(trial.expected), share(trial.acceptance),
                        share(trial.draftCost),
                        formatMetric("mean_accepted_length", trial.acceptedLength),
                        trial.copySpeedup > 0 ? times(trial.copySpeedup) : ""});
    }
    printTable({"draft", "speed-up", "promised", "accepted", "draft cost", "per pass", "copying"},
               rows);
    for (const DraftTrial& trial : report.trials)
        if (!trial.refusal.empty())
            std::printf("%s: %s\n", trial.draft.c_str(), trial.refusal.c_str());
    const int best = report.best();
    if (best < 0) {
        std::printf("none is faster than no draft\n");
        return;
    }
    const DraftTrial& trial = report.trials[static_cast<std::size_t>(best)];
    std::printf("best: %s with %s tokens, tree %s: %s\n", trial.draft.c_str(),
                trial.draftTokens.c_str(), trial.tree.c_str(), trial.verdict.c_str());
}

int drafts(const CommandLine& line, const DraftsArguments& options) {
    DraftTrialRequest request = options.request;
    request.measure.threads = line.threads;
    if (options.probeTokens > 0) {
        request.probe.emplace();
        request.probe->tokens = options.probeTokens;
        request.probe->kind = options.probeKind;
    }
    EngineSession engine(line);
    const auto report = engine.run<DraftTrialReport>(request);
    if (line.json)
        printJson(toJson(report));
    else
        print(report);
    return report.best() >= 0 ? kExitDone : kExitDoesNotHold;
}

}  // namespace

void addDrafts(CLI::App& app, CommandLine& line) {
    const auto options = std::make_shared<DraftsArguments>();
    CLI::App* command =
        addCommand(app, line, "drafts", "Try drafts for a model and say which is worth it",
                   [&line, options] { return drafts(line, *options); });
    DraftTrialRequest& request = options->request;
    command->add_option("MODEL", request.modelPath, "Folder, .gguf file, or demo")->required();
    command
        ->add_option("--draft", request.drafts,
                     "Drafts to try, with commas: models, SCHEME:MODEL (int8:...), text:MODEL, "
                     "heads, ngram, suffix, self:N, self:SCHEME; ngram+ or suffix+ before another "
                     "for a look first")
        ->delimiter(',');
    command
        ->add_option("--draft-tokens", request.draftTokens,
                     "Tokens per round to try each with (default auto)")
        ->delimiter(',');
    command
        ->add_option("--draft-tree", request.trees,
                     "Trees to try each with: off (default), auto, widths such as 3-2-1")
        ->delimiter(',');
    command->add_option("--text", request.inputs.evaluate,
                        "Text whose pieces are the prompts (default: the bundled one)");
    command->add_option("--train", request.inputs.train, "Text that a probe learns from");
    command->add_option("--calibration", request.inputs.calibration,
                        "Text by which a probe is pruned");
    command
        ->add_option("--probe", options->probeTokens,
                     "Also make a draft with this few training tokens, to see its cost and first "
                     "acceptance before a long training")
        ->check(CLI::NonNegativeNumber);
    command->add_option("--probe-kind", options->probeKind, "model (default), medusa or eagle")
        ->check(CLI::IsMember({"model", "medusa", "eagle"}));
    addSpeedOptions(*command, request.measure);
}

}  // namespace fettle::cli
