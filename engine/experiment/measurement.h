// A measured number with its unit, its uncertainty and the conditions under which it may be
// compared.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fettle {

/// One number. `low`/`high` bound a 95% interval where one was computed. A number taken through
/// dequantization on a device that cannot run the format itself has `native == false`; a number
/// that was computed rather than measured has `estimated == true`. Numbers of different `protocol`
/// must not be drawn on one axis.
struct Measurement {
    std::string name;  ///< metric id, see metricCatalogue()
    double value = 0;
    std::string unit;
    std::optional<double> low;
    std::optional<double> high;
    bool native = true;
    bool estimated = false;
    std::string protocol;

    bool operator==(const Measurement&) const = default;
};

enum class BetterWhen { Lower, Higher, Neither };

/// What the window and the tables need to know about a metric.
struct MetricInfo {
    std::string id;     ///< e.g. "perplexity", "decode_tokens_per_s"
    std::string title;  ///< e.g. "Perplexity"
    std::string unit;   ///< "", "ms", "tokens/s", "bytes", "bits", "nats", "%"
    BetterWhen better = BetterWhen::Neither;
    std::string help;
};

/// Every metric the measuring protocol produces, in the order in which tables show them.
const std::vector<MetricInfo>& metricCatalogue();
/// The entry for `id`, or nullptr for a metric that a newer version wrote.
const MetricInfo* findMetric(std::string_view id);
/// "1.23 GiB", "48.7 tokens/s", "12.4 ms", "7.21": the number with its unit as people read it.
std::string formatMetric(std::string_view id, double value);
std::string formatBytes(double bytes);
std::string formatDuration(double seconds);

}  // namespace fettle
