// Holds results against targets, and puts them in order.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/experiment/advisor_values.h"

namespace fettle {

using MetricMap = std::map<std::string, Measurement>;

enum class TargetKind { Accuracy, Speed, Size };
TargetKind targetKind(const std::string& name);

/// One check per target. The perplexity increase and the divergence are those against the model as
/// it is, over the same tokens; the speed-up is against `baseline`. A result without a comparison
/// of its own (the model as it is) has lost nothing. A speed taken through dequantization holds no
/// target.
std::vector<TargetCheck> checkTargets(const AdvisorTargets& targets, const MetricMap& metrics,
                                      const MetricMap& baseline, bool isBaseline);
double violationOf(const std::vector<TargetCheck>& checks, TargetKind kind);

/// The perplexity's 95% interval against the model as it is leaves out "no change".
bool lossIsSignificant(const MetricMap& metrics);
/// Neither is worse by more than the intervals of both allow.
bool lossIsAlike(const MetricMap& a, const MetricMap& b);
/// Mean divergence or, where it was not measured, the logarithm of the perplexity ratio: what
/// accuracy is ordered by. Infinite where neither is known; 0 for the model as it is.
double lossOf(const AdvisorRung& rung);
/// Decode speed against the baseline's; NaN where it was not measured.
double speedupOf(const MetricMap& metrics, const MetricMap& baseline);

/// The value of a metric or NaN.
double valueOf(const MetricMap& metrics, const std::string& name);

/// Fixed point, whatever the locale says.
std::string numberText(double value, int decimals);
/// "+1.2%", "-0.3%".
std::string changeOf(double share);
/// "perplexity +0.8% (+0.5% to +1.1%)": the loss in words; "accuracy was not measured".
std::string lossText(const MetricMap& metrics);
/// "perplexity +0.8%, 1.62× as fast, 2.20 MiB": what matters about a result.
std::string resultText(const MetricMap& metrics, const MetricMap& baseline);

}  // namespace fettle
