#include "engine/model/transformer.h"

#include <algorithm>
#include <cmath>

#include "engine/backend/layer_placer.h"
#include "engine/backend/range_marker.h"
#include "engine/backend/step_player.h"
#include "engine/core/error.h"
#include "engine/model/rope_table.h"

namespace fettle {

namespace {

// Tokens run together in one pass: enough to keep the matrix units busy, few enough for the
// activations to stay in the second-level cache of most processors.
constexpr std::int64_t kChunkTokens = Transformer::kMostStates;
constexpr std::int64_t kRopeStep = 256;
// More that follow a text are the next part of a prompt: no draft is as long.
constexpr std::int64_t kMostDecoded = 32;

std::string layerName(std::int64_t layer, const char* rest) {
    return "layers." + std::to_string(layer) + "." + rest;
}

/// Whether at least two of each four neighbouring weights of a row are zero, and not all of the
/// matrix. A dense one is told by its first row.
bool isTwoFour(const kernels::WeightView& weight) {
    std::vector<float> row(static_cast<std::size_t>(weight.cols));
    bool empty = true;
    for (std::int64_t r = 0; r < weight.rows; ++r) {
        kernels::dequantizeRow(weight, r, row.data());
        for (std::size_t i = 0; i < row.size(); i += 4) {
            const auto kept = std::count_if(
                row.begin() + static_cast<std::ptrdiff_t>(i),
                row.begin() + static_cast<std::ptrdiff_t>(std::min(row.size(), i + 4)),
                [](float w) { return w != 0; });
            if (kept > 2)
                return false;
            empty = empty && kept == 0;
        }
    }
    return !empty;
}

/// The parents of a tree belong to the caller: they are known for one pass.
struct TreeScope {
    std::span<const std::int32_t>& tree;
    TreeScope(std::span<const std::int32_t>& t, std::span<const std::int32_t> parents) : tree(t) {
        tree = parents;
    }
    ~TreeScope() { tree = {}; }
    TreeScope(const TreeScope&) = delete;
    TreeScope& operator=(const TreeScope&) = delete;
};

}  // namespace

Transformer::Transformer(const Model& model, Backend& backend, RunControl* control)
    : m_config(model.config), m_backend(backend) {
    const ModelConfig& c = m_config;
    if (!c.bare)
        m_embedding = model.weight("embed.weight");
    if (c.learnedPositions)
        m_positions = model.weight("position_embed.weight");
    m_layers.resize(static_cast<std::size_t>(c.layerCount()));
    for (std::int64_t i = 0; i < c.layerCount(); ++i) {
        if (control)
            control->progress(static_cast<double>(i) / static_cast<double>(c.layerCount()),
                              layerName(i, ""));
        loadLayer(model, i, control);
    }
    if (c.bare)
        return;
    enterLayer(m_backend, c.layerCount(), c.layerCount());
    m_finalNorm = loadNorm(model, "final_norm", c.hiddenSize);
    m_head = loadLinear(model, model.has("lm_head.weight") ? "lm_head" : "embed", c.vocabularySize,
                        c.hiddenSize, control);
    m_head.name = "lm_head.weight";
}

Transformer::Transformer(const Model& model, Backend& backend, LayerByLayer)
    : m_config(model.config), m_backend(backend) {
    m_embedding = model.weight("embed.weight");
    if (m_config.learnedPositions)
        m_positions = model.weight("position_embed.weight");
    m_layers.resize(static_cast<std::size_t>(m_config.layerCount()));
    enterLayer(m_backend, m_config.layerCount(), m_config.layerCount());
    m_finalNorm = loadNorm(model, "final_norm", m_config.hiddenSize);
}

void Transformer::loadLayer(const Model& model, std::int64_t i, RunControl* control) {
    const ModelConfig& c = m_config;
    const std::int64_t qSize = c.heads * c.headDim;
    const std::int64_t kvSize = c.kvHeads * c.headDim;
    Layer& layer = m_layers[static_cast<std::size_t>(i)];
    enterLayer(m_backend, i, c.layerCount());
    if (!c.bare || i > 0)
        layer.attnNorm = loadNorm(model, layerName(i, "attn_norm"), c.hiddenSize);
    layer.q = loadLinear(model, layerName(i, "attn.q"), qSize, c.hiddenSize, control);
    layer.k = loadLinear(model, layerName(i, "attn.k"), kvSize, c.hiddenSize, control);
    layer.v = loadLinear(model, layerName(i, "attn.v"), kvSize, c.hiddenSize, control);
    layer.o = loadLinear(model, layerName(i, "attn.o"), c.hiddenSize, qSize, control);
    if (c.qkNorm) {
        layer.qNorm = loadNorm(model, layerName(i, "attn.q_norm"), c.headDim);
        layer.kNorm = loadNorm(model, layerName(i, "attn.k_norm"), c.headDim);
    }
    if (c.postNorms) {
        layer.postAttnNorm = loadNorm(model, layerName(i, "post_attn_norm"), c.hiddenSize);
        layer.postFfnNorm = loadNorm(model, layerName(i, "post_ffn_norm"), c.hiddenSize);
    }
    layer.ffnNorm = loadNorm(model, layerName(i, "ffn_norm"), c.hiddenSize);
    if (c.feedForward != FeedForwardKind::GeluTanh)
        layer.gate =
            loadLinear(model, layerName(i, "ffn.gate"), c.feedForwardSize, c.hiddenSize, control);
    layer.up = loadLinear(model, layerName(i, "ffn.up"), c.feedForwardSize, c.hiddenSize, control);
    layer.down =
        loadLinear(model, layerName(i, "ffn.down"), c.hiddenSize, c.feedForwardSize, control);

    const RopeConfig& rope = c.layers[static_cast<std::size_t>(i)].rope;
    const auto known = std::find_if(m_rope.begin(), m_rope.end(),
                                    [&](const RopeTable& t) { return t.config == rope; });
    layer.ropeTable = static_cast<std::size_t>(known - m_rope.begin());
    if (known == m_rope.end())
        m_rope.push_back({rope, nullptr, 0});
}

Transformer::Linear Transformer::loadLinear(const Model& model, const std::string& name,
                                            std::int64_t rows, std::int64_t cols,
                                            RunControl* control) {
    if (control)
        control->check();
    const Weight& weight = model.weight(name + ".weight");
    if (weight.shape() != Shape{rows, cols})
        throwBadInput(model.path, name + ".weight has shape " + toString(weight.shape()) +
                                      ", the configuration asks for " +
                                      toString(Shape{rows, cols}));
    Linear linear;
    linear.name = name + ".weight";
    setWeight(linear, weight);
    m_twoFour = m_twoFour || isTwoFour(weight.view());
    if (name != "embed" && model.has(name + ".bias"))
        linear.bias = uploaded(m_backend, model.weight(name + ".bias").toFloat());
    // The device has its own copy now; pages of the file need not stay resident beside it.
    weight.dropPages();
    return linear;
}

void Transformer::setWeight(Linear& linear, const Weight& weight) {
    linear.weight = m_backend.prepareWeight(weight.view());
    linear.lowRankIn.reset();
    linear.lowRankOut.reset();
    if (!weight.hasLowRank())
        return;
    linear.lowRankIn = m_backend.prepareWeight(Weight(weight.quantized().lowRankIn).view());
    linear.lowRankOut = m_backend.prepareWeight(Weight(weight.quantized().lowRankOut).view());
}

Transformer::Norm Transformer::loadNorm(const Model& model, const std::string& name,
                                        std::int64_t size) const {
    Norm norm;
    const std::vector<float> values = model.weight(name + ".weight").toFloat();
    if (static_cast<std::int64_t>(values.size()) != size)
        throwBadInput(model.path, name + ".weight has " + std::to_string(values.size()) +
                                      " values, expected " + std::to_string(size));
    norm.weight = uploaded(m_backend, values);
    if (model.has(name + ".bias"))
        norm.bias = uploaded(m_backend, model.weight(name + ".bias").toFloat());
    return norm;
}

KvCache Transformer::makeCache(std::int64_t capacity, kernels::KvType type) const {
    return KvCache(m_config, capacity, type, m_backend);
}

void Transformer::reserve(std::int64_t tokens) {
    if (tokens <= m_reserved)
        return;
    const ModelConfig& c = m_config;
    const auto make = [&](std::int64_t width) {
        return m_backend.allocate(static_cast<std::size_t>(tokens * width) * sizeof(float));
    };
    m_x = make(c.hiddenSize);
    m_normed = make(c.hiddenSize);
    m_branch = make(c.hiddenSize);
    m_q = make(c.heads * c.headDim);
    m_k = make(c.kvHeads * c.headDim);
    m_v = make(c.kvHeads * c.headDim);
    m_attn = make(c.heads * c.headDim);
    m_gate = make(c.feedForwardSize);
    m_up = make(c.feedForwardSize);
    m_reserved = tokens;
}

void Transformer::extendRope(std::int64_t positions) {
    for (RopeTable& table : m_rope) {
        if (table.positions >= positions)
            continue;
        // Twice as long each time: a growing text fills the table again only now and then.
        const std::int64_t target =
            std::max(2 * table.positions, (positions + kRopeStep - 1) / kRopeStep * kRopeStep);
        std::vector<float> values(static_cast<std::size_t>(target * m_config.headDim));
        fillRope(table.config, m_config.headDim, 0, target, values.data());
        table.cosSin = uploaded(m_backend, values);
        table.positions = target;
    }
}

void Transformer::embed(std::span<const std::int32_t> ids, std::int64_t past) {
    const kernels::WeightView table = m_embedding.view();
    const std::int64_t width = m_config.hiddenSize;
    std::vector<float> position(m_config.learnedPositions ? static_cast<std::size_t>(width) : 0);
    float* rows = buffer(m_x);
    if (!m_backend.sharesMemory()) {
        m_embedded.resize(ids.size() * static_cast<std::size_t>(width));
        rows = m_embedded.data();
    }
    for (std::size_t t = 0; t < ids.size(); ++t) {
        if (ids[t] < 0 || ids[t] >= table.rows)
            throw EngineError(ErrorKind::BadInput, "token id " + std::to_string(ids[t]) +
                                                       " is outside the vocabulary of " +
                                                       std::to_string(table.rows));
        float* row = rows + static_cast<std::int64_t>(t) * width;
        kernels::dequantizeRow(table, ids[t], row);
        if (m_config.embeddingScale != 1)
            kernels::scale(row, m_config.embeddingScale, width);
        if (m_config.learnedPositions) {
            const kernels::WeightView positions = m_positions.view();
            const std::int64_t p = positionOf(static_cast<std::int64_t>(t),
                                              static_cast<std::int64_t>(ids.size()), past);
            if (p >= positions.rows)
                throw EngineError(ErrorKind::BadInput, "position " + std::to_string(p) +
                                                           " is past the model's context of " +
                                                           std::to_string(positions.rows) +
                                                           " tokens");
            kernels::dequantizeRow(positions, p, position.data());
            kernels::add(row, position.data(), width);
        }
    }
    if (rows != buffer(m_x))
        m_backend.upload(buffer(m_x), rows, m_embedded.size() * sizeof(float));
}

void Transformer::normalize(const Norm& norm, const float* x, std::int64_t rows, std::int64_t cols,
                            float* y) const {
    if (m_config.norm == NormKind::Rms)
        m_backend.rmsNorm(x, cols, buffer(norm.weight), m_config.normOffset, m_config.normEpsilon,
                          rows, cols, y, cols);
    else
        m_backend.layerNorm(x, cols, buffer(norm.weight), norm.bias ? buffer(norm.bias) : nullptr,
                            m_config.normEpsilon, rows, cols, y, cols);
}

void Transformer::linear(const float* x, std::int64_t m, std::int64_t k,
                         std::initializer_list<std::pair<const Linear*, float*>> outputs) {
    std::array<LinearTarget, 3> targets;
    std::size_t count = 0;
    for (const auto& [linear, y] : outputs) {
        if (m_observer)
            m_observer(linear->name, onHost(x, m * k), m, k, k);
        targets[count++] = {linear->weight.get(), y, linear->weight->rows(),
                            linear->bias ? buffer(linear->bias) : nullptr, false};
    }
    m_backend.linear(x, m, k, k, std::span<const LinearTarget>(targets.data(), count));
    for (const auto& [linear, y] : outputs) {
        if (!linear->lowRankIn)
            continue;
        const std::int64_t rank = linear->lowRankIn->rows();
        const std::size_t bytes = static_cast<std::size_t>(m * rank) * sizeof(float);
        if (!m_rank || m_rank->bytes() < bytes)
            m_rank = m_backend.allocate(bytes);
        const LinearTarget in = {linear->lowRankIn.get(), buffer(m_rank), rank, nullptr, false},
                           out = {linear->lowRankOut.get(), y, linear->weight->rows(), nullptr,
                                  true};
        m_backend.linear(x, m, k, k, std::span(&in, 1));
        m_backend.linear(buffer(m_rank), m, rank, rank, std::span(&out, 1));
    }
}

std::int64_t Transformer::positionOf(std::int64_t index, std::int64_t m, std::int64_t past) const {
    if (m_tree.empty())
        return past + index;
    const auto nodes = static_cast<std::int64_t>(m_tree.size());
    std::int64_t position = past + m - nodes - 1;
    for (std::int64_t node = nodes - m + index; node >= 0;
         node = m_tree[static_cast<std::size_t>(node)])
        ++position;
    return position;
}

/// Queries and keys, as many tokens at once as stand side by side.
void Transformer::rotate(const Layer& layer, std::int64_t m, std::int64_t past) {
    const ModelConfig& c = m_config;
    const std::int64_t qSize = c.heads * c.headDim, kvSize = c.kvHeads * c.headDim;
    for (std::int64_t t = 0, count = 0; t < m; t += count) {
        const std::int64_t position = positionOf(t, m, past);
        count = m_tree.empty() ? m : 1;
        while (t + count < m && positionOf(t + count, m, past) == position + count)
            ++count;
        const float* cosSin = buffer(m_rope[layer.ropeTable].cosSin) + position * c.headDim;
        m_backend.rope(buffer(m_q) + t * qSize, count, qSize, c.heads, c.headDim, cosSin);
        m_backend.rope(buffer(m_k) + t * kvSize, count, kvSize, c.kvHeads, c.headDim, cosSin);
    }
}

void Transformer::attend(Layer& layer, std::int64_t index, std::int64_t m, KvCache& cache,
                         std::int64_t cacheIndex) {
    const ModelConfig& c = m_config;
    const std::int64_t past = cache.length();
    const std::int64_t qSize = c.heads * c.headDim;
    const std::int64_t kvSize = c.kvHeads * c.headDim;
    float* q = buffer(m_q);
    float* k = buffer(m_k);
    float* v = buffer(m_v);

    const float* in = buffer(m_x);
    if (layer.attnNorm.weight) {
        normalize(layer.attnNorm, in, m, c.hiddenSize, buffer(m_normed));
        in = buffer(m_normed);
    }
    linear(in, m, c.hiddenSize, {{&layer.q, q}, {&layer.k, k}, {&layer.v, v}});
    if (c.qkNorm) {
        normalize(layer.qNorm, q, m * c.heads, c.headDim, q);
        normalize(layer.kNorm, k, m * c.kvHeads, c.headDim, k);
    }
    if (c.rotary)
        rotate(layer, m, past);
    m_backend.appendKv(k, v, kvSize, cache.keys(cacheIndex), cache.values(cacheIndex), cache.type(),
                       cache.room(), past, m, c.kvHeads, c.headDim);

    kernels::AttentionArgs args;
    args.q = q;
    args.qStride = qSize;
    args.keys = cache.keys(cacheIndex);
    args.values = cache.values(cacheIndex);
    args.kvType = cache.type();
    args.capacity = cache.room();
    args.past = past;
    args.tokens = m;
    args.heads = c.heads;
    args.kvHeads = c.kvHeads;
    args.headDim = c.headDim;
    args.scale = c.attentionScale;
    args.window = c.layers[static_cast<std::size_t>(index)].slidingWindow;
    args.softcap = c.attentionSoftcap;
    args.out = buffer(m_attn);
    args.outStride = qSize;
    args.parents = m_tree.empty() ? nullptr : m_tree.data();
    args.text = past + m - static_cast<std::int64_t>(m_tree.size());
    m_backend.attention(args);
}

void Transformer::attentionOutput(Layer& layer, std::int64_t m) {
    const ModelConfig& c = m_config;
    linear(buffer(m_attn), m, c.heads * c.headDim, {{&layer.o, buffer(m_branch)}});
    if (c.postNorms)
        normalize(layer.postAttnNorm, buffer(m_branch), m, c.hiddenSize, buffer(m_branch));
    m_backend.add(buffer(m_x), buffer(m_branch), m * c.hiddenSize);
}

void Transformer::runAttention(Layer& layer, std::int64_t index, std::int64_t m, KvCache& cache) {
    attend(layer, index, m, cache, index);
    attentionOutput(layer, m);
}

float* Transformer::expand(Layer& layer, std::int64_t m) {
    const ModelConfig& c = m_config;
    normalize(layer.ffnNorm, buffer(m_x), m, c.hiddenSize, buffer(m_normed));
    float* inner = buffer(m_up);
    if (c.feedForward == FeedForwardKind::GeluTanh) {
        linear(buffer(m_normed), m, c.hiddenSize, {{&layer.up, inner}});
        m_backend.geluTanh(inner, m * c.feedForwardSize);
    } else {
        linear(buffer(m_normed), m, c.hiddenSize,
               {{&layer.gate, buffer(m_gate)}, {&layer.up, buffer(m_up)}});
        inner = buffer(m_gate);
        if (c.feedForward == FeedForwardKind::SiluGated)
            m_backend.siluMul(inner, buffer(m_up), m * c.feedForwardSize);
        else
            m_backend.geluTanhMul(inner, buffer(m_up), m * c.feedForwardSize);
    }
    return inner;
}

void Transformer::contract(Layer& layer, const float* inner, std::int64_t m) {
    const ModelConfig& c = m_config;
    linear(inner, m, c.feedForwardSize, {{&layer.down, buffer(m_branch)}});
    if (c.postNorms)
        normalize(layer.postFfnNorm, buffer(m_branch), m, c.hiddenSize, buffer(m_branch));
    m_backend.add(buffer(m_x), buffer(m_branch), m * c.hiddenSize);
}

void Transformer::runFeedForward(Layer& layer, std::int64_t m) {
    contract(layer, expand(layer, m), m);
}

void Transformer::runLayers(std::int64_t m, KvCache& cache, RunControl* control,
                            const SkippedLayers* skipped) {
    for (std::int64_t i = 0; i < m_config.layerCount(); ++i) {
        if (control)
            control->check();
        enterLayer(m_backend, i, m_config.layerCount());
        if (m_blockObserver)
            m_blockObserver(i, onHost(buffer(m_x), m * m_config.hiddenSize), m);
        if (skipped && (*skipped)[static_cast<std::size_t>(i)])
            continue;
        const RangeScope range(m_backend, "layer", i);
        Layer& layer = m_layers[static_cast<std::size_t>(i)];
        runAttention(layer, i, m, cache);
        if (control)
            control->check();
        runFeedForward(layer, m);
    }
    cache.advance(m);
    enterLayer(m_backend, m_config.layerCount(), m_config.layerCount());
    if (m_blockObserver)
        m_blockObserver(m_config.layerCount(), onHost(buffer(m_x), m * m_config.hiddenSize), m);
}

void Transformer::runChunk(std::span<const std::int32_t> ids, KvCache& cache, RunControl* control,
                           const SkippedLayers* skipped, float* hidden) {
    const std::int64_t m = static_cast<std::int64_t>(ids.size());
    enterLayer(m_backend, 0, m_config.layerCount());
    embed(ids, cache.length());
    StepScope step(m_backend, this, m);
    runLayers(m, cache, control, skipped);
    normalize(m_finalNorm, buffer(m_x), m, m_config.hiddenSize, hidden);
    step.finish();
}

void Transformer::checkRoom(std::int64_t tokens, std::span<const std::int32_t> parents,
                            const KvCache& cache) const {
    const auto nodes = static_cast<std::int64_t>(parents.size());
    if (nodes > 0 &&
        (nodes < tokens || nodes > kernels::kMostTreeTokens || nodes > cache.length() + tokens))
        throw EngineError(ErrorKind::Internal, "a tree of " + std::to_string(nodes) +
                                                   " tokens, of which " + std::to_string(tokens) +
                                                   " are run");
    if (cache.length() + tokens > cache.capacity())
        throw EngineError(ErrorKind::Internal, "the key/value cache has room for " +
                                                   std::to_string(cache.capacity()) + " tokens, " +
                                                   std::to_string(cache.length() + tokens) +
                                                   " are needed");
}

float* Transformer::statesIn(std::int64_t rows) {
    if (rows > kMostStates)
        throw EngineError(ErrorKind::Internal,
                          "the states of " + std::to_string(rows) + " tokens in one pass");
    reserve(rows);
    return buffer(m_x);
}

const float* Transformer::forwardStates(std::int64_t rows, KvCache& cache, RunControl* control,
                                        std::span<const std::int32_t> parents) {
    checkRoom(rows, parents, cache);
    const TreeScope tree(m_tree, parents);
    extendRope(cache.length() + rows);
    runLayers(rows, cache, control, nullptr);
    return buffer(m_x);
}

void Transformer::forward(std::span<const std::int32_t> ids, KvCache& cache, RunControl* control,
                          const SkippedLayers* skipped, std::span<const std::int32_t> parents) {
    const std::int64_t tokens = static_cast<std::int64_t>(ids.size());
    checkRoom(tokens, parents, cache);
    const RangeScope range(m_backend,
                           cache.length() == 0 || tokens > kMostDecoded ? "prefill" : "decode");
    const TreeScope tree(m_tree, parents);
    reserve(std::min(tokens, kChunkTokens));
    if (m_config.rotary)
        extendRope(cache.length() + tokens);
    if (tokens > m_hiddenCapacity) {
        m_hidden = m_backend.allocate(static_cast<std::size_t>(tokens * m_config.hiddenSize) *
                                      sizeof(float));
        m_hiddenCapacity = tokens;
    }
    m_hiddenRows = tokens;
    for (std::int64_t at = 0; at < tokens; at += kChunkTokens) {
        const std::int64_t m = std::min(kChunkTokens, tokens - at);
        runChunk(ids.subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(m)), cache,
                 control, skipped, buffer(m_hidden) + at * m_config.hiddenSize);
    }
}

void Transformer::prepareLayer(const Model& model, std::int64_t index, RunControl* control) {
    for (Layer& layer : m_layers)
        layer = Layer();
    loadLayer(model, index, control);
}

void Transformer::embedTokens(std::span<const std::int32_t> ids, float* x) {
    const auto tokens = static_cast<std::int64_t>(ids.size());
    reserve(tokens);
    embed(ids, 0);
    m_backend.download(x, buffer(m_x),
                       static_cast<std::size_t>(tokens * m_config.hiddenSize) * sizeof(float));
}

const float* Transformer::onHost(const float* x, std::int64_t count) {
    if (m_backend.sharesMemory())
        return x;
    m_read.resize(static_cast<std::size_t>(count));
    m_backend.download(m_read.data(), x, m_read.size() * sizeof(float));
    return m_read.data();
}

const float* Transformer::inputFor(const float* x, std::int64_t count) {
    return m_inputsStay ? x : onHost(x, count);
}

void Transformer::startHalf(const float* x, std::int64_t tokens) {
    reserve(tokens);
    if (m_config.rotary)
        extendRope(tokens);
    if (!m_sequenceCache || m_sequenceCache->capacity() < tokens) {
        ModelConfig one = m_config;
        one.layers.resize(1);
        m_sequenceCache = std::make_unique<KvCache>(one, tokens, kernels::KvType::F16, m_backend);
    }
    m_sequenceCache->truncate(0);
    m_backend.upload(buffer(m_x), x,
                     static_cast<std::size_t>(tokens * m_config.hiddenSize) * sizeof(float));
}

const float* Transformer::halfInput(std::int64_t layer, Half half, const float* x,
                                    std::int64_t tokens) {
    enterLayer(m_backend, layer, m_config.layerCount());
    startHalf(x, tokens);
    const Layer& l = m_layers[static_cast<std::size_t>(layer)];
    normalize(half == Half::Attention ? l.attnNorm : l.ffnNorm, buffer(m_x), tokens,
              m_config.hiddenSize, buffer(m_normed));
    return inputFor(buffer(m_normed), tokens * m_config.hiddenSize);
}

const float* Transformer::halfInner(std::int64_t layer, Half half, const float* x,
                                    std::int64_t tokens) {
    const std::int64_t width =
        half == Half::FeedForward ? m_config.feedForwardSize : m_config.heads * m_config.headDim;
    return inputFor(innerOf(layer, half, x, tokens), tokens * width);
}

float* Transformer::innerOf(std::int64_t layer, Half half, const float* x, std::int64_t tokens) {
    enterLayer(m_backend, layer, m_config.layerCount());
    startHalf(x, tokens);
    Layer& l = m_layers[static_cast<std::size_t>(layer)];
    if (half == Half::FeedForward)
        return expand(l, tokens);
    attend(l, layer, tokens, *m_sequenceCache, 0);
    return buffer(m_attn);
}

void Transformer::runHalf(std::int64_t layer, Half half, float* x, std::int64_t tokens) {
    leaveHalf(layer, half, innerOf(layer, half, x, tokens), x, tokens);
}

void Transformer::finishHalf(std::int64_t layer, Half half, const float* inner, float* x,
                             std::int64_t tokens) {
    enterLayer(m_backend, layer, m_config.layerCount());
    startHalf(x, tokens);
    const bool attention = half == Half::Attention;
    float* to = buffer(attention ? m_attn : m_gate);
    const std::int64_t width =
        attention ? m_config.heads * m_config.headDim : m_config.feedForwardSize;
    m_backend.upload(to, inner, static_cast<std::size_t>(tokens * width) * sizeof(float));
    leaveHalf(layer, half, to, x, tokens);
}

void Transformer::leaveHalf(std::int64_t layer, Half half, const float* inner, float* x,
                            std::int64_t tokens) {
    Layer& l = m_layers[static_cast<std::size_t>(layer)];
    if (half == Half::Attention)
        attentionOutput(l, tokens);
    else
        contract(l, inner, tokens);
    m_backend.download(x, buffer(m_x),
                       static_cast<std::size_t>(tokens * m_config.hiddenSize) * sizeof(float));
}

const float* Transformer::finalInput(const float* x, std::int64_t tokens) {
    enterLayer(m_backend, m_config.layerCount(), m_config.layerCount());
    startHalf(x, tokens);
    normalize(m_finalNorm, buffer(m_x), tokens, m_config.hiddenSize, buffer(m_normed));
    return inputFor(buffer(m_normed), tokens * m_config.hiddenSize);
}

void Transformer::writeLogits(const float* hidden, std::int64_t rows, float* out) {
    linear(hidden, rows, m_config.hiddenSize, {{&m_head, out}});
    if (m_config.finalSoftcap > 0)
        m_backend.softcap(out, m_config.finalSoftcap, rows * m_config.vocabularySize);
}

Transformer::Linear& Transformer::linearNamed(const std::string& name) {
    const std::int64_t layers = m_config.layerCount();
    if (m_head.name == name && m_head.weight) {
        enterLayer(m_backend, layers, layers);
        return m_head;
    }
    for (std::int64_t i = 0; i < layers; ++i) {
        Layer& layer = m_layers[static_cast<std::size_t>(i)];
        for (Linear* linear :
             {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down})
            if (linear->name == name && linear->weight) {
                enterLayer(m_backend, i, layers);
                return *linear;
            }
    }
    throw EngineError(ErrorKind::Usage, "the model has no linear weight " + name);
}

void Transformer::replaceLinear(const std::string& name, const Weight& weight) {
    Linear& linear = linearNamed(name);
    if (weight.shape() != Shape{linear.weight->rows(), linear.weight->cols()})
        throw EngineError(ErrorKind::Internal, name + " is replaced by a weight of another shape");
    setWeight(linear, weight);
}

void Transformer::refreshLinear(const Model& model, const std::string& name) {
    Linear& linear = linearNamed(name);
    const std::int64_t rows = linear.weight->rows(), cols = linear.weight->cols();
    linear = loadLinear(model, name.substr(0, name.rfind('.')), rows, cols, nullptr);
}

const float* Transformer::deviceLogits(std::int64_t first, std::int64_t count) {
    const auto bytes = static_cast<std::size_t>(count * m_config.vocabularySize) * sizeof(float);
    if (!m_logits || m_logits->bytes() < bytes)
        m_logits = m_backend.allocate(bytes);
    writeLogits(buffer(m_hidden) + first * m_config.hiddenSize, count, buffer(m_logits));
    return buffer(m_logits);
}

void Transformer::logits(std::int64_t first, std::int64_t count, float* out) {
    if (m_backend.sharesMemory())
        return writeLogits(buffer(m_hidden) + first * m_config.hiddenSize, count, out);
    m_backend.download(out, deviceLogits(first, count),
                       static_cast<std::size_t>(count * m_config.vocabularySize) * sizeof(float));
}

void Transformer::headLogits(const float* x, std::int64_t rows, float* out) {
    if (m_backend.sharesMemory())
        return writeLogits(x, rows, out);
    reserve(rows);
    const auto row = static_cast<std::size_t>(rows) * sizeof(float);
    m_backend.upload(buffer(m_normed), x, row * static_cast<std::size_t>(m_config.hiddenSize));
    const auto logits = m_backend.allocate(row * static_cast<std::size_t>(m_config.vocabularySize));
    writeLogits(buffer(m_normed), rows, buffer(logits));
    m_backend.download(out, buffer(logits),
                       row * static_cast<std::size_t>(m_config.vocabularySize));
}

const float* Transformer::lastLogits() {
    m_lastLogits.resize(static_cast<std::size_t>(m_config.vocabularySize));
    logits(m_hiddenRows - 1, 1, m_lastLogits.data());
    return m_lastLogits.data();
}

void Transformer::likeliest(std::int64_t first, std::int64_t count, std::int64_t* ids) {
    const std::int64_t width = m_config.hiddenSize;
    const LinearTarget head = {m_head.weight.get(), nullptr, m_config.vocabularySize,
                               m_head.bias ? buffer(m_head.bias) : nullptr, false};
    // Observers and low-rank parts are linear()'s.
    if (!m_observer && !m_head.lowRankIn &&
        m_backend.argmaxOfLinear(buffer(m_hidden) + first * width, count, width, width, head,
                                 m_config.finalSoftcap, ids))
        return;
    std::vector<kernels::RowSummary> rows(static_cast<std::size_t>(count));
    m_backend.summarizeLogits(deviceLogits(first, count), count, m_config.vocabularySize,
                              rows.data());
    std::transform(rows.begin(), rows.end(), ids,
                   [](const kernels::RowSummary& row) { return row.argmax; });
}

std::int32_t Transformer::likeliestLast() {
    std::int64_t id = 0;
    likeliest(m_hiddenRows - 1, 1, &id);
    return static_cast<std::int32_t>(id);
}

std::optional<std::int32_t> Transformer::drawLast(const kernels::cuda::SamplingRule& rule,
                                                  float random) {
    auto* const sampler = dynamic_cast<TokenSampler*>(&m_backend);
    if (!sampler)
        return std::nullopt;
    return sampler->drawToken(deviceLogits(m_hiddenRows - 1, 1), m_config.vocabularySize, rule,
                              random);
}

std::uint64_t Transformer::weightBytes() const {
    const auto bytesOf = [](const std::unique_ptr<DeviceBuffer>& buffer) {
        return buffer ? buffer->bytes() : 0;
    };
    const auto bytesOfLinear = [&](const Linear& linear) {
        std::uint64_t bytes = bytesOf(linear.bias);
        for (const DeviceWeight* part :
             {linear.weight.get(), linear.lowRankIn.get(), linear.lowRankOut.get()})
            bytes += part ? part->bytes() : 0;
        return bytes;
    };
    std::uint64_t sum = bytesOfLinear(m_head) + bytesOf(m_finalNorm.weight);
    for (const Layer& layer : m_layers) {
        for (const Linear* linear :
             {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down})
            sum += bytesOfLinear(*linear);
        for (const Norm* norm : {&layer.attnNorm, &layer.qNorm, &layer.kNorm, &layer.postAttnNorm,
                                 &layer.ffnNorm, &layer.postFfnNorm})
            sum += bytesOf(norm->weight) + bytesOf(norm->bias);
    }
    return sum;
}

bool Transformer::native() const {
    if (m_twoFour || (m_head.weight && !m_head.weight->native()))
        return false;
    return std::all_of(m_layers.begin(), m_layers.end(), [](const Layer& layer) {
        for (const Linear* linear :
             {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down})
            if (linear->weight && !linear->weight->native())
                return false;
        return true;
    });
}

}  // namespace fettle
