// fettle-cli experiments list | show | compare | pareto | export | import | remove | resume;
// favourite, tag and note are in experiment_annotations.cpp
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <memory>

#include "app/cli/commands.h"
#include "app/cli/experiment_annotations.h"
#include "app/cli/experiment_store.h"
#include "app/cli/output.h"
#include "app/cli/run_session.h"
#include "app/core/experiment_csv.h"
#include "app/core/experiment_exchange.h"
#include "app/core/mlflow_export.h"
#include "engine/experiment/paired_comparison.h"
#include "engine/experiment/pareto_front.h"
#include "storage/durable_file.h"

namespace fettle::cli {

namespace {

using Mode = ExperimentStore::Mode;

struct ExperimentsArguments {
    std::string database;
    std::vector<std::int64_t> ids;
    std::string file;
    std::string format;
    std::string x = "decode_tokens_per_s";
    std::string y = "perplexity";
    std::string z;
    std::string model;
    bool favourite = false;
    std::string tag;
};

std::string timeText(std::int64_t ms) {
    if (ms <= 0)
        return "";
    const std::time_t seconds = static_cast<std::time_t>(ms / 1000);
    std::tm parts{};
    localtime_r(&seconds, &parts);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%d %H:%M", &parts);
    return text;
}

std::string cell(const ExperimentRecord& record, const std::string& metric) {
    const auto found = record.metrics.find(metric);
    return found == record.metrics.end() ? "" : formatMetric(metric, found->second.value);
}

std::string title(const std::string& metric) {
    const MetricInfo* info = findMetric(metric);
    return info ? info->title : metric;
}

int list(const CommandLine& line, const ExperimentsArguments& options) {
    std::vector<ExperimentRecord> records =
        ExperimentStore(options.database, Mode::Existing).list();
    const bool any = !records.empty();
    std::erase_if(records, [&](const ExperimentRecord& record) {
        return (options.favourite && !record.annotations.favourite) ||
               (!options.tag.empty() && !record.annotations.hasTag(normalTag(options.tag)));
    });
    if (line.json) {
        nlohmann::json items = nlohmann::json::array();
        for (const ExperimentRecord& record : records)
            items.push_back(experimentJson(record));
        printJson({{"experiments", items}});
        return kExitDone;
    }
    if (records.empty()) {
        std::printf(any ? "no experiment is so marked\n"
                        : "no experiments yet; `fettle-cli run` makes one\n");
        return kExitDone;
    }
    std::vector<std::vector<std::string>> rows;
    for (const ExperimentRecord& record : records)
        rows.push_back({std::to_string(record.id) + "  " + annotatedName(record), record.modelName,
                        toString(record.status), timeText(record.startedMs),
                        cell(record, "perplexity"), cell(record, "decode_tokens_per_s"),
                        cell(record, "weight_bytes")});
    printTable({"experiment", "model", "status", "started", "perplexity", "decode", "weights"},
               rows);
    return kExitDone;
}

int show(const CommandLine& line, const ExperimentsArguments& options) {
    const ExperimentDetail detail =
        ExperimentStore(options.database, Mode::Existing).detail(options.ids.front());
    if (line.json) {
        nlohmann::json document = toJson(detail);
        document.update(experimentJson(detail.record));
        printJson(document);
        return kExitDone;
    }
    const ExperimentRecord& record = detail.record;
    std::vector<std::pair<std::string, std::string>> fields{
        {"experiment", std::to_string(record.id) + "  " + record.name},
        {"status", toString(record.status) + (record.error.empty() ? "" : ": " + record.error)},
        {"model", record.modelName + "  (" + record.modelPath + ")"},
        {"recipe", record.summary()},
        {"device", record.device},
        {"started", timeText(record.startedMs)},
        {"finished", timeText(record.finishedMs)},
        {"kept model", record.artifactPath}};
    if (record.annotations.favourite)
        fields.emplace_back("favourite", "yes");
    if (!record.annotations.tags.empty())
        fields.emplace_back("tags", tagText(record.annotations));
    if (!record.annotations.note.empty())
        fields.emplace_back("note", record.annotations.note);
    printFields(fields);
    std::vector<Measurement> metrics;
    for (const MetricInfo& info : metricCatalogue())
        if (const auto found = record.metrics.find(info.id); found != record.metrics.end())
            metrics.push_back(found->second);
    if (!metrics.empty())
        std::printf("\n");
    printMetrics(metrics);
    for (const SampleText& sample : detail.samples)
        std::printf("\n> %s\n%s\n", sample.prompt.c_str(), sample.text.c_str());
    return kExitDone;
}

/// Metrics that at least one of `records` has, in the catalogue's order.
std::vector<std::string> metricsOf(const std::vector<ExperimentRecord>& records) {
    std::vector<std::string> names;
    for (const MetricInfo& info : metricCatalogue())
        if (std::any_of(records.begin(), records.end(), [&](const ExperimentRecord& record) {
                return record.metrics.count(info.id) != 0;
            }))
            names.push_back(info.id);
    return names;
}

/// The values of one metric, each with its change against the first experiment. A change is only
/// stated between numbers of the same protocol.
nlohmann::json compareMetric(const std::vector<ExperimentRecord>& records, const std::string& name,
                             std::vector<std::string>& row) {
    nlohmann::json values = nlohmann::json::array();
    nlohmann::json changes = nlohmann::json::array();
    row = {title(name)};
    const auto base = records.front().metrics.find(name);
    for (const ExperimentRecord& record : records) {
        const auto found = record.metrics.find(name);
        if (found == record.metrics.end()) {
            values.push_back(nullptr);
            changes.push_back(nullptr);
            row.push_back("");
            continue;
        }
        const Measurement& metric = found->second;
        values.push_back(metric.value);
        const bool comparable = &record != &records.front() &&
                                base != records.front().metrics.end() &&
                                base->second.protocol == metric.protocol && base->second.value != 0;
        changes.push_back(comparable ? nlohmann::json(metric.value / base->second.value - 1)
                                     : nlohmann::json(nullptr));
        const std::string change = comparable ? changeText(metric.value, base->second.value) : "";
        row.push_back(formatMetric(name, metric.value) +
                      (change.empty() ? "" : " (" + change + ")"));
    }
    return {{"name", name}, {"values", values}, {"changes", changes}};
}

/// Each experiment but the first held against the first, on paired values of tokens and tasks.
std::vector<PairedComparison> compareTokens(const ExperimentStore& store,
                                            const std::vector<ExperimentRecord>& records) {
    const EvaluationTrace reference = store.trace(records.front().id).value_or(EvaluationTrace{});
    std::vector<PairedComparison> comparisons;
    for (std::size_t i = 1; i < records.size(); ++i)
        comparisons.push_back(
            comparePaired(reference, store.trace(records[i].id).value_or(EvaluationTrace{})));
    return comparisons;
}

void printFindings(const ExperimentRecord& record, const PairedComparison& comparison) {
    std::printf("\n%lld %s against the first:\n", static_cast<long long>(record.id),
                record.name.c_str());
    for (const PairedFinding& finding : comparison.findings)
        std::printf("  %s\n", finding.text().c_str());
    if (!comparison.note.empty())
        std::printf("  Not tested: %s.\n", comparison.note.c_str());
}

int compare(const CommandLine& line, const ExperimentsArguments& options) {
    const ExperimentStore store(options.database, Mode::Existing);
    std::vector<ExperimentRecord> records;
    for (const std::int64_t id : options.ids)
        records.push_back(store.record(id));
    const std::vector<PairedComparison> comparisons = compareTokens(store, records);
    nlohmann::json metrics = nlohmann::json::array();
    std::vector<std::vector<std::string>> rows;
    for (const std::string& name : metricsOf(records))
        metrics.push_back(compareMetric(records, name, rows.emplace_back()));
    if (line.json) {
        nlohmann::json items = nlohmann::json::array();
        for (const ExperimentRecord& record : records)
            items.push_back(experimentJson(record));
        nlohmann::json paired = nlohmann::json::array();
        for (std::size_t i = 0; i < comparisons.size(); ++i) {
            paired.push_back(toJson(comparisons[i]));
            paired.back()["id"] = records[i + 1].id;
            paired.back()["against"] = records.front().id;
        }
        printJson({{"experiments", items}, {"metrics", metrics}, {"paired", paired}});
        return kExitDone;
    }
    std::vector<std::string> head{"metric"};
    for (const ExperimentRecord& record : records)
        head.push_back(std::to_string(record.id) + " " + record.name);
    printTable(head, rows);
    for (std::size_t i = 0; i < comparisons.size(); ++i)
        printFindings(records[i + 1], comparisons[i]);
    return kExitDone;
}

BetterWhen betterWhen(const std::string& metric) {
    const MetricInfo* info = findMetric(metric);
    if (!info)
        throw EngineError(ErrorKind::Usage, "unknown metric \"" + metric + "\"");
    return info->better;
}

/// Finished experiments that have the metrics asked for. Numbers of different protocols do not
/// belong on one axis: those of the newest experiment's protocols stay.
std::vector<ExperimentRecord> comparableRecords(std::vector<ExperimentRecord> records,
                                                const ExperimentsArguments& options) {
    std::erase_if(records, [&](const ExperimentRecord& record) {
        return record.status != ExperimentStatus::Finished ||
               record.metrics.count(options.x) == 0 || record.metrics.count(options.y) == 0 ||
               (!options.z.empty() && record.metrics.count(options.z) == 0) ||
               (!options.model.empty() && options.model != record.modelName &&
                options.model != record.modelPath);
    });
    if (records.empty())
        return records;
    const ExperimentRecord newest = records.back();
    const std::size_t before = records.size();
    std::erase_if(records, [&](const ExperimentRecord& record) {
        return record.metrics.at(options.x).protocol != newest.metrics.at(options.x).protocol ||
               record.metrics.at(options.y).protocol != newest.metrics.at(options.y).protocol ||
               (!options.z.empty() &&
                record.metrics.at(options.z).protocol != newest.metrics.at(options.z).protocol);
    });
    if (records.size() < before)
        printError(std::to_string(before - records.size()) +
                   " experiments measured under another protocol are left out");
    return records;
}

int pareto(const CommandLine& line, const ExperimentsArguments& options) {
    const BetterWhen xBetter = betterWhen(options.x);
    const BetterWhen yBetter = betterWhen(options.y);
    const std::vector<ExperimentRecord> records =
        comparableRecords(ExperimentStore(options.database, Mode::Existing).list(), options);
    const std::vector<std::size_t> front =
        options.z.empty()
            ? paretoFront(records, options.x, xBetter, options.y, yBetter)
            : paretoFront(
                  records,
                  {{options.x, xBetter}, {options.y, yBetter}, {options.z, betterWhen(options.z)}});
    nlohmann::json ids = nlohmann::json::array();
    nlohmann::json points = nlohmann::json::array();
    std::vector<std::vector<std::string>> rows;
    for (const std::size_t index : front) {
        const ExperimentRecord& record = records[index];
        ids.push_back(record.id);
        rows.push_back({std::to_string(record.id) + "  " + record.name, cell(record, options.x),
                        cell(record, options.y)});
    }
    for (std::size_t i = 0; i < records.size(); ++i)
        points.push_back({{"id", records[i].id},
                          {"name", records[i].name},
                          {"x", records[i].metrics.at(options.x).value},
                          {"y", records[i].metrics.at(options.y).value},
                          {"on_front", std::find(front.begin(), front.end(), i) != front.end()}});
    if (line.json)
        printJson({{"x", options.x}, {"y", options.y}, {"front", ids}, {"points", points}});
    else
        printTable({"on the front", title(options.x), title(options.y)}, rows);
    return kExitDone;
}

/// --format, or what the name of the file says.
std::string exportFormat(const ExperimentsArguments& options) {
    if (!options.format.empty())
        return options.format;
    return std::filesystem::path(options.file).extension() == ".json" ? "json" : "csv";
}

int exportList(const CommandLine& line, const ExperimentsArguments& options) {
    const ExperimentStore store(options.database, Mode::Existing);
    const std::vector<ExperimentRecord> records = store.list();
    const std::string format = exportFormat(options);
    if (format == "csv") {
        storage::writeFileDurably(options.file, app::experimentsCsv(records));
    } else {
        std::vector<ExperimentDetail> details;
        for (const ExperimentRecord& record : records)
            details.push_back(store.detail(record.id));
        if (format == "mlflow")
            app::exportMlflow(details, options.file);
        else
            storage::writeFileDurably(options.file, app::experimentsJson(details));
    }
    if (line.json)
        printJson({{"path", options.file}, {"format", format}, {"experiments", records.size()}});
    else
        std::printf("%zu experiments written to %s\n", records.size(), options.file.c_str());
    return kExitDone;
}

int importFile(const CommandLine& line, const ExperimentsArguments& options) {
    ExperimentStore store(options.database, Mode::Make);
    const storage::ImportCounts counts = store.importFrom(options.file);
    if (line.json)
        printJson({{"path", options.file},
                   {"added", counts.added},
                   {"known", counts.known},
                   {"unended", counts.unended}});
    else
        std::printf("%zu experiments added, %d were there already, %d had not ended\n",
                    counts.added.size(), counts.known, counts.unended);
    return kExitDone;
}

int remove(const CommandLine& line, const ExperimentsArguments& options) {
    ExperimentStore(options.database, Mode::Existing).remove(options.ids);
    if (line.json)
        printJson({{"removed", options.ids}});
    return kExitDone;
}

int resume(const CommandLine& line, const ExperimentsArguments& options) {
    std::vector<RunRequest> requests;
    {
        const ExperimentStore store(options.database, Mode::Existing);
        for (const std::int64_t id : options.ids) {
            const ExperimentStatus status = store.record(id).status;
            if (status == ExperimentStatus::Finished || status == ExperimentStatus::Running)
                throw EngineError(ErrorKind::Usage,
                                  "experiment " + std::to_string(id) + " is " + toString(status));
            requests.push_back(store.requestFor(id).value());
        }
    }
    nlohmann::json done = nlohmann::json::array();
    for (RunRequest& request : requests) {
        RunOptions run;
        run.model = request.modelPath;
        run.database = options.database;
        RunSession session(line, run);
        const std::int64_t id = request.experiment;
        session.runAgain(request, id);
        const ExperimentRecord record = session.store().record(id);
        done.push_back(experimentJson(record));
        if (!line.json)
            std::printf("%lld  %s: %s\n", static_cast<long long>(id), record.name.c_str(),
                        toString(record.status).c_str());
    }
    if (line.json)
        printJson({{"experiments", done}});
    return kExitDone;
}

}  // namespace

void addExperiments(CLI::App& app, CommandLine& line) {
    const auto options = std::make_shared<ExperimentsArguments>();
    CLI::App* group = app.add_subcommand("experiments", "List, compare and manage experiments");
    group->require_subcommand(1);
    const auto add = [&](const std::string& name, const std::string& help,
                         int (*action)(const CommandLine&, const ExperimentsArguments&)) {
        CLI::App* command = addCommand(*group, line, name, help,
                                       [&line, options, action] { return action(line, *options); });
        addDatabaseOption(*command, options->database);
        return command;
    };
    const auto addIds = [&](CLI::App* command, int least, int most) {
        command->add_option("ID", options->ids, "Numbers of experiments")
            ->required()
            ->expected(least, most);
    };
    constexpr int kMany = 1 << 20;
    CLI::App* lister = add("list", "All experiments, oldest first", list);
    lister->add_flag("--favourite", options->favourite, "Only those with a star");
    lister->add_option("--tag", options->tag, "Only those with this tag");
    addIds(add("show", "Everything about one experiment", show), 1, 1);
    addIds(
        add("compare", "Metrics side by side, and whether the differences from the first are real",
            compare),
        2, kMany);
    CLI::App* front =
        add("pareto", "The experiments that no other beats in two metrics, or in three", pareto);
    front->add_option("--x", options->x, "Metric (default decode_tokens_per_s)");
    front->add_option("--y", options->y, "Metric (default perplexity)");
    front->add_option("--z", options->z, "Third metric of the front (default none)");
    front->add_option("--model", options->model, "Only this model, by name or path");
    CLI::App* exporter = add("export", "All experiments for other programs", exportList);
    exporter->add_option("FILE", options->file, "File; for mlflow a new folder")->required();
    exporter
        ->add_option("--format", options->format,
                     "csv: a table; json: everything stored; mlflow: a file store (default: by the "
                     "file's name, else csv)")
        ->check(CLI::IsMember({"csv", "json", "mlflow"}));
    add("import", "Take over the experiments of another database or JSON file", importFile)
        ->add_option("FILE", options->file, "Database, or what export --format json wrote")
        ->required();
    addIds(add("remove", "Remove experiments with their models", remove), 1, kMany);
    addIds(add("resume", "Run interrupted, failed or cancelled experiments again", resume), 1,
           kMany);
    addAnnotationCommands(*group, line);
}

}  // namespace fettle::cli
