#include "engine/quant/rotation.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "engine/core/error.h"
#include "engine/core/random.h"

namespace fettle {

namespace {

constexpr std::int64_t kPiece = 64;  // of the innermost dimension, per turn of a thread

/// Rows of a random orthogonal matrix: normal numbers made orthogonal one after the other (Gram &
/// Schmidt, twice, in double).
std::vector<float> randomOrthogonal(std::int64_t n, const Philox& random) {
    std::vector<double> m(static_cast<std::size_t>(n * n));
    for (std::size_t i = 0; i < m.size(); ++i)
        m[i] = std::sqrt(-2 * std::log1p(-random.uniformAt(2 * i))) *
               std::cos(2 * std::numbers::pi * random.uniformAt(2 * i + 1));
    for (std::int64_t i = 0; i < n; ++i) {
        double* row = m.data() + i * n;
        for (int pass = 0; pass < 2; ++pass)
            for (std::int64_t j = 0; j < i; ++j) {
                const double* other = m.data() + j * n;
                double dot = 0;
                for (std::int64_t k = 0; k < n; ++k)
                    dot += row[k] * other[k];
                for (std::int64_t k = 0; k < n; ++k)
                    row[k] -= dot * other[k];
            }
        double length = 0;
        for (std::int64_t k = 0; k < n; ++k)
            length += row[k] * row[k];
        for (std::int64_t k = 0; k < n; ++k)
            row[k] /= std::sqrt(length);
    }
    return {m.begin(), m.end()};
}

Weight asWeight(const std::vector<float>& values, const Shape& shape, DType type) {
    Tensor tensor = Tensor::allocate(type, shape);
    for (std::size_t i = 0; i < values.size(); ++i)
        if (type == DType::F32)
            tensor.mutableAs<float>()[i] = values[i];
        else
            tensor.mutableAs<std::uint16_t>()[i] = type == DType::F16
                                                       ? kernels::floatToHalf(values[i])
                                                       : kernels::floatToBfloat16(values[i]);
    return Weight(std::move(tensor));
}

}  // namespace

Rotation::Rotation(std::int64_t size, std::uint64_t seed)
    : m_size(size), m_hadamard(size & -size), m_signs(static_cast<std::size_t>(size)) {
    const Philox random(seed, 0x507A);
    for (std::size_t i = 0; i < m_signs.size(); ++i)
        m_signs[i] = random.uniformAt(i) < 0.5 ? -1.0f : 1.0f;
    if (m_hadamard < size)
        m_mix = randomOrthogonal(size / m_hadamard, Philox(seed, 0x507B));
}

void Rotation::applyTo(float* block, std::int64_t inner, std::int64_t begin, std::int64_t end,
                       std::vector<float>& scratch) const {
    const auto row = [&](std::int64_t i) { return block + i * inner; };
    const float scale = 1.0f / std::sqrt(static_cast<float>(m_hadamard));
    for (std::int64_t i = 0; i < m_size; ++i) {
        const float factor = m_signs[static_cast<std::size_t>(i)] * scale;
        for (std::int64_t k = begin; k < end; ++k)
            row(i)[k] *= factor;
    }
    for (std::int64_t half = 1; half < m_hadamard; half *= 2)
        for (std::int64_t first = 0; first < m_size; first += 2 * half)
            for (std::int64_t i = first; i < first + half; ++i) {
                float* a = row(i);
                float* b = row(i + half);
                for (std::int64_t k = begin; k < end; ++k) {
                    const float sum = a[k] + b[k];
                    b[k] = a[k] - b[k];
                    a[k] = sum;
                }
            }
    if (m_mix.empty())
        return;
    const std::int64_t blocks = m_size / m_hadamard, width = end - begin;
    scratch.resize(static_cast<std::size_t>(blocks * width));
    for (std::int64_t h = 0; h < m_hadamard; ++h) {
        std::fill(scratch.begin(), scratch.end(), 0.0f);
        for (std::int64_t from = 0; from < blocks; ++from)
            for (std::int64_t to = 0; to < blocks; ++to) {
                const float factor = m_mix[static_cast<std::size_t>(from * blocks + to)];
                const float* x = row(from * m_hadamard + h) + begin;
                for (std::int64_t k = 0; k < width; ++k)
                    scratch[static_cast<std::size_t>(to * width + k)] += factor * x[k];
            }
        for (std::int64_t to = 0; to < blocks; ++to)
            std::copy_n(scratch.begin() + static_cast<std::ptrdiff_t>(to * width), width,
                        row(to * m_hadamard + h) + begin);
    }
}

void Rotation::apply(float* data, std::int64_t outer, std::int64_t inner,
                     kernels::WorkerPool& pool) const {
    const std::int64_t pieces = (inner + kPiece - 1) / kPiece;
    pool.parallelFor(outer * pieces, 4, [&](std::int64_t begin, std::int64_t end, int /*thread*/) {
        std::vector<float> scratch;
        for (std::int64_t i = begin; i < end; ++i) {
            const std::int64_t first = i % pieces * kPiece;
            applyTo(data + i / pieces * m_size * inner, inner, first,
                    std::min(inner, first + kPiece), scratch);
        }
    });
}

std::string rotationRefusal(const Model& model) {
    const ModelConfig& c = model.config;
    if (c.norm != NormKind::Rms)
        return "its norms subtract the mean (LayerNorm), which a rotation of the stream does not "
               "leave alone";
    if (c.postNorms)
        return "it has norms between its layers' outputs and the stream, through which no rotation "
               "can be folded";
    if (c.learnedPositions)
        return "its learned positions are added to the stream";
    if (!model.has("lm_head.weight"))
        return "its head shares its weights with the embedding, and takes the final norm's weights "
               "where the embedding does not; with quantize_head the head gets weights of its own";
    for (const std::string& name : linearWeightNames(c))
        if (model.weight(name).isQuantized())
            return name + " is quantized already";
    if (model.weight("embed.weight").isQuantized())
        return "its embedding is quantized";
    return "";
}

ModelRotation::ModelRotation(const Model& model, std::uint64_t seed, kernels::WorkerPool& pool)
    : m_pool(pool),
      m_stream(model.config.hiddenSize, seed),
      m_head(model.config.headDim, seed + 1) {
    if (const std::string refusal = rotationRefusal(model); !refusal.empty())
        throw EngineError(ErrorKind::Usage, "this model cannot be rotated: " + refusal);
}

/// The norm's multipliers; the norm is left with ones.
std::vector<float> ModelRotation::takeNorm(Model& model, const std::string& name) const {
    const float offset = model.config.normOffset;
    std::vector<float> values = model.weight(name + ".weight").toFloat();
    for (float& value : values)
        value += offset;
    const Shape shape = model.weight(name + ".weight").shape();
    model.weights[name + ".weight"] =
        asWeight(std::vector<float>(values.size(), 1 - offset), shape, DType::F32);
    return values;
}

void ModelRotation::readsStream(Model& model, const std::string& name,
                                const std::vector<float>& norm, bool keepType) const {
    const Weight weight = model.weight(name);
    std::vector<float> values = weight.toFloat();
    for (std::size_t i = 0; i < values.size() && !norm.empty(); ++i)
        values[i] *= norm[i % norm.size()];
    m_stream.apply(values.data(), weight.shape().at(0), 1, m_pool);
    weight.dropPages();
    model.weights[name] =
        asWeight(values, weight.shape(), keepType ? weight.dense().dtype() : DType::F32);
}

void ModelRotation::writesStream(Model& model, const std::string& module) const {
    const Weight weight = model.weight(module + ".weight");
    std::vector<float> values = weight.toFloat();
    m_stream.apply(values.data(), 1, weight.shape().at(1), m_pool);
    weight.dropPages();
    model.weights[module + ".weight"] = asWeight(values, weight.shape(), DType::F32);
    if (!model.has(module + ".bias"))
        return;
    std::vector<float> bias = model.weight(module + ".bias").toFloat();
    m_stream.apply(bias.data(), 1, 1, m_pool);
    model.weights[module + ".bias"] =
        asWeight(bias, {static_cast<std::int64_t>(bias.size())}, DType::F32);
}

/// Rows of v and columns of o, head by head: attention mixes values of one element only.
void ModelRotation::rotateValues(Model& model, const std::string& layer) const {
    const ModelConfig& c = model.config;
    const Weight v = model.weight(layer + "attn.v.weight"),
                 o = model.weight(layer + "attn.o.weight");
    std::vector<float> rows = v.toFloat(), columns = o.toFloat();
    m_head.apply(rows.data(), c.kvHeads, v.shape().at(1), m_pool);
    m_head.apply(columns.data(), o.shape().at(0) * c.heads, 1, m_pool);
    model.weights[layer + "attn.v.weight"] = asWeight(rows, v.shape(), DType::F32);
    model.weights[layer + "attn.o.weight"] = asWeight(columns, o.shape(), DType::F32);
    if (!model.has(layer + "attn.v.bias"))
        return;
    std::vector<float> bias = model.weight(layer + "attn.v.bias").toFloat();
    m_head.apply(bias.data(), c.kvHeads, 1, m_pool);
    model.weights[layer + "attn.v.bias"] =
        asWeight(bias, {static_cast<std::int64_t>(bias.size())}, DType::F32);
}

void ModelRotation::rotateEnds(Model& model) const {
    readsStream(model, "embed.weight", {}, true);
    readsStream(model, "lm_head.weight", takeNorm(model, "final_norm"), true);
}

void ModelRotation::rotateLayer(Model& model, std::int64_t index) const {
    const std::string layer = "layers." + std::to_string(index) + ".";
    const std::vector<float> attention = takeNorm(model, layer + "attn_norm");
    for (const char* name : {"attn.q.weight", "attn.k.weight", "attn.v.weight"})
        readsStream(model, layer + name, attention, false);
    rotateValues(model, layer);
    writesStream(model, layer + "attn.o");
    const std::vector<float> feedForward = takeNorm(model, layer + "ffn_norm");
    for (const char* name : {"ffn.gate.weight", "ffn.up.weight"})
        if (model.has(layer + name))
            readsStream(model, layer + name, feedForward, false);
    writesStream(model, layer + "ffn.down");
}

}  // namespace fettle
