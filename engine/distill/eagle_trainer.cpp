#include "engine/distill/eagle_trainer.h"

#include <algorithm>
#include <cmath>

#include "engine/distill/head_training.h"
#include "kernels/ops/gemm.h"
#include "kernels/ops/loss.h"

namespace fettle {

namespace {

constexpr double kLaterPasses = 0.8;  // weight of a pass against the one before
constexpr double kDistance = 0.1;     // weight of |y - f|^2 / |f|^2 against the divergence
constexpr std::int64_t kSlice = 256;  // tokens whose logits are held at once

/// Memory that only grows.
float* room(std::vector<float>& buffer, std::int64_t count) {
    if (static_cast<std::int64_t>(buffer.size()) < count)
        buffer.resize(static_cast<std::size_t>(count));
    return buffer.data();
}

class EagleTrainer {
public:
    EagleTrainer(Transformer& target, const Model& model, BatchSource& data,
                 const EagleOptions& options, RunControl& control)
        : m_target(target),
          m_model(model),
          m_data(data),
          m_options(options),
          m_control(control),
          m_pool(target.backend().pool()),
          m_width(target.config().hiddenSize),
          m_head(freshEagleHead(model,
                                commonTokens(data, model.config.vocabularySize, options.vocabulary),
                                options.seed)),
          m_output(outputRows(model, m_head.tokens)),
          m_network(m_head.layer, m_pool),
          m_optimizer(m_network, OptimizerOptions(), m_pool),
          m_grads(m_head.fusion.size()),
          m_fusionOptimizer(m_head.fusion.size()) {}

    EagleOutcome run() {
        EagleOutcome outcome;
        outcome.firstLoss = validate(outcome.agreement);
        outcome.tokens =
            trainHeads(m_data, m_options.tokens, "eagle_loss", m_control,
                       [this](const TrainBatch& batch, std::int64_t step, std::int64_t steps) {
                           return learn(batch, step, steps);
                       });
        outcome.lastLoss = validate(outcome.agreement);
        m_head.layer = m_network.toModel(m_head.layer);
        outcome.head = std::move(m_head);
        return outcome;
    }

private:
    /// Rows of a batch: token t of a sequence with the state behind it and the token that follows;
    /// what is to come of it is the state of that one. The last token of a sequence has none.
    void begin(const TrainBatch& batch) {
        readStates(m_target, batch, m_states, m_control);
        m_rows = TrainBatch();
        std::int64_t rows = 0;
        for (const kernels::TokenSpan& sequence : batch.sequences)
            rows += std::max<std::int64_t>(0, sequence.count - 1);
        float* joined = room(m_joined, rows * 2 * m_width);
        float* goals = room(m_goals, rows * m_width);
        std::int64_t row = 0;
        for (const kernels::TokenSpan& sequence : batch.sequences) {
            if (sequence.count < 2)
                continue;
            m_rows.sequences.push_back({row, sequence.count - 1});
            for (std::int64_t t = sequence.first; t + 1 < sequence.first + sequence.count;
                 ++t, ++row) {
                const std::int32_t next = batch.ids[static_cast<std::size_t>(t + 1)];
                joinInputs(m_model.weight("embed.weight"), m_model.config.embeddingScale, next,
                           m_states.data() + t * m_width, joined + row * 2 * m_width);
                std::copy_n(m_states.data() + (t + 1) * m_width, m_width, goals + row * m_width);
                m_rows.ids.push_back(next);
                m_rows.targets.push_back(-1);
            }
        }
    }

    void product(kernels::GemmLayout layout, std::int64_t m, std::int64_t n, std::int64_t k,
                 const float* a, std::int64_t aStride, const float* b, std::int64_t bStride,
                 float* c, bool accumulate = false) {
        m_control.check();
        kernels::gemm({layout, m, n, k, a, aStride, b, bStride, c, n, accumulate}, m_gemm, m_pool);
    }

    /// The states that the head gives for all rows.
    const float* forward() {
        const auto rows = static_cast<std::int64_t>(m_rows.ids.size());
        float* x = room(m_fused, rows * m_width);
        product(kernels::GemmLayout::NT, rows, m_width, 2 * m_width, m_joined.data(), 2 * m_width,
                m_head.fusion.data(), 2 * m_width, x);
        return m_network.forwardStates(m_rows, x, &m_control);
    }

    /// From now on each token is read with what the head made of the one before it; the first of a
    /// sequence keeps its own.
    void readOwnStates(const float* states) {
        for (const kernels::TokenSpan& sequence : m_rows.sequences)
            for (std::int64_t t = sequence.first + 1; t < sequence.first + sequence.count; ++t)
                std::copy_n(states + (t - 1) * m_width, m_width,
                            m_joined.data() + (2 * t + 1) * m_width);
    }

    struct Sums {
        double divergence = 0, distance = 0;
        std::int64_t agreeing = 0;
    };
    /// Compares what the model's head makes of the states y and of the true ones; dy, where it is
    /// given, becomes `scale` times the gradient.
    Sums compare(const float* y, float* dy, float scale) {
        const auto rows = static_cast<std::int64_t>(m_rows.ids.size()),
                   count = static_cast<std::int64_t>(m_head.tokens.size());
        Sums sums;
        for (std::int64_t first = 0; first < rows; first += kSlice) {
            const std::int64_t n = std::min(kSlice, rows - first);
            float *own = room(m_logits, kSlice * count), *wanted = room(m_wanted, kSlice * count);
            product(kernels::GemmLayout::NT, n, count, m_width, y + first * m_width, m_width,
                    m_output.data(), m_width, own);
            product(kernels::GemmLayout::NT, n, count, m_width, m_goals.data() + first * m_width,
                    m_width, m_output.data(), m_width, wanted);
            std::vector<double> kl(static_cast<std::size_t>(n)), distance(kl.size());
            std::vector<char> same(kl.size());
            m_pool.parallelFor(n, 4, [&](std::int64_t begin, std::int64_t end, int /*thread*/) {
                for (std::int64_t r = begin; r < end; ++r) {
                    const auto at = static_cast<std::size_t>(r);
                    float *z = own + r * count, *w = wanted + r * count;
                    same[at] =
                        std::max_element(z, z + count) - z == std::max_element(w, w + count) - w;
                    kl[at] = kernels::distillRow(z, w, count, 1, scale);
                }
            });
            if (dy)
                product(kernels::GemmLayout::NN, n, m_width, count, own, count, m_output.data(),
                        m_width, dy + first * m_width);
            for (std::int64_t r = 0; r < n; ++r) {
                const float *a = y + (first + r) * m_width,
                            *f = m_goals.data() + (first + r) * m_width;
                double error = 0, signal = 1e-6;
                for (std::int64_t i = 0; i < m_width; ++i) {
                    error +=
                        (static_cast<double>(a[i]) - f[i]) * (static_cast<double>(a[i]) - f[i]);
                    signal += static_cast<double>(f[i]) * f[i];
                }
                const auto slope = static_cast<float>(2 * kDistance * scale / signal);
                for (std::int64_t i = 0; dy && i < m_width; ++i)
                    dy[(first + r) * m_width + i] += slope * (a[i] - f[i]);
                sums.divergence += kl[static_cast<std::size_t>(r)];
                sums.distance += error / signal;
                sums.agreeing += same[static_cast<std::size_t>(r)];
            }
        }
        return sums;
    }

    double learn(const TrainBatch& batch, std::int64_t step, std::int64_t steps) {
        begin(batch);
        const auto rows = static_cast<std::int64_t>(m_rows.ids.size());
        if (rows == 0)
            return 0;
        double sum = 0, weight = 1, weights = 0;
        std::fill(m_grads.begin(), m_grads.end(), 0.0F);
        for (int pass = 0; pass < m_options.passes; ++pass, weight *= kLaterPasses) {
            const float* y = forward();
            float* dy = room(m_slope, rows * m_width);
            const Sums sums =
                compare(y, dy, static_cast<float>(weight / static_cast<double>(rows)));
            sum += weight * sums.divergence / static_cast<double>(rows);
            weights += weight;
            const float* dx = m_network.backwardStates(m_rows, dy);
            product(kernels::GemmLayout::TN, m_width, 2 * m_width, rows, dx, m_width,
                    m_joined.data(), 2 * m_width, m_grads.data(), true);
            if (pass + 1 < m_options.passes)
                readOwnStates(y);
        }
        const float rate = learningRateAt(m_options.rate, step, steps);
        m_optimizer.step(rate);
        m_fusionOptimizer.update(m_head.fusion, m_grads, rate, step, m_pool);
        return sum / weights;
    }

    /// Mean divergence on the text held back; fills in how often head and model agree.
    double validate(std::vector<double>& agreement) {
        std::vector<double> agreeing(static_cast<std::size_t>(m_options.passes), 0);
        double divergence = 0;
        std::int64_t rows = 0;
        for (const TrainBatch& batch : m_data.validation()) {
            begin(batch);
            rows += static_cast<std::int64_t>(m_rows.ids.size());
            for (std::size_t pass = 0; pass < agreeing.size() && !m_rows.ids.empty(); ++pass) {
                const float* y = forward();
                const Sums sums = compare(y, nullptr, 0);
                agreeing[pass] += static_cast<double>(sums.agreeing);
                divergence += sums.divergence;
                readOwnStates(y);
            }
        }
        const double count = static_cast<double>(std::max<std::int64_t>(1, rows));
        agreement.clear();
        for (const double each : agreeing)
            agreement.push_back(each / count);
        return divergence / count / static_cast<double>(agreeing.size());
    }

    Transformer& m_target;
    const Model& m_model;
    BatchSource& m_data;
    const EagleOptions& m_options;
    RunControl& m_control;
    kernels::WorkerPool& m_pool;
    std::int64_t m_width;
    EagleHead m_head;
    std::vector<float> m_output;  ///< [tokens, hidden], the model's rows for the head's tokens
    Network m_network;            ///< the layer
    Optimizer m_optimizer;
    std::vector<float> m_grads;  ///< of the fusion
    HeadOptimizer m_fusionOptimizer;
    TrainBatch m_rows;
    std::vector<float> m_states, m_joined, m_goals, m_fused, m_slope, m_logits, m_wanted;
    kernels::GemmScratch m_gemm;
};

}  // namespace

EagleOutcome trainEagle(Transformer& target, const Model& model, BatchSource& data,
                        const EagleOptions& options, RunControl& control) {
    return EagleTrainer(target, model, data, options, control).run();
}

}  // namespace fettle
