// fettle-cli gate --experiment ID --baseline ID --max-perplexity-increase 2% ...: does a result
// hold its limits?
#include <cmath>
#include <cstdio>
#include <fstream>
#include <memory>

#include "app/cli/commands.h"
#include "app/cli/experiment_store.h"
#include "app/cli/output.h"
#include "app/core/markup.h"
#include "engine/core/error.h"
#include "engine/experiment/advisor_values.h"
#include "engine/experiment/paired_comparison.h"

namespace fettle::cli {

namespace {

struct GateArguments {
    std::string database;
    std::int64_t experiment = 0;
    std::int64_t baseline = 0;
    std::string maxPerplexityIncrease;
    std::string maxKl;
    std::string minTop1;
    std::string maxTaskDrop;
    std::string minSpeedup;
    std::string maxMemory;
    std::string junit = "fettle-gate.xml";
};

struct Check {
    std::string name;
    std::string metric;
    bool passed = false;
    std::string text;
};

double limitValue(const std::string& option, const std::string& text) {
    if (const std::optional<double> limit = limitFromText(text))
        return *limit;
    throw EngineError(ErrorKind::Usage,
                      option + " " + text + ": not a number with %, x or a unit of bytes");
}

class Gate {
public:
    Gate(ExperimentRecord experiment, ExperimentRecord baseline)
        : m_experiment(std::move(experiment)), m_baseline(std::move(baseline)) {}

    /// value(experiment, baseline) must not exceed (or fall below) the limit. `needsBaseline`:
    /// numbers of both, measured alike.
    template <typename Value>
    void add(const std::string& option, const std::string& text, const std::string& metric,
             bool atMost, bool needsBaseline, const Value& value) {
        if (text.empty())
            return;
        const double limit = limitValue(option, text);
        Check check{option.substr(2), metric, false, {}};
        const Measurement* ours = find(m_experiment, metric);
        const Measurement* theirs = needsBaseline ? find(m_baseline, metric) : ours;
        if (!ours || !theirs) {
            check.text = metric + " was not measured";
        } else if (needsBaseline && ours->protocol != theirs->protocol) {
            check.text = metric + " was measured under different protocols";
        } else if (!ours->native && metric == "decode_tokens_per_s") {
            check.text = "the speed was measured through dequantization";
        } else {
            const double got = value(ours->value, theirs->value);
            check.passed = std::isfinite(got) && (atMost ? got <= limit : got >= limit);
            char line[160];
            std::snprintf(line, sizeof line, "%s: %.6g, %s %.6g", metric.c_str(), got,
                          atMost ? "at most" : "at least", limit);
            check.text = line;
        }
        m_checks.push_back(std::move(check));
    }
    /// Says with each check whether the difference from the baseline is real.
    void addFindings(const PairedComparison& comparison) {
        for (Check& check : m_checks)
            for (const PairedFinding& finding : comparison.findings)
                if (finding.metric == check.metric)
                    check.text += ". " + finding.text();
    }
    const std::vector<Check>& checks() const { return m_checks; }

private:
    static const Measurement* find(const ExperimentRecord& record, const std::string& metric) {
        const auto found = record.metrics.find(metric);
        return found == record.metrics.end() ? nullptr : &found->second;
    }

    ExperimentRecord m_experiment;
    ExperimentRecord m_baseline;
    std::vector<Check> m_checks;
};

void writeJunit(const std::string& path, const std::string& name,
                const std::vector<Check>& checks) {
    std::size_t failures = 0;
    std::string cases;
    for (const Check& check : checks) {
        failures += check.passed ? 0 : 1;
        cases +=
            "    <testcase classname=\"fettle.gate\" name=\"" + app::markupText(check.name) + "\">";
        if (!check.passed)
            cases += "<failure message=\"" + app::markupText(check.text) + "\"/>";
        cases += "<system-out>" + app::markupText(check.text) + "</system-out></testcase>\n";
    }
    std::ofstream file(path, std::ios::trunc);
    file << "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\""
         << app::markupText(name) << "\" tests=\"" << checks.size() << "\" failures=\"" << failures
         << "\">\n"
         << cases << "  </testsuite>\n</testsuites>\n";
    file.flush();
    if (!file)
        throw EngineError(ErrorKind::Io, path + ": the JUnit file cannot be written");
}

int gate(const CommandLine& line, const GateArguments& options) {
    const ExperimentStore store(options.database, ExperimentStore::Mode::Existing);
    const ExperimentRecord experiment = store.record(options.experiment);
    Gate gate(experiment, store.record(options.baseline));
    const auto own = [](double value, double) { return value; };
    gate.add("--max-perplexity-increase", options.maxPerplexityIncrease, "perplexity", true, true,
             [](double value, double base) { return value / base - 1; });
    gate.add("--max-kl", options.maxKl, "kl_mean", true, false, own);
    gate.add("--min-top1-agreement", options.minTop1, "top1_agreement", false, false,
             [](double value, double) { return value / 100; });
    gate.add("--max-task-drop", options.maxTaskDrop, "task_accuracy", true, true,
             [](double value, double base) { return (base - value) / 100; });
    gate.add("--min-speedup", options.minSpeedup, "decode_tokens_per_s", false, true,
             [](double value, double base) { return value / base; });
    gate.add("--max-memory", options.maxMemory, "weight_bytes", true, false, own);
    gate.addFindings(comparePaired(store.trace(options.baseline).value_or(EvaluationTrace{}),
                                   store.trace(options.experiment).value_or(EvaluationTrace{})));
    const std::vector<Check>& checks = gate.checks();
    if (checks.empty())
        throw EngineError(ErrorKind::Usage,
                          "no limit is given (--max-perplexity-increase, --min-speedup, ...)");
    bool holds = true;
    nlohmann::json list = nlohmann::json::array();
    for (const Check& check : checks) {
        holds = holds && check.passed;
        list.push_back({{"name", check.name}, {"passed", check.passed}, {"text", check.text}});
        if (!line.json)
            std::printf("%-6s %s: %s\n", check.passed ? "ok" : "MISSED", check.name.c_str(),
                        check.text.c_str());
    }
    writeJunit(options.junit, "experiment " + std::to_string(experiment.id) + " " + experiment.name,
               checks);
    if (line.json)
        printJson({{"holds", holds}, {"checks", list}, {"junit", options.junit}});
    return holds ? kExitDone : kExitDoesNotHold;
}

}  // namespace

void addGate(CLI::App& app, CommandLine& line) {
    const auto options = std::make_shared<GateArguments>();
    CLI::App* command =
        addCommand(app, line, "gate", "Check limits on a result; ends with 1 when one is missed",
                   [&line, options] { return gate(line, *options); });
    command->add_option("--experiment", options->experiment, "The experiment to judge")->required();
    command->add_option("--baseline", options->baseline, "What it is compared with")->required();
    command->add_option("--max-perplexity-increase", options->maxPerplexityIncrease, "e.g. 2%");
    command->add_option("--max-kl", options->maxKl, "Mean KL divergence, nats, e.g. 0.01");
    command->add_option("--min-top1-agreement", options->minTop1, "e.g. 97%");
    command->add_option("--max-task-drop", options->maxTaskDrop, "Percentage points, e.g. 1%");
    command->add_option("--min-speedup", options->minSpeedup, "Decode speed ratio, e.g. 1.5");
    command->add_option("--max-memory", options->maxMemory, "Weights in memory, e.g. 2GiB");
    command->add_option("--junit", options->junit, "JUnit file (default fettle-gate.xml)");
    addDatabaseOption(*command, options->database);
}

}  // namespace fettle::cli
