// One HTML page about some experiments that needs nothing beside it: findings, comparison, charts,
// recipes, layers, training curves, samples, environment, and the commands that repeat the runs.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/experiment/experiment_record.h"

namespace fettle::app {

struct ReportChart {
    std::string title;
    std::string svg;  ///< a whole SVG document
};

struct HtmlReport {
    std::string title;
    std::vector<ExperimentDetail> experiments;  ///< in the order of the page
    std::int64_t baseline = 0;  ///< id of the one that changes are stated against; 0: none
    std::vector<ReportChart> charts;
    std::string appVersion;
    std::map<std::int64_t, EvaluationTrace> traces =
        {};  ///< by id, where values per token are kept
};

/// The page, UTF-8. Everything that comes from models and users is escaped; scripts, fonts and
/// pictures from elsewhere are not referred to.
std::string htmlReport(const HtmlReport& report);

}  // namespace fettle::app
