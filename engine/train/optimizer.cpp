#include "engine/train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/ops/adamw.h"

namespace fettle {

float learningRateAt(const LearningRate& rate, std::int64_t step, std::int64_t steps) {
    const double total = static_cast<double>(std::max<std::int64_t>(1, steps));
    const double warm = std::floor(rate.warmup * total), at = static_cast<double>(step);
    if (at < warm)
        return rate.peak * static_cast<float>((at + 1) / warm);
    double begin = warm;
    if (rate.schedule == ScheduleKind::WarmupStableDecay)
        begin = std::max(warm, total - std::floor(rate.decay * total));
    const double done = std::clamp((at - begin) / std::max(1.0, total - 1 - begin), 0.0, 1.0);
    double share = 1;
    if (rate.schedule == ScheduleKind::Cosine)
        share = 0.5 * (1 + std::cos(std::numbers::pi * done));
    else if (rate.schedule != ScheduleKind::Constant)
        share = 1 - done;
    return rate.peak *
           static_cast<float>(rate.lastRatio + (1 - static_cast<double>(rate.lastRatio)) * share);
}

float clippingOf(const OptimizerOptions& options, double gradientNorm) {
    if (options.clip <= 0)
        return 1;
    return static_cast<float>(
        std::min(1.0, static_cast<double>(options.clip) / (gradientNorm + 1e-6)));
}

Optimizer::Optimizer(Network& network, OptimizerOptions options, kernels::WorkerPool& pool)
    : m_network(network),
      m_options(options),
      m_pool(pool),
      m_first(network.values().size()),
      m_second(network.values().size()) {
    network.zeroGrads();
}

void Optimizer::restore(std::vector<float> first, std::vector<float> second, std::int64_t steps) {
    if (first.size() != m_first.size() || second.size() != m_second.size())
        throw EngineError(ErrorKind::BadInput, "the moments are those of another model");
    m_first = std::move(first);
    m_second = std::move(second);
    m_steps = steps;
}

Optimizer::Report Optimizer::step(float learningRate) {
    m_network.finishGradients();
    const std::span<float> grads = m_network.grads();
    Report report;
    report.gradientNorm = std::sqrt(
        kernels::sumSquares(grads.data(), static_cast<std::int64_t>(grads.size()), m_pool));
    if (!std::isfinite(report.gradientNorm)) {
        report.skipped = true;
        m_network.zeroGrads();
        return report;
    }
    ++m_steps;
    kernels::AdamWArgs args;
    args.beta1 = m_options.beta1;
    args.beta2 = m_options.beta2;
    args.epsilon = m_options.epsilon;
    args.gradScale = clippingOf(m_options, report.gradientNorm);
    const double t = static_cast<double>(m_steps);
    args.correction1 = static_cast<float>(1 - std::pow(static_cast<double>(m_options.beta1), t));
    args.correction2 = static_cast<float>(1 - std::pow(static_cast<double>(m_options.beta2), t));
    for (const TrainParameter& p : m_network.parameters()) {
        args.value = m_network.values().data() + p.offset;
        args.grad = grads.data() + p.offset;
        args.m = m_first.data() + p.offset;
        args.v = m_second.data() + p.offset;
        args.count = p.count();
        args.decay = p.decays ? m_options.decay : 0;
        args.learningRate = learningRate * p.rateScale;
        kernels::adamw(args, m_pool);
    }
    m_network.zeroGrads();
    return report;
}

}  // namespace fettle
