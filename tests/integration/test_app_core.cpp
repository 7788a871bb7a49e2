// Paths, the log, and experiments as CSV and JSON.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>

#include "app/core/experiment_csv.h"
#include "app/core/html_report.h"
#include "app/core/logging.h"
#include "app/core/markup.h"
#include "app/core/paths.h"
#include "app/core/report_findings.h"
#include "storage/storage_error.h"

namespace fettle::app {
namespace {

namespace fs = std::filesystem;

class TemporaryFolder {
public:
    TemporaryFolder() {
        std::string name = (fs::temp_directory_path() / "fettle-app-XXXXXX").string();
        m_path = mkdtemp(name.data());
    }
    ~TemporaryFolder() {
        std::error_code ignored;
        fs::remove_all(m_path, ignored);
    }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    const fs::path& path() const { return m_path; }

private:
    fs::path m_path;
};

std::string textIn(const fs::path& file) {
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
}

/// Sets a variable in this scope; nullptr unsets it.
class Variable {
public:
    Variable(const char* name, const char* value) : m_name(name) {
        if (const char* before = std::getenv(name))
            m_before = before;
        value ? setenv(name, value, 1) : unsetenv(name);
    }
    ~Variable() { m_before ? setenv(m_name, m_before->c_str(), 1) : unsetenv(m_name); }
    Variable(const Variable&) = delete;
    Variable& operator=(const Variable&) = delete;

private:
    const char* m_name;
    std::optional<std::string> m_before;
};

TEST(Paths, FollowTheEnvironment) {
    const Variable home("HOME", "/home/somebody");
    {
        const Variable own("FETTLE_HOME", "/portable");
        EXPECT_EQ(dataFolder(), "/portable");
        EXPECT_EQ(cacheFolder(), "/portable/cache");
        EXPECT_EQ(configFolder(), "/portable/config");
        EXPECT_EQ(defaultDatabasePath(), "/portable/fettle.db");
        EXPECT_EQ(logFile(), "/portable/cache/logs/fettle.log");
    }
    const Variable own("FETTLE_HOME", nullptr);
    const Variable cache("XDG_CACHE_HOME", "relative/is/ignored");
    const Variable config("XDG_CONFIG_HOME", "");
    {
        const Variable data("XDG_DATA_HOME", "/data");
        EXPECT_EQ(dataFolder(), "/data/fettle");
    }
    const Variable data("XDG_DATA_HOME", nullptr);
    EXPECT_EQ(dataFolder(), "/home/somebody/.local/share/fettle");
    EXPECT_EQ(cacheFolder(), "/home/somebody/.cache/fettle");
    EXPECT_EQ(configFolder(), "/home/somebody/.config/fettle");
    EXPECT_EQ(artifactsRootFor(defaultDatabasePath()),
              "/home/somebody/.local/share/fettle/artifacts");
    EXPECT_EQ(artifactsRootFor("/work/sweep.db"), "/work/sweep-artifacts");
}

TEST(Logging, WritesAFileAndNeverThrows) {
    const TemporaryFolder folder;
    const fs::path file = folder.path() / "logs" / "fettle.log";
    startLogging(file, LogLevel::Off);
    logInfo("started {} %s");
    logWarning("careful");
    flushLog();
    const std::string text = textIn(file);
    EXPECT_NE(text.find("info started {} %s"), std::string::npos) << text;
    EXPECT_NE(text.find("warning careful"), std::string::npos) << text;
    std::ofstream(folder.path() / "file") << "";
    startLogging(folder.path() / "file" / "fettle.log", LogLevel::Off);  // cannot be made
    logError("only on standard error");
    startLogging({}, LogLevel::Off);
    logError("nowhere");
}

TEST(Csv, CellsAreQuotedWhereNeeded) {
    const std::pair<const char*, const char*> cases[] = {
        {"", ""},
        {"plain text", "plain text"},
        {"a,b", "\"a,b\""},
        {"say \"hi\"", "\"say \"\"hi\"\"\""},
        {"two\nlines", "\"two\nlines\""},
        {"carriage\rreturn", "\"carriage\rreturn\""},
        {"naïve ✓", "naïve ✓"},
        {"=1+1", "'=1+1"},
        {"@x,y", "\"'@x,y\""},
        {"-rf", "'-rf"},
    };
    for (const auto& [text, cell] : cases)
        EXPECT_EQ(csvCell(text), cell);
}

std::vector<ExperimentRecord> records() {
    ExperimentRecord base;
    base.id = 1;
    base.name = "base, \"plain\"";
    base.modelName = "tiny";
    base.status = ExperimentStatus::Finished;
    base.startedMs = 1'700'000'000'123;
    base.metrics["perplexity"] = {"perplexity", 7.1, "", 7.0, 7.2, true, false, "ppl windows=256"};
    base.metrics["zzz_of_a_newer_version"] = {
        "zzz_of_a_newer_version", 1.0 / 3, "", {}, {}, true, false, ""};
    ExperimentRecord small = base;
    small.id = 2;
    small.name = "small";
    small.recipe.steps = {{"ptq", {{"scheme", "int8"}}}};
    small.metrics.clear();
    small.metrics["perplexity"] = {
        "perplexity",     std::numeric_limits<double>::infinity(), "", {}, {}, true, false,
        "ppl windows=256"};
    small.metrics["kl_mean"] = {"kl_mean", std::nan(""), "nats", {}, {}, true, false, ""};
    small.metrics["decode_tokens_per_s"] = {
        "decode_tokens_per_s", 48.5, "tokens/s", {}, {}, false, false, ""};
    return {base, small};
}

std::vector<std::string> lines(const std::string& text) {
    std::vector<std::string> result;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);)
        result.push_back(line);
    return result;
}

TEST(Csv, EveryMetricIsAColumnInTheCataloguesOrder) {
    const std::vector<std::string> csv = lines(experimentsCsv(records()));
    ASSERT_EQ(csv.size(), 3u);
    EXPECT_EQ(csv[0],
              "id,name,status,model,model_path,model_hash,recipe,recipe_hash,recipe_json,seed,"
              "device,app_version,started,finished,parent,"
              "artifact,error,perplexity,perplexity_low,perplexity_high,perplexity_protocol,kl_"
              "mean,decode_tokens_per_s,"
              "decode_tokens_per_s_native,decode_tokens_per_s_protocol,zzz_of_a_newer_version");
    EXPECT_EQ(csv[1].rfind("1,\"base, \"\"plain\"\"\",finished,tiny,", 0), 0u) << csv[1];
    EXPECT_NE(csv[1].find(",2023-11-14T22:13:20Z,"), std::string::npos) << csv[1];
    EXPECT_NE(csv[1].find(",7.1,7,7.2,ppl windows=256,,,,,0.3333333333333333"), std::string::npos)
        << csv[1];
    EXPECT_NE(csv[2].find(",ptq int8,"), std::string::npos) << csv[2];
    EXPECT_NE(csv[2].find(",inf,,,ppl windows=256,,48.5,false,,"), std::string::npos) << csv[2];
    EXPECT_EQ(lines(experimentsCsv({})).size(), 1u);
}

TEST(Csv, JsonHoldsTheSame) {
    const nlohmann::json list = nlohmann::json::parse(experimentsJson(records()));
    ASSERT_EQ(list.size(), 2u);
    EXPECT_EQ(list[0]["metrics"]["perplexity"]["low"], 7.0);
    EXPECT_EQ(list[1]["summary"], "ptq int8");
    EXPECT_EQ(list[1]["metrics"]["perplexity"]["value"], "inf");
}

TEST(Markup, EscapesWhatComesFromOutside) {
    EXPECT_EQ(markupText("<a href=\"x\">'&\x01"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
    EXPECT_EQ(markupText("\xff"), "\xEF\xBF\xBD");  // not UTF-8: the replacement character
}

ExperimentDetail measuredExperiment(std::int64_t id, double perplexity, double speed,
                                    double bytes) {
    ExperimentDetail e;
    e.record.id = id;
    e.record.name = "run " + std::to_string(id);
    e.record.status = ExperimentStatus::Finished;
    if (id > 1)
        e.record.recipe.steps = {{"ptq", {{"scheme", "int8"}}}};
    const auto add = [&](const char* name, double value) {
        e.record.metrics[name].name = name;
        e.record.metrics[name].value = value;
    };
    add("perplexity", perplexity);
    add("decode_tokens_per_s", speed);
    add("weight_bytes", bytes);
    return e;
}

/// Losses of 40 windows of 100 tokens, `extra` nats per token above the baseline's.
EvaluationTrace lossesWith(double extra) {
    EvaluationTrace trace;
    trace.protocol = "ppl";
    for (int b = 0; b < 40; ++b)
        trace.blocks.push_back({100, 200.0 + 7 * (b % 5) + 100 * extra + 0.3 * (b % 3 - 1), 0, 0});
    return trace;
}

TEST(ReportFindings, RecommendsTheFastestWithoutARealLoss) {
    const std::vector<ExperimentDetail> experiments{
        measuredExperiment(1, 7.4, 100, 8e6), measuredExperiment(2, 7.401, 180, 4e6),
        measuredExperiment(3, 7.9, 300, 2e6), measuredExperiment(4, 8.1, 290, 3e6)};
    const std::map<std::int64_t, EvaluationTrace> traces{
        {1, lossesWith(0)}, {2, lossesWith(0)}, {3, lossesWith(0.06)}, {4, lossesWith(0.09)}};
    const ReportFindings found = reportFindings(experiments, 1, traces);
    ASSERT_EQ(found.experiments.size(), 4u);
    EXPECT_TRUE(found.experiments[0].differences.empty());
    EXPECT_NE(found.experiments[1].differences.at(0).find("Not distinguishable"),
              std::string::npos);
    EXPECT_NE(found.experiments[2].differences.at(0).find("The loss is real"), std::string::npos);
    EXPECT_TRUE(found.experiments[2].onFront);
    EXPECT_FALSE(found.experiments[3].onFront);
    EXPECT_NE(found.experiments[3].place.find("Beaten by 3 · run 3"), std::string::npos);
    EXPECT_EQ(found.recommended, 2);
    EXPECT_NE(found.recommendation.find("1.80 times the decode speed"), std::string::npos)
        << found.recommendation;
    const std::string page = htmlReport({"t", experiments, 1, {}, "1", traces});
    EXPECT_NE(page.find("<h2>Findings</h2>"), std::string::npos);
    EXPECT_LT(page.find("Recommended: 2 · run 2"), page.find("<h2>Comparison</h2>"));
}

TEST(ReportFindings, ClaimsNothingThatWasNotTested) {
    std::vector<ExperimentDetail> experiments{measuredExperiment(1, 7.4, 100, 8e6),
                                              measuredExperiment(2, 7.5, 180, 4e6)};
    ReportFindings found = reportFindings(experiments, 1, {});
    EXPECT_EQ(found.recommended, 0);
    EXPECT_NE(found.experiments[1].differences.at(0).find("Not tested"), std::string::npos);
    EXPECT_NE(found.recommendation.find("No recommendation"), std::string::npos);
    found = reportFindings(experiments, 0, {});
    EXPECT_NE(found.recommendation.find("no finished baseline"), std::string::npos);
    // All lose: the least loss is named, and that it is one.
    found = reportFindings(experiments, 1, {{1, lossesWith(0)}, {2, lossesWith(0.02)}});
    EXPECT_EQ(found.recommended, 0);
    EXPECT_NE(found.recommendation.find("The least loss that is real is that of 2"),
              std::string::npos)
        << found.recommendation;
    // Numbers through dequantization stand on no front.
    experiments[1].record.metrics["decode_tokens_per_s"].native = false;
    experiments[1].record.metrics["weight_bytes"].native = false;
    found = reportFindings(experiments, 1, {});
    EXPECT_FALSE(found.experiments[1].onFront);
}

TEST(HtmlReport, SaysWhetherALossIsReal) {
    const auto page = [](double low, double high) {
        ExperimentDetail e;
        e.record.id = 7;
        e.record.name = "<script>";
        e.record.status = ExperimentStatus::Finished;
        e.record.recipe.steps = {{"ptq", {{"scheme", "int8"}}}};
        Measurement ratio;
        ratio.name = "ppl_ratio";
        ratio.value = (low + high) / 2;
        ratio.low = low;
        ratio.high = high;
        e.record.metrics["ppl_ratio"] = ratio;
        e.series = {{"train_loss", 0, 3}, {"train_loss", 10, 2}};
        e.layerMetrics = {{0, "layers.0.attn.q.weight", "sqnr_db", 20}};
        return htmlReport({"title", {e}, 0, {{"chart", "<svg/>"}}, "1"});
    };
    EXPECT_NE(page(1.01, 1.02).find("The loss in perplexity is real: +1.00% to +2.00%"),
              std::string::npos);
    EXPECT_NE(page(0.99, 1.02).find("not distinguishable from none"), std::string::npos);
    const std::string text = page(0.98, 0.99);
    EXPECT_NE(text.find("Perplexity is lower"), std::string::npos);
    EXPECT_EQ(text.find("<script>"), std::string::npos);
    EXPECT_NE(text.find("data:image/svg+xml;base64,PHN2Zy8+"), std::string::npos);
    EXPECT_NE(text.find("<path d=\"M60.0 20.0L580.0 160.0\""), std::string::npos);
    EXPECT_NE(text.find(">attn.q</th>"), std::string::npos);
}

TEST(Csv, FilesAreWrittenByTheirEnding) {
    const TemporaryFolder folder;
    exportExperiments(records(), folder.path() / "e.csv");
    exportExperiments(records(), folder.path() / "e.json");
    EXPECT_EQ(textIn(folder.path() / "e.csv"), experimentsCsv(records()));
    EXPECT_EQ(textIn(folder.path() / "e.json"), experimentsJson(records()));
    EXPECT_THROW(exportExperiments(records(), folder.path() / "no folder" / "e.csv"),
                 storage::StorageError);
}

}  // namespace
}  // namespace fettle::app
