// Numbers as people read them. std::to_chars, because printf follows the desktop's locale and these
// texts also go into CSV, JUnit and HTML files.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "engine/experiment/measurement.h"

namespace fettle {
namespace {

constexpr const char* kUnknown = "–";

std::string fixed(double value, int decimals) {
    std::array<char, 400> buffer{};
    const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                      std::chars_format::fixed, decimals);
    std::string text(buffer.data(), result.ptr);
    // "-0.00" says nothing that "0.00" does not.
    if (text.front() == '-' && text.find_first_not_of("-0.") == std::string::npos)
        text.erase(0, 1);
    return text;
}

/// Decimals that leave `digits` significant digits, none for large numbers.
int decimalsFor(double value, int digits) {
    const double size = std::abs(value);
    if (size == 0)
        return digits - 1;
    return std::clamp(digits - 1 - static_cast<int>(std::floor(std::log10(size))), 0, 12);
}

/// `digits` significant digits: 7.21, 48.7, 1234; exponents only where zeros would fill the line.
std::string significant(double value, int digits) {
    const double size = std::abs(value);
    if (size != 0 && (size < 1e-6 || size >= 1e15)) {
        std::array<char, 64> buffer{};
        const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                          std::chars_format::scientific, digits - 1);
        return {buffer.data(), result.ptr};
    }
    std::string text = fixed(value, decimalsFor(value, digits));
    // Rounding may have carried into a new digit: 9.996 is 10.0, not 10.00.
    double rounded = 0;
    std::from_chars(text.data(), text.data() + text.size(), rounded);
    return fixed(value, std::min(decimalsFor(value, digits), decimalsFor(rounded, digits)));
}

std::string grouped(double value) {
    std::string text = fixed(value, 0);
    const std::size_t first = text.front() == '-' ? 1 : 0;
    for (std::size_t at = text.size(); at > first + 3;) {
        at -= 3;
        text.insert(at, 1, ',');
    }
    return text;
}

}  // namespace

std::string formatBytes(double bytes) {
    if (!std::isfinite(bytes))
        return kUnknown;
    static constexpr std::array units{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    std::size_t unit = 0;
    // 1023.5 rather than 1024: what would be written "1024 KiB" is written "1.00 MiB".
    while (std::abs(bytes) >= (unit == 0 ? 1024.0 : 1023.5) && unit + 1 < units.size()) {
        bytes /= 1024;
        ++unit;
    }
    return (unit == 0 ? fixed(bytes, 0) : significant(bytes, 3)) + " " + units[unit];
}

std::string formatDuration(double seconds) {
    if (!std::isfinite(seconds) || seconds < 0)
        return kUnknown;
    if (seconds < 0.9995)
        return fixed(seconds * 1000, seconds < 0.01 ? 1 : 0) + " ms";
    if (seconds < 9.95)
        return fixed(seconds, 1) + " s";
    if (seconds >= 1e12)
        return kUnknown;
    const auto whole = static_cast<long long>(std::llround(seconds));
    const auto pair = [](long long high, const char* highUnit, long long low, const char* lowUnit) {
        std::string text = std::to_string(high) + highUnit;
        if (low != 0)
            text.append(1, ' ').append(std::to_string(low)).append(lowUnit);
        return text;
    };
    if (whole < 60)
        return std::to_string(whole) + " s";
    if (whole < 3600)
        return pair(whole / 60, " min", whole % 60, " s");
    const long long minutes = (whole + 30) / 60;
    if (minutes < 24 * 60)
        return pair(minutes / 60, " h", minutes % 60, " min");
    const long long hours = (minutes + 30) / 60;
    return pair(hours / 24, " d", hours % 24, " h");
}

std::string formatMetric(std::string_view id, double value) {
    if (!std::isfinite(value))
        return std::isnan(value) ? kUnknown : (value > 0 ? "∞" : "-∞");
    const MetricInfo* info = findMetric(id);
    const std::string unit = info ? info->unit : "";
    if (unit == "bytes")
        return formatBytes(value);
    if (unit == "s")
        return formatDuration(value);
    if (unit == "tokens" && std::floor(value) == value)
        return grouped(value) + " tokens";
    if (id == "parameters")
        return grouped(value);
    if (unit == "%")
        return fixed(value, 2) + "%";
    if (unit == "ms" || unit == "tokens/s" || unit == "J" || unit == "tokens")
        return significant(value, 3) + " " + unit;
    if (unit == "bits")
        return fixed(value, 2) + " bits";
    if (id.find("speedup") != std::string_view::npos)
        return fixed(value, 2) + "×";
    if (unit == "nats")
        return significant(value, 3);
    // Perplexities and ratios: the third decimal is the first that techniques differ in.
    return std::abs(value) < 10 ? fixed(value, 3) : significant(value, 4);
}

}  // namespace fettle
