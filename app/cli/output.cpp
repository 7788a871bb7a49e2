#include "app/cli/output.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace fettle::cli {

namespace {

std::size_t columnsOf(const std::string& text) {
    // Code points, not bytes: enough for the names and units that tables show.
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    }));
}

std::string padded(const std::string& text, std::size_t width, bool left) {
    const std::string space(width - std::min(width, columnsOf(text)), ' ');
    return left ? text + space : space + text;
}

nlohmann::json finite(double value) {
    return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
}

}  // namespace

std::string jsonText(const nlohmann::json& document, int indent) {
    return document.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace);
}

void printJson(const nlohmann::json& document) {
    std::printf("%s\n", jsonText(document).c_str());
    std::fflush(stdout);
}

void printError(const std::string& message) {
    std::string line = message;
    std::replace_if(
        line.begin(), line.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
    std::fflush(stdout);
    std::fprintf(stderr, "fettle-cli: %s\n", line.c_str());
}

void printTable(const std::vector<std::string>& head,
                const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> widths(head.size(), 0);
    const auto widen = [&](const std::vector<std::string>& cells) {
        for (std::size_t c = 0; c < cells.size() && c < widths.size(); ++c)
            widths[c] = std::max(widths[c], columnsOf(cells[c]));
    };
    widen(head);
    for (const auto& row : rows)
        widen(row);
    const auto print = [&](const std::vector<std::string>& cells) {
        std::string line;
        for (std::size_t c = 0; c < cells.size() && c < widths.size(); ++c)
            line += (c ? "  " : "") + padded(cells[c], widths[c], c == 0);
        line.erase(line.find_last_not_of(' ') + 1);
        std::printf("%s\n", line.c_str());
    };
    print(head);
    std::size_t total = 0;
    for (const std::size_t width : widths)
        total += width + 2;
    std::printf("%s\n", std::string(total - 2, '-').c_str());
    for (const auto& row : rows)
        print(row);
}

void printFields(const std::vector<std::pair<std::string, std::string>>& fields) {
    std::size_t width = 0;
    for (const auto& [name, value] : fields)
        width = std::max(width, columnsOf(name));
    for (const auto& [name, value] : fields)
        std::printf("%s  %s\n", padded(name, width, true).c_str(), value.c_str());
}

nlohmann::json metricValues(const std::vector<Measurement>& metrics) {
    nlohmann::json values = nlohmann::json::object();
    for (const Measurement& metric : metrics)
        values[metric.name] = finite(metric.value);
    return values;
}

nlohmann::json metricDetails(const std::vector<Measurement>& metrics) {
    nlohmann::json details = nlohmann::json::array();
    for (const Measurement& metric : metrics) {
        nlohmann::json entry{{"name", metric.name},
                             {"value", finite(metric.value)},
                             {"unit", metric.unit},
                             {"low", nullptr},
                             {"high", nullptr},
                             {"native", metric.native},
                             {"estimated", metric.estimated},
                             {"protocol", metric.protocol}};
        if (metric.low)
            entry["low"] = finite(*metric.low);
        if (metric.high)
            entry["high"] = finite(*metric.high);
        details.push_back(std::move(entry));
    }
    return details;
}

std::string metricText(const Measurement& metric) {
    std::string text = formatMetric(metric.name, metric.value);
    if (metric.low && metric.high)
        text += " (" + formatMetric(metric.name, *metric.low) + " to " +
                formatMetric(metric.name, *metric.high) + ")";
    if (!metric.native)
        text += " [not native]";
    if (metric.estimated)
        text += " [estimated]";
    return text;
}

void printMetrics(const std::vector<Measurement>& metrics) {
    std::vector<std::pair<std::string, std::string>> fields;
    for (const Measurement& metric : metrics) {
        const MetricInfo* info = findMetric(metric.name);
        fields.emplace_back(info ? info->title : metric.name, metricText(metric));
    }
    printFields(fields);
}

std::string changeText(double value, double base) {
    if (!std::isfinite(value) || !std::isfinite(base) || base == 0)
        return {};
    char text[32];
    std::snprintf(text, sizeof text, "%+.1f%%", 100 * (value / base - 1));
    return text;
}

}  // namespace fettle::cli
