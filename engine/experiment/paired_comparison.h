// Is the difference between two experiments real? Tested on paired values of the same tokens and
// tasks, and said in words. Plain values in, plain values out; any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/experiment/evaluation_trace.h"

namespace fettle {

enum class Finding { Loss, Gain, NotDistinguishable };
std::string toString(Finding finding);  ///< "loss", "gain", "not distinguishable"

/// How the second experiment differs from the first in one metric, with its 95% interval.
struct PairedFinding {
    std::string metric;  ///< "perplexity", "kl_mean", "top1_agreement", "task_accuracy"
    Finding finding = Finding::NotDistinguishable;
    double value = 0;  ///< perplexity: ratio - 1; KL: nats; agreement, accuracy: percentage points
    double low = 0;
    double high = 0;
    std::int64_t blocks = 0;       ///< windows of text that were drawn; 0 for tasks
    std::int64_t units = 0;        ///< tokens or tasks, the same for both
    std::int64_t lost = 0;         ///< tasks that only the first answers rightly
    std::int64_t won = 0;          ///< tasks that only the second does
    std::optional<double> pValue;  ///< of McNemar's exact test, for tasks

    /// "The loss is real: perplexity +1.9% (95% interval +1.2% to +2.6%), paired over the same
    /// 16,320 tokens in 64 windows."
    std::string text() const;
};

struct PairedComparison {
    std::vector<PairedFinding> findings;
    std::string note;  ///< why a test is missing; empty when nothing is
};

/// Holds `other` against `reference`. Text: bootstrapBlocks over windows. Tasks: McNemar's exact
/// test, interval after Agresti and Min (2005). Deterministic.
PairedComparison comparePaired(const EvaluationTrace& reference, const EvaluationTrace& other);

/// "The loss is real", "The gain is real", "Not distinguishable".
std::string findingTitle(Finding finding);
nlohmann::json toJson(const PairedFinding& finding);
nlohmann::json toJson(const PairedComparison& comparison);

}  // namespace fettle
