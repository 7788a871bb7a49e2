// fettle-cli advise --model MODEL --max-perplexity-increase 2% --min-speedup 1.5 ...: climbs the
// ladder of techniques until the targets hold; goes on where it stopped
#include <cstdio>
#include <memory>

#include "app/cli/commands.h"
#include "app/cli/output.h"
#include "app/cli/run_session.h"
#include "engine/advisor/advisor.h"
#include "engine/experiment/advisor_values.h"
#include "engine/technique/technique.h"

namespace fettle::cli {

namespace {

struct AdviseArguments {
    RunOptions run;
    std::string maxPerplexityIncrease;
    std::string maxKl;
    std::string minTaskAccuracy;
    std::string minSpeedup;
    std::string maxMemory;
    std::string maxFileSize;
    double minutes = 0;
    std::string draft;
    std::uint64_t seed = 1;
};

std::optional<double> limit(const std::string& option, const std::string& text) {
    if (text.empty())
        return std::nullopt;
    const std::optional<double> value = limitFromText(text);
    if (!value)
        throw EngineError(ErrorKind::Usage,
                          option + " " + text + ": not a number with %, x or a unit of bytes");
    return value;
}

AdvisorTargets targetsOf(const AdviseArguments& options) {
    AdvisorTargets targets;
    targets.maxPerplexityIncrease =
        limit("--max-perplexity-increase", options.maxPerplexityIncrease);
    targets.maxKl = limit("--max-kl", options.maxKl);
    targets.minTaskAccuracy = limit("--min-task-accuracy", options.minTaskAccuracy);
    targets.minSpeedup = limit("--min-speedup", options.minSpeedup);
    targets.maxMemoryBytes = limit("--max-memory", options.maxMemory);
    targets.maxFileBytes = limit("--max-file-size", options.maxFileSize);
    if (!targets.any())
        throw EngineError(ErrorKind::Usage,
                          "no target is given (--max-perplexity-increase, --min-speedup, "
                          "--max-memory, ...)");
    return targets;
}

/// Answers the advisor's questions: from the database where the experiment is there, else by
/// running it.
class Climb {
public:
    Climb(const CommandLine& line, const AdviseArguments& options)
        : m_quiet(line.json), m_session(line, options.run) {
        m_goal.targets = targetsOf(options);
        m_goal.minutes = options.minutes;
        m_goal.draft = options.draft;
        m_goal.seed = options.seed;
        const ModelReport model = m_session.checkInputs();
        m_goal.layers = model.layers;
        m_goal.hiddenSize = model.hiddenSize;
        m_goal.vocabulary = model.vocabularySize;
        const RunRequest usual = m_session.request({});
        m_goal.modelPath = usual.modelPath;
        m_goal.inputs = usual.inputs;
        m_goal.measure = usual.measure;
        if (m_goal.targets.accuracy() && m_goal.inputs.evaluate.empty() &&
            !m_goal.targets.minTaskAccuracy)
            throw EngineError(ErrorKind::Usage,
                              "an accuracy target needs a text to measure on: --evaluate FILE");
        if (m_goal.targets.minTaskAccuracy && m_goal.inputs.tasks.empty())
            throw EngineError(ErrorKind::Usage,
                              "--min-task-accuracy needs tasks to answer: --tasks FILE");
    }

    AdvisorReport run() {
        const std::vector<TechniqueDescriptor> techniques = techniqueDescriptors();
        while (true) {
            AdvisorReport report = advise(m_goal, techniques, m_known);
            for (; m_told < report.decisions.size(); ++m_told)
                tell(report.decisions[m_told]);
            if (!report.question)
                return report;
            answer(*report.question);
        }
    }

    ExperimentStore& store() { return m_session.store(); }

private:
    void tell(const AdvisorDecision& decision) {
        if (!m_quiet)
            std::fprintf(stderr, "%-12s %s\n", decision.stage.c_str(), decision.text.c_str());
    }

    RunRequest requestFor(const AdvisorTrial& trial) const {
        RunRequest request = m_session.request(trial.recipe);
        request.inputs = trial.inputs;
        request.measure = trial.measure;
        return request;
    }

    void answer(const AdvisorQuestion& question) {
        const std::string key = trialKey(question.trial);
        RunRequest request = requestFor(question.trial);
        if (question.kind == AdvisorQuestion::Kind::Estimate) {
            m_known.estimates[key] = m_session.estimate(request);
            return;
        }
        const std::optional<ExperimentRecord> same = m_session.store().findSame(request);
        if (same && same->status == ExperimentStatus::Finished &&
            keepsWhatIsNeeded(*same, question))
            m_known.outcomes[key] = outcomeOf(*same, true);
        else
            m_known.outcomes[key] = measured(request, question, same);
    }

    /// A result in full whose model was deleted cannot be recommended.
    static bool keepsWhatIsNeeded(const ExperimentRecord& record, const AdvisorQuestion& question) {
        return !question.trial.inFull() || record.isBaseline() || !record.artifactPath.empty();
    }

    AdvisorOutcome measured(RunRequest& request, const AdvisorQuestion& question,
                            const std::optional<ExperimentRecord>& same) {
        const AdvisorTrial& trial = question.trial;
        const std::string name =
            trial.stage + (trial.inFull() ? "" : " (trial)") + " " + recipeSummary(trial.recipe);
        const bool again = same && same->status != ExperimentStatus::Running &&
                           same->status != ExperimentStatus::Finished;
        m_session.setTitle(trial.stage + ", " + recipeSummary(trial.recipe));
        const double start = steadySeconds();
        std::string error;
        try {
            m_session.runWithin(request, name, again ? same->id : 0, trial.inFull(),
                                question.secondsLeft);
        } catch (const EngineError& failure) {
            error = failure.what();
        } catch (const Cancelled&) {
            if (Interrupt::token().stop_requested())
                throw;
            error = "stopped, because the budget was used up";
        }
        AdvisorOutcome outcome = outcomeOf(m_session.store().record(request.experiment), false);
        outcome.seconds = steadySeconds() - start;
        if (!error.empty())
            outcome.error = error;
        return outcome;
    }

    static AdvisorOutcome outcomeOf(const ExperimentRecord& record, bool reused) {
        AdvisorOutcome outcome;
        outcome.experiment = record.id;
        outcome.status = record.status;
        outcome.error = record.error;
        outcome.metrics = record.metrics;
        outcome.reused = reused;
        const auto seconds = record.metrics.find("wall_seconds");
        outcome.seconds = seconds == record.metrics.end() ? 0 : seconds->second.value;
        return outcome;
    }

    bool m_quiet;
    RunSession m_session;
    AdvisorGoal m_goal;
    AdvisorKnowledge m_known;
    std::size_t m_told = 0;
};

std::string cell(const AdvisorRung& rung, const char* metric) {
    const auto found = rung.metrics.find(metric);
    return found == rung.metrics.end() ? "" : formatMetric(metric, found->second.value);
}

void print(const AdvisorReport& report, ExperimentStore& store) {
    std::vector<std::vector<std::string>> rows;
    for (const AdvisorRung& rung : report.rungs) {
        std::string name = rung.trial.stage + "  " + rung.title;
        if (!rung.trial.inFull())
            name += " (trial)";
        const bool ran = rung.state == AdvisorRung::State::Finished;
        rows.push_back({name, ran ? (rung.meets() ? "meets" : "misses") : toString(rung.state),
                        rung.experiment > 0 ? std::to_string(rung.experiment) : "",
                        cell(rung, "ppl_ratio"), cell(rung, "kl_mean"),
                        cell(rung, "decode_tokens_per_s"), cell(rung, "weight_bytes"),
                        ran ? formatDuration(rung.seconds) : "",
                        ran ? formatMetric("training_tokens", rung.tokens) : "",
                        ran ? formatBytes(rung.peakBytes) : ""});
    }
    printTable({"rung", "targets", "experiment", "ppl ratio", "KL", "decode", "weights", "time",
                "data", "memory"},
               rows);
    std::printf("\n%s\n", report.verdict.c_str());
    if (!report.recommended)
        return;
    const AdvisorRung& best = report.rungs[*report.recommended];
    const ExperimentRecord record = store.record(best.experiment);
    if (!record.artifactPath.empty())
        std::printf("model: %s\n", record.artifactPath.c_str());
}

int adviseCommand(const CommandLine& line, const AdviseArguments& options) {
    Climb climb(line, options);
    const AdvisorReport report = climb.run();
    if (line.json) {
        nlohmann::json document = toJson(report);
        document["targets"] = toJson(targetsOf(options));
        document["experiment"] = nullptr;
        document["artifact"] = nullptr;
        if (report.recommended) {
            const ExperimentRecord best =
                climb.store().record(report.rungs[*report.recommended].experiment);
            document["experiment"] = best.id;
            if (!best.artifactPath.empty())
                document["artifact"] = best.artifactPath;
        }
        printJson(document);
    } else {
        print(report, climb.store());
    }
    return report.met ? kExitDone : kExitDoesNotHold;
}

}  // namespace

void addAdvise(CLI::App& app, CommandLine& line) {
    const auto options = std::make_shared<AdviseArguments>();
    CLI::App* command = addCommand(
        app, line, "advise",
        "Climb the techniques, cheapest first, until targets hold; goes on where it stopped",
        [&line, options] { return adviseCommand(line, *options); });
    addRunOptions(*command, options->run);
    command->remove_option(command->get_option("--no-speed"));
    command->remove_option(command->get_option("--no-baseline"));
    command->add_option("--max-perplexity-increase", options->maxPerplexityIncrease, "e.g. 2%");
    command->add_option("--max-kl", options->maxKl, "Mean KL divergence, nats, e.g. 0.01");
    command->add_option("--min-task-accuracy", options->minTaskAccuracy, "e.g. 70%");
    command->add_option("--min-speedup", options->minSpeedup, "Decode speed ratio, e.g. 1.5");
    command->add_option("--max-memory", options->maxMemory, "Weights in memory, e.g. 2GiB");
    command->add_option("--max-file-size", options->maxFileSize, "Size on disk, e.g. 2GiB");
    command
        ->add_option("--minutes", options->minutes,
                     "Budget of run time, those found in the database included (default: none)")
        ->check(CLI::NonNegativeNumber);
    command->add_option("--draft", options->draft, "A draft model to try beside ngram and self:N");
    command->add_option("--seed", options->seed, "Seed of all recipes (default 1)");
}

}  // namespace fettle::cli
