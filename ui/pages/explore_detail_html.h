// Rich text of the explore page's side panel. Values in, text out.
#pragma once

#include <QString>
#include <vector>

#include "engine/experiment/experiment_record.h"
#include "ui/charts/chart_theme.h"

namespace fettle::ui {

/// An experiment and what it is held against (may be null); the pointers are borrowed for the call.
struct SelectedExperiment {
    const ExperimentRecord* record = nullptr;
    const ExperimentRecord* baseline = nullptr;
};

/// Recipe and every metric with interval and delta.
QString detailHtml(const ExperimentRecord& record, const ExperimentRecord* baseline,
                   const ChartTheme& theme);
/// Two to four experiments side by side: settings that differ, then metrics; the best number of a
/// row is bold.
QString comparisonHtml(const std::vector<SelectedExperiment>& selected, const ChartTheme& theme);

}  // namespace fettle::ui
