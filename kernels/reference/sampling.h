// Plain twin of kernels/cuda/sampling.h in double, by sorting.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

namespace fettle::kernels::reference {

/// Tokens that a rule leaves, by id, and their probabilities, which sum to 1.
struct LeftTokens {
    std::vector<std::int64_t> ids;
    std::vector<double> p;
};

/// As SamplingRule says, in its order.
inline LeftTokens leftTokens(const float* logits, std::int64_t count, double temperature,
                             std::int64_t topK, double topP, double minP) {
    const double highest = *std::max_element(logits, logits + count);
    std::vector<std::pair<double, std::int64_t>> tokens;  // negative weight: ascending order
    for (std::int64_t i = 0; i < count; ++i)
        tokens.emplace_back(-std::exp((logits[i] - highest) / temperature), i);
    std::sort(tokens.begin(), tokens.end());
    if (topK > 0 && topK < count)
        tokens.resize(static_cast<std::size_t>(topK));
    double total = 0, held = 0;
    for (const auto& [weight, id] : tokens)
        total -= weight;
    std::size_t kept = 0;
    while (kept < tokens.size() && (topP >= 1 || kept == 0 || held < topP * total))
        held -= tokens[kept++].first;
    tokens.resize(kept);
    std::erase_if(tokens, [&](const auto& token) { return -token.first < minP; });
    LeftTokens left;
    total = 0;
    std::sort(tokens.begin(), tokens.end(),
              [](const auto& a, const auto& b) { return a.second < b.second; });
    for (const auto& [weight, id] : tokens)
        total -= weight;
    for (const auto& [weight, id] : tokens) {
        left.ids.push_back(id);
        left.p.push_back(-weight / total);
    }
    return left;
}

}  // namespace fettle::kernels::reference
