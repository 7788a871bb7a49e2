// Token sequences as a training step sees them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/ops/attention_train.h"

namespace fettle {

/// What is kept of a teacher's predictions, row by row: the likeliest tokens and all others
/// together. Logits are relative to the largest of their row.
struct TeacherRows {
    std::int64_t top = 0;           ///< tokens kept of a row
    std::int64_t vocabulary = 0;    ///< tokens there are
    float temperature = 1;          ///< of `rest`
    std::vector<std::int32_t> ids;  ///< [rows, top]
    std::vector<float> logits;      ///< [rows, top]
    std::vector<float> rest;        ///< [rows]: T log(sum of exp(z / T)) of all others
    std::vector<float> restAtOne;   ///< [rows]: the same at temperature 1
    bool empty() const { return ids.empty(); }
};

/// Sequences packed one after the other; tokens see their own sequence only.
struct TrainBatch {
    std::vector<std::int32_t> ids;
    std::vector<std::int32_t> targets;  ///< what follows each token; negative: not scored
    std::vector<kernels::TokenSpan> sequences;
    TeacherRows teacher;  ///< of all ids, where they are known without running the teacher

    std::int64_t scored() const;
    /// Appends a sequence; each token's target is the next one, the last has none.
    void add(std::span<const std::int32_t> sequence);
};

}  // namespace fettle
