// The parameters of `prune`: their schema, and what they mean.
#pragma once

#include "engine/prune/importance.h"
#include "engine/prune/shape_search.h"
#include "engine/prune/sparse_pruner.h"
#include "engine/technique/technique.h"

namespace fettle {

TechniqueDescriptor pruneDescriptor();

struct PruneSettings {
    explicit PruneSettings(const nlohmann::json& params);

    std::string method;
    bool sparse = false;  ///< zeros in place; else a smaller model
    ShapeRules rules;
    double ratio = 0;
    std::int64_t targetParameters = 0;  ///< 0: the ratio decides
    double targetSpeedup = 0;           ///< 0: likewise
    SparsityMethod sparsityMethod = SparsityMethod::SparseGpt;
    SparsityTarget sparsity;
    Importance importance = Importance::Reconstruction;
    LayerImportance layerImportance = LayerImportance::Loss;
    bool compensate = true;
    int iterations = 1;
    std::int64_t calibrationTokens = 0, calibrationLength = 0;
    double damping = 0.01;
    std::vector<std::string> exclude;
    std::vector<std::int64_t> drop;  ///< layers that go, ascending; empty: importance decides

    /// Magnitudes need no text unless what stays is to make up for what goes.
    bool needsText() const;
    bool chooses(const std::string& weight) const;
};

}  // namespace fettle
