// A model as a graph: embedding, layers and head from top to bottom, each layer folded into one
// block or unfolded into its operations, with the tensors that each holds. Plain values; any
// thread.
#pragma once

#include <QString>
#include <set>
#include <vector>

#include "engine/experiment/model_report.h"
#include "engine/experiment/run_values.h"

namespace fettle::ui {

struct BlockNode {
    enum class Kind { Block, Operation, Join };  ///< a join adds what bypassed the operations
    Kind kind = Kind::Operation;
    QString title;
    QString detail;  ///< shape and type, or how much it holds
    int layer = -1;
    bool foldable = false;             ///< the block of a layer, folded or the head of its frame
    std::vector<std::size_t> tensors;  ///< indices into the report's tensors
    int row = 0;                       ///< from the top
    int column = 0;                    ///< of `columns` in its row
    int columns = 1;
    double value = 0;  ///< of the chosen metric; NaN where there is none
    QString valueOf;   ///< which weight a block's value is that of, where it is one weight's
};

struct BlockEdge {
    std::size_t from = 0;
    std::size_t to = 0;
    bool bypass = false;  ///< the residual stream around an attention or a feed-forward
};

struct BlockGraph {
    std::vector<BlockNode> nodes;
    std::vector<BlockEdge> edges;
    int rows = 0;
    double low = 0;  ///< of the finite values
    double high = 0;

    /// Canonical names of the weights in a node, or their names in the file where they have none.
    std::vector<QString> weights(const ModelReport& report, std::size_t node) const;
};

/// `open`: the layers that are unfolded.
BlockGraph blockGraph(const ModelReport& report, const std::set<int>& open);

/// Puts a metric of weights into the nodes: sums for what adds up (bytes, time, number of weights),
/// means weighted by size for bits and zeros, for anything else the worst weight of a node.
void setGraphMetric(BlockGraph& graph, const ModelReport& report,
                    const std::vector<LayerMetric>& metrics, const QString& metric);

}  // namespace fettle::ui
