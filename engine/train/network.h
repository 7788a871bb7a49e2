// A model that learns: the forward pass of transformer.h with its gradient, written out layer by
// layer for every family that a ModelConfig describes. All parameters lie in one buffer, their
// gradients in another, so that optimizer, clipping and checkpoints see flat memory. Float32 on the
// CPU. One thread at a time; results do not depend on the number of threads of the pool.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine/core/page_buffer.h"
#include "engine/core/run_control.h"
#include "engine/data/train_batch.h"
#include "engine/model/model.h"
#include "engine/train/fake_quantizer.h"
#include "kernels/ops/attention_train.h"
#include "kernels/ops/elementwise_backward.h"
#include "kernels/ops/gemm.h"

namespace fettle {

struct TrainParameter {
    std::string name;  ///< canonical
    std::int64_t offset = 0;
    std::int64_t rows = 1, cols = 0;
    bool decays = false;  ///< matrices do, norms and biases do not
    float rateScale = 1;  ///< of the learning rate
    std::int64_t count() const { return rows * cols; }
};

/// What is minimized. Terms are means over the scored tokens.
struct TrainLoss {
    float crossEntropy = 1;
    float distillation = 0;  ///< T^2 KL(teacher || student) on logits; needs a teacher
    float temperature = 1;
    /// |P h - h'|^2 / |h'|^2 of hidden states h, h' behind the layers that matchHidden() pairs,
    /// mean over pairs; needs a teacher.
    float hidden = 0;
    /// KL(teacher's attention distributions || own) in the last layer, mean over heads: what tokens
    /// look at, without a word about how wide states are; needs a teacher of as many heads. Of the
    /// relations in Wang et al. 2020 (MiniLM) this one costs least: queries and keys of the last
    /// layer are there at the end of both forward passes and probabilities follow from the
    /// log-sum-exps that attention keeps anyway, so that nothing is held but a block of rows. The
    /// relation between values would be one more product of the whole sequence with itself.
    float attention = 0;
    bool needsTeacher() const { return distillation != 0 || needsTeacherStates(); }
    /// More than the teacher's predictions.
    bool needsTeacherStates() const { return hidden != 0 || attention != 0; }
};
struct LossSums {
    double crossEntropy = 0;  ///< sums over scored tokens, nats
    double distillation = 0;
    double hidden = 0;
    double attention = 0;
    std::int64_t tokens = 0;
};

struct FakeQuantOptions {
    ScaleLearning scales = ScaleLearning::Scale;
    float scaleRate = 1;  ///< of the learning rate; scales move relatively, see fake_quantizer.h
};

class Network {
public:
    /// Copies the weights of `model` as float32. Throws EngineError(BadInput) for a missing or
    /// misshapen tensor.
    Network(const Model& model, kernels::WorkerPool& pool);

    const ModelConfig& config() const { return m_config; }
    const std::vector<TrainParameter>& parameters() const { return m_parameters; }
    const TrainParameter& parameter(const std::string& name) const;
    /// Null where the model has none of that name.
    const TrainParameter* find(const std::string& name) const;
    /// What the optimizer moves. Asking for it to change it makes the next pass look again.
    std::vector<float>& values() {
        m_stale = true;
        return m_values;
    }
    const std::vector<float>& values() const { return m_values; }
    /// Of all values, valid until the next call that changes the network.
    std::span<float> grads() { return m_grads.values(); }

    /// From now on the network computes with the numbers of `model`, the one it was made from: each
    /// linear weight that is quantized there passes through its codes, 16-bit weights through their
    /// type, inputs of linears through what the deployed product does to them. Values start from
    /// what the weights were before quantization where `unquantized` knows it, held within their
    /// codes' ranges, so that the first loss is the model's own. Learned scales
    /// become parameters named after their weight, with ".scale" appended. Throws
    /// EngineError(Usage) where nothing is quantized or codes are of a kind that is not trained.
    void quantize(const Model& model, const std::map<std::string, Weight>& unquantized,
                  const FakeQuantOptions& options);
    bool quantized() const { return !m_quantizers.empty(); }
    struct QuantizedParameter {
        std::size_t parameter = 0;
        std::int64_t scales = -1;  ///< offset of their parameters; negative: not learned
        FakeQuantizer quantizer;
    };
    struct HalfParameter {
        std::size_t parameter = 0;
        DType type = DType::BF16;
    };
    /// Which of parameters() pass through codes or a 16-bit type on their way into products.
    const std::vector<QuantizedParameter>& quantizers() const { return m_quantizers; }
    const std::vector<HalfParameter>& halves() const { return m_halves; }
    /// Of a quantized network: grads(), so far those of the numbers it computes with, become those
    /// of values(). The optimizer calls it once per step, when all micro-batches are in.
    void finishGradients();

    /// Keeps only the inputs of layers and computes the rest again for the gradient. Same numbers
    /// bit for bit.
    void setCheckpointing(bool on) { m_checkpointing = on; }
    /// Matrix products of factors rounded to bfloat16, with sums in float32, and activations that
    /// are kept for the gradient rounded likewise, at two bytes each; all else, the residual
    /// stream, weights and gradients among it, stays float32. Throws EngineError(Usage) where the
    /// processor has no such products.
    void setBf16Products(bool on);

    /// A layer of this network and the layer of the teacher that it is to follow.
    struct LayerPair {
        std::int64_t student = 0, teacher = 0;
    };
    /// Says which hidden states TrainLoss::hidden compares. Where the teacher's width is another
    /// one, each pair gets a projection P [teacherWidth, hiddenSize] as a parameter of its own
    /// ("hidden_projection.N.weight"), zero at first; toModel() leaves it out.
    void matchHidden(std::vector<LayerPair> pairs, std::int64_t teacherWidth);
    /// Hidden states behind layer `layer` [ids, hiddenSize] of the batch.
    std::vector<float> hiddenBehind(const TrainBatch& batch, std::int64_t layer,
                                    RunControl* control);

    /// Throws EngineError(Usage, BadInput) for a batch that a model of this shape does not take.
    static void requireBatch(const ModelConfig& config, const TrainBatch& batch);
    /// Throws EngineError(Usage) where what `loss` wants to know of a teacher's predictions is
    /// neither in the batch nor to be had from `teacher`, which may be null.
    static void requireTeacher(const ModelConfig& student, const TrainBatch& batch,
                               const TrainLoss& loss, const ModelConfig* teacher);
    /// Throws EngineError(Usage) saying why where TrainLoss::attention cannot compare the two.
    static void requireSameAttention(const ModelConfig& student, const ModelConfig& teacher);

    /// Adds the gradient of the loss times `scale` to grads(). With a scale of 1 / (scored tokens
    /// of all micro-batches), accumulated micro-batches equal one large batch. `teacher` may be
    /// null where the loss needs none, or predictions alone and the batch knows them: those are
    /// taken then. `control`, where given, is polled before every product.
    LossSums accumulate(const TrainBatch& batch, const TrainLoss& loss, float scale,
                        Network* teacher, RunControl* control);
    /// The loss without gradient.
    LossSums evaluate(const TrainBatch& batch, const TrainLoss& loss, Network* teacher,
                      RunControl* control);
    /// Logits [ids, vocabulary] of one sequence.
    std::vector<float> logits(std::span<const std::int32_t> ids);

    /// body(first, count, logits [count, vocabulary]) for rows of the batch in order.
    void eachLogits(const TrainBatch& batch, RunControl* control,
                    const std::function<void(std::int64_t, std::int64_t, const float*)>& body);

    /// Of a bare model (ModelConfig::bare): the states behind the last layer [ids, hiddenSize] for
    /// those in front of the first, valid until the next call. The batch says what belongs
    /// together.
    const float* forwardStates(const TrainBatch& batch, const float* x, RunControl* control);
    /// Behind forwardStates() of the same batch: `dy` is the gradient of what it gave. Adds those
    /// of the weights to grads() and gives that of x, valid until the next call.
    const float* backwardStates(const TrainBatch& batch, const float* dy);

    void zeroGrads();
    /// `like` with these values in the float type its weights had (F32 where they were quantized).
    /// A quantized network gives the model it computes with, in the schemes it was quantized with.
    Model toModel(const Model& like) const;
    /// How a quantized weight has fared.
    struct QuantizedReport {
        std::string name;
        FakeQuantizer::Drift drift;
        double error = 0, signal = 0;  ///< sums of squares: of the rounding, of what is rounded
    };
    std::vector<QuantizedReport> quantizedReports();

private:
    using Offset = std::int64_t;  // into the flat buffers; negative: the model has none
    struct Layer {
        Offset attnNorm, attnNormBias, qkv, qkvBias, qNorm, kNorm, o, oBias, postAttnNorm;
        Offset ffnNorm, ffnNormBias, gateUp, gateUpBias, down, downBias, postFfnNorm;
        std::size_t rope = 0;
    };
    enum WidePart : std::uint8_t {
        QkvRaw,     ///< before q/k norms and rope; with q/k norms only
        Qkv,        ///< [tokens, q + 2 kv]
        Attention,  ///< [tokens, q]
        GateUp,     ///< [tokens, 2 ffn] or [tokens, ffn]
        kWideParts
    };
    /// What the gradient of a layer needs of its forward pass.
    struct Saved {
        PageBuffer logSumExp;              ///< [tokens, heads]
        PageBuffer attnBranch, ffnBranch;  ///< before the post norms; with those only
        PageBuffer middle;                 ///< residual stream between the halves
        /// The rest, which is most of it. With bfloat16 products these hold numbers of that type.
        PageBuffer wide[kWideParts];
        /// `wide` while other layers run, with those products. Empty where nothing is to be kept.
        PageArray<std::uint16_t> packed[kWideParts];
        bool keeps = false;  ///< rounding fills `packed`
        void release();
    };
    /// Whether Saved::wide goes from layer to layer, its numbers staying behind in Saved::packed.
    bool packs() const { return m_bf16 && !m_checkpointing; }
    /// With bfloat16 products, `count` activations of `saved` that the gradient needs become
    /// numbers of that type, with room in Saved::packed where there is to be a copy.
    void round(Saved& saved, WidePart part, std::int64_t count);
    /// Takes `wide` back from the next layer, with the numbers that are in Saved::packed.
    void unpack(std::size_t index);

    Offset add(const Model& model, const std::string& name, std::int64_t rows, std::int64_t cols,
               bool decays);
    Offset addOptional(const Model& model, const std::string& name, std::int64_t cols);
    const float* weight(Offset at) const {
        return (m_deployed.empty() ? m_values : m_deployed).data() + at;
    }
    float* grad(Offset at) { return m_grads.data() + at; }

    void prepare(const TrainBatch& batch);
    void embed(const TrainBatch& batch);
    /// Makes room for a pass over `batch`; what goes into the first layer is m_stream[0].
    void startLayers(const TrainBatch& batch, bool keep, RunControl* control);
    void runLayers(const TrainBatch& batch, bool keep);
    void forwardLayers(const TrainBatch& batch, bool keep, RunControl* control);
    void forwardLayer(std::size_t index, const float* x, float* out, Saved& saved,
                      const TrainBatch& batch);
    /// The teacher whose attention the last layer follows, and what comes of it.
    struct AttentionGoal {
        Network& teacher;
        float weight = 0;
        double loss = 0;
    };
    void backwardLayer(std::size_t index, const float* x, float* dx, Saved& saved,
                       const TrainBatch& batch, AttentionGoal* goal);
    /// Sum of the attention loss of the last layer, whose activations are `saved`; adds its
    /// gradient times `weight` to that of the layer's queries and keys, if that is given.
    double attentionLoss(const TrainBatch& batch, float weight, Network& teacher, Saved& saved,
                         float* dqkv);
    void norm(Offset w, Offset b, const float* x, float* y);
    void normBackward(Offset w, Offset b, const float* x, const float* dy, float* dx,
                      bool accumulate);
    void headNorms(const Layer& layer, const float* from, float* to);
    void headNormsBackward(const Layer& layer, const float* raw, float* dqkv);
    void rotate(const Layer& layer, float* qkv, bool back);
    kernels::AttentionTrainArgs attentionArgs(std::size_t index, Saved& saved) const;
    void multiply(kernels::GemmArgs args);
    /// Inputs of a linear layer, [tokens, cols].
    struct Input {
        const float* x = nullptr;
        std::int64_t cols = 0;
        /// x itself where nothing reads it afterwards: what the layer rounds may stay there.
        float* spent = nullptr;
    };
    static Input spent(std::vector<float>& x, std::int64_t cols) {
        return {x.data(), cols, x.data()};
    }
    void linear(const Input& x, Offset w, Offset b, std::int64_t rows, float* y);
    void linearBackward(const Input& x, Offset w, Offset b, std::int64_t rows, const float* dy,
                        float* dx);
    void activate(const Saved& saved, float* out);
    LossSums runHead(const TrainBatch& batch, const TrainLoss& loss, float scale, Network* teacher,
                     bool gradient, RunControl* control);
    void runTeacher(const TrainBatch& batch, const TrainLoss& loss, Network* teacher,
                    RunControl* control);
    /// Sum of the hidden loss of pair `pair` for hidden states `x`; adds its gradient to dx if that
    /// is given.
    double hiddenLoss(std::size_t pair, const TrainBatch& batch, float weight, Network& teacher,
                      const float* x, float* dx);
    void headLogits(std::int64_t first, std::int64_t count, float* out);

    /// Rows of a linear layer whose inputs are rounded alike.
    struct LinearPart {
        std::int64_t first = 0, rows = 0;
        kernels::ActivationRounding rounding;
    };
    void findInputs();
    void findPlain();
    /// Brings m_deployed up to date.
    void deploy();
    const float* scalesOf(const QuantizedParameter& q) const {
        return q.scales >= 0 ? m_values.data() + q.scales : nullptr;
    }
    /// x [rows, cols] as the deployed product multiplies it, in `room` or, where that is null, in a
    /// buffer that is valid until the next call.
    const float* multiplied(const kernels::ActivationRounding& rounding, const float* x,
                            std::int64_t rows, std::int64_t cols, float* room = nullptr);
    /// The same of a layer's input, of which `part` says how it is rounded.
    const float* multiplied(const LinearPart& part, std::int64_t rows, const Input& x) {
        return multiplied(part.rounding, x.x, m_tokens, x.cols,
                          part.rows == rows ? x.spent : nullptr);
    }
    /// body(part) for the parts of the linear layer at `w`; one plain part where nothing is
    /// quantized.
    template <class Body>
    void eachPart(Offset w, std::int64_t rows, const Body& body) {
        const auto found = m_parts.find(w);
        if (found == m_parts.end())
            return body(LinearPart{0, rows, {}});
        for (const LinearPart& part : found->second)
            body(part);
    }

    ModelConfig m_config;
    kernels::WorkerPool& m_pool;
    std::vector<TrainParameter> m_parameters;
    std::map<std::string, std::size_t> m_index;
    std::vector<float> m_values;
    PageBuffer m_grads;
    std::vector<float> m_deployed;  ///< what a quantized network computes with; else empty
    bool m_stale = true;            ///< m_deployed does not follow from m_values
    std::vector<QuantizedParameter> m_quantizers;
    std::vector<HalfParameter> m_halves;
    std::vector<std::pair<Offset, Offset>> m_plain;  ///< [begin, end) of values used as they are
    std::map<Offset, std::vector<LinearPart>> m_parts;
    std::vector<float> m_rounded;
    Offset m_embedding = -1, m_positions = -1, m_finalNorm = -1, m_finalNormBias = -1, m_head = -1;
    bool m_checkpointing = false, m_bf16 = false;
    RunControl* m_control = nullptr;  ///< of the pass that runs; polled before every product
    std::vector<Layer> m_layers;
    std::int64_t m_qSize = 0, m_kvSize = 0, m_gateUpSize = 0;

    struct RopeTable {
        RopeConfig config;
        std::vector<float> forward, back;  ///< [positions, headDim]; back: sines negated
        std::int64_t positions = 0;
    };
    std::vector<RopeTable> m_rope;

    std::vector<LayerPair> m_pairs;
    std::int64_t m_teacherWidth = 0;
    std::map<std::int64_t, std::vector<float>> m_taps;  ///< hidden states kept behind these layers
    std::vector<float> m_hiddenError;

    std::int64_t m_tokens = 0;
    std::vector<std::int32_t> m_position;  ///< of each token in its sequence
    std::vector<PageBuffer> m_stream;      ///< inputs of the layers, then the last output
    std::vector<Saved> m_saved;
    std::vector<float> m_normed, m_inner, m_branch, m_dInner, m_dQkv, m_dGateUp, m_dx, m_hidden,
        m_logits, m_teacherLogits;
    kernels::GemmScratch m_gemm;
    kernels::AttentionScratch m_attention;
    kernels::RowSumScratch m_rowSums;
};

}  // namespace fettle
