#include "engine/advisor/targets.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace fettle {

namespace {

/// What a violation approaches as it grows, so that one hopeless target does not drown the others.
constexpr double kMostViolation = 10;
/// What is missing altogether counts as being off by its whole limit.
constexpr double kUnmeasured = 1;
/// Limits near zero ("at most +0%") are not divided by.
constexpr double kSmallIncrease = 0.01;
constexpr double kSmallKl = 0.001;

const Measurement* find(const MetricMap& metrics, const std::string& name) {
    const auto found = metrics.find(name);
    return found == metrics.end() || !std::isfinite(found->second.value) ? nullptr : &found->second;
}

std::string times(double ratio) {
    return numberText(ratio, 2) + "×";
}

std::string percent(double share) {
    return numberText(share * 100, 1) + "%";
}

double damped(double violation) {
    return violation / (1 + violation / kMostViolation);
}

class Checker {
public:
    Checker(const MetricMap& metrics, const MetricMap& baseline, bool isBaseline)
        : m_metrics(metrics), m_baseline(baseline), m_isBaseline(isBaseline) {}

    void perplexity(double limit) {
        TargetCheck& check = begin("max-perplexity-increase", limit);
        const Measurement* ratio = find(m_metrics, "ppl_ratio");
        if (m_isBaseline && find(m_metrics, "perplexity")) {
            atMost(check, 0, kSmallIncrease);
            check.text = "perplexity unchanged";
        } else if (ratio) {
            atMost(check, ratio->value - 1, kSmallIncrease);
            check.text = lossText(m_metrics) + ", at most " + changeOf(limit);
            if (check.met && ratio->high && *ratio->high - 1 > limit)
                check.text += "; the interval reaches past the limit";
        } else {
            unmeasured(check, "perplexity");
        }
    }

    void kl(double limit) {
        TargetCheck& check = begin("max-kl", limit);
        const Measurement* kl = find(m_metrics, "kl_mean");
        if (m_isBaseline && find(m_metrics, "perplexity")) {
            atMost(check, 0, kSmallKl);
            check.text = "no divergence from itself";
        } else if (kl) {
            atMost(check, kl->value, kSmallKl);
            check.text = "KL divergence " + formatMetric("kl_mean", kl->value) + ", at most " +
                         formatMetric("kl_mean", limit);
        } else {
            unmeasured(check, "KL divergence");
        }
    }

    void taskAccuracy(double limit) {
        TargetCheck& check = begin("min-task-accuracy", limit);
        if (const Measurement* accuracy = find(m_metrics, "task_accuracy")) {
            atLeast(check, accuracy->value / 100);
            check.text = "task accuracy " + percent(check.value) + ", at least " + percent(limit);
        } else {
            unmeasured(check, "task accuracy");
        }
    }

    void speedup(double limit) {
        TargetCheck& check = begin("min-speedup", limit);
        const double ratio = m_isBaseline ? 1 : speedupOf(m_metrics, m_baseline);
        const Measurement* decode = find(m_metrics, "decode_tokens_per_s");
        if (!decode || !std::isfinite(ratio)) {
            unmeasured(check, "decode speed");
            return;
        }
        atLeast(check, ratio);
        check.text = times(ratio) + " the decode speed, at least " + times(limit);
        if (!decode->native) {
            check.met = false;
            check.violation = std::max(check.violation, kUnmeasured);
            check.text +=
                "; taken through dequantization, which says nothing about a device that "
                "runs the format";
        }
    }

    void bytes(const char* name, const char* metric, const char* title, double limit) {
        TargetCheck& check = begin(name, limit);
        if (const Measurement* size = find(m_metrics, metric)) {
            atMost(check, size->value, 1);
            check.text = std::string(title) + " " + formatBytes(size->value) + ", at most " +
                         formatBytes(limit);
        } else {
            unmeasured(check, title);
        }
    }

    std::vector<TargetCheck> take() { return std::move(m_checks); }

private:
    TargetCheck& begin(const char* name, double limit) {
        TargetCheck& check = m_checks.emplace_back();
        check.name = name;
        check.limit = limit;
        return check;
    }
    static void atMost(TargetCheck& check, double value, double least) {
        check.measured = true;
        check.value = value;
        check.met = value <= check.limit;
        if (!check.met)
            check.violation =
                damped((value - check.limit) / std::max(std::abs(check.limit), least));
    }
    static void atLeast(TargetCheck& check, double value) {
        check.measured = true;
        check.value = value;
        check.met = value >= check.limit;
        if (!check.met)
            check.violation = value > 0 ? damped(check.limit / value - 1) : kMostViolation;
    }
    static void unmeasured(TargetCheck& check, const std::string& what) {
        check.violation = kUnmeasured;
        check.text = what + " was not measured";
    }

    const MetricMap& m_metrics;
    const MetricMap& m_baseline;
    bool m_isBaseline;
    std::vector<TargetCheck> m_checks;
};

}  // namespace

TargetKind targetKind(const std::string& name) {
    if (name == "min-speedup")
        return TargetKind::Speed;
    return name == "max-memory" || name == "max-file-size" ? TargetKind::Size
                                                           : TargetKind::Accuracy;
}

std::vector<TargetCheck> checkTargets(const AdvisorTargets& targets, const MetricMap& metrics,
                                      const MetricMap& baseline, bool isBaseline) {
    Checker checker(metrics, baseline, isBaseline);
    if (targets.maxPerplexityIncrease)
        checker.perplexity(*targets.maxPerplexityIncrease);
    if (targets.maxKl)
        checker.kl(*targets.maxKl);
    if (targets.minTaskAccuracy)
        checker.taskAccuracy(*targets.minTaskAccuracy);
    if (targets.minSpeedup)
        checker.speedup(*targets.minSpeedup);
    if (targets.maxMemoryBytes)
        checker.bytes("max-memory", "weight_bytes", "weights", *targets.maxMemoryBytes);
    if (targets.maxFileBytes)
        checker.bytes("max-file-size", "file_bytes", "file", *targets.maxFileBytes);
    return checker.take();
}

double violationOf(const std::vector<TargetCheck>& checks, TargetKind kind) {
    double sum = 0;
    for (const TargetCheck& check : checks)
        sum += targetKind(check.name) == kind ? check.violation : 0;
    return sum;
}

bool lossIsSignificant(const MetricMap& metrics) {
    const Measurement* ratio = find(metrics, "ppl_ratio");
    return !ratio || !ratio->low || !ratio->high || *ratio->low > 1 || *ratio->high < 1;
}

bool lossIsAlike(const MetricMap& a, const MetricMap& b) {
    const Measurement* first = find(a, "ppl_ratio");
    const Measurement* second = find(b, "ppl_ratio");
    if (!first || !second || !first->low || !first->high || !second->low || !second->high)
        return false;
    return *first->low <= *second->high && *second->low <= *first->high;
}

double lossOf(const AdvisorRung& rung) {
    if (rung.trial.recipe.steps.empty())
        return 0;
    const double kl = valueOf(rung.metrics, "kl_mean");
    if (std::isfinite(kl))
        return kl;
    const double ratio = valueOf(rung.metrics, "ppl_ratio");
    return ratio > 0 ? std::log(ratio) : std::numeric_limits<double>::infinity();
}

double speedupOf(const MetricMap& metrics, const MetricMap& baseline) {
    return valueOf(metrics, "decode_tokens_per_s") / valueOf(baseline, "decode_tokens_per_s");
}

double valueOf(const MetricMap& metrics, const std::string& name) {
    const Measurement* metric = find(metrics, name);
    return metric ? metric->value : std::numeric_limits<double>::quiet_NaN();
}

std::string numberText(double value, int decimals) {
    std::array<char, 400> buffer{};
    const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                      std::chars_format::fixed, decimals);
    return {buffer.data(), result.ptr};
}

std::string changeOf(double share) {
    const double percent = share * 100;
    return (percent >= 0 ? "+" : "") + numberText(percent, std::abs(percent) < 10 ? 2 : 1) + "%";
}

std::string lossText(const MetricMap& metrics) {
    const Measurement* ratio = find(metrics, "ppl_ratio");
    if (!ratio)
        return find(metrics, "perplexity") ? "perplexity unchanged" : "accuracy was not measured";
    std::string text = "perplexity " + changeOf(ratio->value - 1);
    if (ratio->low && ratio->high)
        text += " (" + changeOf(*ratio->low - 1) + " to " + changeOf(*ratio->high - 1) + ")";
    return text;
}

std::string resultText(const MetricMap& metrics, const MetricMap& baseline) {
    std::string text = lossText(metrics);
    if (const double ratio = speedupOf(metrics, baseline); std::isfinite(ratio))
        text += ", " + times(ratio) + " the decode speed";
    if (const double bytes = valueOf(metrics, "weight_bytes"); std::isfinite(bytes))
        text += ", " + formatBytes(bytes);
    return text;
}

}  // namespace fettle
