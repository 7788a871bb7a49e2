#include "engine/prune/sparse_pruner.h"

#include <cmath>

#include "engine/prune/pruner.h"
#include "engine/prune/unit_pruner.h"

namespace fettle {

namespace {

using Half = Transformer::Half;

class SparsePruner {
public:
    SparsePruner(Model& model, const SparseOptions& options, Backend& backend,
                 kernels::WorkerPool& pool, RunControl& control, std::vector<LayerMetric>& metrics)
        : m_model(model),
          m_options(options),
          m_backend(backend),
          m_device(dynamic_cast<WeightWorker*>(&backend)),
          m_pool(pool),
          m_control(control),
          m_metrics(metrics) {}

    std::size_t withoutText() {
        const std::vector<std::string> names = linearWeightNames(m_model.config);
        for (std::size_t i = 0; i < names.size(); ++i) {
            m_control.progress(static_cast<double>(i) / static_cast<double>(names.size()),
                               names[i]);
            if (m_options.chosen(names[i]) && m_model.has(names[i]))
                pruneOne(names[i], nullptr, nullptr);
        }
        return m_pruned;
    }

    std::size_t withText(const CalibrationText& text) {
        Transformer transformer(m_model, m_backend, Transformer::LayerByLayer{});
        CalibrationStream stream(transformer, text, m_pool, m_control);
        const std::int64_t layers = m_model.config.layerCount();
        for (std::int64_t i = 0; i < layers; ++i)
            for (const Half half : {Half::Attention, Half::FeedForward}) {
                m_control.progress(
                    (static_cast<double>(i) + (half == Half::FeedForward ? 0.4 : 0)) /
                        static_cast<double>(layers),
                    "layer " + std::to_string(i + 1) + " of " + std::to_string(layers));
                const std::string at = "layers." + std::to_string(i) + ".";
                for (const bool inner : {false, true}) {
                    const std::vector<std::string> names = chosenOf(at, half, inner);
                    transformer.prepareLayer(m_model, i, &m_control);
                    if (!names.empty())
                        pruneTogether(names, stream.collect(i, half, inner, true, 0));
                }
                transformer.prepareLayer(m_model, i, &m_control);
                stream.advance(i, half);
            }
        return m_pruned;
    }

private:
    /// Weights of a half that share their input and are to be pruned.
    std::vector<std::string> chosenOf(const std::string& at, Half half, bool inner) const {
        std::vector<std::string> names;
        const std::vector<const char*> parts =
            half == Half::Attention
                ? (inner ? std::vector<const char*>{"attn.o"}
                         : std::vector<const char*>{"attn.q", "attn.k", "attn.v"})
                : (inner ? std::vector<const char*>{"ffn.down"}
                         : std::vector<const char*>{"ffn.gate", "ffn.up"});
        for (const char* part : parts) {
            const std::string name = at + part + ".weight";
            if (m_model.has(name) && m_options.chosen(name))
                names.push_back(name);
        }
        return names;
    }

    void pruneTogether(const std::vector<std::string>& names, const InputStatistics& statistics) {
        GptqFactor factor;
        if (m_options.method == SparsityMethod::SparseGpt) {
            factor = factorInputs(statistics.gram, statistics.cols, m_options.damping, false,
                                  m_pool, m_control);
            if (!factor.usable)
                m_control.warn(names.front() +
                               ": the inputs seen in calibration do not determine SparseGPT's "
                               "updates; it and what shares them are pruned by Wanda's rule. More "
                               "calibration tokens help");
        }
        for (const std::string& name : names)
            pruneOne(name, &statistics, factor.usable ? &factor : nullptr);
    }

    void pruneOne(const std::string& name, const InputStatistics* statistics,
                  const GptqFactor* factor) {
        const Weight weight = m_model.weight(name);
        const std::int64_t rows = weight.shape().at(0), cols = weight.shape().at(1);
        const std::vector<float> before = weight.toFloat();
        std::vector<float> values = before;
        if (factor) {
            sparseGpt(values, rows, cols, *factor, m_options.target, m_options.block, m_pool,
                      m_control);
        } else {
            std::vector<float> norm;
            if (statistics && m_options.method != SparsityMethod::Magnitude)
                for (const float power : statistics->meanSquare)
                    norm.push_back(std::sqrt(power));
            if (m_device)
                zeroSmallest(values, cols, norm, m_options.target, *m_device);
            else
                zeroSmallest(values, rows, cols, norm, m_options.target, m_pool);
        }
        weight.dropPages();
        m_model.weights[name] = weightLike(weight, values);
        const int layer = layerOf(name);
        m_metrics.push_back({layer, name, "sparsity", zeroShare(values)});
        if (statistics)
            m_metrics.push_back(
                {layer, name, "relative_output_error",
                 relativeOutputError(before, values, statistics->gram, cols, m_pool)});
        ++m_pruned;
    }

    Model& m_model;
    const SparseOptions& m_options;
    Backend& m_backend;
    WeightWorker* m_device;  // null: the host chooses zeros
    kernels::WorkerPool& m_pool;
    RunControl& m_control;
    std::vector<LayerMetric>& m_metrics;
    std::size_t m_pruned = 0;
};

}  // namespace

std::size_t pruneSparse(Model& model, const CalibrationText& text, const SparseOptions& options,
                        Backend& backend, kernels::WorkerPool& pool, RunControl& control,
                        std::vector<LayerMetric>& metrics) {
    SparsePruner pruner(model, options, backend, pool, control, metrics);
    return text.sequences.empty() ? pruner.withoutText() : pruner.withText(text);
}

double modelSparsity(const Model& model, RunControl& control) {
    double zeros = 0, all = 0;
    for (const std::string& name : linearWeightNames(model.config)) {
        control.check();
        if (layerOf(name) < 0 || !model.has(name))
            continue;
        const Weight& weight = model.weight(name);
        zeros += zeroShare(weight.toFloat()) * static_cast<double>(weight.elements());
        all += static_cast<double>(weight.elements());
        weight.dropPages();
    }
    return all > 0 ? zeros / all : 0;
}

}  // namespace fettle
