// One step of quantization-aware training, forward, backward and update, through the training
// kernels of kernels/cuda on the emulator, against Network and Optimizer on the CPU. The steps
// between the kernels are the test's own: the engine trains on the CPU.
#include <gtest/gtest.h>

#include <cmath>
#include <deque>

#include "engine/backend/cpu_backend.h"
#include "engine/model/rope_table.h"
#include "engine/train/optimizer.h"
#include "kernels/cuda/attention_train.h"
#include "kernels/cuda/blas.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/norm_backward.h"
#include "kernels/cuda/round_activations.h"
#include "kernels/cuda/train.h"
#include "tests/simt/emulated_backend.h"
#include "tests/simt/emulator/device_array.h"
#include "tests/simt/model_checks.h"

namespace fettle {
namespace {

namespace cuda = kernels::cuda;

using Floats = std::vector<float>;
using Array = simt::DeviceArray<float>;

constexpr std::int64_t kGroup = 32;  // of int4-g32
constexpr float kRate = 1e-3F, kDecay = 0.1F, kClip = 1;

void done(cuda::Status status) {
    ASSERT_EQ(status, cuda::kSuccess);
}

/// A Llama that trains on the emulated device; parameters lie as in the Network it starts from.
class DeviceStep {
public:
    DeviceStep(const Network& network, const Model& quantized, const TrainBatch& batch)
        : m_network(network),
          m_c(network.config()),
          m_batch(batch),
          m_tokens(static_cast<std::int64_t>(batch.ids.size())),
          m_values(network.values()),
          m_used(network.values()),
          m_grads(Floats(network.values().size(), 0.0F)),
          m_first(Floats(network.values().size(), 0.0F)),
          m_second(Floats(network.values().size(), 0.0F)),
          m_ids(batch.ids),
          m_targets(batch.targets),
          m_firsts(std::vector<std::int32_t>(batch.ids.size(), 0)),
          m_ends(std::vector<std::int32_t>(batch.ids.size(),
                                           static_cast<std::int32_t>(batch.ids.size()))),
          m_angles(anglesOf(m_c, m_tokens)) {
        std::string problem;
        m_blas = cuda::openBlas(nullptr, &problem);
        for (const TrainParameter& p : network.parameters())
            if (quantized.weight(p.name).isQuantized()) {
                const kernels::WeightView view = quantized.weight(p.name).view();
                Floats scales;
                for (std::int64_t i = 0; i < p.count() / kGroup; ++i)
                    scales.push_back(kernels::weightScale(view, i));
                m_scales.emplace(p.name, scales);
            }
    }

    /// The loss; gradients of what the products used are in grads().
    double accumulate(float scale) {
        for (auto& [name, scales] : m_scales) {
            const TrainParameter& p = m_network.parameter(name);
            done(cuda::fakeQuantize(m_values.data() + p.offset, scales.data(), p.count(), kGroup,
                                    -8, 7, m_used.data() + p.offset, nullptr));
        }
        const std::int64_t d = m_c.hiddenSize, v = m_c.vocabularySize;
        const Floats used = m_used.values();
        Floats embedded;
        const TrainParameter& table = m_network.parameter("embed.weight");
        for (const std::int32_t id : m_batch.ids)
            embedded.insert(embedded.end(), used.begin() + table.offset + id * d,
                            used.begin() + table.offset + (id + 1) * d);
        m_layers.clear();
        float* x = make(m_tokens * d, &embedded);
        for (std::int64_t i = 0; i < m_c.layerCount(); ++i)
            x = forwardLayer("layers." + std::to_string(i) + ".", x);
        float* hidden = norm("final_norm", x);
        const std::string head = m_c.tiedEmbeddings ? "embed" : "lm_head";
        float* logits = linear(head, hidden, d, v);
        simt::DeviceArray<double> losses(static_cast<std::size_t>(m_tokens));
        done(cuda::crossEntropyRows(logits, m_tokens, v, m_targets.data(), scale, losses.data(),
                                    nullptr));
        double sum = 0;
        for (const double loss : losses.values())
            sum += loss;

        float* dHidden = linearBackward(head, hidden, d, v, logits);
        float* dx = make(m_tokens * d);
        normBackward("final_norm", x, dHidden, dx, false);
        for (std::int64_t i = m_c.layerCount(); i-- > 0;)
            backwardLayer("layers." + std::to_string(i) + ".",
                          m_layers[static_cast<std::size_t>(i)], dx);
        done(cuda::embeddingBackward(m_ids.data(), m_tokens, dx, d, m_c.embeddingScale,
                                     m_grads.data() + table.offset, nullptr));
        for (auto& [name, scales] : m_scales) {
            const TrainParameter& p = m_network.parameter(name);
            Array straight(static_cast<std::size_t>(p.count())),
                ofScales(static_cast<std::size_t>(p.count() / kGroup));
            done(cuda::fakeQuantizeBackward(m_values.data() + p.offset, scales.data(),
                                            m_grads.data() + p.offset, p.count(), kGroup, -8, 7,
                                            straight.data(), ofScales.data(), nullptr));
            const Floats values = straight.values();
            std::copy(values.begin(), values.end(), m_grads.data() + p.offset);
        }
        return sum;
    }

    void update() {
        double squares = 0;
        for (const float g : m_grads.values())
            squares += static_cast<double>(g) * g;
        for (const TrainParameter& p : m_network.parameters()) {
            cuda::AdamWStep step;
            step.count = p.count();
            step.learningRate = kRate;
            step.decay = p.decays ? kDecay : 0;
            step.gradScale = static_cast<float>(
                std::min(1.0, static_cast<double>(kClip) / (std::sqrt(squares) + 1e-6)));
            step.correction1 = 1 - step.beta1;
            step.correction2 = 1 - step.beta2;
            done(cuda::adamw(m_values.data() + p.offset, m_grads.data() + p.offset,
                             m_first.data() + p.offset, m_second.data() + p.offset, step, nullptr));
        }
    }

    Floats grads() const { return m_grads.values(); }
    Floats values() const { return m_values.values(); }

private:
    struct Kept {
        float *x, *q, *k, *v, *attention, *logSumExp, *middle, *gate, *up;
    };

    static Floats anglesOf(const ModelConfig& c, std::int64_t tokens) {
        Floats table(static_cast<std::size_t>(tokens * c.headDim));
        fillRope(c.layers[0].rope, c.headDim, 0, tokens, table.data());
        return table;
    }

    float* make(std::int64_t count, const Floats* values = nullptr) {
        Array& made = m_memory.emplace_back(static_cast<std::size_t>(count));
        if (values)
            std::copy(values->begin(), values->end(), made.data());
        return made.data();
    }
    float* copyOf(const float* x, std::int64_t count) {
        const Floats values(x, x + count);
        return make(count, &values);
    }
    /// What the library's transposed products do by a flag.
    float* transposed(const float* x, std::int64_t rows, std::int64_t cols) {
        float* turned = make(rows * cols);
        for (std::int64_t r = 0; r < rows; ++r)
            for (std::int64_t c = 0; c < cols; ++c)
                turned[c * rows + r] = x[r * cols + c];
        return turned;
    }
    /// a [m, k] b [n, k]^T
    float* product(const float* a, const float* b, std::int64_t m, std::int64_t n, std::int64_t k) {
        float* c = make(m * n);
        done(m_blas->gemm({cuda::BlasType::F32, m, n, k, a, k, b, k, c, n}));
        return c;
    }
    const float* weightOf(const std::string& name) {
        return m_used.data() + m_network.parameter(name + ".weight").offset;
    }
    float* gradOf(const std::string& name) {
        return m_grads.data() + m_network.parameter(name + ".weight").offset;
    }
    /// x as a quantized weight multiplies it.
    const float* multiplied(const std::string& name, const float* x, std::int64_t cols) {
        if (!m_scales.contains(name + ".weight"))
            return x;
        float* rounded = make(m_tokens * cols);
        done(cuda::roundActivations(kernels::ActivationFormat::Int8Group32, 1, x, cols, m_tokens,
                                    cols, rounded, nullptr));
        return rounded;
    }

    float* linear(const std::string& name, const float* x, std::int64_t cols, std::int64_t rows) {
        return product(multiplied(name, x, cols), weightOf(name), m_tokens, rows, cols);
    }
    float* linearBackward(const std::string& name, const float* x, std::int64_t cols,
                          std::int64_t rows, const float* dy) {
        const float* dw =
            product(transposed(dy, m_tokens, rows),
                    transposed(multiplied(name, x, cols), m_tokens, cols), rows, cols, m_tokens);
        done(cuda::addScaled(gradOf(name), dw, 1, rows * cols, nullptr));
        return product(dy, transposed(weightOf(name), rows, cols), m_tokens, cols, rows);
    }
    float* norm(const std::string& name, const float* x) {
        const std::int64_t d = m_c.hiddenSize;
        float* y = make(m_tokens * d);
        done(cuda::rmsNorm(x, d, weightOf(name), m_c.normOffset, m_c.normEpsilon, m_tokens, d, y, d,
                           nullptr));
        return y;
    }
    void normBackward(const std::string& name, const float* x, const float* dy, float* dx,
                      bool accumulate) {
        cuda::NormBackwardArgs args;
        args.x = x;
        args.dy = dy;
        args.dx = dx;
        args.xStride = args.dyStride = args.dxStride = args.cols = m_c.hiddenSize;
        args.rows = m_tokens;
        args.w = weightOf(name);
        args.offset = m_c.normOffset;
        args.eps = m_c.normEpsilon;
        args.accumulate = accumulate;
        float* workspace = make(static_cast<std::int64_t>(cuda::normBackwardWorkspace(args)));
        done(cuda::rmsNormBackward(args, gradOf(name), workspace, nullptr));
    }
    void rotate(float* x, std::int64_t heads, bool back) {
        const std::int64_t stride = heads * m_c.headDim;
        done(back ? cuda::ropeBackward(x, m_tokens, stride, heads, m_c.headDim, m_angles.data(),
                                       nullptr)
                  : cuda::rope(x, m_tokens, stride, heads, m_c.headDim, m_angles.data(), nullptr));
    }
    cuda::AttentionTrainArgs attentionOf(const Kept& kept) {
        cuda::AttentionTrainArgs args;
        args.q = kept.q;
        args.k = kept.k;
        args.v = kept.v;
        args.qStride = args.outStride = m_c.heads * m_c.headDim;
        args.kvStride = m_c.kvHeads * m_c.headDim;
        args.tokens = m_tokens;
        args.heads = m_c.heads;
        args.kvHeads = m_c.kvHeads;
        args.headDim = m_c.headDim;
        args.firsts = m_firsts.data();
        args.ends = m_ends.data();
        args.scale = m_c.attentionScale;
        args.out = kept.attention;
        args.logSumExp = kept.logSumExp;
        return args;
    }

    float* forwardLayer(const std::string& at, float* x) {
        const std::int64_t d = m_c.hiddenSize, f = m_c.feedForwardSize;
        const std::int64_t qSize = m_c.heads * m_c.headDim, kvSize = m_c.kvHeads * m_c.headDim;
        Kept kept{};
        kept.x = x;
        const float* normed = norm(at + "attn_norm", x);
        kept.q = linear(at + "attn.q", normed, d, qSize);
        kept.k = linear(at + "attn.k", normed, d, kvSize);
        kept.v = linear(at + "attn.v", normed, d, kvSize);
        rotate(kept.q, m_c.heads, false);
        rotate(kept.k, m_c.kvHeads, false);
        kept.attention = make(m_tokens * qSize);
        kept.logSumExp = make(m_tokens * m_c.heads);
        done(cuda::attentionTrainForward(attentionOf(kept), nullptr));
        kept.middle = copyOf(x, m_tokens * d);
        done(cuda::add(kept.middle, linear(at + "attn.o", kept.attention, qSize, d), m_tokens * d,
                       nullptr));
        normed = norm(at + "ffn_norm", kept.middle);
        kept.gate = linear(at + "ffn.gate", normed, d, f);
        kept.up = linear(at + "ffn.up", normed, d, f);
        float* out = copyOf(kept.middle, m_tokens * d);
        done(cuda::add(out, linear(at + "ffn.down", inner(kept), f, d), m_tokens * d, nullptr));
        m_layers.push_back(kept);
        return out;
    }
    float* inner(const Kept& kept) {
        float* values = copyOf(kept.gate, m_tokens * m_c.feedForwardSize);
        done(cuda::siluMul(values, kept.up, m_tokens * m_c.feedForwardSize, nullptr));
        return values;
    }

    /// dx, the gradient of the layer's output, becomes that of its input.
    void backwardLayer(const std::string& at, const Kept& kept, float* dx) {
        const std::int64_t d = m_c.hiddenSize, f = m_c.feedForwardSize;
        const std::int64_t qSize = m_c.heads * m_c.headDim, kvSize = m_c.kvHeads * m_c.headDim;
        const float* dInner = linearBackward(at + "ffn.down", inner(kept), f, d, dx);
        float *dGate = make(m_tokens * f), *dUp = make(m_tokens * f);
        done(cuda::gatedBackward(cuda::Activation::Silu, kept.gate, kept.up, dInner, m_tokens * f,
                                 dGate, dUp, nullptr));
        const float* normed = norm(at + "ffn_norm", kept.middle);
        float* dNormed = linearBackward(at + "ffn.gate", normed, d, f, dGate);
        done(cuda::add(dNormed, linearBackward(at + "ffn.up", normed, d, f, dUp), m_tokens * d,
                       nullptr));
        normBackward(at + "ffn_norm", kept.middle, dNormed, dx, true);

        cuda::AttentionGrads grads;
        grads.dOut = linearBackward(at + "attn.o", kept.attention, qSize, d, dx);
        grads.dq = make(m_tokens * qSize);
        grads.dk = make(m_tokens * kvSize);
        grads.dv = make(m_tokens * kvSize);
        grads.delta = make(m_tokens * m_c.heads);
        done(cuda::attentionTrainBackward(attentionOf(kept), grads, nullptr));
        rotate(grads.dq, m_c.heads, true);
        rotate(grads.dk, m_c.kvHeads, true);
        normed = norm(at + "attn_norm", kept.x);
        dNormed = linearBackward(at + "attn.q", normed, d, qSize, grads.dq);
        for (const auto& [name, gradient] :
             {std::pair{"attn.k", grads.dk}, std::pair{"attn.v", grads.dv}})
            done(cuda::add(dNormed, linearBackward(at + name, normed, d, kvSize, gradient),
                           m_tokens * d, nullptr));
        normBackward(at + "attn_norm", kept.x, dNormed, dx, true);
    }

    const Network& m_network;
    const ModelConfig& m_c;
    const TrainBatch& m_batch;
    std::int64_t m_tokens;
    Array m_values, m_used, m_grads, m_first, m_second;
    simt::DeviceArray<std::int32_t> m_ids, m_targets, m_firsts, m_ends;
    Array m_angles;
    std::map<std::string, Array> m_scales;
    std::unique_ptr<cuda::Blas> m_blas;
    std::deque<Array> m_memory;
    std::vector<Kept> m_layers;
};

double normOf(const Floats& values) {
    double sum = 0;
    for (const float v : values)
        sum += static_cast<double>(v) * v;
    return std::sqrt(sum);
}

/// Inputs of quantized products are rounded to int8: one that lies between two codes may take the
/// other where sums were added in another order.
class CudaTrainingStep : public ::testing::TestWithParam<bool> {};

TEST_P(CudaTrainingStep, GivesTheCpusLossGradientsAndWeights) {
    const simt::OptionScope scope(test::quick());
    const Model model = test::tinyModel("llama");
    Model quantized = model;
    kernels::WorkerPool pool(2);
    Network network(model, pool);
    if (GetParam()) {
        test::quantize(quantized, "int4-g32");
        FakeQuantOptions fake;
        fake.scales = ScaleLearning::None;
        network.quantize(quantized, model.weights, fake);
    }
    OptimizerOptions options;
    options.decay = kDecay;
    options.clip = kClip;
    Optimizer optimizer(network, options, pool);
    TrainBatch batch;
    batch.add(test::someIds(13, model.config.vocabularySize));
    const float scale = 1.0F / static_cast<float>(batch.scored());

    DeviceStep device(network, quantized, batch);
    const double loss = device.accumulate(scale);
    const LossSums want = network.accumulate(batch, {}, scale, nullptr, nullptr);
    EXPECT_NEAR(loss, want.crossEntropy, 1e-5 * want.crossEntropy);
    EXPECT_EQ(network.quantized(), GetParam());
    network.finishGradients();
    const Floats gradients = network.grads(), got = device.grads();
    ASSERT_EQ(got.size(), gradients.size());
    Floats difference(got.size());
    for (std::size_t i = 0; i < got.size(); ++i)
        difference[i] = got[i] - gradients[i];
    const double error = normOf(difference) / normOf(gradients);
    EXPECT_LT(error, GetParam() ? 1e-4 : 1e-5);
    RecordProperty("gradient_difference", std::to_string(error));

    device.update();
    network.zeroGrads();
    network.accumulate(batch, {}, scale, nullptr, nullptr);
    optimizer.step(kRate);
    const Floats values = network.values(), updated = device.values();
    // The first update of a value is its gradient's sign times the rate: where the gradient is as
    // small as its error, anything up to two rates is right.
    std::size_t close = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
        const bool certain = std::fabs(gradients[i]) > 100 * std::fabs(difference[i]);
        const double budget = certain ? 0.03 * kRate : 2.1 * kRate;
        ASSERT_NEAR(updated[i], values[i], budget) << i << ", gradient " << gradients[i];
        close += std::fabs(static_cast<double>(updated[i]) - values[i]) < 1e-3 * kRate;
    }
    EXPECT_GT(static_cast<double>(close), 0.98 * static_cast<double>(values.size()));
    RecordProperty("values_within_a_thousandth_of_the_rate",
                   std::to_string(static_cast<double>(close) / static_cast<double>(values.size())));
}
INSTANTIATE_TEST_SUITE_P(Quantized, CudaTrainingStep, ::testing::Bool());

}  // namespace
}  // namespace fettle
