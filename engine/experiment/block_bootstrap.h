// The interval of a measured value: one method for every number that is stored and for every
// comparison, so that no two pages say different things of the same difference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace fettle {

struct Interval {
    double low = 0;
    double high = 0;
};

/// Percentile-bootstrap 95% interval of a statistic of blocks drawn with replacement (Efron 1979;
/// tokens of one window are correlated, so whole windows are drawn), widened for few blocks, whose
/// resamples vary less than the blocks themselves do (Hesterberg, "What Teachers Should Know About
/// the Bootstrap", 2015, section 3.3). `statistic` gets how often each of `blocks` blocks was
/// drawn; resamples for which it is not finite are left out. Deterministic for a seed.
Interval bootstrapBlocks(std::size_t blocks,
                         const std::function<double(const std::vector<int>& counts)>& statistic,
                         int resamples = 2000, std::uint64_t seed = 1);

}  // namespace fettle
