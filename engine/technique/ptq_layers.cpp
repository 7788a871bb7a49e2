#include "engine/technique/ptq_layers.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <numeric>

#include "engine/experiment/measurement.h"
#include "engine/quant/gptq.h"
#include "engine/quant/low_rank.h"
#include "engine/quant/rtn.h"
#include "kernels/ops/gemm.h"
#include "kernels/ops/matmul.h"

namespace fettle {

namespace {

using Half = Transformer::Half;

constexpr std::int64_t kSampleRows = 256;  // tokens that candidates of input scales are judged by
// Tokens that the error of a weight's outputs is taken from where there is no gram: all of a short
// calibration text, enough of a longer one.
constexpr std::int64_t kReportRows = 2048;

/// Quality of a quantized weight; sums are over outputs on the calibration text.
struct OutputError {
    double weightError = 0, weightSignal = 0;
    double error = 0, signal = 0, cross = 0;
};

/// Sums over every output of every row of `sample` [rows, cols], scaled to the mean of a token.
OutputError sampleError(const std::vector<float>& w, const std::vector<float>& difference,
                        const InputStatistics& statistics, kernels::WorkerPool& pool) {
    const std::int64_t cols = statistics.cols, tokens = statistics.sampleRows;
    const auto rows = static_cast<std::int64_t>(w.size()) / cols;
    kernels::Activations x;
    x.assign(statistics.sample.data(), tokens, cols, cols);
    const auto outputs = [&](const std::vector<float>& values) {
        kernels::WeightView view;
        view.rows = rows;
        view.cols = cols;
        view.data = values.data();
        std::vector<float> y(static_cast<std::size_t>(tokens * rows));
        kernels::matmul(kernels::PackedWeight::pack(view, pool), x, y.data(), rows, nullptr, false,
                        pool);
        return y;
    };
    const std::vector<float> plain = outputs(w), lost = outputs(difference);
    OutputError sums;
    for (std::size_t i = 0; i < plain.size(); ++i) {
        sums.signal += static_cast<double>(plain[i]) * plain[i];
        sums.error += static_cast<double>(lost[i]) * lost[i];
        sums.cross += (static_cast<double>(plain[i]) - lost[i]) * plain[i];
    }
    const double scale = tokens > 0 ? 1.0 / static_cast<double>(tokens) : 0;
    return {0, 0, sums.error * scale, sums.signal * scale, sums.cross * scale};
}

OutputError gramError(const std::vector<float>& w, const std::vector<float>& difference,
                      const InputStatistics& statistics, kernels::WorkerPool& pool) {
    const std::int64_t cols = statistics.cols;
    const auto rows = static_cast<std::int64_t>(w.size()) / cols;
    std::vector<float> product(w.size());
    kernels::GemmScratch scratch;
    const auto multiply = [&](const std::vector<float>& values) {
        kernels::gemm({kernels::GemmLayout::NN, rows, cols, cols, values.data(), cols,
                       statistics.gram.data(), cols, product.data(), cols},
                      scratch, pool);
    };
    OutputError sums;
    multiply(w);
    for (std::size_t i = 0; i < w.size(); ++i) {
        sums.signal += static_cast<double>(w[i]) * product[i];
        sums.cross += (static_cast<double>(w[i]) - difference[i]) * product[i];
    }
    multiply(difference);
    for (std::size_t i = 0; i < w.size(); ++i)
        sums.error += static_cast<double>(difference[i]) * product[i];
    return sums;
}

/// `quantized` becomes the difference.
OutputError outputError(const std::vector<float>& w, std::vector<float> quantized,
                        const InputStatistics& statistics, kernels::WorkerPool& pool) {
    for (std::size_t i = 0; i < w.size(); ++i)
        quantized[i] = w[i] - quantized[i];
    OutputError sums = statistics.gram.empty() ? sampleError(w, quantized, statistics, pool)
                                               : gramError(w, quantized, statistics, pool);
    for (std::size_t i = 0; i < w.size(); ++i) {
        sums.weightError += static_cast<double>(quantized[i]) * quantized[i];
        sums.weightSignal += static_cast<double>(w[i]) * w[i];
    }
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
          m_stream(m_transformer, text, context.pool, context.control) {
        if (!options.gptq || !options.follow)
            return;
        m_plainTransformer.emplace(model, context.backend, Transformer::LayerByLayer{});
        m_plain.emplace(*m_plainTransformer, text, context.pool, context.control);
    }

    std::size_t run() {
        const std::int64_t layers = m_model.config.layerCount();
        m_start = steadySeconds();
        m_firstLayer = resume();
        for (std::int64_t i = m_firstLayer; i < layers; ++i) {
            m_layer = i;
            const Model before = m_model;
            if (m_options.rotation)
                m_options.rotation->rotateLayer(m_model, i);
            m_plainModel = m_model;
            prepare();
            preparePlain();
            const std::size_t firstMetric = m_context.layerMetrics.size();
            for (const Half half : {Half::Attention, Half::FeedForward}) {
                m_context.control.progress(
                    (static_cast<double>(i) + (half == Half::FeedForward ? 0.4 : 0)) /
                        static_cast<double>(layers),
                    whereabouts(layers));
                quantizeHalf(half);
            }
            if (m_options.checkpoints)
                m_options.checkpoints->save(i, before, m_model, m_context.layerMetrics, firstMetric,
                                            streams());
        }
        if (wanted({"lm_head.weight"}).empty())
            return m_quantized;
        const bool gram = needsGram(m_model.config.hiddenSize);
        const std::vector<std::string> head = {"lm_head.weight"};
        const float range = inputRange(
            head, [&](const CalibrationStream::Visitor& visitor) { m_stream.visitFinal(visitor); });
        quantize(head, m_stream.collectFinal(gram, gram ? 0 : kReportRows, plain()), range);
        return m_quantized;
    }

private:
    /// Puts in place what an earlier run has finished; the first layer that is left.
    std::int64_t resume() {
        LayerCheckpoints* checkpoints = m_options.checkpoints;
        if (!checkpoints || checkpoints->done() == 0)
            return 0;
        checkpoints->restore(m_model, m_context.layerMetrics);
        setStreams(checkpoints->stream());
        for (const auto& [name, weight] : m_model.weights)
            m_quantized += layerOf(name) >= 0 && layerOf(name) < checkpoints->done() &&
                           m_options.schemeOf(name) && weight.isQuantized();
        m_context.control.info("goes on after layer " + std::to_string(checkpoints->done()) +
                               ", which an earlier run has finished");
        return checkpoints->done();
    }

    CalibrationStream* plain() { return m_plain ? &*m_plain : nullptr; }
    /// The stream and, where it is followed, the plain model's behind it.
    std::vector<float> streams() const {
        std::vector<float> all = m_stream.state();
        if (m_plain) {
            const std::vector<float> more = m_plain->state();
            all.insert(all.end(), more.begin(), more.end());
        }
        return all;
    }
    void setStreams(const std::vector<float>& all) {
        const auto middle =
            all.begin() + static_cast<std::ptrdiff_t>(m_plain ? all.size() / 2 : all.size());
        m_stream.setState({all.begin(), middle});
        if (m_plain)
            m_plain->setState({middle, all.end()});
    }

    /// "layer 3 of 32, output error 4.1 %, 12 min left": of the layer before, and as long as those
    /// so far took.
    std::string whereabouts(std::int64_t layers) const {
        std::string text = "layer " + std::to_string(m_layer + 1) + " of " + std::to_string(layers);
        if (m_lastError >= 0) {
            char error[32];
            std::snprintf(error, sizeof error, ", output error %.2g %%", 100 * m_lastError);
            text += error;
        }
        const std::int64_t finished = m_layer - m_firstLayer;
        if (finished > 0)
            text += ", " +
                    formatDuration((steadySeconds() - m_start) / static_cast<double>(finished) *
                                   static_cast<double>(layers - m_layer)) +
                    " left";
        return text;
    }

    /// Without GPTQ the mean products of inputs serve the report only, and with fewer tokens than
    /// inputs the tokens themselves say the same for less.
    bool needsGram(std::int64_t cols) const {
        return m_options.gptq || m_options.lowRank > 0 ||
               std::min(m_stream.tokens(), kReportRows) >= cols;
    }
    InputStatistics collect(Half half, bool inner, std::int64_t cols) {
        const bool gram = needsGram(cols);
        // What follows until the stream moves on changes o or down alone.
        return m_stream.collect(m_layer, half, inner, gram, gram ? 0 : kReportRows, plain(), true);
    }
    std::int64_t innerCols(Half half) const {
        return half == Half::Attention ? m_model.config.heads * m_model.config.headDim
                                       : m_model.config.feedForwardSize;
    }

    std::string name(const char* rest) const {
        return "layers." + std::to_string(m_layer) + "." + rest;
    }
    void prepare() { m_transformer.prepareLayer(m_model, m_layer, &m_context.control); }
    void preparePlain() {
        if (m_plain)
            m_plainTransformer->prepareLayer(m_plainModel, m_layer, &m_context.control);
    }
    /// What changes the model without changing what it computes is done to the plain one too, which
    /// has to have the same inputs.
    template <class Fold>
    void foldBoth(Fold fold) {
        fold(m_model);
        if (m_plain)
            fold(m_plainModel);
    }

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
            scaleOutput(half);
            scaleInputs(half);
            prepare();
            preparePlain();
        }
        const std::vector<std::string> first = wanted(inputs(half)), last = wanted({output(half)});
        for (const bool inner : {false, true}) {
            const std::vector<std::string>& names = inner ? last : first;
            if (names.empty())
                continue;
            const float range = inputRange(names, [&](const CalibrationStream::Visitor& visitor) {
                m_stream.visit(m_layer, half, inner, visitor);
            });
            quantize(names,
                     collect(half, inner, inner ? innerCols(half) : m_model.config.hiddenSize),
                     range);
            for (const std::string& each : names)
                m_transformer.refreshLinear(m_model, each);
        }
        m_stream.advance(m_layer, half);
        if (m_plain)
            m_plain->advance(m_layer, half);
    }

    /// How far inputs of `names` reach that are rounded under one fixed scale, and 0 where there
    /// are none; `visit` shows them all.
    template <class Visit>
    float inputRange(const std::vector<std::string>& names, const Visit& visit) const {
        const bool fixed = std::any_of(names.begin(), names.end(), [&](const std::string& each) {
            return m_options.schemeOf(each)->activations == ActivationFormat::Int8Tensor;
        });
        MagnitudeHistogram histogram;
        if (fixed)
            visit([&](const float* x, std::int64_t rows) {
                histogram.add(x, rows * m_model.weight(names.front()).shape().at(1));
            });
        constexpr int kCodes = 127;
        return histogram.range(m_options.inputRange, kCodes, m_options.inputPercentile);
    }

    InputScales search(const std::vector<std::string>& consumers, const InputStatistics& statistics,
                       std::vector<std::int64_t> classes) {
        std::vector<Weight> weights;
        weights.reserve(consumers.size());
        for (const std::string& each : consumers)
            weights.push_back(m_model.weight(each));
        InputScaleOptions options;
        options.scaling = *m_options.scaling;
        options.exponent = m_options.scalingExponent;
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
        foldBoth([&](Model& model) { scaleColumns(model, output(half), found.scales); });
        std::vector<float> rows = found.scales;
        if (half == Half::Attention) {
            rows.resize(static_cast<std::size_t>(c.kvHeads * c.headDim));
            for (std::size_t j = 0; j < classes.size(); ++j)
                rows[static_cast<std::size_t>(classes[j])] = found.scales[j];
        }
        foldBoth([&](Model& model) { divideRows(model, producer, rows); });
    }

    void scaleInputs(Half half) {
        const std::vector<std::string> consumers = inputs(half);
        if (wanted(consumers).size() != consumers.size())
            return;  // what stays as it is would have to change with the norm
        const InputScales found =
            search(consumers, m_stream.collect(m_layer, half, false, false, kSampleRows), {});
        if (found.scales.empty())
            return;
        foldBoth([&](Model& model) {
            for (const std::string& each : consumers)
                scaleColumns(model, each, found.scales);
            divideNorm(model, name(half == Half::Attention ? "attn_norm" : "ffn_norm"),
                       found.scales);
        });
    }

    /// `inputRange` is what inputs under a fixed scale are held within.
    void quantize(const std::vector<std::string>& names, InputStatistics statistics,
                  float inputRange) {
        std::optional<GptqFactor> factor;
        std::map<std::string, std::vector<float>> targets;
        m_trust.clear();
        if (!statistics.drift.product.empty()) {
            const OutputFollower follower(statistics.gram, std::move(statistics.drift),
                                          statistics.cols, m_options.damping, m_context.pool,
                                          m_context.control);
            for (const std::string& each : names) {
                OutputFollower::Target target = follower.target(m_model.weight(each).toFloat());
                targets[each] = std::move(target.weights);
                m_trust[each] = target.trust;
            }
        }
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
                        targets.contains(each) ? &targets[each] : nullptr, globalScale, inputRange);
    }

    /// What the NVFP4 weights among `names`, which runtimes multiply as one, scale their scales by.
    float globalScaleOf(const std::vector<std::string>& names) {
        std::vector<const Weight*> weights;
        for (const std::string& each : names)
            if (m_options.schemeOf(each)->format == kernels::WeightFormat::NvFp4)
                weights.push_back(&m_model.weight(each));
        return weights.empty() ? 1.0f : sharedGlobalScale(weights, m_context.pool);
    }

    /// Codes of a weight, or of `values` in its place.
    QuantizedTensor encoded(const std::string& each, const std::vector<float>* values,
                            const QuantScheme& scheme, const InputStatistics& statistics,
                            const GptqFactor* factor, float globalScale) {
        const Weight& weight = m_model.weight(each);
        if (factor) {
            GptqOptions options;
            options.scheme = scheme;
            options.search = m_options.search;
            options.scaleType = m_options.scaleType;
            options.globalScale = globalScale;
            options.refinePasses = m_options.refinePasses;
            options.gram = &statistics.gram;
            options.target = values;
            options.device = dynamic_cast<WeightWorker*>(&m_context.backend);
            return quantizeGptq(each, weight, *factor, statistics.meanSquare, options,
                                m_context.pool, m_context.control)
                .tensor;
        }
        RtnOptions options;
        options.scheme = scheme;
        options.search = m_options.search;
        options.scaleType = m_options.scaleType;
        options.inputPower = &statistics.meanSquare;
        options.globalScale = globalScale;
        NullProgress quiet;
        RunControl control = m_context.control.nested(quiet);
        return quantizeRtn(each, values ? denseWeight(*values, weight.shape()) : weight, options,
                           m_context.pool, control)
            .tensor;
    }

    void quantizeOne(const std::string& each, const InputStatistics& statistics,
                     const GptqFactor* factor, const std::vector<float>* target, float globalScale,
                     float inputRange) {
        const Weight weight = m_model.weight(each);
        const QuantScheme scheme = *m_options.schemeOf(each);
        const std::vector<float> before = weight.toFloat();
        const auto encode = [&](const std::vector<float>* values) {
            return encoded(each, values, scheme, statistics, factor, globalScale);
        };
        QuantizedTensor tensor =
            m_options.lowRank > 0
                ? withLowRank(target ? *target : before, statistics.gram, m_options.lowRank,
                              m_options.scaleType, encode, m_context.pool, m_context.control)
                : encode(target);
        weight.dropPages();
        tensor.inputGlobalScale = inputScaleFor(
            scheme.activations,
            scheme.activations == ActivationFormat::Int8Tensor
                ? inputRange
                : *std::max_element(statistics.maximum.begin(), statistics.maximum.end()));
        if (m_context.unquantized)
            (*m_context.unquantized)[each] = weight;
        m_model.weights[each] = Weight(std::move(tensor));
        const std::vector<float> after = m_model.weight(each).toFloat();
        if (m_options.correctBias)
            correctBias(each, before, after, statistics.mean);
        report(each, before, after, statistics);
        ++m_quantized;
    }

    /// Adds (W - W^) mean(x) to the bias of a weight that has one.
    void correctBias(const std::string& each, const std::vector<float>& before,
                     const std::vector<float>& after, const std::vector<float>& mean) {
        const std::string name = each.substr(0, each.rfind('.')) + ".bias";
        if (!m_model.has(name))
            return;
        const std::vector<float> bias = m_model.weight(name).toFloat();
        Tensor corrected = Tensor::allocate(DType::F32, {static_cast<std::int64_t>(bias.size())});
        for (std::size_t row = 0; row < bias.size(); ++row) {
            double lost = 0;
            for (std::size_t j = 0; j < mean.size(); ++j)
                lost += (static_cast<double>(before[row * mean.size() + j]) -
                         after[row * mean.size() + j]) *
                        mean[j];
            corrected.mutableAs<float>()[row] = bias[row] + static_cast<float>(lost);
        }
        m_model.weights[name] = Weight(std::move(corrected));
    }

    void report(const std::string& each, const std::vector<float>& before,
                const std::vector<float>& after, const InputStatistics& statistics) {
        const OutputError e = outputError(before, after, statistics, m_context.pool);
        const double quantizedSignal = e.error - e.signal + 2 * e.cross;
        const int layer = layerOf(each);
        const auto add = [&](const char* metric, double value) {
            m_context.layerMetrics.push_back({layer, each, metric, value});
        };
        add("sqnr_db", e.weightError > 0 ? 10 * std::log10(e.weightSignal / e.weightError) : 200);
        add("mse", e.weightError / static_cast<double>(before.size()));
        m_lastError = e.signal > 0 ? std::sqrt(std::max(0.0, e.error) / e.signal) : 0;
        add("relative_output_error", m_lastError);
        add("output_cosine", e.signal > 0 && quantizedSignal > 0
                                 ? e.cross / std::sqrt(e.signal * quantizedSignal)
                                 : 1);
        add("bits", m_model.weight(each).bitsPerWeight());
        if (const auto trust = m_trust.find(each); trust != m_trust.end())
            add("follow_trust", trust->second);
        // What stands out among the inputs: the largest value, and the channel with the most power
        // against the middle one's.
        std::vector<float> powers = statistics.meanSquare;
        const auto middle = powers.begin() + static_cast<std::ptrdiff_t>(powers.size() / 2);
        std::nth_element(powers.begin(), middle, powers.end());
        const float most =
            *std::max_element(statistics.meanSquare.begin(), statistics.meanSquare.end());
        add("input_max", *std::max_element(statistics.maximum.begin(), statistics.maximum.end()));
        add("input_outlier_ratio", *middle > 0 ? std::sqrt(most / *middle) : 1);
    }

    Model& m_model;
    const LayerwiseOptions& m_options;
    TechniqueContext& m_context;
    Transformer m_transformer;
    CalibrationStream m_stream;
    // The model as it would be without rounding, as far as the stream is; only where it is
    // followed.
    Model m_plainModel;
    std::optional<Transformer> m_plainTransformer;
    std::optional<CalibrationStream> m_plain;
    std::map<std::string, double> m_trust;  ///< of the weights at hand that follow outputs
    std::int64_t m_layer = 0;
    std::int64_t m_firstLayer = 0;  ///< that this run works on
    double m_start = 0;
    double m_lastError = -1;  ///< relative, of the outputs of the last weight
    std::size_t m_quantized = 0;
};

}  // namespace

std::size_t quantizeLayerwise(Model& model, const CalibrationText& text,
                              const LayerwiseOptions& options, TechniqueContext& context) {
    return Layerwise(model, text, options, context).run();
}

}  // namespace fettle
