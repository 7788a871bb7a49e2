// Percentiles of measured values.
#pragma once

#include <vector>

namespace fettle {

/// Linear interpolation between order statistics; `share` in [0, 1]. Empty input gives 0.
double percentile(std::vector<double> values, double share);
double median(std::vector<double> values);
double mean(const std::vector<double>& values);

}  // namespace fettle
