// fettle-cli report ID... --out FILE.html: one self-contained page about experiments
#include <stdlib.h>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>

#include "app/cli/charts.h"
#include "app/cli/commands.h"
#include "app/cli/experiment_store.h"
#include "app/cli/output.h"
#include "app/core/html_report.h"
#include "app/core/report_findings.h"
#include "engine/core/error.h"
#include "storage/durable_file.h"

namespace fettle::cli {

namespace {

namespace fs = std::filesystem;

struct ReportArguments {
    std::string database;
    std::vector<std::int64_t> ids;
    std::string out;
    std::string title = "Fettle report";
};

/// A folder for charts on their way into the page.
class ScratchFolder {
public:
    explicit ScratchFolder(const fs::path& beside) {
        std::string pattern = (beside / ".fettle-report-XXXXXX").string();
        if (!mkdtemp(pattern.data()))
            throw EngineError(ErrorKind::Io, beside.string() + ": no folder can be made there");
        m_path = pattern;
    }
    ~ScratchFolder() {
        std::error_code ignored;
        fs::remove_all(m_path, ignored);
    }
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;
    const fs::path& path() const { return m_path; }

private:
    fs::path m_path;
};

void addChart(app::HtmlReport& report, const std::vector<ExperimentRecord>& records,
              const fs::path& folder, const std::string& x, const std::string& y,
              const std::string& title) {
    std::size_t points = 0;
    for (const ExperimentRecord& record : records)
        points += record.metrics.count(x) != 0 && record.metrics.count(y) != 0 ? 1 : 0;
    if (points < 2)
        return;
    for (const std::string& path : writeCharts(records, folder, x + "-" + y, x, y)) {
        if (fs::path(path).extension() != ".svg")
            continue;
        std::ifstream file(path, std::ios::binary);
        std::ostringstream svg;
        svg << file.rdbuf();
        report.charts.push_back({title, svg.str()});
    }
}

int report(const CommandLine& line, const ReportArguments& options) {
    const ExperimentStore store(options.database, ExperimentStore::Mode::Existing);
    app::HtmlReport page;
    page.title = options.title;
    page.appVersion = FETTLE_VERSION;
    std::vector<ExperimentRecord> records;
    for (const std::int64_t id : options.ids) {
        page.experiments.push_back(store.detail(id));
        records.push_back(page.experiments.back().record);
        if (page.baseline == 0 && records.back().isBaseline())
            page.baseline = id;
        if (std::optional<EvaluationTrace> trace = store.trace(id))
            page.traces.emplace(id, std::move(*trace));
    }
    const fs::path out = fs::absolute(options.out);
    {
        const ScratchFolder scratch(out.parent_path());
        addChart(page, records, scratch.path(), "decode_tokens_per_s", "perplexity",
                 "Decode speed and perplexity");
        addChart(page, records, scratch.path(), "weight_bytes", "perplexity",
                 "Weights in memory and perplexity");
    }
    storage::writeFileDurably(out, app::htmlReport(page));
    const app::ReportFindings found =
        app::reportFindings(page.experiments, page.baseline, page.traces);
    if (line.json)
        printJson({{"path", out.string()},
                   {"recommendation", found.recommendation},
                   {"recommended", found.recommended == 0 ? nlohmann::json(nullptr)
                                                          : nlohmann::json(found.recommended)},
                   {"experiments", options.ids},
                   {"baseline",
                    page.baseline == 0 ? nlohmann::json(nullptr) : nlohmann::json(page.baseline)},
                   {"charts", page.charts.size()}});
    else
        std::printf("%s: %zu experiments, %zu charts\n%s\n", out.c_str(), records.size(),
                    page.charts.size(), found.recommendation.c_str());
    return kExitDone;
}

}  // namespace

void addReport(CLI::App& app, CommandLine& line) {
    const auto options = std::make_shared<ReportArguments>();
    CLI::App* command =
        addCommand(app, line, "report", "One self-contained HTML page about experiments",
                   [&line, options] { return report(line, *options); });
    command
        ->add_option("ID", options->ids,
                     "Numbers of experiments; changes are against the first baseline among them")
        ->required()
        ->expected(1, 1 << 20);
    command->add_option("--out", options->out, "File to write, e.g. report.html")->required();
    command->add_option("--title", options->title, "Heading of the page");
    addDatabaseOption(*command, options->database);
}

}  // namespace fettle::cli
