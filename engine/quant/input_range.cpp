#include "engine/quant/input_range.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace fettle {

namespace {

// A histogram that has grown this far beyond its first width takes bins together.
constexpr std::int64_t kMostBins = 8 * MagnitudeHistogram::kBins;
// Ranges that are tried: no fewer bins than codes, and steps fine enough for the minimum's flat
// bottom.
constexpr std::int64_t kCandidates = 256;
constexpr float kMostInt8 = 127.0F;

/// Ends of ranges between `first` and `bins` bins, evenly spaced, `bins` among them.
std::vector<std::int64_t> candidateEnds(std::int64_t first, std::int64_t bins) {
    std::vector<std::int64_t> ends;
    const std::int64_t step = std::max<std::int64_t>(1, (bins - first) / kCandidates);
    for (std::int64_t end = bins; end >= std::max<std::int64_t>(first, 1); end -= step)
        ends.push_back(end);
    return ends;
}

}  // namespace

void MagnitudeHistogram::add(const float* x, std::int64_t count) {
    float largest = 0;
    for (std::int64_t i = 0; i < count; ++i)
        if (const float magnitude = std::fabs(x[i]); std::isfinite(magnitude))
            largest = std::max(largest, magnitude);
    if (m_width == 0 && largest > 0)
        m_width = static_cast<double>(largest) / kBins;
    m_largest = std::max(m_largest, largest);
    while (m_width > 0 && m_largest / m_width > kMostBins) {
        for (std::size_t i = 0; 2 * i < m_counts.size(); ++i)
            m_counts[i] = m_counts[2 * i] + (2 * i + 1 < m_counts.size() ? m_counts[2 * i + 1] : 0);
        m_counts.resize((m_counts.size() + 1) / 2);
        m_width *= 2;
    }
    const auto bins = static_cast<std::size_t>(m_width > 0 ? std::ceil(m_largest / m_width) : 0);
    m_counts.resize(std::max(m_counts.size(), bins));
    for (std::int64_t i = 0; i < count; ++i) {
        const float magnitude = std::fabs(x[i]);
        if (magnitude == 0)
            ++m_zeros;
        else if (std::isfinite(magnitude))
            ++m_counts[std::min(static_cast<std::size_t>(magnitude / m_width),
                                m_counts.size() - 1)];
    }
}

float MagnitudeHistogram::range(RangeSearch search, int codes, double percentile) const {
    if (m_counts.empty())
        return 0;
    double range = m_largest;
    if (search == RangeSearch::Percentile)
        range = percentileRange(percentile);
    else if (search == RangeSearch::Mse)
        range = mseRange(codes);
    else if (search == RangeSearch::Entropy)
        range = entropyRange(codes);
    return std::min(static_cast<float>(range), m_largest);
}

double MagnitudeHistogram::percentileRange(double percentile) const {
    const auto total =
        static_cast<double>(std::accumulate(m_counts.begin(), m_counts.end(), m_zeros));
    const double wanted = total * percentile / 100;
    auto within = static_cast<double>(m_zeros);
    for (std::size_t i = 0; i < m_counts.size(); ++i) {
        within += static_cast<double>(m_counts[i]);
        if (within >= wanted)
            return m_width * static_cast<double>(i + 1);
    }
    return m_largest;
}

double MagnitudeHistogram::mseRange(int codes) const {
    double best = m_largest, least = std::numeric_limits<double>::infinity();
    const auto bins = static_cast<std::int64_t>(m_counts.size());
    for (const std::int64_t end : candidateEnds(codes, bins)) {
        const double range = m_width * static_cast<double>(end), step = range / codes;
        double error = 0;
        for (std::size_t i = 0; i < m_counts.size(); ++i) {
            const double value = m_width * (static_cast<double>(i) + 0.5);
            const double code = std::min(std::nearbyint(value / step), static_cast<double>(codes));
            error +=
                static_cast<double>(m_counts[i]) * (value - code * step) * (value - code * step);
        }
        if (error < least) {
            least = error;
            best = range;
        }
    }
    return best;
}

double MagnitudeHistogram::entropyRange(int codes) const {
    double best = m_largest, least = std::numeric_limits<double>::infinity();
    const auto bins = static_cast<std::int64_t>(m_counts.size());
    const auto at = [&](std::int64_t i) {
        return static_cast<double>(m_counts[static_cast<std::size_t>(i)]);
    };
    std::vector<double> beyond(m_counts.size() + 1, 0);  // of bin i and all after it
    for (std::int64_t i = bins; i-- > 0;)
        beyond[static_cast<std::size_t>(i)] = beyond[static_cast<std::size_t>(i + 1)] + at(i);
    const double total = beyond[0];
    // With fewer bins than codes nothing is merged, and the divergence says nothing.
    for (const std::int64_t end : candidateEnds(codes + 1, bins)) {
        // P: the distribution with all that is clipped on its last bin. Q: without that, merged
        // into as many levels as there are codes, each spread evenly over its bins that hold
        // something.
        const double kept = total - beyond[static_cast<std::size_t>(end)];
        if (kept <= 0)
            continue;
        double divergence = 0;
        for (int level = 0; level < codes; ++level) {
            const std::int64_t from = end * level / codes, to = end * (level + 1) / codes;
            double sum = 0;
            std::int64_t filled = 0;
            for (std::int64_t i = from; i < to; ++i) {
                sum += at(i);
                filled += at(i) > 0;
            }
            for (std::int64_t i = from; i < to; ++i) {
                const bool last = i == end - 1;
                const double p =
                    (at(i) + (last ? beyond[static_cast<std::size_t>(end)] : 0)) / total;
                if (p <= 0)
                    continue;
                // A bin that only clipped values reach is nothing to Q: as good as one value.
                const double q = (at(i) > 0 ? sum / static_cast<double>(filled) : 1.0) / kept;
                divergence += p * std::log(p / q);
            }
        }
        if (divergence < least) {
            least = divergence;
            best = m_width * static_cast<double>(end);
        }
    }
    return best;
}

float inputScaleFor(kernels::ActivationFormat format, float range) {
    if (format == kernels::ActivationFormat::NvFp4)
        return kernels::nvFp4GlobalScale(range);
    if (format != kernels::ActivationFormat::Int8Tensor)
        return 1;
    const float scale = range / kMostInt8;
    return scale > 0 && std::isfinite(1 / scale) ? scale : 1;
}

}  // namespace fettle
