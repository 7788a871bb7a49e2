// fettle-cli demo: the bundled model through one recipe of each technique; a table, charts, files
// for other programs
#include <cstdio>
#include <filesystem>
#include <memory>

#include "app/cli/charts.h"
#include "app/cli/commands.h"
#include "app/cli/output.h"
#include "app/cli/run_session.h"
#include "app/core/experiment_csv.h"

namespace fettle::cli {

namespace {

namespace fs = std::filesystem;

struct DemoArguments {
    bool quick = false;
    std::string out = "fettle-demo";
};

Recipe ptq(const std::string& scheme, const std::string& search, const std::string& name) {
    Recipe recipe;
    recipe.name = name;
    recipe.steps = {{"ptq", {{"scheme", scheme}, {"scale_search", search}}}};
    return recipe;
}

Recipe speculative() {
    Recipe recipe;
    recipe.name = "speculative, bundled draft";
    recipe.steps = {{"speculative", {{"draft", "demo-draft"}}}};
    return recipe;
}

/// A tenth of the parameters gone and what that cost learned again: a taste that takes a minute,
/// not what the technique can do.
Recipe pruneAndDistill(bool quick) {
    Recipe recipe;
    recipe.name = "pruned 10%, distilled";
    recipe.steps = {{"prune", {{"method", "width"}, {"ratio", 0.1}, {"calibration_tokens", 8192}}},
                    {"distill", {{"tokens", quick ? 10000 : 300000}}}};
    return recipe;
}

/// Three bits, and training in them: on the text alone (qat), or after the original (qad).
Recipe trained(const std::string& technique, bool quick) {
    Recipe recipe;
    recipe.name = "int3-g128, " + technique;
    recipe.steps = {{"ptq", {{"scheme", "int3-g128"}}},
                    {technique, {{"tokens", quick ? 4000 : 100000}}}};
    return recipe;
}

std::vector<Recipe> demoRecipes(bool quick) {
    return {ptq("int8", "mse", "int8"),
            speculative(),
            ptq("int4-g32", "mse", "int4-g32"),
            ptq("int4-g128", "mse", "int4-g128"),
            ptq("int4-g32", "absmax", "int4-g32 absmax"),
            trained("qat", quick),
            trained("qad", quick),
            pruneAndDistill(quick)};
}

RunOptions runOptions(const DemoArguments& options) {
    RunOptions run;
    run.model = "demo";
    run.database = (fs::path(options.out) / "demo.db").string();
    if (options.quick) {
        run.measure.maxTokens = 4096;
        run.measure.promptTokens = 128;
        run.measure.newTokens = 64;
    }
    return run;
}

/// "5.31 (+0.4%)"; the baseline's own value stands alone.
std::string cell(const ExperimentRecord& record, const ExperimentRecord& baseline,
                 const char* metric) {
    const auto found = record.metrics.find(metric);
    if (found == record.metrics.end())
        return "";
    std::string text = formatMetric(metric, found->second.value);
    const auto base = baseline.metrics.find(metric);
    if (record.id == baseline.id || base == baseline.metrics.end())
        return text;
    return text + " (" + changeText(found->second.value, base->second.value) + ")";
}

/// One sentence for the run with a draft: its gain, or why there is none.
std::string speculationText(const ExperimentRecord& record) {
    const auto value = [&](const char* metric) {
        const auto found = record.metrics.find(metric);
        return found == record.metrics.end() ? std::string("not measured")
                                             : formatMetric(metric, found->second.value);
    };
    const auto speedup = record.metrics.find("speedup");
    if (speedup == record.metrics.end())
        return {};
    return std::string("The draft ") +
           (speedup->second.value > 1 ? "pays: " : "does not pay on this machine: ") +
           value("speedup") + " plain decoding with the same text (" + value("identical_output") +
           " of the answers identical); " + value("acceptance_rate") +
           " of the tried tokens accepted, drafting one takes " + value("draft_cost") +
           " of a step.";
}

void printComparison(const std::vector<ExperimentRecord>& records) {
    std::vector<std::vector<std::string>> rows;
    rows.reserve(records.size());
    for (const ExperimentRecord& record : records)
        rows.push_back({record.isBaseline() ? "baseline" : record.name,
                        cell(record, records.front(), "perplexity"),
                        cell(record, records.front(), "task_accuracy"),
                        cell(record, records.front(), "top1_agreement"),
                        cell(record, records.front(), "prefill_tokens_per_s"),
                        cell(record, records.front(), "decode_tokens_per_s"),
                        cell(record, records.front(), "weight_bytes")});
    printTable({"", "perplexity", "tasks", "same top token", "prefill", "decode", "weights"}, rows);
}

int demo(const CommandLine& line, const DemoArguments& options) {
    const fs::path out = fs::absolute(options.out);
    std::error_code failed;
    fs::create_directories(out, failed);
    if (failed)
        throw EngineError(ErrorKind::Io, out.string() + ": " + failed.message());

    std::vector<ExperimentRecord> records;
    {
        RunSession session(line, runOptions(options));
        session.checkInputs();
        // The demo's own database starts afresh: every number of the table comes from this run.
        std::vector<std::int64_t> earlier;
        for (const ExperimentRecord& record : session.store().list())
            earlier.push_back(record.id);
        if (!earlier.empty())
            session.store().remove(earlier);
        std::vector<std::int64_t> ids{session.ensureBaseline()};
        const std::vector<Recipe> recipes = demoRecipes(options.quick);
        for (std::size_t i = 0; i < recipes.size(); ++i) {
            session.setTitle(recipes[i].name);
            RunRequest request = session.request(recipes[i]);
            session.run(request, recipes[i].name);
            ids.push_back(request.experiment);
        }
        for (const std::int64_t id : ids)
            records.push_back(session.store().record(id));
    }

    std::vector<std::string> charts =
        writeCharts(records, out, "speed-and-perplexity", "decode_tokens_per_s", "perplexity");
    for (std::string& path :
         writeCharts(records, out, "size-and-perplexity", "weight_bytes", "perplexity"))
        charts.push_back(std::move(path));
    const fs::path csv = out / "comparison.csv";
    const fs::path json = out / "comparison.json";
    app::exportExperiments(records, csv);
    app::exportExperiments(records, json);

    if (line.json) {
        nlohmann::json items = nlohmann::json::array();
        for (const ExperimentRecord& record : records)
            items.push_back(experimentJson(record));
        printJson({{"experiments", items},
                   {"charts", charts},
                   {"csv", csv.string()},
                   {"json", json.string()},
                   {"database", (out / "demo.db").string()}});
        return kExitDone;
    }
    printComparison(records);
    std::printf("\nChanges are against the baseline, measured on this machine just now.\n");
    for (const ExperimentRecord& record : records)
        if (const std::string text = speculationText(record); !text.empty())
            std::printf("%s\n", text.c_str());
    for (const std::string& path : charts)
        std::printf("chart  %s\n", path.c_str());
    std::printf("table  %s, comparison.json\n", csv.c_str());
    std::printf(
        "Export one: fettle-cli export --db %s --experiment %lld --format gguf-q8_0 --out "
        "demo.gguf\n",
        (out / "demo.db").c_str(), static_cast<long long>(records.back().id));
    return kExitDone;
}

}  // namespace

void addDemo(CLI::App& app, CommandLine& line) {
    const auto options = std::make_shared<DemoArguments>();
    CLI::App* command = addCommand(app, line, "demo", "Optimize and compare the bundled model",
                                   [&line, options] { return demo(line, *options); });
    command->add_flag("--quick", options->quick, "Fewer tokens: rougher numbers, sooner");
    command->add_option("--out", options->out,
                        "Folder for charts and tables (default fettle-demo)");
}

}  // namespace fettle::cli
