// One token out of a row of logits: greedy, or temperature with top-k and top-p (nucleus, Holtzman
// et al. 2019).
#pragma once

#include <cstdint>
#include <vector>

#include "engine/core/random.h"

namespace fettle {

struct SamplingOptions {
    double temperature = 0;  ///< 0 = greedy
    int topK = 0;            ///< 0 = all
    double topP = 1;
    std::uint64_t seed = 1;
};

class Sampler {
public:
    explicit Sampler(const SamplingOptions& options) : m_options(options), m_random(options.seed) {}
    /// Greedy ties go to the lowest id.
    std::int32_t sample(const float* logits, std::int64_t vocabulary);

private:
    SamplingOptions m_options;
    Philox m_random;
    std::vector<std::pair<float, std::int32_t>> m_candidates;
};

}  // namespace fettle
