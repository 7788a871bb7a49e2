// The forward and backward passes of Network. Formulas of the single ops: kernels/ops.
#include <algorithm>
#include <optional>

#include "engine/core/error.h"
#include "engine/model/rope_table.h"
#include "engine/train/network.h"
#include "kernels/cpu/isa.h"
#include "kernels/ops/bfloat16.h"
#include "kernels/ops/elementwise.h"
#include "kernels/ops/loss.h"

namespace fettle {

namespace {

// Logits held at once: about a million values stay near the processor, but every slice reads the
// whole head again, which wants some hundred rows to pay for it; and no more than 256 MiB. Rows are
// a multiple of what a product works on.
constexpr std::int64_t kLogitValues = std::int64_t{1} << 20,
                       kMostLogitValues = std::int64_t{1} << 26;
constexpr std::int64_t kLogitRows = 384, kLeastLogitRows = 48, kMostLogitRows = 1536;

/// Rows of logits to hold at once for `tokens` tokens.
std::int64_t headRows(std::int64_t vocabulary, std::int64_t tokens) {
    const std::int64_t near = std::clamp(kLogitValues / vocabulary, kLogitRows, kMostLogitRows);
    const std::int64_t rows = std::min(near, kMostLogitValues / vocabulary);
    return std::min(tokens, std::max(rows / kLeastLogitRows * kLeastLogitRows, kLeastLogitRows));
}

void fit(std::vector<float>& buffer, std::int64_t count) {
    if (static_cast<std::int64_t>(buffer.size()) < count)
        buffer.resize(static_cast<std::size_t>(count));
}
void fit(PageBuffer& buffer, std::int64_t count) {
    buffer.fit(static_cast<std::size_t>(count));
}

kernels::GatedKind gatedKind(FeedForwardKind kind) {
    return kind == FeedForwardKind::SiluGated       ? kernels::GatedKind::Silu
           : kind == FeedForwardKind::GeluTanhGated ? kernels::GatedKind::GeluTanh
                                                    : kernels::GatedKind::GeluTanhPlain;
}

constexpr std::int64_t kRowGrain = 64;

// Activations of all layers up to which their memory is kept from step to step: taking it anew
// costs a small model several hundredths of its step.
constexpr std::int64_t kKeptActivations = std::int64_t{1} << 26;

}  // namespace

void Network::requireBatch(const ModelConfig& config, const TrainBatch& batch) {
    std::int64_t longest = 0;
    for (const kernels::TokenSpan& s : batch.sequences)
        longest = std::max(longest, s.count);
    if (config.learnedPositions && longest > config.contextLength)
        throw EngineError(ErrorKind::Usage, "sequences of " + std::to_string(longest) +
                                                " tokens, the model has positions for " +
                                                std::to_string(config.contextLength));
    for (const std::int32_t id : batch.ids)
        if (id < 0 || id >= config.vocabularySize)
            throw EngineError(ErrorKind::BadInput, "token id " + std::to_string(id) +
                                                       " is outside the vocabulary of " +
                                                       std::to_string(config.vocabularySize));
}

void Network::requireTeacher(const ModelConfig& student, const TrainBatch& batch,
                             const TrainLoss& loss, const ModelConfig* teacher) {
    if (loss.distillation == 0)
        return;
    const bool known = !batch.teacher.empty();
    if (!teacher && !known)
        throw EngineError(ErrorKind::Usage, "distillation needs a teacher");
    const std::int64_t v = student.vocabularySize;
    if (const std::int64_t other = known ? batch.teacher.vocabulary : teacher->vocabularySize;
        other != v)
        throw EngineError(ErrorKind::Usage, "the teacher's vocabulary has " +
                                                std::to_string(other) + " tokens, the student's " +
                                                std::to_string(v));
    if (known && loss.temperature != 1 && loss.temperature != batch.teacher.temperature)
        throw EngineError(ErrorKind::Internal,
                          "the teacher's predictions are kept for another temperature");
}

void Network::prepare(const TrainBatch& batch) {
    const ModelConfig& c = m_config;
    requireBatch(c, batch);
    m_tokens = static_cast<std::int64_t>(batch.ids.size());
    m_position.resize(batch.ids.size());
    std::int64_t longest = 0;
    for (const kernels::TokenSpan& s : batch.sequences) {
        longest = std::max(longest, s.count);
        for (std::int64_t t = 0; t < s.count; ++t)
            m_position[static_cast<std::size_t>(s.first + t)] = static_cast<std::int32_t>(t);
    }
    if (c.rotary)
        for (RopeTable& table : m_rope) {
            if (table.positions >= longest)
                continue;
            table.forward.resize(static_cast<std::size_t>(longest * c.headDim));
            fillRope(table.config, c.headDim, table.positions, longest, table.forward.data());
            table.back = table.forward;
            for (std::int64_t p = 0; p < longest; ++p)
                for (std::int64_t i = c.headDim / 2; i < c.headDim; ++i)
                    table.back[static_cast<std::size_t>(p * c.headDim + i)] *= -1;
            table.positions = longest;
        }
    fit(m_normed, m_tokens * c.hiddenSize);
    fit(m_branch, m_tokens * c.hiddenSize);
    fit(m_hidden, m_tokens * c.hiddenSize);
    fit(m_inner, m_tokens * std::max(c.feedForwardSize, m_qSize));
}

void Network::embed(const TrainBatch& batch) {
    const std::int64_t width = m_config.hiddenSize;
    float* x = m_stream[0].data();
    m_pool.parallelFor(m_tokens, kRowGrain, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t t = begin; t < end; ++t) {
            const auto at = static_cast<std::size_t>(t);
            std::copy_n(weight(m_embedding) + batch.ids[at] * width, width, x + t * width);
            if (m_config.embeddingScale != 1)
                kernels::scale(x + t * width, m_config.embeddingScale, width);
            if (m_positions >= 0)
                kernels::add(x + t * width, weight(m_positions) + m_position[at] * width, width);
        }
    });
}

/// A norm that the model does not have leaves x as it is.
void Network::norm(Offset w, Offset b, const float* x, float* y) {
    const std::int64_t cols = m_config.hiddenSize;
    if (w < 0) {
        std::copy_n(x, m_tokens * cols, y);
        return;
    }
    m_pool.parallelFor(m_tokens, kRowGrain, [&](std::int64_t begin, std::int64_t end, int) {
        if (m_config.norm == NormKind::Rms)
            kernels::rmsNorm(x + begin * cols, cols, weight(w), m_config.normOffset,
                             m_config.normEpsilon, end - begin, cols, y + begin * cols, cols);
        else
            kernels::layerNorm(x + begin * cols, cols, weight(w), b >= 0 ? weight(b) : nullptr,
                               m_config.normEpsilon, end - begin, cols, y + begin * cols, cols);
    });
}

void Network::normBackward(Offset w, Offset b, const float* x, const float* dy, float* dx,
                           bool accumulate) {
    if (w < 0) {
        const std::int64_t count = m_tokens * m_config.hiddenSize;
        if (accumulate)
            kernels::add(dx, dy, count);
        else
            std::copy_n(dy, count, dx);
        return;
    }
    kernels::NormBackwardArgs args;
    args.x = x;
    args.dy = dy;
    args.dx = dx;
    args.cols = m_config.hiddenSize;
    args.rows = m_tokens;
    args.xPlace = args.dyPlace = args.dxPlace = {1, args.cols};
    args.w = weight(w);
    args.offset = m_config.normOffset;
    args.eps = m_config.normEpsilon;
    args.accumulate = accumulate;
    if (m_config.norm == NormKind::Rms)
        kernels::rmsNormBackward(args, grad(w), m_rowSums, m_pool);
    else
        kernels::layerNormBackward(args, grad(w), b >= 0 ? grad(b) : nullptr, m_rowSums, m_pool);
}

void Network::headNorms(const Layer& layer, const float* from, float* to) {
    const ModelConfig& c = m_config;
    const std::int64_t stride = m_qSize + 2 * m_kvSize;
    m_pool.parallelFor(m_tokens, kRowGrain, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t t = begin; t < end; ++t) {
            const float* x = from + t * stride;
            float* y = to + t * stride;
            kernels::rmsNorm(x, c.headDim, weight(layer.qNorm), c.normOffset, c.normEpsilon,
                             c.heads, c.headDim, y, c.headDim);
            kernels::rmsNorm(x + m_qSize, c.headDim, weight(layer.kNorm), c.normOffset,
                             c.normEpsilon, c.kvHeads, c.headDim, y + m_qSize, c.headDim);
            std::copy_n(x + m_qSize + m_kvSize, m_kvSize, y + m_qSize + m_kvSize);
        }
    });
}

void Network::headNormsBackward(const Layer& layer, const float* raw, float* dqkv) {
    const std::int64_t stride = m_qSize + 2 * m_kvSize;
    kernels::NormBackwardArgs args;
    args.cols = m_config.headDim;
    args.offset = m_config.normOffset;
    args.eps = m_config.normEpsilon;
    for (const bool keys : {false, true}) {
        const std::int64_t heads = keys ? m_config.kvHeads : m_config.heads;
        args.x = raw + (keys ? m_qSize : 0);
        args.dy = args.dx = dqkv + (keys ? m_qSize : 0);
        args.xPlace = args.dyPlace = args.dxPlace = {heads, stride};
        args.rows = m_tokens * heads;
        args.w = weight(keys ? layer.kNorm : layer.qNorm);
        kernels::rmsNormBackward(args, grad(keys ? layer.kNorm : layer.qNorm), m_rowSums, m_pool);
    }
}

void Network::rotate(const Layer& layer, float* qkv, bool back) {
    if (!m_config.rotary)
        return;
    const std::int64_t stride = m_qSize + 2 * m_kvSize, dim = m_config.headDim;
    const RopeTable& table = m_rope[layer.rope];
    const std::vector<float>& angles = back ? table.back : table.forward;
    m_pool.parallelFor(m_tokens, kRowGrain, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t t = begin; t < end; ++t)
            kernels::rope(qkv + t * stride, m_config.heads + m_config.kvHeads, dim,
                          angles.data() + m_position[static_cast<std::size_t>(t)] * dim);
    });
}

kernels::AttentionTrainArgs Network::attentionArgs(std::size_t index, Saved& saved) const {
    kernels::AttentionTrainArgs args;
    args.q = saved.wide[Qkv].data();
    args.k = args.q + m_qSize;
    args.v = args.k + m_kvSize;
    args.qStride = args.kvStride = m_qSize + 2 * m_kvSize;
    args.heads = m_config.heads;
    args.kvHeads = m_config.kvHeads;
    args.headDim = m_config.headDim;
    args.scale = m_config.attentionScale;
    args.window = m_config.layers[index].slidingWindow;
    args.softcap = m_config.attentionSoftcap;
    args.out = saved.wide[Attention].data();
    args.outStride = m_qSize;
    args.logSumExp = saved.logSumExp.data();
    return args;
}

void Network::setBf16Products(bool on) {
    if (on && !kernels::hasBf16Products())
        throw EngineError(ErrorKind::Usage,
                          "bf16: this processor has no products of bfloat16 (AVX512_BF16); compute "
                          "in f32");
    m_bf16 = on;
}

void Network::multiply(kernels::GemmArgs args) {
    args.bf16 = m_bf16;
    kernels::gemm(args, m_gemm, m_pool);
}

void Network::linear(const Input& x, Offset w, Offset b, std::int64_t rows, float* y) {
    if (m_control)
        m_control->check();
    eachPart(w, rows, [&](const LinearPart& part) {
        multiply({kernels::GemmLayout::NT, m_tokens, part.rows, x.cols, multiplied(part, rows, x),
                  x.cols, weight(w) + part.first * x.cols, x.cols, y + part.first, rows, false});
    });
    if (b >= 0)
        m_pool.parallelFor(m_tokens, kRowGrain, [&](std::int64_t begin, std::int64_t end, int) {
            for (std::int64_t t = begin; t < end; ++t)
                kernels::add(y + t * rows, weight(b), rows);
        });
}

void Network::linearBackward(const Input& x, Offset w, Offset b, std::int64_t rows, const float* dy,
                             float* dx) {
    const std::int64_t cols = x.cols;
    if (m_control)
        m_control->check();
    // Rounding of inputs passes gradients straight through: its scales follow the largest input.
    eachPart(w, rows, [&](const LinearPart& part) {
        multiply({kernels::GemmLayout::TN, part.rows, cols, m_tokens, dy + part.first, rows,
                  multiplied(part, rows, x), cols, grad(w) + part.first * cols, cols, true});
    });
    if (b >= 0)
        kernels::addRowSums(dy, rows, m_tokens, rows, grad(b), m_rowSums, m_pool);
    multiply({kernels::GemmLayout::NN, m_tokens, cols, rows, dy, rows, weight(w), cols, dx, cols,
              false});
}

void Network::Saved::release() {
    for (PageBuffer* const part : {&logSumExp, &attnBranch, &ffnBranch, &middle})
        part->release();
    for (PageBuffer& part : wide)
        part.release();
    for (PageArray<std::uint16_t>& part : packed)
        part.release();
}

void Network::round(Saved& saved, WidePart part, std::int64_t count) {
    if (!m_bf16)
        return;
    PageArray<std::uint16_t>& packed = saved.packed[part];
    if (saved.keeps)
        packed.fit(static_cast<std::size_t>(count));
    float* const x = saved.wide[part].data();
    kernels::roundToBfloat16(x, count, x, saved.keeps ? packed.data() : nullptr, m_pool);
}

void Network::unpack(std::size_t index) {
    Saved& saved = m_saved[index];
    const std::int64_t qkv = m_tokens * (m_qSize + 2 * m_kvSize);
    const std::int64_t counts[kWideParts] = {m_config.qkNorm ? qkv : 0, qkv, m_tokens * m_qSize,
                                             m_tokens * m_gateUpSize};
    for (int i = 0; i < kWideParts; ++i) {
        saved.wide[i] = std::move(m_saved[index + 1].wide[i]);
        kernels::widenBfloat16(saved.packed[i].data(), counts[i], saved.wide[i].data(), m_pool);
    }
}

void Network::activate(const Saved& saved, float* out) {
    const std::int64_t f = m_config.feedForwardSize;
    const bool gated = m_config.feedForward != FeedForwardKind::GeluTanh;
    kernels::gatedForward(
        {gatedKind(m_config.feedForward), saved.wide[GateUp].data(),
         saved.wide[GateUp].data() + (gated ? f : 0), m_gateUpSize, out, f, m_tokens, f},
        m_pool);
}

void Network::forwardLayer(std::size_t index, const float* x, float* out, Saved& saved,
                           const TrainBatch& batch) {
    const ModelConfig& c = m_config;
    const Layer& layer = m_layers[index];
    const std::int64_t qkvSize = m_qSize + 2 * m_kvSize, d = c.hiddenSize;
    fit(saved.wide[Qkv], m_tokens * qkvSize);
    fit(saved.wide[Attention], m_tokens * m_qSize);
    fit(saved.logSumExp, m_tokens * c.heads);
    fit(saved.middle, m_tokens * d);
    fit(saved.wide[GateUp], m_tokens * m_gateUpSize);
    if (c.qkNorm)
        fit(saved.wide[QkvRaw], m_tokens * qkvSize);
    if (c.postNorms) {
        fit(saved.attnBranch, m_tokens * d);
        fit(saved.ffnBranch, m_tokens * d);
    }

    norm(layer.attnNorm, layer.attnNormBias, x, m_normed.data());
    float* raw = c.qkNorm ? saved.wide[QkvRaw].data() : saved.wide[Qkv].data();
    linear(spent(m_normed, d), layer.qkv, layer.qkvBias, qkvSize, raw);
    if (c.qkNorm) {
        round(saved, QkvRaw, m_tokens * qkvSize);
        headNorms(layer, raw, saved.wide[Qkv].data());
    }
    rotate(layer, saved.wide[Qkv].data(), false);
    round(saved, Qkv, m_tokens * qkvSize);
    kernels::attentionForward(attentionArgs(index, saved), batch.sequences, m_attention, m_pool);
    round(saved, Attention, m_tokens * m_qSize);
    // y = x + branch, with a norm in between where the family has one
    const auto join = [&](const float* from, PageBuffer& kept, Offset post, float* to) {
        if (c.postNorms) {
            std::copy_n(m_branch.data(), m_tokens * d, kept.data());
            norm(post, -1, kept.data(), m_branch.data());
        }
        m_pool.parallelFor(m_tokens, kRowGrain, [&](std::int64_t begin, std::int64_t end, int) {
            std::copy_n(from + begin * d, (end - begin) * d, to + begin * d);
            kernels::add(to + begin * d, m_branch.data() + begin * d, (end - begin) * d);
        });
    };
    linear({saved.wide[Attention].data(), m_qSize}, layer.o, layer.oBias, d, m_branch.data());
    join(x, saved.attnBranch, layer.postAttnNorm, saved.middle.data());

    norm(layer.ffnNorm, layer.ffnNormBias, saved.middle.data(), m_normed.data());
    linear(spent(m_normed, d), layer.gateUp, layer.gateUpBias, m_gateUpSize,
           saved.wide[GateUp].data());
    round(saved, GateUp, m_tokens * m_gateUpSize);
    activate(saved, m_inner.data());
    linear(spent(m_inner, c.feedForwardSize), layer.down, layer.downBias, d, m_branch.data());
    join(saved.middle.data(), saved.ffnBranch, layer.postFfnNorm, out);
}

void Network::backwardLayer(std::size_t index, const float* x, float* dx, Saved& saved,
                            const TrainBatch& batch, AttentionGoal* goal) {
    const ModelConfig& c = m_config;
    const Layer& layer = m_layers[index];
    const std::int64_t qkvSize = m_qSize + 2 * m_kvSize, d = c.hiddenSize, f = c.feedForwardSize;
    fit(m_dInner, m_tokens * std::max(f, m_qSize));
    fit(m_dQkv, m_tokens * qkvSize);
    fit(m_dGateUp, m_tokens * m_gateUpSize);

    const auto branchGradient = [&](const PageBuffer& kept, Offset post) -> const float* {
        if (!c.postNorms)
            return dx;
        normBackward(post, -1, kept.data(), dx, m_branch.data(), false);
        return m_branch.data();
    };
    activate(saved, m_inner.data());
    linearBackward(spent(m_inner, f), layer.down, layer.downBias, d,
                   branchGradient(saved.ffnBranch, layer.postFfnNorm), m_dInner.data());
    const bool gated = c.feedForward != FeedForwardKind::GeluTanh;
    kernels::GatedBackwardArgs gate;
    gate.gate = saved.wide[GateUp].data();
    gate.up = saved.wide[GateUp].data() + (gated ? f : 0);
    gate.inStride = gate.gradStride = m_gateUpSize;
    gate.dOut = m_dInner.data();
    gate.outStride = gate.cols = f;
    gate.dGate = m_dGateUp.data();
    gate.dUp = m_dGateUp.data() + (gated ? f : 0);
    gate.rows = m_tokens;
    kernels::gatedBackward(gatedKind(c.feedForward), gate, m_pool);
    norm(layer.ffnNorm, layer.ffnNormBias, saved.middle.data(), m_normed.data());
    linearBackward(spent(m_normed, d), layer.gateUp, layer.gateUpBias, m_gateUpSize,
                   m_dGateUp.data(), m_branch.data());
    normBackward(layer.ffnNorm, layer.ffnNormBias, saved.middle.data(), m_branch.data(), dx, true);

    linearBackward({saved.wide[Attention].data(), m_qSize}, layer.o, layer.oBias, d,
                   branchGradient(saved.attnBranch, layer.postAttnNorm), m_dInner.data());
    float* dq = m_dQkv.data();
    kernels::attentionBackward(attentionArgs(index, saved),
                               {m_dInner.data(), dq, dq + m_qSize, dq + m_qSize + m_kvSize},
                               batch.sequences, m_attention, m_pool);
    if (goal && index + 1 == m_layers.size())
        goal->loss = attentionLoss(batch, goal->weight, goal->teacher, saved, dq);
    rotate(layer, dq, true);
    if (c.qkNorm)
        headNormsBackward(layer, saved.wide[QkvRaw].data(), dq);
    norm(layer.attnNorm, layer.attnNormBias, x, m_normed.data());
    linearBackward(spent(m_normed, d), layer.qkv, layer.qkvBias, qkvSize, dq, m_branch.data());
    normBackward(layer.attnNorm, layer.attnNormBias, x, m_branch.data(), dx, true);
}

void Network::startLayers(const TrainBatch& batch, bool keep, RunControl* control) {
    m_control = control;
    deploy();
    prepare(batch);
    const std::size_t layers = m_layers.size();
    // Without a gradient two buffers take turns and one set of activations serves all layers.
    m_stream.resize(keep ? layers + 1 : std::max<std::size_t>(2, m_stream.size()));
    m_saved.resize(std::max<std::size_t>(keep && !m_checkpointing ? layers : 1, m_saved.size()));
    for (PageBuffer& x : m_stream)
        fit(x, m_tokens * m_config.hiddenSize);
}

void Network::runLayers(const TrainBatch& batch, bool keep) {
    for (std::size_t i = 0; i < m_layers.size(); ++i) {
        const std::size_t from = keep ? i : i % 2, to = keep ? i + 1 : (i + 1) % 2;
        Saved& saved = m_saved[keep && !m_checkpointing ? i : 0];
        saved.keeps = keep && packs() && i + 1 < m_layers.size();
        forwardLayer(i, m_stream[from].data(), m_stream[to].data(), saved, batch);
        if (saved.keeps)
            std::move(std::begin(saved.wide), std::end(saved.wide), m_saved[i + 1].wide);
        if (const auto tap = m_taps.find(static_cast<std::int64_t>(i)); tap != m_taps.end())
            tap->second.assign(m_stream[to].data(),
                               m_stream[to].data() + m_tokens * m_config.hiddenSize);
    }
}

void Network::forwardLayers(const TrainBatch& batch, bool keep, RunControl* control) {
    startLayers(batch, keep, control);
    embed(batch);
    runLayers(batch, keep);
    const std::size_t layers = m_layers.size();
    norm(m_finalNorm, m_finalNormBias, m_stream[keep ? layers : layers % 2].data(),
         m_hidden.data());
}

const float* Network::forwardStates(const TrainBatch& batch, const float* x, RunControl* control) {
    startLayers(batch, true, control);
    std::copy_n(x, m_tokens * m_config.hiddenSize, m_stream[0].data());
    runLayers(batch, true);
    return m_stream[m_layers.size()].data();
}

const float* Network::backwardStates(const TrainBatch& batch, const float* dy) {
    if (m_grads.size() != m_values.size())
        zeroGrads();
    fit(m_dx, m_tokens * m_config.hiddenSize);
    std::copy_n(dy, m_tokens * m_config.hiddenSize, m_dx.data());
    for (std::size_t i = m_layers.size(); i-- > 0;) {
        backwardLayer(i, m_stream[i].data(), m_dx.data(), m_saved[i], batch, nullptr);
        if (packs() && i > 0)
            unpack(i - 1);
    }
    return m_dx.data();
}

void Network::headLogits(std::int64_t first, std::int64_t count, float* out) {
    const std::int64_t d = m_config.hiddenSize, v = m_config.vocabularySize;
    eachPart(m_head, v, [&](const LinearPart& part) {
        multiply({kernels::GemmLayout::NT, count, part.rows, d,
                  multiplied(part.rounding, m_hidden.data() + first * d, count, d), d,
                  weight(m_head) + part.first * d, d, out + part.first, v, false});
    });
    if (m_config.finalSoftcap > 0)
        m_pool.parallelFor(count, 8, [&](std::int64_t begin, std::int64_t end, int) {
            kernels::softcap(out + begin * v, m_config.finalSoftcap, (end - begin) * v);
        });
}

LossSums Network::runHead(const TrainBatch& batch, const TrainLoss& loss, float scale,
                          Network* teacher, bool gradient, RunControl* control) {
    const std::int64_t d = m_config.hiddenSize, v = m_config.vocabularySize,
                       chunk = headRows(v, m_tokens);
    const bool distill = loss.distillation != 0, plain = loss.crossEntropy != 0;
    const bool both = distill && plain, capped = gradient && m_config.finalSoftcap > 0;
    const TeacherRows* known = distill && !batch.teacher.empty() ? &batch.teacher : nullptr;
    requireTeacher(m_config, batch, loss, teacher ? &teacher->config() : nullptr);
    const bool live = distill && !known;
    const std::vector<float>* const rest = !known                  ? nullptr
                                           : loss.temperature == 1 ? &known->restAtOne
                                                                   : &known->rest;
    fit(m_logits, chunk * v);
    if (live)
        fit(m_teacherLogits, chunk * v);
    if (gradient)
        fit(m_dx, m_tokens * d);
    std::vector<float> second(both ? static_cast<std::size_t>(chunk * v) : 0);
    std::vector<float> cap(capped ? static_cast<std::size_t>(chunk * v) : 0);
    std::vector<double> ce(static_cast<std::size_t>(chunk)), kl(ce.size());
    LossSums sums;
    for (std::int64_t first = 0; first < m_tokens; first += chunk) {
        if (control)
            control->check();
        const std::int64_t count = std::min(chunk, m_tokens - first);
        headLogits(first, count, m_logits.data());
        if (capped)
            std::copy_n(m_logits.data(), count * v, cap.data());
        if (live)
            teacher->headLogits(first, count, m_teacherLogits.data());
        m_pool.parallelFor(count, 4, [&](std::int64_t begin, std::int64_t end, int) {
            const std::int64_t top = known ? known->top : 0;
            std::vector<float> goal(static_cast<std::size_t>(top + 1)), scratch(goal.size());
            for (std::int64_t r = begin; r < end; ++r) {
                const auto at = static_cast<std::size_t>(r);
                const std::int32_t target = batch.targets[static_cast<std::size_t>(first + r)];
                float* z = m_logits.data() + r * v;
                ce[at] = kl[at] = 0;
                if (target < 0 || (!plain && !distill)) {
                    std::fill_n(z, v, 0.0F);
                    continue;
                }
                float* forCe = z;
                if (both) {
                    forCe = second.data() + r * v;
                    std::copy_n(z, v, forCe);
                }
                if (known) {
                    const std::int64_t row = first + r;
                    std::copy_n(known->logits.begin() + row * top, top, goal.begin());
                    goal.back() = (*rest)[static_cast<std::size_t>(row)];
                    kl[at] = kernels::distillTopRow(z, v, known->ids.data() + row * top,
                                                    goal.data(), top, loss.temperature,
                                                    scale * loss.distillation, scratch.data());
                }
                if (live)
                    kl[at] = kernels::distillRow(z, m_teacherLogits.data() + r * v, v,
                                                 loss.temperature, scale * loss.distillation);
                if (plain)
                    ce[at] = kernels::crossEntropyRow(forCe, v, target, scale * loss.crossEntropy);
                if (both)
                    kernels::add(z, forCe, v);
                if (capped)
                    kernels::softcapBackward(cap.data() + r * v, m_config.finalSoftcap, z, v);
            }
        });
        for (std::int64_t r = 0; r < count; ++r) {
            sums.crossEntropy += ce[static_cast<std::size_t>(r)];
            sums.distillation += kl[static_cast<std::size_t>(r)];
        }
        if (!gradient)
            continue;
        eachPart(m_head, v, [&](const LinearPart& part) {
            multiply({kernels::GemmLayout::TN, part.rows, d, count, m_logits.data() + part.first, v,
                      multiplied(part.rounding, m_hidden.data() + first * d, count, d), d,
                      grad(m_head) + part.first * d, d, true});
        });
        multiply({kernels::GemmLayout::NN, count, d, v, m_logits.data(), v, weight(m_head), d,
                  m_normed.data() + first * d, d, false});
    }
    sums.tokens = batch.scored();
    return sums;
}

LossSums Network::accumulate(const TrainBatch& batch, const TrainLoss& loss, float scale,
                             Network* teacher, RunControl* control) {
    if (m_grads.size() != m_values.size())
        zeroGrads();
    runTeacher(batch, loss, teacher, control);
    forwardLayers(batch, true, control);
    LossSums sums = runHead(batch, loss, scale, teacher, true, control);
    const std::size_t layers = m_layers.size();
    std::optional<AttentionGoal> goal;
    if (loss.attention != 0)
        goal.emplace(AttentionGoal{*teacher, scale * loss.attention});
    const bool givesBack = m_tokens * m_config.layerCount() *
                               (2 * m_config.hiddenSize + m_qSize + m_gateUpSize +
                                (m_qSize + 2 * m_kvSize) * (m_config.qkNorm ? 2 : 1)) >
                           kKeptActivations;
    // The gradient of the last hidden states lies in m_normed.
    normBackward(m_finalNorm, m_finalNormBias, m_stream[layers].data(), m_normed.data(),
                 m_dx.data(), false);
    for (std::size_t i = layers; i-- > 0;) {
        for (std::size_t p = 0; loss.hidden != 0 && p < m_pairs.size(); ++p)
            if (m_pairs[p].student == static_cast<std::int64_t>(i))
                sums.hidden += hiddenLoss(p, batch, scale * loss.hidden, *teacher,
                                          m_stream[i + 1].data(), m_dx.data());
        if (m_checkpointing)
            forwardLayer(i, m_stream[i].data(), m_stream[i + 1].data(), m_saved[0], batch);
        backwardLayer(i, m_stream[i].data(), m_dx.data(), m_saved[m_checkpointing ? 0 : i], batch,
                      goal ? &*goal : nullptr);
        if (packs() && i > 0)
            unpack(i - 1);
        // Gradients of weights take memory layer by layer as activations leave it: a step of one
        // batch never holds all of both.
        if (givesBack && !m_checkpointing)
            m_saved[i].release();
        if (givesBack)
            m_stream[i + 1].release();
    }
    if (goal)
        sums.attention = goal->loss;
    kernels::embeddingBackward(batch.ids, m_dx.data(), m_config.hiddenSize, m_config.embeddingScale,
                               grad(m_embedding), m_pool);
    if (m_positions >= 0)
        kernels::embeddingBackward(m_position, m_dx.data(), m_config.hiddenSize, 1.0F,
                                   grad(m_positions), m_pool);
    return sums;
}

LossSums Network::evaluate(const TrainBatch& batch, const TrainLoss& loss, Network* teacher,
                           RunControl* control) {
    runTeacher(batch, loss, teacher, control);
    for (std::size_t p = 0; loss.hidden != 0 && p < m_pairs.size(); ++p)
        m_taps[m_pairs[p].student];
    forwardLayers(batch, false, control);
    LossSums sums = runHead(batch, loss, 1.0F, teacher, false, control);
    for (std::size_t p = 0; loss.hidden != 0 && p < m_pairs.size(); ++p)
        sums.hidden +=
            hiddenLoss(p, batch, 1.0F, *teacher, m_taps.at(m_pairs[p].student).data(), nullptr);
    m_taps.clear();
    // One set of activations served all layers: it holds the last one's.
    if (loss.attention != 0)
        sums.attention = attentionLoss(batch, 1.0F, *teacher, m_saved[0], nullptr);
    return sums;
}

void Network::eachLogits(
    const TrainBatch& batch, RunControl* control,
    const std::function<void(std::int64_t, std::int64_t, const float*)>& body) {
    forwardLayers(batch, false, control);
    const std::int64_t chunk = headRows(m_config.vocabularySize, m_tokens);
    fit(m_logits, chunk * m_config.vocabularySize);
    for (std::int64_t first = 0; first < m_tokens; first += chunk) {
        const std::int64_t count = std::min(chunk, m_tokens - first);
        headLogits(first, count, m_logits.data());
        body(first, count, m_logits.data());
    }
}

std::vector<float> Network::logits(std::span<const std::int32_t> ids) {
    TrainBatch batch;
    batch.add(ids);
    forwardLayers(batch, false, nullptr);
    std::vector<float> out(ids.size() * static_cast<std::size_t>(m_config.vocabularySize));
    headLogits(0, m_tokens, out.data());
    return out;
}

}  // namespace fettle
