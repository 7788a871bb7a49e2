#include "engine/speculative/acceptance.h"

#include <algorithm>

namespace fettle {

double acceptProbability(const TokenDistribution& target, const TokenDistribution& drawnFrom,
                         std::int32_t token) {
    const double p = target.of(token);
    if (drawnFrom.empty())
        return p;
    const double q = drawnFrom.of(token);
    return q > 0 ? std::min(1.0, p / q) : 0;
}

TokenDistribution afterRejection(const TokenDistribution& target,
                                 const TokenDistribution& drawnFrom, std::int32_t token) {
    TokenDistribution rest = target;
    double total = 0;
    for (std::size_t i = 0; i < rest.p.size(); ++i) {
        const std::int32_t id = rest.idAt(i);
        const double taken = drawnFrom.empty() ? (id == token ? rest.p[i] : 0) : drawnFrom.of(id);
        rest.p[i] = std::max(0.0, rest.p[i] - taken);
        total += rest.p[i];
    }
    if (total <= 0)
        return target;
    for (double& p : rest.p)
        p /= total;
    return rest;
}

Verdict judge(const Draft& draft, const TargetRows& target, std::int64_t position, Chance& chance) {
    Verdict verdict;
    int at = -1;
    std::int64_t depth = 0;
    TokenDistribution p = target(at);
    for (int node = 0; node < draft.size(); ++node) {
        const DraftNode& candidate = draft.nodes[static_cast<std::size_t>(node)];
        if (candidate.parent != at)
            continue;
        const double probability = acceptProbability(p, candidate.drawnFrom, candidate.token);
        if (chance.happens(probability, {Purpose::Accept, position + depth, node})) {
            verdict.accepted.push_back(node);
            at = node;
            ++depth;
            p = target(at);
            continue;
        }
        verdict.rejected.push_back(node);
        p = afterRejection(p, candidate.drawnFrom, candidate.token);
    }
    verdict.next = chance.draw(p, {Purpose::Replace, position + depth, 0});
    return verdict;
}

}  // namespace fettle
