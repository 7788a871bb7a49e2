// Intervals and percentiles of measured values.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace fettle {

struct Interval {
    double low = 0;
    double high = 0;
};

/// Linear interpolation between order statistics; `share` in [0, 1]. Empty input gives 0.
double percentile(std::vector<double> values, double share);
double median(std::vector<double> values);
double mean(const std::vector<double>& values);

/// Percentile-bootstrap 95% interval of a statistic of blocks drawn with replacement (Efron 1979;
/// tokens of one window are correlated, so whole windows are drawn). `statistic` gets how often
/// each of `blocks` blocks was drawn. Deterministic for a seed.
Interval bootstrapBlocks(std::size_t blocks,
                         const std::function<double(const std::vector<int>& counts)>& statistic,
                         int resamples = 1000, std::uint64_t seed = 1);

}  // namespace fettle
