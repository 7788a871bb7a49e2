#include "app/core/experiment_csv.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <ctime>
#include <functional>
#include <set>

#include "storage/durable_file.h"

namespace fettle::app {
namespace {

/// The shortest text that reads back as the same number.
std::string numberCell(double value) {
    if (std::isnan(value))
        return {};
    if (std::isinf(value))
        return value > 0 ? "inf" : "-inf";
    std::array<char, 64> buffer{};
    const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
    return {buffer.data(), result.ptr};
}

std::string timeCell(std::int64_t ms) {
    if (ms <= 0)
        return {};
    const std::time_t seconds = ms / 1000;
    std::tm utc{};
    gmtime_r(&seconds, &utc);
    std::array<char, 32> text{};
    std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
    return text.data();
}

struct Column {
    std::string head;
    std::function<std::string(const ExperimentRecord&)> cell;
};

std::vector<Column> recordColumns() {
    using Record = const ExperimentRecord&;
    return {
        {"id", [](Record r) { return std::to_string(r.id); }},
        {"name", [](Record r) { return csvCell(r.name); }},
        {"status", [](Record r) { return toString(r.status); }},
        {"model", [](Record r) { return csvCell(r.modelName); }},
        {"model_path", [](Record r) { return csvCell(r.modelPath); }},
        {"model_hash", [](Record r) { return csvCell(r.modelHash); }},
        {"recipe", [](Record r) { return csvCell(r.summary()); }},
        {"recipe_hash", [](Record r) { return csvCell(r.recipeHash); }},
        {"recipe_json",
         [](Record r) {
             return csvCell(
                 toJson(r.recipe).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
         }},
        {"seed", [](Record r) { return std::to_string(r.seed); }},
        {"device", [](Record r) { return csvCell(r.device); }},
        {"app_version", [](Record r) { return csvCell(r.appVersion); }},
        {"started", [](Record r) { return timeCell(r.startedMs); }},
        {"finished", [](Record r) { return timeCell(r.finishedMs); }},
        {"parent", [](Record r) { return r.parent ? std::to_string(*r.parent) : std::string(); }},
        {"artifact", [](Record r) { return csvCell(r.artifactPath); }},
        {"error", [](Record r) { return csvCell(r.error); }}};
}

std::vector<std::string> metricNames(const std::vector<ExperimentRecord>& records) {
    std::set<std::string> present;
    for (const ExperimentRecord& record : records) {
        for (const auto& [name, metric] : record.metrics)
            present.insert(name);
    }
    std::vector<std::string> names;
    for (const MetricInfo& info : metricCatalogue()) {
        if (present.erase(info.id) > 0)
            names.push_back(info.id);
    }
    names.insert(names.end(), present.begin(), present.end());  // of a newer version
    return names;
}

using MetricCell = std::function<std::string(const Measurement&)>;

void addMetricColumns(std::vector<Column>& columns, const std::vector<ExperimentRecord>& records,
                      const std::string& name) {
    const auto any = [&](auto property) {
        return std::any_of(records.begin(), records.end(), [&](const ExperimentRecord& record) {
            const auto found = record.metrics.find(name);
            return found != record.metrics.end() && property(found->second);
        });
    };
    const auto add = [&](const std::string& ending, MetricCell cell) {
        columns.push_back({csvCell(name + ending), [name, cell](const ExperimentRecord& record) {
                               const auto found = record.metrics.find(name);
                               return found == record.metrics.end() ? std::string()
                                                                    : cell(found->second);
                           }});
    };
    add("", [](const Measurement& m) { return numberCell(m.value); });
    if (any([](const Measurement& m) { return m.low || m.high; })) {
        add("_low",
            [](const Measurement& m) { return m.low ? numberCell(*m.low) : std::string(); });
        add("_high",
            [](const Measurement& m) { return m.high ? numberCell(*m.high) : std::string(); });
    }
    if (any([](const Measurement& m) { return !m.native; }))
        add("_native",
            [](const Measurement& m) { return std::string(m.native ? "true" : "false"); });
    if (any([](const Measurement& m) { return m.estimated; }))
        add("_estimated",
            [](const Measurement& m) { return std::string(m.estimated ? "true" : "false"); });
    // Numbers of different protocols must not be compared; one column each for accuracy and for
    // speed says it.
    if (name == "perplexity" || name == "decode_tokens_per_s" || name == "task_accuracy")
        add("_protocol", [](const Measurement& m) { return csvCell(m.protocol); });
}

}  // namespace

std::string csvCell(const std::string& text) {
    std::string cell = text;
    if (!cell.empty() && std::string_view("=+-@\t\r").find(cell.front()) != std::string_view::npos)
        cell.insert(0, 1, '\'');
    if (cell.find_first_of(",\"\r\n") == std::string::npos)
        return cell;
    std::string quoted = "\"";
    for (const char c : cell) {
        if (c == '"')
            quoted += '"';
        quoted += c;
    }
    return quoted + '"';
}

std::string experimentsCsv(const std::vector<ExperimentRecord>& records) {
    std::vector<Column> columns = recordColumns();
    for (const std::string& name : metricNames(records))
        addMetricColumns(columns, records, name);

    std::string csv;
    for (std::size_t i = 0; i < columns.size(); ++i)
        csv.append(i == 0 ? "" : ",").append(columns[i].head);
    csv += '\n';
    for (const ExperimentRecord& record : records) {
        for (std::size_t i = 0; i < columns.size(); ++i)
            csv.append(i == 0 ? "" : ",").append(columns[i].cell(record));
        csv += '\n';
    }
    return csv;
}

std::string experimentsJson(const std::vector<ExperimentRecord>& records) {
    nlohmann::json list = nlohmann::json::array();
    for (const ExperimentRecord& record : records)
        list.push_back(toJson(record));
    return list.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

void exportExperiments(const std::vector<ExperimentRecord>& records,
                       const std::filesystem::path& file) {
    storage::writeFileDurably(
        file, file.extension() == ".json" ? experimentsJson(records) : experimentsCsv(records));
}

}  // namespace fettle::app
