#include "engine/experiment/block_bootstrap.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <random>

namespace fettle {
namespace {

/// 97.5% point of Student's t (Abramowitz and Stegun 26.7.5; the first four exactly).
double studentPoint(double freedom) {
    constexpr std::array<double, 4> first{12.7062, 4.30265, 3.18245, 2.77645};
    if (freedom < 5)
        return first[static_cast<std::size_t>(std::max(freedom, 1.0)) - 1];
    constexpr double z = 1.959964;
    const double z2 = z * z;
    return z + z * (z2 + 1) / (4 * freedom) +
           z * (5 * z2 * z2 + 16 * z2 + 3) / (96 * freedom * freedom);
}

/// The share of resamples left out at each end.
double tailShare(std::size_t blocks) {
    const double n = static_cast<double>(blocks);
    if (blocks < 2)
        return 0.025;
    const double reach = std::sqrt(n / (n - 1)) * studentPoint(n - 1);
    return 0.5 * std::erfc(reach / std::sqrt(2.0));
}

double orderStatistic(const std::vector<double>& sorted, double share) {
    const double at = share * static_cast<double>(sorted.size() - 1);
    const std::size_t below = static_cast<std::size_t>(at);
    const std::size_t above = std::min(below + 1, sorted.size() - 1);
    return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

Interval bootstrapBlocks(std::size_t blocks,
                         const std::function<double(const std::vector<int>&)>& statistic,
                         int resamples, std::uint64_t seed) {
    if (blocks == 0)
        return {};
    std::mt19937_64 random(seed);
    std::vector<double> results;
    results.reserve(static_cast<std::size_t>(resamples));
    std::vector<int> counts(blocks);
    for (int r = 0; r < resamples; ++r) {
        std::fill(counts.begin(), counts.end(), 0);
        for (std::size_t i = 0; i < blocks; ++i)
            ++counts[random() % blocks];
        const double value = statistic(counts);
        if (std::isfinite(value))
            results.push_back(value);
    }
    if (results.empty())
        return {};
    std::sort(results.begin(), results.end());
    const double tail = tailShare(blocks);
    return {orderStatistic(results, tail), orderStatistic(results, 1 - tail)};
}

}  // namespace fettle
