// Fake quantization in a Network: which numbers the passes multiply with, and what the gradients of
// those say about the values that are trained.
#include <algorithm>

#include "engine/core/error.h"
#include "engine/train/network.h"
#include "kernels/ops/bfloat16.h"

namespace fettle {

namespace {

constexpr std::int64_t kGrain = 16384;

void roundHalf(DType type, const float* values, std::int64_t count, float* out,
               kernels::WorkerPool& pool) {
    if (type == DType::BF16)
        return kernels::roundToBfloat16(values, count, out, nullptr, pool);
    pool.parallelFor(count, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t i = begin; i < end; ++i)
            out[i] = kernels::halfToFloat(kernels::floatToHalf(values[i]));
    });
}

}  // namespace

void Network::quantize(const Model& model, const std::map<std::string, Weight>& unquantized,
                       const FakeQuantOptions& options) {
    if (quantized())
        throw EngineError(ErrorKind::Internal, "the network is quantized already");
    const std::size_t weights = m_parameters.size();
    for (std::size_t i = 0; i < weights; ++i) {
        const TrainParameter p = m_parameters[i];
        if (!model.has(p.name))
            continue;  // helps training only
        const Weight& weight = model.weight(p.name);
        if (!weight.isQuantized()) {
            const DType type = weight.dense().dtype();
            if (type == DType::F16 || type == DType::BF16)
                m_halves.push_back({i, type});
            continue;
        }
        QuantizedParameter q{i, -1, FakeQuantizer(p.name, weight.quantized(), options.scales)};
        const auto before = unquantized.find(p.name);
        if (before != unquantized.end()) {
            const std::vector<float> values = before->second.toFloat();
            if (static_cast<std::int64_t>(values.size()) != p.count())
                throw EngineError(ErrorKind::Internal, p.name + ": what was quantized has " +
                                                           std::to_string(values.size()) +
                                                           " values");
            std::copy(values.begin(), values.end(), m_values.begin() + p.offset);
            before->second.dropPages();
        }
        q.quantizer.keepCodes(m_values.data() + p.offset, m_pool);
        if (q.quantizer.learning() != ScaleLearning::None) {
            q.scales = static_cast<Offset>(m_values.size());
            m_index[p.name + ".scale"] = m_parameters.size();
            m_parameters.push_back({p.name + ".scale", q.scales, p.rows, q.quantizer.groups(),
                                    false, options.scaleRate});
            m_values.resize(m_values.size() +
                            static_cast<std::size_t>(p.rows * q.quantizer.groups()));
        }
        m_quantizers.push_back(std::move(q));
    }
    if (m_quantizers.empty())
        throw EngineError(ErrorKind::Usage, model.path + ": no weight of the model is quantized");
    m_grads.reset(0);
    m_deployed.resize(m_values.size());
    findPlain();
    m_stale = true;
    findInputs();
}

void Network::findPlain() {
    std::vector<std::pair<Offset, Offset>> taken;
    const auto take = [&](std::size_t parameter) {
        const TrainParameter& p = m_parameters[parameter];
        taken.emplace_back(p.offset, p.offset + p.count());
    };
    for (const QuantizedParameter& q : m_quantizers)
        take(q.parameter);
    for (const HalfParameter& half : m_halves)
        take(half.parameter);
    std::sort(taken.begin(), taken.end());
    taken.emplace_back(static_cast<Offset>(m_values.size()), 0);
    Offset from = 0;
    for (const auto& [begin, end] : taken) {
        if (begin > from)
            m_plain.emplace_back(from, begin);
        from = end;
    }
}

void Network::findInputs() {
    const auto add = [&](Offset first, std::int64_t rows, std::int64_t cols) {
        std::vector<LinearPart> parts;
        for (const TrainParameter& p : m_parameters) {
            if (p.offset < first || p.offset >= first + rows * cols)
                continue;
            const auto found = std::find_if(m_quantizers.begin(), m_quantizers.end(),
                                            [&](const QuantizedParameter& q) {
                                                return m_parameters[q.parameter].offset == p.offset;
                                            });
            const kernels::ActivationRounding rounding = found == m_quantizers.end()
                                                             ? kernels::ActivationRounding{}
                                                             : found->quantizer.activations();
            if (parts.empty() || !(parts.back().rounding == rounding))
                parts.push_back({(p.offset - first) / cols, p.rows, rounding});
            else
                parts.back().rows += p.rows;
        }
        m_parts[first] = std::move(parts);
    };
    const std::int64_t width = m_config.hiddenSize;
    for (const Layer& layer : m_layers) {
        add(layer.qkv, m_qSize + 2 * m_kvSize, width);
        add(layer.o, width, m_qSize);
        add(layer.gateUp, m_gateUpSize, width);
        add(layer.down, width, m_config.feedForwardSize);
    }
    add(m_head, m_config.vocabularySize, width);
}

void Network::deploy() {
    if (!quantized() || !m_stale)
        return;
    for (const auto& [begin, end] : m_plain)
        std::copy(m_values.begin() + begin, m_values.begin() + end, m_deployed.begin() + begin);
    for (const HalfParameter& half : m_halves) {
        const TrainParameter& p = m_parameters[half.parameter];
        roundHalf(half.type, m_values.data() + p.offset, p.count(), m_deployed.data() + p.offset,
                  m_pool);
    }
    for (QuantizedParameter& q : m_quantizers) {
        const Offset at = m_parameters[q.parameter].offset;
        q.quantizer.quantize(m_values.data() + at, scalesOf(q), m_deployed.data() + at, m_pool);
    }
    m_stale = false;
}

void Network::finishGradients() {
    deploy();
    for (QuantizedParameter& q : m_quantizers) {
        const Offset at = m_parameters[q.parameter].offset;
        q.quantizer.backward(m_values.data() + at, m_grads.data() + at,
                             scalesOf(q) ? m_grads.data() + q.scales : nullptr, m_pool);
    }
}

std::vector<Network::QuantizedReport> Network::quantizedReports() {
    deploy();
    std::vector<QuantizedReport> reports;
    for (const QuantizedParameter& q : m_quantizers) {
        const TrainParameter& p = m_parameters[q.parameter];
        const float* values = m_values.data() + p.offset;
        const float* used = m_deployed.data() + p.offset;
        QuantizedReport report;
        report.name = p.name;
        report.drift = q.quantizer.drift(values, scalesOf(q), m_pool);
        for (std::int64_t i = 0; i < p.count(); ++i) {
            const double error = static_cast<double>(values[i]) - used[i];
            report.error += error * error;
            report.signal += static_cast<double>(values[i]) * values[i];
        }
        reports.push_back(report);
    }
    return reports;
}

const float* Network::multiplied(const kernels::ActivationRounding& rounding, const float* x,
                                 std::int64_t rows, std::int64_t cols, float* room) {
    if (rounding.none())
        return x;
    if (!room) {
        if (static_cast<std::int64_t>(m_rounded.size()) < rows * cols)
            m_rounded.resize(static_cast<std::size_t>(rows * cols));
        room = m_rounded.data();
    }
    kernels::fakeQuantActivations(rounding, x, cols, rows, cols, room, m_pool);
    return room;
}

}  // namespace fettle
