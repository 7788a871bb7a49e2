#include "engine/train/device_network.h"

#include <algorithm>

#include "engine/core/error.h"
#include "engine/model/rope_table.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/prefill.h"
#include "kernels/cuda/round_activations.h"

namespace fettle {

namespace cuda = kernels::cuda;

namespace {

constexpr std::int64_t kPlaceStep = 64;  // floats; matrices of products begin at 16 bytes at least
constexpr std::int64_t kMostLogitValues = std::int64_t{1} << 26;  // held at once
constexpr std::int64_t kMostHeadDim = 256;                        // of the attention kernels
constexpr std::int64_t kNarrowStep = 8;  // rows of 16-bit matrices begin at 16 bytes

std::int64_t roundUp(std::int64_t n, std::int64_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

/// How the scheme of a weight stores its scales.
cuda::StoredScale storedScale(const QuantizedTensor& weight) {
    if (weight.scheme.format == kernels::WeightFormat::NvFp4)
        return cuda::StoredScale::NvFp4;
    return weight.scales.dtype() == DType::F16    ? cuda::StoredScale::F16
           : weight.scales.dtype() == DType::BF16 ? cuda::StoredScale::BF16
                                                  : cuda::StoredScale::F32;
}

}  // namespace

std::string DeviceNetwork::whyNot(const ModelConfig& config, const TrainLoss& loss) {
    if (loss.hidden != 0)
        return "hidden states are compared on the CPU only";
    if (loss.attention != 0)
        return "attention is compared on the CPU only";
    if (config.headDim > kMostHeadDim)
        return "attention heads have " + std::to_string(config.headDim) +
               " values, its kernels take up to " + std::to_string(kMostHeadDim);
    return {};
}

DeviceNetwork::DeviceNetwork(const Network& network, CudaBackend& backend, bool checkpointing,
                             bool bf16)
    : m_network(network),
      m_config(network.config()),
      m_backend(backend),
      m_stream(backend.stream()),
      m_checkpointing(checkpointing),
      m_bf16(bf16),
      m_qSize(m_config.heads * m_config.headDim),
      m_kvSize(m_config.kvHeads * m_config.headDim) {
    for (const TrainParameter& p : network.parameters()) {
        m_places.push_back(m_size);
        m_size += roundUp(p.count(), kPlaceStep);
    }
    m_used = m_values.fit(backend, m_size);
    load();
    addLayers();
    if (network.quantized()) {
        m_used = m_deployed.fit(backend, m_size);
        addCodes();
    }
}

void DeviceNetwork::addLayers() {
    const ModelConfig& c = m_config;
    m_embedding = placeOf("embed.weight");
    m_positions = placeOf("position_embed.weight");
    for (std::int64_t i = 0; i < c.layerCount(); ++i) {
        const std::string at = "layers." + std::to_string(i) + ".";
        const auto number = static_cast<std::size_t>(i);
        Layer layer;
        layer.attnNorm = normAt(at + "attn_norm");
        layer.qNorm = normAt(at + "attn.q_norm");
        layer.kNorm = normAt(at + "attn.k_norm");
        layer.postAttnNorm = normAt(at + "post_attn_norm");
        layer.ffnNorm = normAt(at + "ffn_norm");
        layer.postFfnNorm = normAt(at + "post_ffn_norm");
        layer.q = linearAt(at + "attn.q");
        layer.k = linearAt(at + "attn.k");
        layer.v = linearAt(at + "attn.v");
        layer.o = linearAt(at + "attn.o");
        layer.gate = linearAt(at + "ffn.gate");
        layer.up = linearAt(at + "ffn.up");
        layer.down = linearAt(at + "ffn.down");
        layer.window = c.layers[number].slidingWindow;
        const RopeConfig& rope = c.layers[number].rope;
        const auto known = std::find_if(m_ropes.begin(), m_ropes.end(),
                                        [&](const Rope& r) { return r.config == rope; });
        layer.rope = static_cast<std::size_t>(known - m_ropes.begin());
        if (known == m_ropes.end())
            m_ropes.push_back({rope, {}, {}, 0});
        m_layers.push_back(layer);
    }
    m_finalNorm = normAt("final_norm");
    m_head = linearAt(m_network.find("lm_head.weight") ? "lm_head" : "embed");
}

DeviceNetwork::Place DeviceNetwork::placeOf(const std::string& name) const {
    const TrainParameter* const p = m_network.find(name);
    return p ? m_places[static_cast<std::size_t>(p - m_network.parameters().data())] : -1;
}

std::int64_t DeviceNetwork::placeOfValue(std::int64_t offset) const {
    const std::vector<TrainParameter>& all = m_network.parameters();
    const auto next =
        std::upper_bound(all.begin(), all.end(), offset,
                         [](std::int64_t at, const TrainParameter& p) { return at < p.offset; });
    const auto number = static_cast<std::size_t>(next - all.begin()) - 1;
    return m_places[number] + offset - all[number].offset;
}

DeviceNetwork::Norm DeviceNetwork::normAt(const std::string& name) const {
    return {placeOf(name + ".weight"), placeOf(name + ".bias")};
}

DeviceNetwork::Linear DeviceNetwork::linearAt(const std::string& name) const {
    const TrainParameter* const p = m_network.find(name + ".weight");
    if (!p)
        return {};
    Linear linear;
    linear.w = placeOf(p->name);
    linear.b = placeOf(name + ".bias");
    linear.rows = p->rows;
    for (const Network::QuantizedParameter& q : m_network.quantizers())
        if (&m_network.parameters()[q.parameter] == p) {
            const QuantizedTensor& start = q.quantizer.start();
            linear.rounding = start.scheme.kernelActivations(start.cols);
            linear.inputScale = start.inputGlobalScale;
        }
    return linear;
}

void DeviceNetwork::addCodes() {
    const auto hold = [&](Floats& room, const std::vector<float>& values) {
        if (!values.empty())
            m_backend.upload(room.fit(m_backend, static_cast<std::int64_t>(values.size())),
                             values.data(), values.size() * sizeof(float));
    };
    for (const Network::QuantizedParameter& q : m_network.quantizers()) {
        Codes codes;
        codes.of = &q;
        codes.values = m_places[q.parameter];
        codes.scales = q.scales >= 0 ? placeOfValue(q.scales) : -1;
        codes.stored = storedScale(q.quantizer.start());
        hold(codes.start, q.quantizer.startScales());
        hold(codes.shift, q.quantizer.shifts());
        if (q.scales >= 0)
            codes.scale.fit(m_backend, static_cast<std::int64_t>(q.quantizer.startScales().size()));
        m_codes.push_back(std::move(codes));
    }
}

// ---- parameters

void DeviceNetwork::load() {
    copyIn(m_network.values(), values());
}

void DeviceNetwork::copyIn(const std::vector<float>& from, float* to) {
    for (std::size_t i = 0; i < m_places.size(); ++i) {
        const TrainParameter& p = m_network.parameters()[i];
        m_backend.upload(to + m_places[i], from.data() + p.offset,
                         static_cast<std::size_t>(p.count()) * sizeof(float));
    }
}

void DeviceNetwork::copyOut(const float* from, std::vector<float>& to) {
    for (std::size_t i = 0; i < m_places.size(); ++i) {
        const TrainParameter& p = m_network.parameters()[i];
        m_backend.download(to.data() + p.offset, from + m_places[i],
                           static_cast<std::size_t>(p.count()) * sizeof(float));
    }
}

cuda::FakeQuantArgs DeviceNetwork::codeArgs(const Codes& codes) const {
    const FakeQuantizer& quantizer = codes.of->quantizer;
    const kernels::CodeGrid& grid = quantizer.grid();
    cuda::FakeQuantArgs args;
    args.lowest = grid.lowest;
    args.highest = grid.highest;
    args.smallest = grid.smallest;
    args.magic = grid.magic;
    args.spacing = grid.spacing;
    args.w = m_values.data() + codes.values;
    args.groups = static_cast<std::int64_t>(quantizer.startScales().size());
    args.group = quantizer.groupSize();
    args.scale = codes.scales >= 0 ? codes.scale.data() : codes.start.data();
    args.step = quantizer.learning() == ScaleLearning::Step ? args.scale : codes.start.data();
    args.shift = codes.shift.data();
    return args;
}

/// The twin of Network::deploy.
void DeviceNetwork::deploy() {
    if (m_codes.empty() || !m_stale)
        return;
    std::vector<cuda::StoredType> types(m_places.size(), cuda::StoredType::F32);
    std::vector<bool> coded(m_places.size());
    for (const Network::HalfParameter& half : m_network.halves())
        types[half.parameter] =
            half.type == DType::BF16 ? cuda::StoredType::BF16 : cuda::StoredType::F16;
    for (const Codes& codes : m_codes)
        coded[codes.of->parameter] = true;
    for (std::size_t i = 0; i < m_places.size(); ++i)
        if (!coded[i])
            check(
                cuda::copyRounded(m_values.data() + m_places[i], m_network.parameters()[i].count(),
                                  types[i], m_deployed.data() + m_places[i], m_stream),
                "rounding weights");
    for (const Codes& codes : m_codes) {
        if (codes.scales >= 0)
            check(cuda::learnedScales(codes.start.data(), m_values.data() + codes.scales,
                                      codeArgs(codes).groups, codes.stored,
                                      codes.of->quantizer.start().globalScale, codes.scale.data(),
                                      m_stream),
                  "rounding scales");
        check(cuda::fakeQuantize(codeArgs(codes), m_deployed.data() + codes.values, m_stream),
              "rounding weights");
    }
    m_stale = false;
}

void DeviceNetwork::finishGradients() {
    deploy();
    for (const Codes& codes : m_codes) {
        const bool step = codes.of->quantizer.learning() == ScaleLearning::Step;
        check(cuda::fakeQuantizeBackward(
                  codeArgs(codes), step ? cuda::ScaleGradient::Step : cuda::ScaleGradient::Scale,
                  grad(codes.values), codes.scales >= 0 ? grad(codes.scales) : nullptr, m_stream),
              "computing gradients of rounded weights");
    }
}

void DeviceNetwork::zeroGrads() {
    const auto bytes = static_cast<std::size_t>(m_size) * sizeof(float);
    check(cuda::fill(m_grads.fit(m_backend, m_size), 0, bytes, m_stream), "clearing gradients");
}

// ---- products

void DeviceNetwork::copy(float* to, const float* from, std::int64_t count) {
    check(cuda::copyRounded(from, count, cuda::StoredType::F32, to, m_stream), "copying");
}

void DeviceNetwork::add(float* to, const float* from, std::int64_t count) {
    check(cuda::add(to, from, count, m_stream), "adding");
}

const void* DeviceNetwork::narrowed(const void* x, std::int64_t rows, std::int64_t cols,
                                    std::int64_t* stride, DeviceArray<std::uint16_t>& room) {
    const std::int64_t from = *stride;
    *stride = roundUp(cols, kNarrowStep);
    std::uint16_t* const narrow = room.fit(m_backend, rows * *stride);
    check(
        cuda::toBfloat16(static_cast<const float*>(x), from, rows, cols, narrow, *stride, m_stream),
        "rounding factors");
    return narrow;
}

void DeviceNetwork::multiply(cuda::BlasGemm gemm) {
    if (m_bf16) {
        gemm.type = cuda::BlasType::BF16;
        gemm.a = gemm.aTransposed ? narrowed(gemm.a, gemm.k, gemm.m, &gemm.aStride, m_narrowA)
                                  : narrowed(gemm.a, gemm.m, gemm.k, &gemm.aStride, m_narrowA);
        gemm.b = gemm.bTransposed ? narrowed(gemm.b, gemm.k, gemm.n, &gemm.bStride, m_narrowB)
                                  : narrowed(gemm.b, gemm.n, gemm.k, &gemm.bStride, m_narrowB);
    }
    check(m_backend.blas().gemm(gemm), "multiplying");
}

const float* DeviceNetwork::multiplied(const Linear& linear, const Linear* last, const float* x,
                                       std::int64_t rows, std::int64_t cols) {
    if (linear.rounding == kernels::ActivationFormat::None)
        return x;
    float* const rounded = m_rounded.fit(m_backend, rows * cols);
    if (!last || last->rounding != linear.rounding || last->inputScale != linear.inputScale)
        check(cuda::roundActivations(linear.rounding, linear.inputScale, x, cols, rows, cols,
                                     rounded, m_stream),
              "rounding activations");
    return rounded;
}

void DeviceNetwork::linears(const float* x, std::int64_t cols,
                            std::initializer_list<Output> outputs) {
    const Linear* last = nullptr;
    for (const Output& output : outputs) {
        const Linear& linear = output.linear;
        cuda::BlasGemm gemm;
        gemm.m = m_tokens;
        gemm.n = gemm.cStride = linear.rows;
        gemm.k = gemm.aStride = gemm.bStride = cols;
        gemm.a = multiplied(linear, last, x, m_tokens, cols);
        gemm.b = weight(linear.w);
        gemm.c = output.y;
        multiply(gemm);
        if (linear.b >= 0)
            check(cuda::addBias(output.y, weight(linear.b), m_tokens, linear.rows, m_stream),
                  "adding");
        last = &linear;
    }
}

void DeviceNetwork::linearsBackward(const float* x, std::int64_t cols,
                                    std::initializer_list<Output> outputs, float* dx) {
    const Linear* last = nullptr;
    for (const Output& output : outputs) {
        const Linear& linear = output.linear;
        // Rounding of inputs passes gradients straight through: see Network::linearBackward.
        cuda::BlasGemm ofWeight;
        ofWeight.m = ofWeight.aStride = linear.rows;
        ofWeight.n = ofWeight.bStride = ofWeight.cStride = cols;
        ofWeight.k = m_tokens;
        ofWeight.a = output.y;
        ofWeight.b = multiplied(linear, last, x, m_tokens, cols);
        ofWeight.c = grad(linear.w);
        ofWeight.aTransposed = ofWeight.bTransposed = ofWeight.accumulate = true;
        multiply(ofWeight);
        if (linear.b >= 0) {
            const auto room =
                static_cast<std::int64_t>(cuda::rowSumsWorkspace(m_tokens, linear.rows));
            check(cuda::addRowSums(output.y, m_tokens, linear.rows, grad(linear.b),
                                   m_sums.fit(m_backend, room), m_stream),
                  "adding");
        }
        cuda::BlasGemm ofInput;
        ofInput.m = m_tokens;
        ofInput.n = ofInput.bStride = ofInput.cStride = cols;
        ofInput.k = ofInput.aStride = linear.rows;
        ofInput.a = output.y;
        ofInput.b = weight(linear.w);
        ofInput.c = dx;
        ofInput.bTransposed = true;
        ofInput.accumulate = last != nullptr;
        multiply(ofInput);
        last = &linear;
    }
}

// ---- the rest of a layer

/// A norm that the model does not have leaves x as it is.
void DeviceNetwork::norm(const Norm& norm, const float* x, float* y, std::int64_t rows,
                         std::int64_t cols) {
    if (norm.w < 0)
        return copy(y, x, rows * cols);
    const ModelConfig& c = m_config;
    if (c.norm == NormKind::Rms)
        check(cuda::rmsNorm(x, cols, weight(norm.w), c.normOffset, c.normEpsilon, rows, cols, y,
                            cols, m_stream),
              "normalizing");
    else
        check(cuda::layerNorm(x, cols, weight(norm.w), norm.b >= 0 ? weight(norm.b) : nullptr,
                              c.normEpsilon, rows, cols, y, cols, m_stream),
              "normalizing");
}

void DeviceNetwork::normBackward(const Norm& norm, const float* x, const float* dy, float* dx,
                                 std::int64_t rows, std::int64_t cols, bool accumulate) {
    if (norm.w < 0)
        return accumulate ? add(dx, dy, rows * cols) : copy(dx, dy, rows * cols);
    cuda::NormBackwardArgs args;
    args.x = x;
    args.dy = dy;
    args.dx = dx;
    args.xStride = args.dyStride = args.dxStride = args.cols = cols;
    args.rows = rows;
    args.w = weight(norm.w);
    args.eps = m_config.normEpsilon;
    args.accumulate = accumulate;
    float* const workspace =
        m_sums.fit(m_backend, static_cast<std::int64_t>(cuda::normBackwardWorkspace(args)));
    if (m_config.norm == NormKind::Rms) {
        args.offset = m_config.normOffset;
        check(cuda::rmsNormBackward(args, grad(norm.w), workspace, m_stream),
              "computing gradients of a norm");
    } else {
        check(cuda::layerNormBackward(args, grad(norm.w), norm.b >= 0 ? grad(norm.b) : nullptr,
                                      workspace, m_stream),
              "computing gradients of a norm");
    }
}

void DeviceNetwork::rotate(const Layer& layer, float* q, float* k, bool back) {
    if (!m_config.rotary)
        return;
    const float* const angles = m_ropes[layer.rope].angles.data();
    const auto turn = back ? cuda::ropeBackward : cuda::rope;
    check(turn(q, m_tokens, m_qSize, m_config.heads, m_config.headDim, angles, m_stream),
          "rotating");
    check(turn(k, m_tokens, m_kvSize, m_config.kvHeads, m_config.headDim, angles, m_stream),
          "rotating");
}

cuda::AttentionTrainArgs DeviceNetwork::attentionArgs(const Layer& layer,
                                                      const Saved& saved) const {
    cuda::AttentionTrainArgs args;
    args.q = saved.q.data();
    args.k = saved.k.data();
    args.v = saved.v.data();
    args.qStride = args.outStride = m_qSize;
    args.kvStride = m_kvSize;
    args.tokens = m_tokens;
    args.heads = m_config.heads;
    args.kvHeads = m_config.kvHeads;
    args.headDim = m_config.headDim;
    args.firsts = m_firsts.data();
    args.ends = m_ends.data();
    args.scale = m_config.attentionScale;
    args.window = layer.window;
    args.softcap = m_config.attentionSoftcap;
    args.out = saved.attention.data();
    args.logSumExp = saved.logSumExp.data();
    return args;
}

/// What goes into the last product of the layer.
const float* DeviceNetwork::activate(const Saved& saved) {
    const std::int64_t count = m_tokens * m_config.feedForwardSize;
    float* const inner = m_inner.fit(m_backend, count);
    const bool gated = m_config.feedForward != FeedForwardKind::GeluTanh;
    copy(inner, gated ? saved.gate.data() : saved.up.data(), count);
    check(m_config.feedForward == FeedForwardKind::SiluGated
              ? cuda::siluMul(inner, saved.up.data(), count, m_stream)
          : gated ? cuda::geluTanhMul(inner, saved.up.data(), count, m_stream)
                  : cuda::geluTanh(inner, count, m_stream),
          "computing an activation");
    return inner;
}

void DeviceNetwork::forwardLayer(const Layer& layer, const float* x, float* out, Saved& saved) {
    const ModelConfig& c = m_config;
    const std::int64_t d = c.hiddenSize, f = c.feedForwardSize;
    const auto room = [&](Floats& floats, std::int64_t cols) {
        return floats.fit(m_backend, m_tokens * cols);
    };
    float* const normed = room(m_normed, d);
    float* const branch = room(m_branch, d);
    // y = x + branch, with a norm in between where the family has one
    const auto join = [&](const float* from, Floats& kept, const Norm& post, float* to) {
        if (c.postNorms) {
            copy(room(kept, d), branch, m_tokens * d);
            norm(post, kept.data(), branch, m_tokens, d);
        }
        copy(to, from, m_tokens * d);
        add(to, branch, m_tokens * d);
    };

    norm(layer.attnNorm, x, normed, m_tokens, d);
    float* const q = room(saved.q, m_qSize);
    float* const k = room(saved.k, m_kvSize);
    float* const rawQ = c.qkNorm ? room(saved.qRaw, m_qSize) : q;
    float* const rawK = c.qkNorm ? room(saved.kRaw, m_kvSize) : k;
    linears(normed, d, {{layer.q, rawQ}, {layer.k, rawK}, {layer.v, room(saved.v, m_kvSize)}});
    if (c.qkNorm) {
        norm(layer.qNorm, rawQ, q, m_tokens * c.heads, c.headDim);
        norm(layer.kNorm, rawK, k, m_tokens * c.kvHeads, c.headDim);
    }
    rotate(layer, q, k, false);
    room(saved.attention, m_qSize);
    room(saved.logSumExp, c.heads);
    check(cuda::attentionTrainForward(attentionArgs(layer, saved), m_stream), "attention");
    linears(saved.attention.data(), m_qSize, {{layer.o, branch}});
    join(x, saved.attnBranch, layer.postAttnNorm, room(saved.middle, d));

    norm(layer.ffnNorm, saved.middle.data(), normed, m_tokens, d);
    if (layer.gate.w >= 0)
        linears(normed, d, {{layer.gate, room(saved.gate, f)}, {layer.up, room(saved.up, f)}});
    else
        linears(normed, d, {{layer.up, room(saved.up, f)}});
    linears(activate(saved), f, {{layer.down, branch}});
    join(saved.middle.data(), saved.ffnBranch, layer.postFfnNorm, out);
}

/// dx, the gradient of the layer's output, becomes that of its input.
void DeviceNetwork::backwardLayer(const Layer& layer, const float* x, float* dx, Saved& saved) {
    const ModelConfig& c = m_config;
    const std::int64_t d = c.hiddenSize, f = c.feedForwardSize;
    const auto room = [&](Floats& floats, std::int64_t cols) {
        return floats.fit(m_backend, m_tokens * cols);
    };
    float* const normed = room(m_normed, d);
    float* const dNormed = room(m_dNormed, d);
    float* const dInner = room(m_dInner, std::max(f, m_qSize));
    const auto branchGradient = [&](const Floats& kept, const Norm& post) {
        if (!c.postNorms)
            return dx;
        float* const branch = room(m_branch, d);
        normBackward(post, kept.data(), dx, branch, m_tokens, d, false);
        return branch;
    };

    linearsBackward(activate(saved), f,
                    {{layer.down, branchGradient(saved.ffnBranch, layer.postFfnNorm)}}, dInner);
    const bool gated = layer.gate.w >= 0;
    float* const dUp = room(m_dUp, f);
    float* const dGate = gated ? room(m_dGate, f) : nullptr;
    check(cuda::gatedBackward(c.feedForward == FeedForwardKind::SiluGated
                                  ? cuda::Activation::Silu
                                  : cuda::Activation::GeluTanh,
                              gated ? saved.gate.data() : nullptr, saved.up.data(), dInner,
                              m_tokens * f, dGate, dUp, m_stream),
          "computing gradients of an activation");
    norm(layer.ffnNorm, saved.middle.data(), normed, m_tokens, d);
    if (gated)
        linearsBackward(normed, d, {{layer.gate, dGate}, {layer.up, dUp}}, dNormed);
    else
        linearsBackward(normed, d, {{layer.up, dUp}}, dNormed);
    normBackward(layer.ffnNorm, saved.middle.data(), dNormed, dx, m_tokens, d, true);

    linearsBackward(saved.attention.data(), m_qSize,
                    {{layer.o, branchGradient(saved.attnBranch, layer.postAttnNorm)}}, dInner);
    float* const dq = room(m_dq, m_qSize);
    float* const dk = room(m_dk, m_kvSize);
    float* const dv = room(m_dv, m_kvSize);
    check(cuda::attentionTrainBackward(attentionArgs(layer, saved),
                                       {dInner, dq, dk, dv, room(m_delta, c.heads)}, m_stream),
          "computing gradients of attention");
    rotate(layer, dq, dk, true);
    if (c.qkNorm) {
        normBackward(layer.qNorm, saved.qRaw.data(), dq, dq, m_tokens * c.heads, c.headDim, false);
        normBackward(layer.kNorm, saved.kRaw.data(), dk, dk, m_tokens * c.kvHeads, c.headDim,
                     false);
    }
    norm(layer.attnNorm, x, normed, m_tokens, d);
    linearsBackward(normed, d, {{layer.q, dq}, {layer.k, dk}, {layer.v, dv}}, dNormed);
    normBackward(layer.attnNorm, x, dNormed, dx, m_tokens, d, true);
}

// ---- passes

void DeviceNetwork::begin(const TrainBatch& batch) {
    Network::requireBatch(m_config, batch);
    const std::size_t tokens = batch.ids.size();
    m_tokens = static_cast<std::int64_t>(tokens);
    std::vector<std::int32_t> position(tokens), firsts(tokens), ends(tokens);
    std::int64_t longest = 0;
    for (const kernels::TokenSpan& s : batch.sequences) {
        longest = std::max(longest, s.count);
        for (std::int64_t t = 0; t < s.count; ++t) {
            const auto at = static_cast<std::size_t>(s.first + t);
            position[at] = static_cast<std::int32_t>(t);
            firsts[at] = static_cast<std::int32_t>(s.first);
            ends[at] = static_cast<std::int32_t>(s.first + s.count);
        }
    }
    const auto send = [&](DeviceArray<std::int32_t>& to, const std::vector<std::int32_t>& from) {
        m_backend.upload(to.fit(m_backend, m_tokens), from.data(), tokens * sizeof from[0]);
    };
    send(m_ids, batch.ids);
    send(m_targets, batch.targets);
    send(m_position, position);
    send(m_firsts, firsts);
    send(m_ends, ends);
    const std::int64_t dim = m_config.headDim;
    for (Rope& rope : m_ropes) {
        if (!m_config.rotary)
            continue;
        if (rope.positions < longest) {
            std::vector<float> table(static_cast<std::size_t>(longest * dim));
            fillRope(rope.config, dim, 0, longest, table.data());
            m_backend.upload(rope.table.fit(m_backend, longest * dim), table.data(),
                             table.size() * sizeof(float));
            rope.positions = longest;
        }
        check(cuda::gatherRows(rope.table.data(), dim, m_position.data(), m_tokens, 1, false,
                               rope.angles.fit(m_backend, m_tokens * dim), m_stream),
              "gathering angles");
    }
}

void DeviceNetwork::embed() {
    const std::int64_t d = m_config.hiddenSize;
    float* const x = m_layerInputs[0].data();
    check(cuda::gatherRows(weight(m_embedding), d, m_ids.data(), m_tokens, m_config.embeddingScale,
                           false, x, m_stream),
          "embedding tokens");
    if (m_positions >= 0)
        check(cuda::gatherRows(weight(m_positions), d, m_position.data(), m_tokens, 1, true, x,
                               m_stream),
              "embedding positions");
}

void DeviceNetwork::forwardLayers(const TrainBatch& batch, bool keep, RunControl* control) {
    deploy();
    begin(batch);
    const std::size_t layers = m_layers.size();
    const std::int64_t count = m_tokens * m_config.hiddenSize;
    // Without a gradient two buffers take turns and one set of activations serves all layers.
    m_layerInputs.resize(std::max<std::size_t>(keep ? layers + 1 : 2, m_layerInputs.size()));
    m_saved.resize(std::max<std::size_t>(keep && !m_checkpointing ? layers : 1, m_saved.size()));
    for (std::size_t i = 0; i < (keep ? layers + 1 : 2); ++i)
        m_layerInputs[i].fit(m_backend, count);
    embed();
    for (std::size_t i = 0; i < layers; ++i) {
        if (control)
            control->check();
        const std::size_t from = keep ? i : i % 2, to = keep ? i + 1 : (i + 1) % 2;
        forwardLayer(m_layers[i], m_layerInputs[from].data(), m_layerInputs[to].data(),
                     m_saved[keep && !m_checkpointing ? i : 0]);
    }
    norm(m_finalNorm, m_layerInputs[keep ? layers : layers % 2].data(),
         m_hidden.fit(m_backend, count), m_tokens, m_config.hiddenSize);
}

/// Rows of logits to hold at once: a multiple of four, so that products of later ones begin at 16
/// bytes too.
std::int64_t DeviceNetwork::headRows() const {
    const std::int64_t rows = kMostLogitValues / m_config.vocabularySize / 4 * 4;
    return std::min(m_tokens, std::max<std::int64_t>(4, rows));
}

void DeviceNetwork::headLogits(std::int64_t first, std::int64_t count, float* out) {
    const std::int64_t d = m_config.hiddenSize, v = m_config.vocabularySize;
    cuda::BlasGemm gemm;
    gemm.m = count;
    gemm.n = gemm.cStride = v;
    gemm.k = gemm.aStride = gemm.bStride = d;
    gemm.a = multiplied(m_head, nullptr, m_hidden.data() + first * d, count, d);
    gemm.b = weight(m_head.w);
    gemm.c = out;
    multiply(gemm);
    if (m_config.finalSoftcap > 0)
        check(cuda::softcap(out, m_config.finalSoftcap, count * v, m_stream), "capping");
}

void DeviceNetwork::takeKnownRows(const TeacherRows& known, const TrainLoss& loss) {
    const std::vector<float>& rest = loss.temperature == 1 ? known.restAtOne : known.rest;
    m_backend.upload(m_topIds.fit(m_backend, m_tokens * known.top), known.ids.data(),
                     known.ids.size() * sizeof known.ids[0]);
    m_backend.upload(m_topLogits.fit(m_backend, m_tokens * known.top), known.logits.data(),
                     known.logits.size() * sizeof known.logits[0]);
    m_backend.upload(m_topRest.fit(m_backend, m_tokens), rest.data(), rest.size() * sizeof rest[0]);
    m_topScratch.fit(m_backend, m_tokens * (known.top + 1));
}

double DeviceNetwork::sumOf(const double* device) {
    m_hostLosses.resize(static_cast<std::size_t>(m_tokens));
    m_backend.download(m_hostLosses.data(), device, m_hostLosses.size() * sizeof(double));
    double sum = 0;
    for (const double loss : m_hostLosses)
        sum += loss;
    return sum;
}

/// The gradient of the hidden states takes the place of what m_normed held.
LossSums DeviceNetwork::runHead(const TrainBatch& batch, const TrainLoss& loss, float scale,
                                DeviceNetwork* teacher, bool gradient, RunControl* control) {
    const std::int64_t d = m_config.hiddenSize, v = m_config.vocabularySize, chunk = headRows();
    const bool distill = loss.distillation != 0, plain = loss.crossEntropy != 0;
    const bool both = distill && plain, capped = gradient && m_config.finalSoftcap > 0;
    const TeacherRows* known = distill && !batch.teacher.empty() ? &batch.teacher : nullptr;
    if (known)
        takeKnownRows(*known, loss);
    float* const logits = m_logits.fit(m_backend, chunk * v);
    float* const second = both ? m_second.fit(m_backend, chunk * v) : nullptr;
    float* const cap = capped ? m_cap.fit(m_backend, chunk * v) : nullptr;
    double* const losses = m_losses.fit(m_backend, 2 * m_tokens);
    for (std::int64_t first = 0; first < m_tokens; first += chunk) {
        if (control)
            control->check();
        const std::int64_t count = std::min(chunk, m_tokens - first);
        headLogits(first, count, logits);
        if (capped)
            copy(cap, logits, count * v);
        float* const forEntropy = both ? second : logits;
        if (both)
            copy(second, logits, count * v);
        const std::int32_t* const targets = m_targets.data() + first;
        double* const divergences = losses + m_tokens + first;
        if (known) {
            const cuda::TopRows rows = {known->top, m_topIds.data() + first * known->top,
                                        m_topLogits.data() + first * known->top,
                                        m_topRest.data() + first, m_topScratch.data()};
            check(cuda::distillTopRows(logits, rows, count, v, targets, loss.temperature,
                                       scale * loss.distillation, divergences, m_stream),
                  "computing the loss");
        } else if (distill) {
            float* const wanted = teacher->m_logits.fit(m_backend, chunk * v);
            teacher->headLogits(first, count, wanted);
            check(cuda::distillRows(logits, wanted, count, v, targets, loss.temperature,
                                    scale * loss.distillation, divergences, m_stream),
                  "computing the loss");
        }
        if (plain)
            check(cuda::crossEntropyRows(forEntropy, count, v, targets, scale * loss.crossEntropy,
                                         losses + first, m_stream),
                  "computing the loss");
        if (both)
            add(logits, second, count * v);
        if (!gradient)
            continue;
        if (capped)
            check(cuda::softcapBackward(cap, m_config.finalSoftcap, logits, count * v, m_stream),
                  "capping");
        cuda::BlasGemm ofWeight;
        ofWeight.m = ofWeight.aStride = v;
        ofWeight.n = ofWeight.bStride = ofWeight.cStride = d;
        ofWeight.k = count;
        ofWeight.a = logits;
        ofWeight.b = multiplied(m_head, nullptr, m_hidden.data() + first * d, count, d);
        ofWeight.c = grad(m_head.w);
        ofWeight.aTransposed = ofWeight.bTransposed = ofWeight.accumulate = true;
        multiply(ofWeight);
        cuda::BlasGemm ofInput;
        ofInput.m = count;
        ofInput.n = ofInput.bStride = ofInput.cStride = d;
        ofInput.k = ofInput.aStride = v;
        ofInput.a = logits;
        ofInput.b = weight(m_head.w);
        ofInput.c = m_dNormed.fit(m_backend, m_tokens * d) + first * d;
        ofInput.bTransposed = true;
        multiply(ofInput);
    }
    LossSums sums;
    sums.crossEntropy = plain ? sumOf(losses) : 0;
    sums.distillation = distill ? sumOf(losses + m_tokens) : 0;
    sums.tokens = batch.scored();
    return sums;
}

LossSums DeviceNetwork::accumulate(const TrainBatch& batch, const TrainLoss& loss, float scale,
                                   DeviceNetwork* teacher, RunControl* control) {
    Network::requireTeacher(m_config, batch, loss, teacher ? &teacher->config() : nullptr);
    if (!m_grads.data())
        zeroGrads();
    if (loss.distillation != 0 && batch.teacher.empty())
        teacher->forwardLayers(batch, false, control);
    forwardLayers(batch, true, control);
    const LossSums sums = runHead(batch, loss, scale, teacher, true, control);
    const std::size_t layers = m_layers.size();
    const std::int64_t d = m_config.hiddenSize;
    float* const dx = m_dx.fit(m_backend, m_tokens * d);
    normBackward(m_finalNorm, m_layerInputs[layers].data(), m_dNormed.data(), dx, m_tokens, d,
                 false);
    for (std::size_t i = layers; i-- > 0;) {
        if (control)
            control->check();
        const float* const x = m_layerInputs[i].data();
        Saved& saved = m_saved[m_checkpointing ? 0 : i];
        if (m_checkpointing)
            forwardLayer(m_layers[i], x, m_layerInputs[i + 1].data(), saved);
        backwardLayer(m_layers[i], x, dx, saved);
    }
    check(cuda::embeddingBackward(m_ids.data(), m_tokens, dx, d, m_config.embeddingScale,
                                  grad(m_embedding), m_stream),
          "computing gradients of embeddings");
    if (m_positions >= 0)
        check(cuda::embeddingBackward(m_position.data(), m_tokens, dx, d, 1, grad(m_positions),
                                      m_stream),
              "computing gradients of embeddings");
    return sums;
}

LossSums DeviceNetwork::evaluate(const TrainBatch& batch, const TrainLoss& loss,
                                 DeviceNetwork* teacher, RunControl* control) {
    Network::requireTeacher(m_config, batch, loss, teacher ? &teacher->config() : nullptr);
    if (loss.distillation != 0 && batch.teacher.empty())
        teacher->forwardLayers(batch, false, control);
    forwardLayers(batch, false, control);
    return runHead(batch, loss, 1, teacher, false, control);
}

void DeviceNetwork::eachLogits(
    const TrainBatch& batch, RunControl* control,
    const std::function<void(std::int64_t, std::int64_t, const float*)>& body) {
    forwardLayers(batch, false, control);
    const std::int64_t v = m_config.vocabularySize, chunk = headRows();
    float* const logits = m_logits.fit(m_backend, chunk * v);
    std::vector<float> host(static_cast<std::size_t>(chunk * v));
    for (std::int64_t first = 0; first < m_tokens; first += chunk) {
        const std::int64_t count = std::min(chunk, m_tokens - first);
        headLogits(first, count, logits);
        m_backend.download(host.data(), logits,
                           static_cast<std::size_t>(count * v) * sizeof(float));
        body(first, count, host.data());
    }
}

}  // namespace fettle
