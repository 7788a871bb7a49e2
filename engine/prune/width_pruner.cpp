#include "engine/prune/width_pruner.h"

#include <algorithm>

#include "engine/prune/pruner.h"

namespace fettle {

namespace {

using Half = Transformer::Half;

class WidthPruner {
public:
    WidthPruner(const Model& model, const CalibrationText& text, const WidthOptions& options,
                Backend& backend, kernels::WorkerPool& pool, RunControl& control,
                std::vector<LayerMetric>* metrics)
        : m_model(model),
          m_options(options),
          m_pool(pool),
          m_control(control),
          m_metrics(metrics),
          m_plan(keepAll(model.config)),
          m_hasText(!text.sequences.empty()),
          m_transformer(model, backend, Transformer::LayerByLayer{}),
          m_stream(m_transformer, text, pool, control) {}

    WidthResult run() {
        const std::int64_t layers = m_model.config.layerCount();
        for (m_layer = 0; m_layer < layers; ++m_layer) {
            m_control.progress(
                static_cast<double>(m_layer) / static_cast<double>(layers),
                "layer " + std::to_string(m_layer + 1) + " of " + std::to_string(layers));
            if (m_hasText)
                prepare();
            if (m_options.shape.heads != m_model.config.heads)
                pruneHeads();
            if (m_hasText)
                m_stream.advance(m_layer, Half::Attention);
            if (m_options.shape.feedForward != m_model.config.feedForwardSize)
                pruneNeurons();
            if (m_hasText && m_layer + 1 < layers)
                m_stream.advance(m_layer, Half::FeedForward);
        }
        return {std::move(m_model), std::move(m_plan)};
    }

private:
    void prepare() { m_transformer.prepareLayer(m_model, m_layer, &m_control); }
    std::size_t at() const { return static_cast<std::size_t>(m_layer); }

    /// Removes units of `name`'s inputs and gives the model the weight that is left, as it will be
    /// stored.
    UnitResult remove(const std::string& name, Half half, std::int64_t count, UnitOptions unit) {
        InputStatistics statistics;
        std::vector<double> activations;
        if (m_hasText)
            statistics = m_stream.collect(m_layer, half, true, true, 0);
        if (m_options.importance == Importance::Activation) {
            activations = unitMeans(statistics.meanMagnitude, unit.width);
            unit.scores = &activations;
        }
        unit.compensate = m_options.compensate && m_hasText;
        unit.damping = m_options.damping;
        const Weight weight = m_model.weight(name);
        UnitResult result = removeUnits(weight.toFloat(), weight.shape().at(0), statistics.gram,
                                        weight.shape().at(1), count, unit, m_pool, m_control);
        m_model.weights[name] = weightLike(weight, result.weight);
        if (!m_hasText)
            return result;
        prepare();
        report(name, "relative_output_error", result.relativeError);
        return result;
    }

    void pruneHeads() {
        const ModelConfig& c = m_model.config;
        const std::int64_t group = c.heads / c.kvHeads;
        const bool whole = m_options.shape.heads / m_options.shape.kvHeads == group;
        UnitOptions unit;
        unit.width = whole ? group * c.headDim : c.headDim;
        unit.classes = whole ? 1 : c.kvHeads;
        std::vector<double> scores;
        if (m_options.scores) {
            scores = unitSums(m_options.scores->heads[at()], whole ? group : 1);
            unit.scores = &scores;
        }
        const std::int64_t count =
            whole ? c.kvHeads - m_options.shape.kvHeads : c.heads - m_options.shape.heads;
        const UnitResult result = remove(name("attn.o.weight"), Half::Attention, count, unit);
        const std::int64_t perUnit = whole ? group : 1;
        m_plan.heads[at()].clear();
        for (const std::int64_t u : result.kept)
            for (std::int64_t h = 0; h < perUnit; ++h)
                m_plan.heads[at()].push_back(u * perUnit + h);
        if (whole)
            m_plan.kvHeads[at()] = result.kept;
        for (std::size_t u = 0; u < result.importance.size(); ++u)
            report(name(whole ? "attn.group." : "attn.head.") + std::to_string(u), "importance",
                   result.importance[u]);
    }

    void pruneNeurons() {
        UnitOptions unit;
        if (m_options.scores)
            unit.scores = &m_options.scores->neurons[at()];
        UnitResult result =
            remove(name("ffn.down.weight"), Half::FeedForward,
                   m_model.config.feedForwardSize - m_options.shape.feedForward, unit);
        m_plan.neurons[at()] = std::move(result.kept);
        std::sort(result.importance.begin(), result.importance.end());
        for (const int percent : {10, 50, 90})
            report(name("ffn.down.weight"), "importance_p" + std::to_string(percent),
                   result.importance[result.importance.size() * static_cast<std::size_t>(percent) /
                                     100]);
    }

    static std::vector<double> unitSums(const std::vector<double>& values, std::int64_t width) {
        std::vector<double> sums(values.size() / static_cast<std::size_t>(width));
        for (std::size_t i = 0; i < values.size(); ++i)
            sums[i / static_cast<std::size_t>(width)] += values[i];
        return sums;
    }
    static std::vector<double> unitMeans(const std::vector<float>& values, std::int64_t width) {
        std::vector<double> means =
            unitSums(std::vector<double>(values.begin(), values.end()), width);
        for (double& mean : means)
            mean /= static_cast<double>(width);
        return means;
    }

    std::string name(const char* rest) const {
        return "layers." + std::to_string(m_layer) + "." + rest;
    }
    void report(const std::string& tensor, const std::string& metric, double value) {
        if (m_metrics)
            m_metrics->push_back({static_cast<int>(m_layer), tensor, metric, value});
    }

    Model m_model;
    const WidthOptions& m_options;
    kernels::WorkerPool& m_pool;
    RunControl& m_control;
    std::vector<LayerMetric>* m_metrics;
    PruningPlan m_plan;
    bool m_hasText;
    Transformer m_transformer;
    CalibrationStream m_stream;
    std::int64_t m_layer = 0;
};

}  // namespace

WidthResult pruneWidth(const Model& model, const CalibrationText& text, const WidthOptions& options,
                       Backend& backend, kernels::WorkerPool& pool, RunControl& control,
                       std::vector<LayerMetric>* metrics) {
    if (options.shape.heads == model.config.heads &&
        options.shape.feedForward == model.config.feedForwardSize)
        return {model, keepAll(model.config)};
    return WidthPruner(model, text, options, backend, pool, control, metrics).run();
}

}  // namespace fettle
