#include "engine/experiment/paired_comparison.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <functional>

#include "engine/experiment/block_bootstrap.h"
#include "engine/experiment/measurement.h"

namespace fettle {
namespace {

// Fewer windows say next to nothing about the spread.
constexpr std::size_t kFewestBlocks = 5;

Finding findingOf(const Interval& interval, bool lowerIsBetter) {
    if (interval.low > 0)
        return lowerIsBetter ? Finding::Loss : Finding::Gain;
    if (interval.high < 0)
        return lowerIsBetter ? Finding::Gain : Finding::Loss;
    return Finding::NotDistinguishable;
}

PairedFinding compareBlocks(const EvaluationTrace& reference, const EvaluationTrace& other,
                            const char* metric, double TraceBlock::*field, bool lowerIsBetter,
                            const std::function<double(double)>& scale) {
    std::vector<double> differences, tokens;
    double total = 0;
    double count = 0;
    for (std::size_t i = 0; i < other.blocks.size(); ++i) {
        differences.push_back(other.blocks[i].*field - reference.blocks[i].*field);
        tokens.push_back(static_cast<double>(other.blocks[i].tokens));
        total += differences.back();
        count += tokens.back();
    }
    const Interval interval =
        bootstrapBlocks(differences.size(), [&](const std::vector<int>& counts) {
            double sum = 0;
            double drawn = 0;
            for (std::size_t i = 0; i < counts.size(); ++i) {
                sum += differences[i] * counts[i];
                drawn += tokens[i] * counts[i];
            }
            return sum / drawn;
        });
    PairedFinding finding;
    finding.metric = metric;
    finding.finding = findingOf(interval, lowerIsBetter);
    finding.value = scale(total / count);
    finding.low = scale(interval.low);
    finding.high = scale(interval.high);
    finding.blocks = static_cast<std::int64_t>(other.blocks.size());
    finding.units = static_cast<std::int64_t>(count);
    return finding;
}

/// Why the texts of two traces cannot be paired; empty when they can.
std::string textObstacle(const EvaluationTrace& reference, const EvaluationTrace& other) {
    if (reference.blocks.empty() || other.blocks.empty())
        return "no values per token are stored of one of them: run it again to test the difference";
    if (reference.protocol != other.protocol)
        return "their texts were measured under different protocols";
    const bool same =
        std::equal(reference.blocks.begin(), reference.blocks.end(), other.blocks.begin(),
                   other.blocks.end(), [](const TraceBlock& a, const TraceBlock& b) {
                       return a.tokens == b.tokens && std::isfinite(a.nll) && std::isfinite(b.nll);
                   });
    if (!same)
        return "their tokens differ, or a loss is not finite: they cannot be paired";
    return other.blocks.size() < kFewestBlocks
               ? "only " + std::to_string(other.blocks.size()) +
                     " windows were scored: too few to test the difference"
               : "";
}

/// Two-sided exact p: both kinds of disagreement equally likely (McNemar 1947).
double mcnemarP(std::int64_t lost, std::int64_t won) {
    const std::int64_t n = lost + won;
    double sum = 0;
    for (std::int64_t k = 0; k <= std::min(lost, won); ++k)
        sum += std::exp(
            std::lgamma(static_cast<double>(n + 1)) - std::lgamma(static_cast<double>(k + 1)) -
            std::lgamma(static_cast<double>(n - k + 1)) - static_cast<double>(n) * std::log(2.0));
    return std::min(1.0, 2 * sum);
}

PairedFinding compareTasks(const std::vector<char>& reference, const std::vector<char>& other) {
    PairedFinding finding;
    finding.metric = "task_accuracy";
    for (std::size_t i = 0; i < other.size(); ++i) {
        finding.lost += reference[i] && !other[i] ? 1 : 0;
        finding.won += !reference[i] && other[i] ? 1 : 0;
    }
    const double n = static_cast<double>(other.size());
    const double lost = static_cast<double>(finding.lost) + 0.5;
    const double won = static_cast<double>(finding.won) + 0.5;
    const double middle = (won - lost) / (n + 2);
    const double reach =
        1.959964 * std::sqrt(lost + won - (won - lost) * (won - lost) / (n + 2)) / (n + 2);
    finding.units = static_cast<std::int64_t>(other.size());
    finding.value = 100 * static_cast<double>(finding.won - finding.lost) / n;
    finding.low = 100 * (middle - reach);
    finding.high = 100 * (middle + reach);
    finding.pValue = mcnemarP(finding.lost, finding.won);
    if (*finding.pValue < 0.05)
        finding.finding = finding.won > finding.lost ? Finding::Gain : Finding::Loss;
    return finding;
}

std::string fixedText(double value, int decimals, bool sign) {
    std::array<char, 64> buffer{};
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), std::abs(value),
                                   std::chars_format::fixed, decimals);
    std::string text(buffer.data(), end.ptr);
    const bool zero = text.find_first_not_of("0.") == std::string::npos;
    return (!sign || zero ? "" : value < 0 ? "\u2212" : "+") + text;
}

int decimalsOfDifference(double value, int least) {
    const double size = std::abs(value);
    return size == 0 ? least
                     : std::clamp(1 - static_cast<int>(std::floor(std::log10(size))), least, 6);
}

}  // namespace

std::string toString(Finding finding) {
    switch (finding) {
        case Finding::Loss:
            return "loss";
        case Finding::Gain:
            return "gain";
        case Finding::NotDistinguishable:
            break;
    }
    return "not distinguishable";
}

std::string findingTitle(Finding finding) {
    switch (finding) {
        case Finding::Loss:
            return "The loss is real";
        case Finding::Gain:
            return "The gain is real";
        case Finding::NotDistinguishable:
            break;
    }
    return "Not distinguishable";
}

std::string PairedFinding::text() const {
    const bool ratio = metric == "perplexity";
    const double factor = ratio ? 100 : 1;
    const std::string unit = ratio ? "%" : metric == "kl_mean" ? " nats" : " points";
    const int decimals = decimalsOfDifference(factor * value, metric == "kl_mean" ? 4 : 1);
    const auto number = [&](double one) { return fixedText(factor * one, decimals, true); };
    const std::string name = ratio                       ? "perplexity"
                             : metric == "kl_mean"       ? "mean KL divergence"
                             : metric == "task_accuracy" ? "task accuracy"
                                                         : "same top token";
    std::string line = findingTitle(finding) + ": " + name + " " + number(value) + unit +
                       " (95% interval " + number(low) + " to " + number(high) + ")";
    const std::string same = formatMetric("tokens", static_cast<double>(units));
    if (pValue)
        return line + ", " + std::to_string(lost) + " tasks lost and " + std::to_string(won) +
               " won of " + std::to_string(units) +
               " (McNemar p = " + fixedText(*pValue, *pValue < 0.001 ? 6 : 3, false) + ").";
    return line + ", paired over the same " + same + " in " + std::to_string(blocks) + " windows.";
}

PairedComparison comparePaired(const EvaluationTrace& reference, const EvaluationTrace& other) {
    PairedComparison result;
    result.note = textObstacle(reference, other);
    if (result.note.empty()) {
        const auto plain = [](double x) { return x; };
        result.findings.push_back(compareBlocks(reference, other, "perplexity", &TraceBlock::nll,
                                                true, [](double x) { return std::expm1(x); }));
        if (reference.hasBaseline && other.hasBaseline) {
            result.findings.push_back(
                compareBlocks(reference, other, "kl_mean", &TraceBlock::kl, true, plain));
            result.findings.push_back(compareBlocks(reference, other, "top1_agreement",
                                                    &TraceBlock::sameTop, false,
                                                    [](double x) { return 100 * x; }));
        }
    }
    if (!reference.tasksCorrect.empty() && reference.tasksProtocol == other.tasksProtocol &&
        reference.tasksCorrect.size() == other.tasksCorrect.size())
        result.findings.push_back(compareTasks(reference.tasksCorrect, other.tasksCorrect));
    return result;
}

nlohmann::json toJson(const PairedFinding& finding) {
    nlohmann::json value{{"metric", finding.metric}, {"finding", toString(finding.finding)},
                         {"value", finding.value},   {"low", finding.low},
                         {"high", finding.high},     {"units", finding.units},
                         {"text", finding.text()}};
    if (finding.pValue) {
        value["p"] = *finding.pValue;
        value["lost"] = finding.lost;
        value["won"] = finding.won;
    } else {
        value["windows"] = finding.blocks;
    }
    return value;
}

nlohmann::json toJson(const PairedComparison& comparison) {
    nlohmann::json findings = nlohmann::json::array();
    for (const PairedFinding& finding : comparison.findings)
        findings.push_back(toJson(finding));
    return {{"findings", findings}, {"note", comparison.note}};
}

}  // namespace fettle
