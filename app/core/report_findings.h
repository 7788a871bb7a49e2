// What a report's numbers mean, in words: which differences from the baseline are real, which
// experiments nothing beats, and which one to take. Plain values in, plain values out; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/experiment/experiment_record.h"

namespace fettle::app {

struct ReportFindings {
    struct Standing {
        std::int64_t id = 0;
        std::vector<std::string> differences;  ///< from the baseline, tested; empty for itself
        std::string place;  ///< on the front, or beaten by which; empty where numbers are missing
        bool onFront = false;
    };
    std::vector<Standing> experiments;  ///< in the order given, finished ones only
    std::string front;                  ///< what the front is of
    std::string recommendation;
    std::int64_t recommended = 0;  ///< 0: none
};

/// `baseline` is the id that differences are stated against, 0 for none; `traces` hold the values
/// per token of the experiments that kept them. The front is that of decode speed, or of weights in
/// memory where fewer than two were timed natively, and perplexity, each of one protocol. What is
/// recommended has no real loss; among those it is the fastest (or smallest) one of the front.
ReportFindings reportFindings(const std::vector<ExperimentDetail>& experiments,
                              std::int64_t baseline,
                              const std::map<std::int64_t, EvaluationTrace>& traces);

}  // namespace fettle::app
