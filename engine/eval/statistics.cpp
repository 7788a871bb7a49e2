#include "engine/eval/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

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

}  // namespace fettle
