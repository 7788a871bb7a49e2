// An experiment against its baseline, in numbers and in words: deltas, whether they can be told
// from noise, the verdict line and the text of the hover card. Plain values in, plain values out;
// any thread.
#pragma once

#include <QString>
#include <QStringList>
#include <optional>
#include <unordered_map>
#include <vector>

#include "engine/experiment/experiment_record.h"
#include "ui/bridge/experiment_list.h"

namespace fettle::ui {

/// The technique that names an experiment: its last step, since each rung of the ladder builds on
/// the one before. Empty for a baseline.
QString primaryTechnique(const ExperimentRecord& record);
/// "ptq · scheme int4-g32, method gptq", one line per step.
QStringList recipeLines(const Recipe& recipe);
QString statusTitle(ExperimentStatus status);

/// The newest finished baseline of each (model, device).
class BaselineIndex {
public:
    void rebuild(const ExperimentList& records);
    /// Index of the baseline that `record` is held against: same model and device, else same model.
    /// None for a baseline itself.
    std::optional<std::size_t> find(const ExperimentRecord& record) const;

private:
    std::unordered_map<std::string, std::size_t> m_exact;
    std::unordered_map<std::string, std::size_t> m_model;
};

struct MetricDelta {
    QString text;                 ///< "+1.9%", "2.1×", "−0.4 pp"
    int goodness = 0;             ///< +1 better, -1 worse, 0 neither way or not distinguishable
    bool distinguishable = true;  ///< false when both 95% intervals overlap
    double relative = 0;          ///< value / baseline - 1
};
/// None where the two may not be compared: protocols differ, latency of another device, baseline
/// zero.
std::optional<MetricDelta> metricDelta(const ExperimentRecord& record,
                                       const ExperimentRecord& baseline, const std::string& metric);

/// "2.1× faster decode, 3.8× smaller than the baseline; perplexity +1.9% (interval 1.2% to 2.6%)".
QString verdict(const ExperimentRecord& record, const ExperimentRecord* baseline);
/// Rich text: name, recipe, main metrics with intervals and deltas, device, how the numbers were
/// taken.
QString hoverHtml(const ExperimentRecord& record, const ExperimentRecord* baseline,
                  const QString& mutedColor);
/// "7.21 (7.15 to 7.28)" with its unit.
QString valueWithInterval(const Measurement& measurement);
/// "7.15 to 7.28"; empty where no interval was computed.
QString intervalText(const Measurement& measurement);
/// One line per experiment with every metric; numbers in full precision.
QString toCsv(const std::vector<const ExperimentRecord*>& records);

}  // namespace fettle::ui
