#include "engine/decode/token_distribution.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/ops/elementwise.h"

namespace fettle {

namespace {

struct Candidate {
    double p = 0;
    std::int32_t id = 0;
};

bool likelier(const Candidate& a, const Candidate& b) {
    return a.p > b.p || (a.p == b.p && a.id < b.id);
}

/// Keeps the `count` likeliest in front, in any order.
void selectLikeliest(std::vector<Candidate>& candidates, std::size_t count) {
    if (count >= candidates.size())
        return;
    std::nth_element(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(count),
                     candidates.end(), likelier);
}

/// The fewest of the likeliest that hold `share` of the whole. Sorts no more than it needs.
void keepShare(std::vector<Candidate>& candidates, double share) {
    double total = 0;
    for (const Candidate& c : candidates)
        total += c.p;
    for (std::size_t count = 256;; count *= 8) {
        const std::size_t size = std::min(count, candidates.size());
        selectLikeliest(candidates, size);
        std::sort(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(size),
                  likelier);
        double kept = 0;
        for (std::size_t i = 0; i < size; ++i) {
            kept += candidates[i].p;
            if (kept >= share * total || i + 1 == candidates.size())
                return candidates.resize(i + 1);
        }
    }
}

void normalize(std::vector<double>& p) {
    const double total = std::accumulate(p.begin(), p.end(), 0.0);
    for (double& value : p)
        value /= total;
}

}  // namespace

double TokenDistribution::of(std::int32_t id) const {
    if (ids.empty())
        return id >= 0 && static_cast<std::size_t>(id) < p.size() ? p[static_cast<std::size_t>(id)]
                                                                  : 0;
    const auto found = std::lower_bound(ids.begin(), ids.end(), id);
    return found != ids.end() && *found == id ? p[static_cast<std::size_t>(found - ids.begin())]
                                              : 0;
}

std::int32_t TokenDistribution::at(double u) const {
    std::size_t last = 0;
    for (std::size_t i = 0; i < p.size(); ++i) {
        if (p[i] <= 0)
            continue;
        u -= p[i];
        if (u < 0)
            return idAt(i);
        last = i;
    }
    return idAt(last);
}

TokenDistribution nextTokens(const float* logits, std::int64_t vocabulary,
                             const SamplingOptions& options) {
    const std::int64_t likeliest = kernels::argmax(logits, vocabulary);
    if (options.temperature <= 0)
        return TokenDistribution::certain(static_cast<std::int32_t>(likeliest));

    const double highest = logits[likeliest], rate = 1 / options.temperature;
    TokenDistribution out;
    if (options.topK <= 0 && options.topP >= 1 && options.minP <= 0) {
        out.p.resize(static_cast<std::size_t>(vocabulary));
        for (std::size_t i = 0; i < out.p.size(); ++i)
            out.p[i] = std::exp((logits[i] - highest) * rate);
        normalize(out.p);
        return out;
    }
    // Relative to the likeliest token, whose value is 1: min-p can be applied while reading.
    std::vector<Candidate> candidates;
    for (std::int64_t i = 0; i < vocabulary; ++i)
        candidates.push_back(
            {std::exp((logits[i] - highest) * rate), static_cast<std::int32_t>(i)});
    if (options.topK > 0 && options.topK < vocabulary) {
        selectLikeliest(candidates, static_cast<std::size_t>(options.topK));
        candidates.resize(static_cast<std::size_t>(options.topK));
    }
    if (options.topP < 1)
        keepShare(candidates, options.topP);
    if (options.minP > 0)
        std::erase_if(candidates, [&](const Candidate& c) { return c.p < options.minP; });
    std::sort(candidates.begin(), candidates.end(),
              [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
    for (const Candidate& c : candidates) {
        out.ids.push_back(c.id);
        out.p.push_back(c.p);
    }
    normalize(out.p);
    return out;
}

}  // namespace fettle
