// What the trainers of heads on a model's hidden states share: the states themselves, the tokens
// that are worth guessing, the walk over the text, and an optimizer for matrices of their own.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/data/batch_source.h"
#include "engine/model/transformer.h"

namespace fettle {

/// The `count` commonest tokens of the text's next batches, ascending; all of `vocabulary` where it
/// has no more. The text stays where it is.
std::vector<std::int32_t> commonTokens(BatchSource& data, std::int64_t vocabulary,
                                       std::int64_t count);
/// Hidden states after the final norm [ids, hiddenSize], each sequence of the batch on its own.
void readStates(Transformer& target, const TrainBatch& batch, std::vector<float>& states,
                RunControl& control);

/// Reads `tokens` of the text, batch by batch: learn(batch, step, steps) gives the loss, which
/// becomes a point of `series` and part of the progress. Ends early when `control` says so. Returns
/// the tokens that were read.
std::int64_t trainHeads(
    BatchSource& data, std::int64_t tokens, const char* series, RunControl& control,
    const std::function<double(const TrainBatch&, std::int64_t, std::int64_t)>& learn);

/// AdamW for values that belong to no Network.
class HeadOptimizer {
public:
    explicit HeadOptimizer(std::size_t count) : m_first(count), m_second(count) {}
    /// Step `step` from 0.
    void update(std::vector<float>& values, std::vector<float>& grads, float rate,
                std::int64_t step, kernels::WorkerPool& pool);

private:
    std::vector<float> m_first, m_second;  // moments
};

}  // namespace fettle
