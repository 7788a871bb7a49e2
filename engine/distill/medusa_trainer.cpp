#include "engine/distill/medusa_trainer.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "engine/distill/head_training.h"
#include "kernels/ops/loss.h"

namespace fettle {

namespace {

constexpr double kLaterHeads = 0.8;  // weight of a head against the one before

class MedusaTrainer {
public:
    MedusaTrainer(Transformer& target, const Model& model, BatchSource& data,
                  const MedusaOptions& options, RunControl& control)
        : m_target(target),
          m_model(model),
          m_data(data),
          m_options(options),
          m_control(control),
          m_pool(target.backend().pool()),
          m_width(target.config().hiddenSize) {
        chooseTokens();
        m_output = outputRows(model, m_tokens);
        const auto size = static_cast<std::size_t>(m_options.heads * m_width * m_width);
        m_blocks.assign(size, 0);
        m_grads.assign(size, 0);
        m_optimizer.emplace(size);
    }

    MedusaOutcome run() {
        MedusaOutcome outcome;
        outcome.firstLoss = validate(outcome.accuracy);
        outcome.tokens =
            trainHeads(m_data, m_options.tokens, "medusa_loss", m_control,
                       [this](const TrainBatch& batch, std::int64_t step, std::int64_t steps) {
                           return learn(batch, step, steps);
                       });
        outcome.lastLoss = validate(outcome.accuracy);
        outcome.heads = heads();
        return outcome;
    }

private:
    float* block(std::vector<float>& from, std::int64_t head) {
        return from.data() + head * m_width * m_width;
    }

    void chooseTokens() {
        m_tokens = commonTokens(m_data, m_target.config().vocabularySize, m_options.vocabulary);
        m_rowOf.assign(static_cast<std::size_t>(m_target.config().vocabularySize), -1);
        for (std::size_t row = 0; row < m_tokens.size(); ++row)
            m_rowOf[static_cast<std::size_t>(m_tokens[row])] = static_cast<std::int32_t>(row);
    }

    /// Output row that head `head` (from 0) should say at each token; -1: nothing to learn.
    std::vector<std::int32_t> goals(const TrainBatch& batch, std::int64_t head) const {
        std::vector<std::int32_t> rows(batch.ids.size(), -1);
        for (const kernels::TokenSpan& sequence : batch.sequences)
            for (std::int64_t t = 0; t + head + 2 < sequence.count; ++t)
                rows[static_cast<std::size_t>(sequence.first + t)] =
                    m_rowOf[static_cast<std::size_t>(
                        batch.ids[static_cast<std::size_t>(sequence.first + t + head + 2)])];
        return rows;
    }

    void product(kernels::GemmLayout layout, std::int64_t m, std::int64_t n, std::int64_t k,
                 const float* a, std::int64_t aStride, const float* b, std::int64_t bStride,
                 float* c, bool accumulate = false) {
        m_control.check();
        kernels::gemm({layout, m, n, k, a, aStride, b, bStride, c, n, accumulate}, m_gemm, m_pool);
    }

    /// Logits of a head at all tokens, in m_logits; m_inner is W h, m_out is h + silu(W h).
    void forward(std::int64_t head, std::int64_t tokens) {
        const auto size = static_cast<std::size_t>(tokens * m_width);
        const auto rows = static_cast<std::int64_t>(m_tokens.size());
        m_inner.resize(size);
        m_out.resize(size);
        m_logits.resize(static_cast<std::size_t>(tokens * rows));
        product(kernels::GemmLayout::NT, tokens, m_width, m_width, m_hidden.data(), m_width,
                block(m_blocks, head), m_width, m_inner.data());
        for (std::size_t i = 0; i < size; ++i)
            m_out[i] = m_hidden[i] + m_inner[i] / (1 + std::exp(-m_inner[i]));
        product(kernels::GemmLayout::NT, tokens, rows, m_width, m_out.data(), m_width,
                m_output.data(), m_width, m_logits.data());
    }

    double learn(const TrainBatch& batch, std::int64_t step, std::int64_t steps) {
        readStates(m_target, batch, m_hidden, m_control);
        const auto tokens = static_cast<std::int64_t>(batch.ids.size()),
                   rows = static_cast<std::int64_t>(m_tokens.size());
        std::fill(m_grads.begin(), m_grads.end(), 0.0F);
        double sum = 0, weight = 1, weights = 0;
        for (std::int64_t head = 0; head < m_options.heads; ++head, weight *= kLaterHeads) {
            const std::vector<std::int32_t> wanted = goals(batch, head);
            const auto scored = std::count_if(wanted.begin(), wanted.end(),
                                              [](std::int32_t row) { return row >= 0; });
            if (scored == 0)
                continue;
            forward(head, tokens);
            const auto scale = static_cast<float>(weight / static_cast<double>(scored));
            double loss = 0;
            for (std::int64_t t = 0; t < tokens; ++t)
                loss += kernels::crossEntropyRow(m_logits.data() + t * rows, rows,
                                                 wanted[static_cast<std::size_t>(t)], scale);
            sum += weight * loss / static_cast<double>(scored);
            weights += weight;
            // Gradients of the head's output, then of W h, then of W.
            product(kernels::GemmLayout::NN, tokens, m_width, rows, m_logits.data(), rows,
                    m_output.data(), m_width, m_out.data());
            for (std::size_t i = 0; i < m_out.size(); ++i) {
                const float s = 1 / (1 + std::exp(-m_inner[i]));
                m_out[i] *= s * (1 + m_inner[i] * (1 - s));
            }
            product(kernels::GemmLayout::TN, m_width, m_width, tokens, m_out.data(), m_width,
                    m_hidden.data(), m_width, block(m_grads, head));
        }
        m_optimizer->update(m_blocks, m_grads, learningRateAt(m_options.rate, step, steps), step,
                            m_pool);
        return weights > 0 ? sum / weights : 0;
    }

    /// Mean loss of the heads on the text held back; fills in how often each is right.
    double validate(std::vector<double>& accuracy) {
        const auto heads = static_cast<std::size_t>(m_options.heads);
        std::vector<double> right(heads, 0), scored(heads, 0), loss(heads, 0);
        const auto rows = static_cast<std::int64_t>(m_tokens.size());
        for (const TrainBatch& batch : m_data.validation()) {
            readStates(m_target, batch, m_hidden, m_control);
            for (std::int64_t head = 0; head < m_options.heads; ++head) {
                const std::vector<std::int32_t> wanted = goals(batch, head);
                forward(head, static_cast<std::int64_t>(batch.ids.size()));
                const auto h = static_cast<std::size_t>(head);
                for (std::size_t t = 0; t < wanted.size(); ++t) {
                    if (wanted[t] < 0)
                        continue;
                    float* logits = m_logits.data() + static_cast<std::int64_t>(t) * rows;
                    right[h] += std::max_element(logits, logits + rows) - logits == wanted[t];
                    loss[h] += kernels::crossEntropyRow(logits, rows, wanted[t], 1);
                    ++scored[h];
                }
            }
        }
        accuracy.assign(heads, 0);
        double sum = 0;
        for (std::size_t h = 0; h < heads; ++h) {
            accuracy[h] = scored[h] > 0 ? right[h] / scored[h] : 0;
            sum += scored[h] > 0 ? loss[h] / scored[h] : 0;
        }
        return sum / static_cast<double>(heads);
    }

    static Tensor halfTensor(const float* values, std::int64_t rows, std::int64_t cols) {
        Tensor tensor = Tensor::allocate(DType::BF16, {rows, cols});
        auto* to = tensor.mutableAs<std::uint16_t>();
        for (std::int64_t i = 0; i < rows * cols; ++i)
            to[i] = kernels::floatToBfloat16(values[i]);
        return tensor;
    }

    DraftHeads heads() {
        DraftHeads out;
        out.kind = "medusa";
        out.path = "Medusa heads of " + m_model.name;
        const auto rows = static_cast<std::int64_t>(m_tokens.size());
        out.config = {{"architectures", {"MedusaModel"}},
                      {"model_type", "medusa"},
                      {"base_model_name_or_path", m_model.name},
                      {"hidden_size", m_width},
                      {"num_heads", m_options.heads},
                      {"num_hidden_layers", 1},
                      {"original_lm_head", true},
                      {"vocab_size", m_target.config().vocabularySize},
                      {"truncated_vocab_size", rows},
                      {"torch_dtype", "bfloat16"}};
        for (std::int64_t head = 0; head < m_options.heads; ++head)
            out.tensors["blocks." + std::to_string(head) + ".layers.0.weight"] =
                halfTensor(block(m_blocks, head), m_width, m_width);
        out.tensors["lm_head.weight"] = halfTensor(m_output.data(), rows, m_width);
        Tensor map = Tensor::allocate(DType::I64, {rows});
        std::copy(m_tokens.begin(), m_tokens.end(), map.mutableAs<std::int64_t>());
        out.tensors["token_map"] = map;
        return out;
    }

    Transformer& m_target;
    const Model& m_model;
    BatchSource& m_data;
    const MedusaOptions& m_options;
    RunControl& m_control;
    kernels::WorkerPool& m_pool;
    std::int64_t m_width;
    std::vector<std::int32_t> m_tokens, m_rowOf;  ///< of the output rows, and back
    std::vector<float> m_output, m_blocks, m_grads;
    std::optional<HeadOptimizer> m_optimizer;
    std::vector<float> m_hidden, m_inner, m_out, m_logits;
    kernels::GemmScratch m_gemm;
};

}  // namespace

MedusaOutcome trainMedusa(Transformer& target, const Model& model, BatchSource& data,
                          const MedusaOptions& options, RunControl& control) {
    return MedusaTrainer(target, model, data, options, control).run();
}

}  // namespace fettle
