// Token sequences as a training step sees them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/ops/attention_train.h"

namespace fettle {

/// Sequences packed one after the other; tokens see their own sequence only.
struct TrainBatch {
    std::vector<std::int32_t> ids;
    std::vector<std::int32_t> targets;  ///< what follows each token; negative: not scored
    std::vector<kernels::TokenSpan> sequences;

    std::int64_t scored() const;
    /// Appends a sequence; each token's target is the next one, the last has none.
    void add(std::span<const std::int32_t> sequence);
};

}  // namespace fettle
