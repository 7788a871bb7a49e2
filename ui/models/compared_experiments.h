// The experiments that stand side by side on the Compare page: the first is what the others are
// held against. Plain values.
#pragma once

#include <QString>
#include <optional>
#include <vector>

#include "engine/experiment/experiment_record.h"
#include "engine/experiment/paired_comparison.h"

namespace fettle::ui {

struct ComparedExperiment {
    ExperimentDetail detail;
    std::optional<EvaluationTrace> trace;
    PairedComparison against;  ///< the first; empty for the first itself

    const ExperimentRecord& record() const { return detail.record; }
    QString name() const { return QString::fromStdString(detail.record.name); }
};

using ComparedExperiments = std::vector<ComparedExperiment>;

/// "A", "B", ...: what stands for an experiment where its name has no room.
inline QString letterOf(std::size_t index) {
    return QString(QChar(static_cast<char16_t>(u'A' + index)));
}

}  // namespace fettle::ui
