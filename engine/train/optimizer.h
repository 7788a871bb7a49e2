// AdamW on the parameters of a Network, with clipping by the global norm and a schedule of the
// learning rate. Loshchilov & Hutter 2019; clipping: Pascanu et al. 2013.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/train/network.h"

namespace fettle {

enum class ScheduleKind { Constant, Linear, Cosine, WarmupStableDecay };

struct LearningRate {
    float peak = 1e-4F;
    ScheduleKind schedule = ScheduleKind::Cosine;
    double warmup = 0.05;    ///< share of the steps in which the rate rises linearly
    double decay = 0.2;      ///< share of the steps at the end, WarmupStableDecay only
    float lastRatio = 0.1F;  ///< of the peak at the last step
};
/// The rate of step `step` (from 0) of `steps`.
float learningRateAt(const LearningRate& rate, std::int64_t step, std::int64_t steps);

struct OptimizerOptions {
    float beta1 = 0.9F, beta2 = 0.95F, epsilon = 1e-8F;
    float decay = 0.1F;  ///< of matrices; norms and biases never decay
    float clip = 1;      ///< largest global norm of the gradient; 0 = any
};

/// What a gradient of this norm is multiplied with.
float clippingOf(const OptimizerOptions& options, double gradientNorm);

class Optimizer {
public:
    Optimizer(Network& network, OptimizerOptions options, kernels::WorkerPool& pool);

    struct Report {
        double gradientNorm = 0;
        bool skipped = false;  ///< the gradient was not finite: nothing changed
    };
    /// One update from the network's gradients, which are zeroed. The norm is summed in double in a
    /// fixed order.
    Report step(float learningRate);
    std::int64_t steps() const { return m_steps; }
    const std::vector<float>& firstMoments() const { return m_first; }
    const std::vector<float>& secondMoments() const { return m_second; }
    /// Goes on where an optimizer of the same network stood. Throws EngineError(BadInput) for
    /// moments of another size.
    void restore(std::vector<float> first, std::vector<float> second, std::int64_t steps);

private:
    Network& m_network;
    OptimizerOptions m_options;
    kernels::WorkerPool& m_pool;
    std::vector<float> m_first, m_second;  // moments
    std::int64_t m_steps = 0;
};

}  // namespace fettle
