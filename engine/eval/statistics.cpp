#include "engine/eval/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/core/random.h"

namespace fettle {

double percentile(std::vector<double> values, double share) {
    if (values.empty())
        return 0;
    const double at = std::clamp(share, 0.0, 1.0) * static_cast<double>(values.size() - 1);
    const std::size_t below = static_cast<std::size_t>(at);
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(below);
    std::nth_element(values.begin(), middle, values.end());
    const double lower = *middle;
    if (below + 1 >= values.size())
        return lower;
    const double upper = *std::min_element(middle + 1, values.end());
    return lower + (at - static_cast<double>(below)) * (upper - lower);
}

double median(std::vector<double> values) {
    return percentile(std::move(values), 0.5);
}

double mean(const std::vector<double>& values) {
    return values.empty() ? 0
                          : std::accumulate(values.begin(), values.end(), 0.0) /
                                static_cast<double>(values.size());
}

Interval bootstrapBlocks(std::size_t blocks,
                         const std::function<double(const std::vector<int>&)>& statistic,
                         int resamples, std::uint64_t seed) {
    if (blocks == 0)
        return {};
    Philox random(seed, 0xB007);
    std::vector<double> results;
    results.reserve(static_cast<std::size_t>(resamples));
    std::vector<int> counts(blocks);
    for (int r = 0; r < resamples; ++r) {
        std::fill(counts.begin(), counts.end(), 0);
        for (std::size_t i = 0; i < blocks; ++i)
            ++counts[random.below(blocks)];
        const double value = statistic(counts);
        if (std::isfinite(value))
            results.push_back(value);
    }
    return {percentile(results, 0.025), percentile(results, 0.975)};
}

}  // namespace fettle
