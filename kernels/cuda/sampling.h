// Drawing a token from each row of logits without moving the row to the host. Pointers are device
// memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"

namespace fettle::kernels::cuda {

/// In this order: temperature; the `topK` likeliest; the fewest of these that hold the share
/// `topP`; those at least `minP` as likely as the likeliest. Of equally likely ones at the edge of
/// top-k and top-p the lower ids stay.
struct SamplingRule {
    float temperature = 1;  ///< above 0: greedy is the argmax of summarizeLogits()
    float topP = 1;         ///< 1: all
    float minP = 0;         ///< 0: all
    std::int32_t topK = 0;  ///< 0: all
};

/// ids[r]: the token of row r of x [rows, count] at which the cumulative probability of what the
/// rule leaves, in the order of ids, passes random[r] in [0, 1). Never one without probability.
/// Probabilities are float32.
Status sampleTokens(const float* x, std::int64_t stride, std::int64_t rows, std::int64_t count,
                    const SamplingRule& rule, const float* random, std::int32_t* ids,
                    Stream stream);

}  // namespace fettle::kernels::cuda
