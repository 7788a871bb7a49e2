// Which drafted tokens stay, by the rule that leaves the target's distribution as it is: a token x
// drawn from q is accepted with probability min(1, p(x)/q(x)), one that was chosen with p(x); after
// a rejection p becomes norm(max(0, p - q)), or p without x, for the next sibling and at last for
// the token that replaces them. Leviathan et al. 2023, algorithm 1; Chen et al. 2023; several
// siblings: Miao et al. 2024 (SpecInfer). Greedy decoding is the case in which p is certain.
#pragma once

#include <functional>
#include <vector>

#include "engine/speculative/chance.h"
#include "engine/speculative/draft.h"

namespace fettle {

/// `drawnFrom` empty: the token was chosen. In [0, 1].
double acceptProbability(const TokenDistribution& target, const TokenDistribution& drawnFrom,
                         std::int32_t token);
/// The target's distribution given that `token` was rejected. Where rounding leaves nothing of it,
/// the rejection had no probability; the target's own is returned.
TokenDistribution afterRejection(const TokenDistribution& target,
                                 const TokenDistribution& drawnFrom, std::int32_t token);

struct Verdict {
    std::vector<int> accepted;  ///< nodes from the root down
    std::vector<int> rejected;  ///< nodes that were tried and refused; all others were not reached
    std::int32_t next = 0;      ///< the token that follows them, from the target
};

/// The target's distribution after node `index`; -1: after the text. Asked for at most once per
/// node, from the root down, and only for nodes that are accepted.
using TargetRows = std::function<TokenDistribution(int index)>;

/// Decides on all of `draft`. `position` is that of the first drafted token.
Verdict judge(const Draft& draft, const TargetRows& target, std::int64_t position, Chance& chance);

}  // namespace fettle
