#include "engine/technique/ptq_layers.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/quant/gptq.h"
#include "engine/quant/rtn.h"
#include "kernels/ops/matmul.h"

namespace fettle {

namespace {

using Half = Transformer::Half;

constexpr std::int64_t kSampleRows = 256;  // tokens that candidates of input scales are judged by

/// Quality of a quantized weight; sums are over outputs on the calibration text.
struct OutputError {
    double weightError = 0, weightSignal = 0;
    double error = 0, signal = 0, cross = 0;
};

OutputError outputError(const std::vector<float>& w, const std::vector<float>& quantized,
                        const InputStatistics& statistics, kernels::WorkerPool& pool) {
    const std::int64_t cols = statistics.cols;
    const auto rows = static_cast<std::int64_t>(w.size()) / cols;
    kernels::WeightView view;
    view.rows = view.cols = cols;
    view.data = statistics.gram.data();
    const kernels::PackedWeight gram = kernels::PackedWeight::pack(view, pool);
    std::vector<float> difference(w.size()), product(w.size());
    for (std::size_t i = 0; i < w.size(); ++i)
        difference[i] = w[i] - quantized[i];
    kernels::Activations x;
    OutputError sums;
    x.assign(w.data(), rows, cols, cols);
    kernels::matmul(gram, x, product.data(), cols, nullptr, false, pool);
    for (std::size_t i = 0; i < w.size(); ++i) {
        sums.signal += static_cast<double>(w[i]) * product[i];
        sums.cross += static_cast<double>(quantized[i]) * product[i];
        sums.weightError += static_cast<double>(difference[i]) * difference[i];
        sums.weightSignal += static_cast<double>(w[i]) * w[i];
    }
    x.assign(difference.data(), rows, cols, cols);
    kernels::matmul(gram, x, product.data(), cols, nullptr, false, pool);
    for (std::size_t i = 0; i < w.size(); ++i)
        sums.error += static_cast<double>(difference[i]) * product[i];
    return sums;
}

class Layerwise {
public:
    Layerwise(Model& model, const CalibrationText& text, const LayerwiseOptions& options,
              TechniqueContext& context)
        : m_model(model),
          m_options(options),
          m_context(context),
          m_transformer(model, context.backend, Transformer::LayerByLayer{}),
          m_stream(m_transformer, text, context.pool, context.control) {}

    std::size_t run() {
        const std::int64_t layers = m_model.config.layerCount();
        for (std::int64_t i = 0; i < layers; ++i) {
            m_layer = i;
            for (const Half half : {Half::Attention, Half::FeedForward}) {
                m_context.control.progress(
                    (static_cast<double>(i) + (half == Half::FeedForward ? 0.4 : 0)) /
                        static_cast<double>(layers),
                    "layer " + std::to_string(i + 1) + " of " + std::to_string(layers));
                quantizeHalf(half);
            }
        }
        if (wanted({"lm_head.weight"}).empty())
            return m_quantized;
        quantize({"lm_head.weight"}, m_stream.collectFinal(true, 0));
        return m_quantized;
    }

private:
    std::string name(const char* rest) const {
        return "layers." + std::to_string(m_layer) + "." + rest;
    }
    void prepare() { m_transformer.prepareLayer(m_model, m_layer, &m_context.control); }

    std::vector<std::string> inputs(Half half) const {
        if (half == Half::Attention)
            return {name("attn.q.weight"), name("attn.k.weight"), name("attn.v.weight")};
        if (m_model.config.feedForward == FeedForwardKind::GeluTanh)
            return {name("ffn.up.weight")};
        return {name("ffn.gate.weight"), name("ffn.up.weight")};
    }
    std::string output(Half half) const {
        return name(half == Half::Attention ? "attn.o.weight" : "ffn.down.weight");
    }
    std::vector<std::string> wanted(const std::vector<std::string>& names) const {
        std::vector<std::string> chosen;
        for (const std::string& each : names)
            if (m_options.schemeOf(each))
                chosen.push_back(each);
        return chosen;
    }

    void quantizeHalf(Half half) {
        if (m_options.scaling) {
            prepare();
            scaleOutput(half);
            scaleInputs(half);
        }
        prepare();
        const std::vector<std::string> first = wanted(inputs(half)), last = wanted({output(half)});
        if (!first.empty()) {
            quantize(first, m_stream.collect(m_layer, half, false, true, 0));
            prepare();
        }
        if (!last.empty()) {
            quantize(last, m_stream.collect(m_layer, half, true, true, 0));
            prepare();
        }
        m_stream.advance(m_layer, half);
    }

    InputScales search(const std::vector<std::string>& consumers, const InputStatistics& statistics,
                       std::vector<std::int64_t> classes) {
        std::vector<Weight> weights;
        weights.reserve(consumers.size());
        for (const std::string& each : consumers)
            weights.push_back(m_model.weight(each));
        InputScaleOptions options;
        options.scaling = *m_options.scaling;
        options.scheme = *m_options.schemeOf(consumers.front());
        options.scaleType = m_options.scaleType;
        options.classes = std::move(classes);
        return searchInputScales(weights, statistics, options, m_context.backend, m_context.pool,
                                 m_context.control);
    }

    /// Inputs of o are sums of values: their scales go into the rows of v, one for all query heads
    /// of a value head. Inputs of down are products with up, whose rows take them; without a gate
    /// there is a bend between and nothing can take them.
    void scaleOutput(Half half) {
        const ModelConfig& c = m_model.config;
        const std::string producer =
            name(half == Half::Attention ? "attn.v.weight" : "ffn.up.weight");
        if (wanted({output(half), producer}).size() != 2 ||
            (half == Half::FeedForward && c.feedForward == FeedForwardKind::GeluTanh))
            return;
        std::vector<std::int64_t> classes;
        if (half == Half::Attention)
            for (std::int64_t j = 0; j < c.heads * c.headDim; ++j)
                classes.push_back(j / c.headDim / (c.heads / c.kvHeads) * c.headDim +
                                  j % c.headDim);
        const InputScales found = search(
            {output(half)}, m_stream.collect(m_layer, half, true, false, kSampleRows), classes);
        if (found.scales.empty())
            return;
        scaleColumns(m_model, output(half), found.scales);
        std::vector<float> rows = found.scales;
        if (half == Half::Attention) {
            rows.resize(static_cast<std::size_t>(c.kvHeads * c.headDim));
            for (std::size_t j = 0; j < classes.size(); ++j)
                rows[static_cast<std::size_t>(classes[j])] = found.scales[j];
        }
        divideRows(m_model, producer, rows);
    }

    void scaleInputs(Half half) {
        const std::vector<std::string> consumers = inputs(half);
        if (wanted(consumers).size() != consumers.size())
            return;  // what stays as it is would have to change with the norm
        const InputScales found =
            search(consumers, m_stream.collect(m_layer, half, false, false, kSampleRows), {});
        if (found.scales.empty())
            return;
        for (const std::string& each : consumers)
            scaleColumns(m_model, each, found.scales);
        divideNorm(m_model, name(half == Half::Attention ? "attn_norm" : "ffn_norm"), found.scales);
    }

    void quantize(const std::vector<std::string>& names, const InputStatistics& statistics) {
        std::optional<GptqFactor> factor;
        if (m_options.gptq) {
            factor = factorInputs(statistics.gram, statistics.cols, m_options.damping,
                                  m_options.activationOrder, m_context.pool, m_context.control);
            if (!factor->usable)
                m_context.control.warn(
                    names.front() +
                    ": the inputs seen in calibration do not determine GPTQ's updates; it and what "
                    "shares them are rounded to nearest. More calibration tokens help");
        }
        const float globalScale = globalScaleOf(names);
        for (const std::string& each : names)
            quantizeOne(each, statistics, factor && factor->usable ? &*factor : nullptr,
                        globalScale);
    }

    /// What the NVFP4 weights among `names`, which runtimes multiply as one, scale their scales by.
    float globalScaleOf(const std::vector<std::string>& names) {
        std::vector<const Weight*> weights;
        for (const std::string& each : names)
            if (m_options.schemeOf(each)->format == kernels::WeightFormat::NvFp4)
                weights.push_back(&m_model.weight(each));
        return weights.empty() ? 1.0f : sharedGlobalScale(weights, m_context.pool);
    }

    void quantizeOne(const std::string& each, const InputStatistics& statistics,
                     const GptqFactor* factor, float globalScale) {
        const Weight weight = m_model.weight(each);
        const QuantScheme scheme = *m_options.schemeOf(each);
        const std::vector<float> before = weight.toFloat();
        QuantizedTensor tensor;
        if (factor) {
            GptqOptions options;
            options.scheme = scheme;
            options.search = m_options.search;
            options.scaleType = m_options.scaleType;
            options.globalScale = globalScale;
            tensor = quantizeGptq(each, weight, *factor, statistics.meanSquare, options,
                                  m_context.pool, m_context.control)
                         .tensor;
        } else {
            RtnOptions options;
            options.scheme = scheme;
            options.search = m_options.search;
            options.scaleType = m_options.scaleType;
            options.inputPower = &statistics.meanSquare;
            options.globalScale = globalScale;
            NullProgress quiet;
            RunControl control = m_context.control.nested(quiet);
            tensor = quantizeRtn(each, weight, options, m_context.pool, control).tensor;
        }
        weight.dropPages();
        if (scheme.activations == ActivationFormat::NvFp4)
            tensor.inputGlobalScale = kernels::nvFp4GlobalScale(
                *std::max_element(statistics.maximum.begin(), statistics.maximum.end()));
        if (m_context.unquantized)
            (*m_context.unquantized)[each] = weight;
        m_model.weights[each] = Weight(std::move(tensor));
        report(each, before, statistics, scheme);
        ++m_quantized;
    }

    void report(const std::string& each, const std::vector<float>& before,
                const InputStatistics& statistics, const QuantScheme& scheme) {
        const OutputError e =
            outputError(before, m_model.weight(each).toFloat(), statistics, m_context.pool);
        const double quantizedSignal = e.error - e.signal + 2 * e.cross;
        const int layer = layerOf(each);
        const auto add = [&](const char* metric, double value) {
            m_context.layerMetrics.push_back({layer, each, metric, value});
        };
        add("sqnr_db", e.weightError > 0 ? 10 * std::log10(e.weightSignal / e.weightError) : 200);
        add("mse", e.weightError / static_cast<double>(before.size()));
        add("relative_output_error",
            e.signal > 0 ? std::sqrt(std::max(0.0, e.error) / e.signal) : 0);
        add("output_cosine", e.signal > 0 && quantizedSignal > 0
                                 ? e.cross / std::sqrt(e.signal * quantizedSignal)
                                 : 1);
        add("bits", scheme.bitsPerWeight(statistics.cols));
    }

    Model& m_model;
    const LayerwiseOptions& m_options;
    TechniqueContext& m_context;
    Transformer m_transformer;
    CalibrationStream m_stream;
    std::int64_t m_layer = 0;
    std::size_t m_quantized = 0;
};

}  // namespace

std::size_t quantizeLayerwise(Model& model, const CalibrationText& text,
                              const LayerwiseOptions& options, TechniqueContext& context) {
    return Layerwise(model, text, options, context).run();
}

}  // namespace fettle
