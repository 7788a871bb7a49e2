#include "app/core/html_report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <map>
#include <set>

#include "app/core/markup.h"
#include "app/core/report_findings.h"

namespace fettle::app {
namespace {

using nlohmann::json;

constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --text: #17202e; --soft: #556275; --line: #d6dbe4; --back: #fff; --card: #f4f6f9; --good: #0b6e63; --bad: #a33a1a; }
@media (prefers-color-scheme: dark) { :root { --text: #e6eaf0; --soft: #9daabb; --line: #38424f; --back: #171c23; --card: #1f262f; --good: #4fc3b4; --bad: #f0936f; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: var(--text); background: var(--back); max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; } h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { margin: .4rem 0; } p.lead { font-size: 1.1rem; font-weight: 600; } li { margin: .3rem 0; } .soft { color: var(--soft); } .good { color: var(--good); } .bad { color: var(--bad); }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; }
small { color: var(--soft); display: block; } pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: .7rem; overflow-x: auto; white-space: pre-wrap; }
section { border-top: 1px solid var(--line); margin-top: 2rem; } img, svg.curve { max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line); border-radius: 6px; }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--good); } td.heat { color: #111; }
@media print { details { display: block; } body { max-width: none; } }
)";

/// The columns of the comparison.
constexpr std::array kColumns{
    "perplexity",           "kl_mean", "top1_agreement", "task_accuracy", "decode_tokens_per_s",
    "prefill_tokens_per_s", "ttft_ms", "weight_bytes",   "file_bytes",    "acceptance_rate"};

std::string base64(const std::string& bytes) {
    constexpr const char* letters =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        const auto byte = [&](std::size_t at) {
            return at < bytes.size() ? static_cast<unsigned>(static_cast<unsigned char>(bytes[at]))
                                     : 0U;
        };
        const unsigned word = byte(i) << 16U | byte(i + 1) << 8U | byte(i + 2);
        text += letters[word >> 18U];
        text += letters[word >> 12U & 63U];
        text += i + 1 < bytes.size() ? letters[word >> 6U & 63U] : '=';
        text += i + 2 < bytes.size() ? letters[word & 63U] : '=';
    }
    return text;
}

std::string timeText(std::int64_t ms) {
    if (ms <= 0)
        return "not yet";
    const std::time_t seconds = ms / 1000;
    std::tm utc{};
    gmtime_r(&seconds, &utc);
    std::array<char, 32> text{};
    std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M UTC", &utc);
    return text.data();
}

std::string number(const char* format, double value) {
    std::array<char, 48> text{};
    std::snprintf(text.data(), text.size(), format, value);
    return text.data();
}

const Measurement* find(const ExperimentRecord& record, const std::string& metric) {
    const auto found = record.metrics.find(metric);
    return found == record.metrics.end() ? nullptr : &found->second;
}

std::string titleOf(const std::string& metric) {
    const MetricInfo* info = findMetric(metric);
    return info ? info->title : metric;
}

std::string intervalText(const Measurement& metric) {
    if (!metric.low || !metric.high)
        return {};
    return formatMetric(metric.name, *metric.low) + " to " +
           formatMetric(metric.name, *metric.high);
}

/// What makes a number less than a plain measurement.
std::string caveats(const Measurement& metric) {
    std::string text;
    if (metric.estimated)
        text += "estimate";
    if (!metric.native)
        text += std::string(text.empty() ? "" : ", ") + "through dequantization";
    return text;
}

std::string cell(const Measurement* metric, const Measurement* base) {
    if (!metric)
        return "<td class=\"soft\">not measured</td>";
    std::string text = "<td>" + markupText(formatMetric(metric->name, metric->value));
    const MetricInfo* info = findMetric(metric->name);
    if (base && base != metric) {
        if (base->protocol != metric->protocol) {
            text += "<small>another protocol</small>";
        } else if (base->value != 0 && std::isfinite(metric->value / base->value)) {
            const bool points = info && info->unit == "%";
            const double change =
                points ? metric->value - base->value : 100 * (metric->value / base->value - 1);
            const bool better = info && ((info->better == BetterWhen::Lower && change < 0) ||
                                         (info->better == BetterWhen::Higher && change > 0));
            const bool worse =
                info && info->better != BetterWhen::Neither && !better && change != 0;
            text += std::string("<small class=\"") +
                    (better  ? "good"
                     : worse ? "bad"
                             : "") +
                    "\">" + number("%+.1f", change) + (points ? " points" : "%") + "</small>";
        }
    }
    const std::string notes = caveats(*metric);
    if (!notes.empty())
        text += "<small>" + notes + "</small>";
    return text + "</td>";
}

/// Whether the loss against the baseline is more than noise, from the paired interval of the
/// perplexity ratio.
std::string verdict(const ExperimentRecord& record) {
    const Measurement* ratio = find(record, "ppl_ratio");
    if (!ratio || !ratio->low || !ratio->high)
        return "No paired comparison with the baseline was measured.";
    const std::string range = number("%+.2f%%", 100 * (*ratio->low - 1)) + " to " +
                              number("%+.2f%%", 100 * (*ratio->high - 1));
    if (*ratio->low > 1)
        return "The loss in perplexity is real: " + range +
               " (95% interval, paired over the same tokens).";
    if (*ratio->high < 1)
        return "Perplexity is lower than the baseline's: " + range +
               " (95% interval, paired over the same tokens).";
    return "The loss in perplexity is not distinguishable from none: " + range +
           " (95% interval, paired over the same tokens).";
}

std::string comparison(const HtmlReport& report, const ExperimentRecord* baseline) {
    std::vector<std::string> columns;
    for (const char* metric : kColumns)
        if (std::any_of(
                report.experiments.begin(), report.experiments.end(),
                [&](const ExperimentDetail& e) { return find(e.record, metric) != nullptr; }))
            columns.emplace_back(metric);
    std::string text = "<div class=\"wide\"><table><thead><tr><th>Experiment</th>";
    for (const std::string& metric : columns)
        text += "<th>" + markupText(titleOf(metric)) + "</th>";
    text += "</tr></thead><tbody>";
    for (const ExperimentDetail& e : report.experiments) {
        const ExperimentRecord& r = e.record;
        text += "<tr><td><a href=\"#e" + std::to_string(r.id) + "\">" +
                markupText(r.name.empty() ? r.summary() : r.name) + "</a><small>" +
                std::to_string(r.id) + " · " + markupText(r.summary()) + "</small></td>";
        for (const std::string& metric : columns)
            text += cell(find(r, metric),
                         baseline && baseline->id != r.id ? find(*baseline, metric) : nullptr);
        text += "</tr>";
    }
    text += "</tbody></table></div>";
    if (baseline)
        text += "<p class=\"soft\">Changes are against experiment " + std::to_string(baseline->id) +
                ", " + markupText(baseline->name) + ".</p>";
    return text;
}

/// What the numbers mean, before the numbers.
std::string findings(const HtmlReport& report) {
    const ReportFindings found = reportFindings(report.experiments, report.baseline, report.traces);
    std::string text =
        "<h2>Findings</h2><p class=\"lead\">" + markupText(found.recommendation) + "</p><ul>";
    for (const ReportFindings::Standing& standing : found.experiments) {
        if (standing.differences.empty() && standing.place.empty())
            continue;
        const auto known =
            std::find_if(report.experiments.begin(), report.experiments.end(),
                         [&](const ExperimentDetail& e) { return e.record.id == standing.id; });
        const ExperimentRecord& r = known->record;
        text += "<li><a href=\"#e" + std::to_string(r.id) + "\">" + std::to_string(r.id) + " · " +
                markupText(r.name.empty() ? r.summary() : r.name) + "</a>";
        for (const std::string& difference : standing.differences)
            text += " " + markupText(difference);
        if (!standing.place.empty())
            text += " " + markupText(standing.place);
        text += "</li>";
    }
    return text + "</ul>";
}

std::string metricTable(const ExperimentRecord& record) {
    std::string text =
        "<div class=\"wide\"><table><thead><tr><th>Measurement</th><th>Value</th><th>95% "
        "interval</th><th>Protocol</th></tr></thead><tbody>";
    for (const MetricInfo& info : metricCatalogue()) {
        const Measurement* m = find(record, info.id);
        if (!m)
            continue;
        const std::string notes = caveats(*m);
        text += "<tr><td>" + markupText(info.title) + "</td><td>" +
                markupText(formatMetric(info.id, m->value)) +
                (notes.empty() ? "" : "<small>" + notes + "</small>") + "</td><td>" +
                markupText(intervalText(*m)) + "</td><td>" + markupText(m->protocol) + "</td></tr>";
    }
    return text + "</tbody></table></div>";
}

/// Rows are layers, columns tensors; the colour says where in the range of the metric a value lies.
std::string layerTable(const std::vector<LayerMetric>& metrics, const std::string& name) {
    std::map<int, std::map<std::string, double>> rows;
    std::set<std::string> columns;
    double low = HUGE_VAL, high = -HUGE_VAL;
    for (const LayerMetric& m : metrics) {
        if (m.name != name || !std::isfinite(m.value))
            continue;
        std::string tensor = m.tensor;
        const std::string prefix = "layers." + std::to_string(m.layer) + ".";
        if (m.layer >= 0 && tensor.rfind(prefix, 0) == 0)
            tensor.erase(0, prefix.size());
        if (tensor.size() > 7 && tensor.compare(tensor.size() - 7, 7, ".weight") == 0)
            tensor.erase(tensor.size() - 7);
        rows[m.layer][tensor] = m.value;
        columns.insert(tensor);
        low = std::min(low, m.value);
        high = std::max(high, m.value);
    }
    if (rows.empty())
        return {};
    std::string text = "<h3>" + markupText(name) +
                       " by layer</h3><div class=\"wide\"><table><thead><tr><th>Layer</th>";
    for (const std::string& column : columns)
        text += "<th>" + markupText(column) + "</th>";
    text += "</tr></thead><tbody>";
    for (const auto& [layer, values] : rows) {
        text += "<tr><td>" + (layer < 0 ? std::string("outside") : std::to_string(layer)) + "</td>";
        for (const std::string& column : columns) {
            const auto found = values.find(column);
            if (found == values.end()) {
                text += "<td></td>";
                continue;
            }
            const double share = high > low ? (found->second - low) / (high - low) : 0.5;
            text += "<td class=\"heat\" style=\"background:hsl(" +
                    number("%.0f", 210 - 170 * share) + ",70%,82%)\">" +
                    number("%.4g", found->second) + "</td>";
        }
        text += "</tr>";
    }
    return text + "</tbody></table></div>";
}

/// A curve as an inline picture.
std::string curve(const std::vector<SeriesPoint>& series, const std::string& name) {
    std::vector<std::pair<double, double>> points;
    for (const SeriesPoint& p : series)
        if (p.name == name && std::isfinite(p.step) && std::isfinite(p.value))
            points.emplace_back(p.step, p.value);
    if (points.size() < 2)
        return {};
    double x0 = HUGE_VAL, x1 = -HUGE_VAL, y0 = HUGE_VAL, y1 = -HUGE_VAL;
    for (const auto& [x, y] : points) {
        x0 = std::min(x0, x);
        x1 = std::max(x1, x);
        y0 = std::min(y0, y);
        y1 = std::max(y1, y);
    }
    if (!(x1 > x0))
        x1 = x0 + 1;
    if (!(y1 > y0))
        y1 = y0 + 1;
    std::string path;
    for (const auto& [x, y] : points)
        path += (path.empty() ? "M" : "L") + number("%.1f", 60 + 520 * (x - x0) / (x1 - x0)) + " " +
                number("%.1f", 160 - 140 * (y - y0) / (y1 - y0));
    return "<h3>" + markupText(name) +
           "</h3><svg class=\"curve\" viewBox=\"0 0 600 190\" width=\"600\" role=\"img\" "
           "aria-label=\"" +
           markupText(name) + "\"><path d=\"" + path +
           "\" fill=\"none\" stroke=\"#0b6e63\" stroke-width=\"2\"/>" +
           "<g font-size=\"12\" fill=\"#333\"><text x=\"4\" y=\"24\">" + number("%.4g", y1) +
           "</text><text x=\"4\" y=\"164\">" + number("%.4g", y0) +
           "</text><text x=\"60\" y=\"184\">" + number("%.6g", x0) +
           "</text><text x=\"580\" y=\"184\" text-anchor=\"end\">" + number("%.6g", x1) +
           "</text></g></svg>";
}

/// One argument for a POSIX shell.
std::string shellWord(const std::string& word) {
    std::string quoted = "'";
    for (const char c : word)
        quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return quoted + "'";
}

/// The command that runs this experiment again.
std::string command(const ExperimentDetail& e) {
    const std::string recipe =
        toJson(e.record.recipe).dump(-1, ' ', false, json::error_handler_t::replace);
    std::string text =
        "fettle-cli run " + shellWord(recipe) + " --model " + shellWord(e.record.modelPath);
    const auto file = [&](const char* option, const std::string& value) {
        if (!value.empty())
            text += std::string(" ") + option + " " + shellWord(value);
    };
    file("--calibration", e.inputs.calibration);
    file("--train", e.inputs.train);
    file("--evaluate", e.inputs.evaluate);
    file("--tasks", e.inputs.tasks);
    file("--teacher", e.inputs.teacher);
    text += " --context " + std::to_string(e.measure.context) + " --max-tokens " +
            std::to_string(e.measure.maxTokens);
    if (e.measure.protocol == PerplexityProtocol::LlamaCpp)
        text += " --protocol llama.cpp";
    if (e.measure.threads > 0)
        text += " --threads " + std::to_string(e.measure.threads);
    if (e.measure.bfloat16)
        text += " --compute bf16";
    return text;
}

std::string field(const std::string& name, const std::string& value) {
    return value.empty()
               ? ""
               : "<tr><td>" + markupText(name) + "</td><td>" + markupText(value) + "</td></tr>";
}

std::string promises(const ExperimentDetail& e) {
    if (!e.estimate)
        return {};
    const auto row = [&](const char* name, const char* metric, double promised) {
        const Measurement* m = find(e.record, metric);
        return "<tr><td>" + std::string(name) + "</td><td>" +
               markupText(formatMetric(metric, promised)) + "</td><td>" +
               (m ? markupText(formatMetric(metric, m->value)) : "") + "</td></tr>";
    };
    return "<h3>Estimated before, measured after</h3><div "
           "class=\"wide\"><table><thead><tr><th></th><th>Estimate</th><th>Measured</th></tr></"
           "thead><tbody>" +
           row("Peak memory", "optimize_peak_bytes", static_cast<double>(e.estimate->peakBytes)) +
           row("Size of the result", "file_bytes", static_cast<double>(e.estimate->outputBytes)) +
           row("Bits per weight", "bits_per_weight", e.estimate->bitsPerWeight) +
           row("Time of the run", "wall_seconds", e.estimate->seconds) + "</tbody></table></div>";
}

std::string section(const ExperimentDetail& e, bool isBaseline) {
    const ExperimentRecord& r = e.record;
    std::string text = "<section id=\"e" + std::to_string(r.id) + "\"><h2>" + std::to_string(r.id) +
                       " · " + markupText(r.name.empty() ? r.summary() : r.name) + "</h2>";
    if (r.status != ExperimentStatus::Finished)
        text += "<p class=\"bad\">" + markupText(toString(r.status)) +
                (r.error.empty() ? "" : ": " + markupText(r.error)) + "</p>";
    else if (!isBaseline)
        text += "<p>" + verdict(r) + "</p>";
    text += "<div class=\"wide\"><table><tbody>" +
            field("Model", r.modelName + " (" + r.modelPath + ")") +
            field("Content hash", r.modelHash) + field("Recipe", r.summary()) +
            field("Device", r.device) + field("Started", timeText(r.startedMs)) +
            field("Finished", timeText(r.finishedMs)) + field("Seed", std::to_string(r.seed)) +
            field("Fettle", r.appVersion) + field("Kept model", r.artifactPath) +
            "</tbody></table></div>";
    for (const StepReport& step : e.steps)
        text += "<p class=\"soft\">Step " + std::to_string(step.index + 1) + ", " +
                markupText(step.technique) + ": " + markupText(formatDuration(step.seconds)) +
                "</p>";
    text += "<h3>Run it again</h3><pre>" + markupText(command(e)) + "</pre>";
    text += "<details><summary>All measurements</summary>" + metricTable(r) + "</details>";
    text += promises(e);
    std::set<std::string> names;
    for (const SeriesPoint& p : e.series)
        names.insert(p.name);
    for (const std::string& name : names)
        text += curve(e.series, name);
    names.clear();
    for (const LayerMetric& m : e.layerMetrics)
        names.insert(m.name);
    if (!names.empty()) {
        text += "<details><summary>Layer by layer</summary>";
        for (const std::string& name : names)
            text += layerTable(e.layerMetrics, name);
        text += "</details>";
    }
    for (const SampleText& sample : e.samples)
        text += "<h3>Sample</h3><pre><b>" + markupText(sample.prompt) + "</b>" +
                markupText(sample.text) + "</pre>";
    for (const LogLine& line : e.log)
        if (line.level == "warning" || line.level == "error")
            text += "<p class=\"bad\">" + markupText(line.text) + "</p>";
    return text + "</section>";
}

}  // namespace

std::string htmlReport(const HtmlReport& report) {
    const ExperimentRecord* baseline = nullptr;
    for (const ExperimentDetail& e : report.experiments)
        if (e.record.id == report.baseline)
            baseline = &e.record;
    std::string text =
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
        "content=\"width=device-width, initial-scale=1\"><title>" +
        markupText(report.title) + "</title><style>" + kStyle + "</style></head><body>";
    text += "<h1>" + markupText(report.title) + "</h1><p class=\"soft\">" +
            std::to_string(report.experiments.size()) +
            (report.experiments.size() == 1 ? " experiment" : " experiments") + " · Fettle " +
            markupText(report.appVersion) + "</p>";
    text += findings(report);
    text += "<h2>Comparison</h2>" + comparison(report, baseline);
    for (const ReportChart& chart : report.charts)
        text += "<h2>" + markupText(chart.title) + "</h2><img alt=\"" + markupText(chart.title) +
                "\" src=\"data:image/svg+xml;base64," + base64(chart.svg) + "\">";
    for (const ExperimentDetail& e : report.experiments)
        text += section(e, baseline && baseline->id == e.record.id);
    return text + "</body></html>\n";
}

}  // namespace fettle::app
