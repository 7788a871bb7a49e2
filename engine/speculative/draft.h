// Drafted tokens: a chain, or a tree whose branches share what they have in common.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/decode/token_distribution.h"

namespace fettle {

struct DraftNode {
    std::int32_t token = 0;
    int parent = -1;  ///< an earlier node; -1: follows the newest token of the text
    int depth = 1;    ///< 1 = directly after the text
    /// The proposer's own guess at its chance once its earlier siblings were refused, in [0, 1].
    double confidence = 0;
    /// What the token was drawn from, given that its earlier siblings were not accepted. Empty: it
    /// was chosen, not drawn.
    TokenDistribution drawnFrom;
};

/// Who guessed: a model that takes its time, or a look at what the text said before, which takes
/// next to none. Costs and acceptance of the two are learned apart.
enum class Guesser { Model, Lookup };

/// Nodes in an order in which parents come first; siblings are tried in their order.
struct Draft {
    std::vector<DraftNode> nodes;
    Guesser guesser = Guesser::Model;
    /// Seconds a proposer spent on text it had not seen yet, beyond what each round needs: reading
    /// the prompt, catching up after a pause.
    double catchUpSeconds = 0;

    bool empty() const { return nodes.empty(); }
    int size() const { return static_cast<int>(nodes.size()); }
    /// Levels below the text.
    int depth() const {
        int depth = 0;
        for (const DraftNode& node : nodes)
            depth = node.depth > depth ? node.depth : depth;
        return depth;
    }
    bool isChain() const {
        for (int i = 0; i < size(); ++i)
            if (nodes[static_cast<std::size_t>(i)].parent != i - 1)
                return false;
        return true;
    }
    /// Appends a node after `parent`; returns its index.
    int add(std::int32_t token, int parent, double confidence, TokenDistribution drawnFrom = {}) {
        const int depth = parent < 0 ? 1 : nodes[static_cast<std::size_t>(parent)].depth + 1;
        nodes.push_back({token, parent, depth, confidence, std::move(drawnFrom)});
        return size() - 1;
    }
};

}  // namespace fettle
