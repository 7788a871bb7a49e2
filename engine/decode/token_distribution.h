// What may come next and how likely: a row of logits after temperature, top-k, top-p (nucleus,
// Holtzman et al. 2019) and min-p (Nguyen et al. 2024), in this order. Probabilities in double, so
// that rules over them can be proved to be exact.
#pragma once

#include <cstdint>
#include <vector>

namespace fettle {

struct SamplingOptions {
    double temperature = 0;  ///< 0 = greedy
    int topK = 0;            ///< keep this many of the likeliest; 0 = all
    double topP = 1;         ///< keep the likeliest that make up this share
    double minP = 0;         ///< keep those at least this share as likely as the likeliest
    std::uint64_t seed = 1;
};

struct TokenDistribution {
    std::vector<std::int32_t> ids;  ///< ascending; empty: token i has p[i]
    std::vector<double> p;          ///< sums to 1

    bool empty() const { return p.empty(); }
    std::int32_t idAt(std::size_t index) const {
        return ids.empty() ? static_cast<std::int32_t>(index) : ids[index];
    }
    /// 0 for a token that is not listed.
    double of(std::int32_t id) const;
    /// The token at which the cumulative probability passes `u` in [0, 1); never one without
    /// probability.
    std::int32_t at(double u) const;
    /// All probability on `id`.
    static TokenDistribution certain(std::int32_t id) { return {{id}, {1.0}}; }
};

/// The distribution that `options` make of `logits` [vocabulary]. Greedy: certain, ties go to the
/// lowest id. Of equally likely tokens at the edge of top-k and top-p the lower ids stay.
TokenDistribution nextTokens(const float* logits, std::int64_t vocabulary,
                             const SamplingOptions& options);

}  // namespace fettle
