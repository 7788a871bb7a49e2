// Scores from gradients: no pass through the model per unit and scheme, only |dw|^2.
#include <algorithm>
#include <cmath>

#include "engine/core/random.h"
#include "engine/quant/sensitivity_units.h"
#include "engine/train/network.h"

namespace fettle {

namespace {

constexpr int kProbes = 8;  // of Hutchinson's estimate
constexpr std::uint64_t kProbeSeed = 17;
constexpr double kRelativeStep = 1e-3;  // of a probe, in units of the unit's RMS weight

/// The gradient of the mean loss of one sequence, in network.grads().
void gradientOf(Network& network, const std::vector<std::int32_t>& ids, RunControl& control) {
    TrainBatch batch;
    batch.add(ids);
    network.zeroGrads();
    network.accumulate(batch, {}, 1.0F / static_cast<float>(batch.scored()), nullptr, &control);
}

/// Mean over sequences of the squared gradient, per parameter.
std::vector<float> fisherDiagonal(Network& network, const CalibrationText& text,
                                  RunControl& control) {
    std::vector<float> squares(network.values().size(), 0.0F);
    const float share = 1.0F / static_cast<float>(text.sequences.size());
    for (std::size_t s = 0; s < text.sequences.size(); ++s) {
        control.progress(0.9 * static_cast<double>(s) / static_cast<double>(text.sequences.size()),
                         "gradients");
        gradientOf(network, text.sequences[s], control);
        const std::span<const float> grads = network.grads();
        for (std::size_t i = 0; i < squares.size(); ++i)
            squares[i] += share * grads[i] * grads[i];
    }
    return squares;
}

/// Sum of the gradients of all sequences' mean losses, at the network's present values.
std::vector<float> meanGradient(Network& network, const CalibrationText& text,
                                RunControl& control) {
    network.zeroGrads();
    for (const std::vector<std::int32_t>& ids : text.sequences) {
        TrainBatch one;
        one.add(ids);
        network.accumulate(
            one, {},
            1.0F / static_cast<float>(one.scored()) / static_cast<float>(text.sequences.size()),
            nullptr, &control);
    }
    const std::span<const float> grads = network.grads();
    return {grads.begin(), grads.end()};
}

/// Per unit: the mean of the Hessian's diagonal over its weights, from v^T H v with random signs v
/// on all units at once; what units have in common cancels in the mean.
std::vector<double> hessianMeans(Network& network, const CalibrationText& text,
                                 const std::vector<SensitivityUnit>& units, RunControl& control) {
    std::vector<double> traces(units.size(), 0.0), counts(units.size(), 0.0);
    Philox random(kProbeSeed);
    const std::vector<float> values = network.values();
    std::vector<float> direction(values.size());
    for (int probe = 0; probe < kProbes; ++probe) {
        control.progress(0.9 * probe / kProbes, "curvature");
        std::fill(direction.begin(), direction.end(), 0.0F);
        std::vector<double> steps;
        for (const SensitivityUnit& unit : units) {
            double square = 0, count = 0;
            for (const std::string& name : unit.values.weights) {
                const TrainParameter& p = network.parameter(name);
                for (std::int64_t i = p.offset; i < p.offset + p.count(); ++i)
                    square += static_cast<double>(values[static_cast<std::size_t>(i)]) *
                              values[static_cast<std::size_t>(i)];
                count += static_cast<double>(p.count());
            }
            steps.push_back(kRelativeStep * std::sqrt(square / count) + 1e-12);
            for (const std::string& name : unit.values.weights) {
                const TrainParameter& p = network.parameter(name);
                for (std::int64_t i = p.offset; i < p.offset + p.count(); ++i)
                    direction[static_cast<std::size_t>(i)] =
                        (random.uniform() < 0.5 ? -1.0F : 1.0F) * static_cast<float>(steps.back());
            }
        }
        const auto at = [&](float side) {
            for (std::size_t i = 0; i < values.size(); ++i)
                network.values()[i] = values[i] + side * direction[i];
            return meanGradient(network, text, control);
        };
        const std::vector<float> above = at(1), below = at(-1);
        network.values() = values;
        for (std::size_t u = 0; u < units.size(); ++u)
            for (const std::string& name : units[u].values.weights) {
                const TrainParameter& p = network.parameter(name);
                for (std::int64_t i = p.offset; i < p.offset + p.count(); ++i) {
                    const auto k = static_cast<std::size_t>(i);
                    traces[u] += (static_cast<double>(above[k]) - below[k]) / 2 * direction[k] /
                                 (steps[u] * steps[u]) / kProbes;
                }
                counts[u] += static_cast<double>(p.count()) / kProbes;
            }
    }
    for (std::size_t u = 0; u < units.size(); ++u)
        traces[u] = std::max(0.0, traces[u]) / counts[u];
    return traces;
}

}  // namespace

void addGradientScores(const Model& model, const CalibrationText& text,
                       const SensitivityOptions& options, std::vector<SensitivityUnit>& units,
                       kernels::WorkerPool& pool, RunControl& control) {
    Network network(model, pool);
    std::vector<float> fisher;
    std::vector<double> hessian;
    if (options.score == SensitivityScore::Fisher)
        fisher = fisherDiagonal(network, text, control);
    else
        hessian = hessianMeans(network, text, units, control);
    for (std::size_t u = 0; u < units.size(); ++u) {
        SensitivityUnit& unit = units[u];
        control.progress(0.9 + 0.1 * static_cast<double>(u) / static_cast<double>(units.size()),
                         unit.values.name);
        for (std::size_t c = 0; c < unit.schemes.size(); ++c)
            for (const std::string& name : unit.values.weights) {
                const std::vector<float> rounded =
                    roundedWeight(model, name, unit.schemes[c], options, nullptr, pool, control)
                        .toFloat();
                const TrainParameter& p = network.parameter(name);
                double sum = 0;
                for (std::int64_t i = 0; i < p.count(); ++i) {
                    const auto k = static_cast<std::size_t>(p.offset + i);
                    const double d = static_cast<double>(network.values()[k]) -
                                     rounded[static_cast<std::size_t>(i)];
                    sum += (fisher.empty() ? hessian[u] : static_cast<double>(fisher[k])) * d * d;
                }
                unit.values.choices[c].loss += sum / 2;
            }
    }
}

}  // namespace fettle
