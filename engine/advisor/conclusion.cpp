#include "engine/advisor/conclusion.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace fettle {

namespace {

/// What a deployment weighs: loss, speed, size; each so that less is better. What was not measured
/// counts as equal.
std::array<double, 3> costsOf(const AdvisorRung& rung) {
    const auto known = [&](const char* metric, double sign) {
        const double value = valueOf(rung.metrics, metric);
        return std::isfinite(value) ? sign * value : 0;
    };
    return {lossOf(rung), known("decode_tokens_per_s", -1), known("weight_bytes", 1)};
}

bool beats(const std::array<double, 3>& a, const std::array<double, 3>& b) {
    bool strictly = false;
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (a[i] > b[i])
            return false;
        strictly = strictly || a[i] < b[i];
    }
    return strictly;
}

std::vector<std::size_t> frontOf(const Ladder& ladder, const std::vector<std::size_t>& rungs) {
    std::vector<std::size_t> front;
    for (const std::size_t index : rungs) {
        const std::array<double, 3> own = costsOf(ladder.rung(index));
        if (std::none_of(rungs.begin(), rungs.end(), [&](std::size_t other) {
                return beats(costsOf(ladder.rung(other)), own);
            }))
            front.push_back(index);
    }
    return front;
}

/// Of two that hold all targets: the one that loses less, where the losses can be told apart; else
/// the faster where speed is asked for, or the smaller.
bool preferred(const Ladder& ladder, const AdvisorRung& a, const AdvisorRung& b) {
    if (!lossIsAlike(a.metrics, b.metrics))
        return lossOf(a) < lossOf(b);
    const char* metric = ladder.goal().targets.minSpeedup ? "decode_tokens_per_s" : "weight_bytes";
    const double first = valueOf(a.metrics, metric), second = valueOf(b.metrics, metric);
    if (!std::isfinite(first) || !std::isfinite(second))
        return lossOf(a) < lossOf(b);
    return ladder.goal().targets.minSpeedup ? first > second : first < second;
}

std::string missedText(const AdvisorRung& rung) {
    std::string text;
    for (const TargetCheck& check : rung.checks)
        if (!check.met)
            text += (text.empty() ? "" : "; ") + check.text;
    return text;
}

}  // namespace

void conclude(Ladder& ladder) {
    AdvisorReport& report = ladder.report();
    const std::vector<std::size_t> rungs = ladder.inFull();
    report.front = frontOf(ladder, rungs);
    for (const std::size_t index : rungs) {
        const AdvisorRung& rung = ladder.rung(index);
        if (!report.recommended) {
            report.recommended = index;
            continue;
        }
        const AdvisorRung& best = ladder.rung(*report.recommended);
        const bool both = rung.meets() && best.meets();
        if (both                           ? preferred(ladder, rung, best)
            : rung.meets() != best.meets() ? rung.meets()
                                           : ladder.better(rung, best))
            report.recommended = index;
    }
    if (!report.recommended) {
        report.verdict = "Nothing was measured in full, so nothing can be recommended.";
        return;
    }
    const AdvisorRung& best = ladder.rung(*report.recommended);
    report.met = best.meets();
    const std::string which = "\"" + best.title + "\" (experiment " +
                              std::to_string(best.experiment) +
                              "): " + resultText(best.metrics, ladder.baseline()) + ".";
    if (report.met)
        report.verdict = "All targets hold with " + which +
                         (best.trial.recipe.steps.empty() ? ""
                          : lossIsSignificant(best.metrics)
                              ? " Its loss is more than chance, and within the targets."
                              : " Its loss is not significant.");
    else
        report.verdict = "No measured model holds all targets. Closest is " + which +
                         " It misses: " + missedText(best) + ".";
    report.verdict += " The ladder took " + formatDuration(report.seconds) + " of measured runs.";
}

}  // namespace fettle
