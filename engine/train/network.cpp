#include "engine/train/network.h"

#include <algorithm>

#include "engine/core/error.h"

namespace fettle {

Network::Network(const Model& model, kernels::WorkerPool& pool)
    : m_config(model.config), m_pool(pool) {
    const ModelConfig& c = m_config;
    m_qSize = c.heads * c.headDim;
    m_kvSize = c.kvHeads * c.headDim;
    const bool gated = c.feedForward != FeedForwardKind::GeluTanh;
    m_gateUpSize = (gated ? 2 : 1) * c.feedForwardSize;
    if (!c.bare)
        m_embedding = add(model, "embed.weight", c.vocabularySize, c.hiddenSize, true);
    if (c.learnedPositions)
        m_positions = add(model, "position_embed.weight", c.contextLength, c.hiddenSize, true);
    for (std::int64_t i = 0; i < c.layerCount(); ++i) {
        const std::string at = "layers." + std::to_string(i) + ".";
        Layer layer{};
        const auto norm = [&](const char* name, std::int64_t size, Offset& bias) {
            const Offset w = add(model, at + name + ".weight", 1, size, false);
            bias = addOptional(model, at + name + ".bias", size);
            return w;
        };
        Offset none = -1;
        layer.attnNorm = layer.attnNormBias = -1;
        if (!c.bare || i > 0)
            layer.attnNorm = norm("attn_norm", c.hiddenSize, layer.attnNormBias);
        // Neighbours in memory are one matrix: q, k and v are one product.
        layer.qkv = add(model, at + "attn.q.weight", m_qSize, c.hiddenSize, true);
        add(model, at + "attn.k.weight", m_kvSize, c.hiddenSize, true);
        add(model, at + "attn.v.weight", m_kvSize, c.hiddenSize, true);
        layer.qkvBias = addOptional(model, at + "attn.q.bias", m_qSize);
        if (layer.qkvBias >= 0) {
            add(model, at + "attn.k.bias", 1, m_kvSize, false);
            add(model, at + "attn.v.bias", 1, m_kvSize, false);
        }
        layer.qNorm = c.qkNorm ? norm("attn.q_norm", c.headDim, none) : -1;
        layer.kNorm = c.qkNorm ? norm("attn.k_norm", c.headDim, none) : -1;
        layer.o = add(model, at + "attn.o.weight", c.hiddenSize, m_qSize, true);
        layer.oBias = addOptional(model, at + "attn.o.bias", c.hiddenSize);
        layer.postAttnNorm = c.postNorms ? norm("post_attn_norm", c.hiddenSize, none) : -1;
        layer.ffnNorm = norm("ffn_norm", c.hiddenSize, layer.ffnNormBias);
        const Offset gate =
            gated ? add(model, at + "ffn.gate.weight", c.feedForwardSize, c.hiddenSize, true) : -1;
        const Offset up = add(model, at + "ffn.up.weight", c.feedForwardSize, c.hiddenSize, true);
        layer.gateUp = gated ? gate : up;
        const Offset gateBias =
            gated ? addOptional(model, at + "ffn.gate.bias", c.feedForwardSize) : -1;
        const Offset upBias = addOptional(model, at + "ffn.up.bias", c.feedForwardSize);
        layer.gateUpBias = gated ? gateBias : upBias;
        layer.down = add(model, at + "ffn.down.weight", c.hiddenSize, c.feedForwardSize, true);
        layer.downBias = addOptional(model, at + "ffn.down.bias", c.hiddenSize);
        layer.postFfnNorm = c.postNorms ? norm("post_ffn_norm", c.hiddenSize, none) : -1;

        const RopeConfig& rope = c.layers[static_cast<std::size_t>(i)].rope;
        const auto known = std::find_if(m_rope.begin(), m_rope.end(),
                                        [&](const RopeTable& t) { return t.config == rope; });
        layer.rope = static_cast<std::size_t>(known - m_rope.begin());
        if (known == m_rope.end())
            m_rope.push_back({rope, {}, {}, 0});
        m_layers.push_back(layer);
    }
    if (c.bare)
        return;
    m_finalNorm = add(model, "final_norm.weight", 1, c.hiddenSize, false);
    m_finalNormBias = addOptional(model, "final_norm.bias", c.hiddenSize);
    m_head = model.has("lm_head.weight")
                 ? add(model, "lm_head.weight", c.vocabularySize, c.hiddenSize, true)
                 : m_embedding;
}

Network::Offset Network::add(const Model& model, const std::string& name, std::int64_t rows,
                             std::int64_t cols, bool decays) {
    const Weight& weight = model.weight(name);
    if (weight.elements() != rows * cols)
        throwBadInput(model.path, name + " has shape " + toString(weight.shape()) +
                                      ", the configuration asks for " +
                                      std::to_string(rows * cols) + " values");
    const auto offset = static_cast<Offset>(m_values.size());
    const std::vector<float> values = weight.toFloat();
    m_values.insert(m_values.end(), values.begin(), values.end());
    m_index[name] = m_parameters.size();
    m_parameters.push_back({name, offset, rows, cols, decays});
    weight.dropPages();
    return offset;
}

Network::Offset Network::addOptional(const Model& model, const std::string& name,
                                     std::int64_t cols) {
    return model.has(name) ? add(model, name, 1, cols, false) : -1;
}

const TrainParameter* Network::find(const std::string& name) const {
    const auto found = m_index.find(name);
    return found == m_index.end() ? nullptr : &m_parameters[found->second];
}

const TrainParameter& Network::parameter(const std::string& name) const {
    const TrainParameter* const found = find(name);
    if (!found)
        throw EngineError(ErrorKind::Usage, "the model has no parameter " + name);
    return *found;
}

void Network::zeroGrads() {
    m_grads.reset(m_values.size());
}

namespace {

/// Values in a float type and shape.
Tensor tensorOf(const float* values, DType type, const Shape& shape) {
    Tensor tensor = Tensor::allocate(type, shape);
    for (std::int64_t i = 0; i < elementCount(shape); ++i) {
        if (type == DType::BF16)
            tensor.mutableAs<std::uint16_t>()[i] = kernels::floatToBfloat16(values[i]);
        else if (type == DType::F16)
            tensor.mutableAs<std::uint16_t>()[i] = kernels::floatToHalf(values[i]);
        else
            tensor.mutableAs<float>()[i] = values[i];
    }
    return tensor;
}

}  // namespace

Model Network::toModel(const Model& like) const {
    Model out = like;
    for (const TrainParameter& p : m_parameters) {
        if (!like.has(p.name))
            continue;  // helps training only
        const Weight& old = like.weight(p.name);
        const DType type = old.isQuantized() ? DType::F32 : old.dense().dtype();
        out.weights[p.name] = Weight(tensorOf(m_values.data() + p.offset, type, old.shape()));
    }
    for (const QuantizedParameter& q : m_quantizers) {
        const TrainParameter& p = m_parameters[q.parameter];
        out.weights[p.name] =
            Weight(q.quantizer.pack(m_values.data() + p.offset, scalesOf(q), m_pool));
    }
    return out;
}

}  // namespace fettle
