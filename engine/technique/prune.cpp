#include "engine/technique/prune.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "engine/core/error.h"
#include "engine/eval/throughput.h"
#include "engine/model/architectures/architecture.h"
#include "engine/prune/channel_pruner.h"
#include "engine/prune/pruner.h"
#include "engine/prune/width_pruner.h"
#include "engine/technique/prune_settings.h"

namespace fettle {

namespace {

constexpr std::int64_t kRankingTokens = 8192;   // that whole models are compared by
constexpr std::size_t kMostShapes = 8;          // tried for "width"
constexpr ThroughputOptions kProbe{16, 24, 3};  // of the decode speed of a shape

/// A plan with this shape and whatever comes first of each kind: for counting and timing only.
PruningPlan anyPlan(const ModelConfig& config, const PrunedShape& shape) {
    const auto layers = static_cast<std::size_t>(config.layerCount());
    PruningPlan plan;
    plan.layers = allIndices(shape.layers);
    plan.heads.assign(layers, allIndices(shape.heads));
    plan.kvHeads.assign(layers, allIndices(shape.kvHeads));
    if (shape.kvHeads == config.kvHeads && shape.heads != config.heads)
        for (std::vector<std::int64_t>& heads : plan.heads) {
            heads.clear();
            for (std::int64_t g = 0; g < config.kvHeads; ++g)
                for (std::int64_t h = 0; h < shape.heads / config.kvHeads; ++h)
                    heads.push_back(g * (config.heads / config.kvHeads) + h);
        }
    plan.neurons.assign(layers, allIndices(shape.feedForward));
    plan.channels = allIndices(shape.hidden);
    return plan;
}

ParameterCounter counterFor(const ModelConfig& config,
                            const std::function<bool(const std::string&)>& has) {
    return [&config, has](const PrunedShape& shape) {
        return parameterCount(withShape(config, shape, allIndices(shape.layers)), has);
    };
}

/// The layers that stay when those of `drop` go.
std::vector<std::int64_t> layersWithout(const ModelConfig& config,
                                        const std::vector<std::int64_t>& drop) {
    std::vector<std::int64_t> kept = allIndices(config.layerCount());
    if (drop.back() >= config.layerCount())
        throw EngineError(ErrorKind::Usage, "prune: \"drop\" names layer " +
                                                std::to_string(drop.back()) + ", the model has " +
                                                std::to_string(config.layerCount()) +
                                                ", the first is 0");
    if (drop.size() == kept.size())
        throw EngineError(ErrorKind::Usage, "prune: \"drop\" names every layer of the model");
    std::erase_if(kept, [&](std::int64_t layer) {
        return std::binary_search(drop.begin(), drop.end(), layer);
    });
    return kept;
}

/// The shapes that a ratio or a number of parameters allows; several for "width".
std::vector<PrunedShape> wantedShapes(const ModelConfig& config, const PruneSettings& settings,
                                      const ParameterCounter& count) {
    if (!settings.drop.empty()) {
        PrunedShape shape = shapeOf(config);
        shape.layers = static_cast<std::int64_t>(layersWithout(config, settings.drop).size());
        return {shape};
    }
    const std::int64_t whole = count(shapeOf(config));
    if (settings.targetParameters == 0 && settings.rules.axis != PruneAxis::Width)
        return {shapeForRatio(config, settings.rules, settings.ratio)};
    if (settings.targetParameters == 0 && settings.ratio == 0)
        return {shapeOf(config)};
    const std::int64_t limit =
        settings.targetParameters > 0
            ? settings.targetParameters
            : std::llround((1 - settings.ratio) * static_cast<double>(whole));
    std::vector<PrunedShape> shapes = shapesWithin(config, settings.rules, limit, count);
    if (shapes.empty())
        throw EngineError(ErrorKind::Usage, "prune: the method \"" + settings.method +
                                                "\" cannot reach " + std::to_string(limit) +
                                                " of " + std::to_string(whole) + " parameters");
    return shapes;
}

class StructuredPrune {
public:
    StructuredPrune(const PruneSettings& settings, TechniqueContext& context,
                    const CalibrationText& text)
        : m_settings(settings),
          m_context(context),
          m_text(text),
          m_ranking(firstOf(text, kRankingTokens)) {}

    Model run(Model model) {
        if (!m_settings.drop.empty()) {
            PruningPlan plan = keepAll(model.config);
            plan.layers = layersWithout(model.config, m_settings.drop);
            return pruneModel(model, plan, m_context.control);
        }
        const ModelConfig before = model.config;
        const PrunedShape goal = chooseShape(model);
        for (int round = 1; round <= m_settings.iterations; ++round) {
            m_context.control.beginPhase("Pruning", 1.0 / m_settings.iterations);
            model = toShape(std::move(model), between(before, goal, round),
                            round == m_settings.iterations ? &m_context.layerMetrics : nullptr);
        }
        return model;
    }

private:
    ParameterCounter counter(const Model& model) const {
        return counterFor(model.config, [&model](const std::string& n) { return model.has(n); });
    }

    PrunedShape chooseShape(const Model& model) {
        if (m_settings.targetSpeedup > 0)
            return shapeForSpeed(model);
        std::vector<PrunedShape> shapes = wantedShapes(model.config, m_settings, counter(model));
        if (shapes.size() == 1)
            return shapes.front();
        shapes.resize(std::min(shapes.size(), kMostShapes));
        std::vector<double> losses;
        m_context.control.beginPhase("Trying shapes", 1);
        for (const PrunedShape& shape : shapes) {
            NullProgress quiet;
            RunControl control = m_context.control.nested(quiet);
            const Model candidate = cutTo(model, shape, m_ranking, control, nullptr);
            Transformer transformer(candidate, m_context.backend);
            losses.push_back(meanLoss(transformer, m_ranking, nullptr, control));
            m_context.control.progress(
                static_cast<double>(losses.size()) / static_cast<double>(shapes.size()),
                describe(shape));
            m_context.control.info("prune: " + describe(shape) + ": loss " +
                                   std::to_string(losses.back()) + " before any training");
        }
        return shapes[static_cast<std::size_t>(std::min_element(losses.begin(), losses.end()) -
                                               losses.begin())];
    }

    /// The largest shape that decodes fast enough, by halving: smaller shapes are faster.
    PrunedShape shapeForSpeed(const Model& model) {
        std::vector<PrunedShape> shapes = shapesAlong(model.config, m_settings.rules);
        if (m_settings.rules.axis == PruneAxis::Width) {
            const ParameterCounter count = counter(model);
            const auto whole = static_cast<double>(count(shapeOf(model.config)));
            shapes = {shapeOf(model.config)};
            for (int percent = 95; percent > 5; percent -= 5) {
                const auto within = shapesWithin(model.config, m_settings.rules,
                                                 std::llround(whole * percent / 100), count);
                if (within.empty())
                    break;
                shapes.push_back(within.front());
            }
        }
        m_context.control.beginPhase("Timing shapes", 1);
        const double wanted = m_settings.targetSpeedup * decodeRate(model, shapes.front());
        std::size_t low = 0, high = shapes.size() - 1;
        if (decodeRate(model, shapes[high]) < wanted)
            throw EngineError(ErrorKind::Usage,
                              "prune: the method \"" + m_settings.method +
                                  "\" cannot make decoding " +
                                  nlohmann::json(m_settings.targetSpeedup).dump() +
                                  " times as fast on this device");
        while (low < high) {
            const std::size_t middle = (low + high) / 2;
            if (decodeRate(model, shapes[middle]) >= wanted)
                high = middle;
            else
                low = middle + 1;
        }
        return shapes[high];
    }

    double decodeRate(const Model& model, const PrunedShape& shape) {
        NullProgress quiet;
        RunControl control = m_context.control.nested(quiet);
        const Model candidate = pruneModel(model, anyPlan(model.config, shape), control);
        Transformer transformer(candidate, m_context.backend);
        for (const Measurement& metric : measureThroughput(transformer, kProbe, control))
            if (metric.name == "decode_tokens_per_s") {
                m_context.control.info("prune: " + describe(shape) + ": " +
                                       std::to_string(metric.value) + " tokens/s");
                return metric.value;
            }
        return 0;
    }

    /// Sizes after `round` of the rounds, on the way from `before` to `goal`.
    PrunedShape between(const ModelConfig& before, const PrunedShape& goal, int round) const {
        if (round == m_settings.iterations)
            return goal;
        const PrunedShape whole = shapeOf(before);
        const auto part = [&](std::int64_t from, std::int64_t to, std::int64_t step) {
            const std::int64_t cut = (from - to) * round / m_settings.iterations / step * step;
            return from - cut;
        };
        PrunedShape shape = goal;
        shape.layers = part(whole.layers, goal.layers, 1);
        shape.feedForward = part(whole.feedForward, goal.feedForward,
                                 std::max<std::int64_t>(1, m_settings.rules.multiple));
        if (m_settings.rules.axis == PruneAxis::Channels && before.architecture != "gpt2")
            shape.hidden = part(whole.hidden, goal.hidden,
                                std::max<std::int64_t>(1, m_settings.rules.multiple));
        if (m_settings.rules.axis == PruneAxis::Heads && goal.kvHeads != whole.kvHeads) {
            shape.kvHeads = part(whole.kvHeads, goal.kvHeads, 1);
            shape.heads = shape.kvHeads * (whole.heads / whole.kvHeads);
        }
        return shape;
    }

    Model toShape(Model model, const PrunedShape& shape, std::vector<LayerMetric>* metrics) {
        if (shape == shapeOf(model.config))
            return model;
        if (shape.layers != model.config.layerCount())
            return dropLayers(model, model.config.layerCount() - shape.layers, metrics);
        return cutTo(model, shape, m_text, m_context.control, metrics);
    }

    Model dropLayers(const Model& model, std::int64_t remove, std::vector<LayerMetric>* metrics) {
        Transformer transformer(model, m_context.backend);
        const LayerChoice choice = chooseLayers(transformer, m_ranking, remove,
                                                m_settings.layerImportance, m_context.control);
        const char* name = m_settings.layerImportance == LayerImportance::Loss ? "loss_increase"
                                                                               : "block_influence";
        for (std::size_t i = 0; metrics && i < choice.importance.size(); ++i)
            metrics->push_back(
                {static_cast<int>(i), "layers." + std::to_string(i), name, choice.importance[i]});
        PruningPlan plan = keepAll(model.config);
        plan.layers = choice.kept;
        return pruneModel(model, plan, m_context.control);
    }

    Model cutTo(const Model& model, const PrunedShape& shape, const CalibrationText& text,
                RunControl& control, std::vector<LayerMetric>* metrics) {
        WidthOptions options;
        options.shape = shape;
        options.importance = m_settings.importance;
        options.compensate = m_settings.compensate;
        options.damping = m_settings.damping;
        UnitScores scores;
        if (m_settings.importance == Importance::Taylor)
            scores = taylorScores(model, text, m_context.pool, control);
        else if (m_settings.importance == Importance::Magnitude)
            scores = magnitudeScores(model, control);
        if (!scores.channels.empty())
            options.scores = &scores;
        WidthResult cut =
            pruneWidth(model, text, options, m_context.backend, m_context.pool, control, metrics);
        if (shape.hidden == model.config.hiddenSize)
            return pruneModel(cut.model, cut.plan, control);
        ChannelStatistics statistics;
        if (!text.sequences.empty())
            statistics = observeChannels(cut.model, text, m_context.backend, control);
        cut.plan.channels =
            strongest(options.scores ? scores.channels : statistics.activation, shape.hidden);
        Model out = pruneModel(cut.model, cut.plan, control);
        if (!statistics.power.empty())
            rescaleNorms(out, model.config, cut.plan, statistics);
        return out;
    }

    /// The `count` channels of the highest scores, ascending.
    static std::vector<std::int64_t> strongest(const std::vector<double>& scores,
                                               std::int64_t count) {
        std::vector<std::int64_t> order = allIndices(static_cast<std::int64_t>(scores.size()));
        std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
            return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
        });
        order.resize(static_cast<std::size_t>(count));
        std::sort(order.begin(), order.end());
        return order;
    }

    static std::string describe(const PrunedShape& s) {
        return std::to_string(s.layers) + " layers, width " + std::to_string(s.hidden) + ", " +
               std::to_string(s.heads) + " heads (" + std::to_string(s.kvHeads) +
               " of keys), feed-forward " + std::to_string(s.feedForward);
    }

    const PruneSettings& m_settings;
    TechniqueContext& m_context;
    const CalibrationText& m_text;
    CalibrationText m_ranking;
};

Model pruneSparsely(Model model, const PruneSettings& settings, const CalibrationText& text,
                    TechniqueContext& context) {
    SparseOptions options;
    options.method = settings.sparsityMethod;
    options.damping = settings.damping;
    options.chosen = [&](const std::string& name) { return settings.chooses(name); };
    for (int round = 1; round <= settings.iterations; ++round) {
        context.control.beginPhase("Pruning", 1.0 / settings.iterations);
        options.target = settings.sparsity;
        // Equal shares of what is left go in every round.
        if (options.target.pattern == SparsityPattern::Unstructured)
            options.target.ratio =
                1 - std::pow(1 - settings.ratio, static_cast<double>(round) / settings.iterations);
        std::vector<LayerMetric> metrics;
        if (pruneSparse(model, text, options, context.backend, context.pool, context.control,
                        metrics) == 0)
            throw EngineError(ErrorKind::Usage,
                              "prune: nothing is left to prune: every linear weight is excluded");
        if (round == settings.iterations)
            context.layerMetrics.insert(context.layerMetrics.end(), metrics.begin(), metrics.end());
    }
    Measurement sparsity;
    sparsity.name = "sparsity";
    sparsity.unit = "%";
    sparsity.value = 100 * modelSparsity(model, context.control);
    sparsity.native = false;  // zeros are multiplied like any other weight
    context.metrics.push_back(sparsity);
    context.control.info(
        "prune: zeros are stored and multiplied like any other weight on this device: the model is "
        "no smaller and no faster than before");
    return model;
}

CalibrationText calibrationText(const Model& model, const PruneSettings& settings,
                                TechniqueContext& context) {
    if (context.inputs.calibration.empty() || settings.calibrationTokens == 0) {
        if (settings.needsText())
            throw EngineError(ErrorKind::Usage,
                              "prune: the method " + settings.method +
                                  " needs a calibration text and calibration_tokens above 0");
        return {};
    }
    std::int64_t length =
        settings.calibrationLength < 2 ? context.measure.context : settings.calibrationLength;
    length = std::min(length, model.config.contextLength);
    CalibrationText text = sampleCalibration(*model.tokenizer, context.inputs.calibration,
                                             settings.calibrationTokens, length, context.seed);
    Measurement used;
    used.name = "calibration_tokens";
    used.unit = "tokens";
    used.value = static_cast<double>(text.tokens);
    context.metrics.push_back(used);
    return text;
}

void estimateOutput(StepEstimate& estimate, const ModelFacts& model, const PrunedShape& shape) {
    const ModelConfig config = withShape(model.config, shape, allIndices(shape.layers));
    std::map<std::string, const WeightFacts*> known;
    for (const WeightFacts& weight : model.weights)
        known[weight.name] = &weight;
    estimate.output.config = config;
    estimate.output.weights.clear();
    for (const TensorPlace& place : tensorPlaces(config)) {
        const auto found = known.find(place.canonical);
        if (found == known.end())
            continue;
        const WeightFacts& old = *found->second;
        WeightFacts facts{place.canonical, place.cols > 0 ? place.rows : 1,
                          place.cols > 0 ? place.cols : place.rows, 0};
        facts.bytes = old.bytes * static_cast<double>(facts.rows * facts.cols) /
                      static_cast<double>(std::max<std::int64_t>(1, old.rows * old.cols));
        estimate.output.weights.push_back(std::move(facts));
    }
}

}  // namespace

const TechniqueDescriptor& Prune::descriptor() const {
    static const TechniqueDescriptor descriptor = pruneDescriptor();
    return descriptor;
}

StepEstimate Prune::estimate(const ModelFacts& model, const nlohmann::json& params,
                             const RunInputs& inputs, const MachineSpeed& speed) const {
    StepEstimate estimate;
    estimate.output = model;
    estimate.peakBytes = 2 * model.bytes();
    try {
        const PruneSettings settings(params);
        const bool text = !inputs.calibration.empty() && settings.calibrationTokens > 0;
        if (settings.needsText() && !text)
            estimate.problems.push_back("prune: the method " + settings.method +
                                        " needs a calibration text");
        double passes = 4 * settings.iterations;
        if (settings.sparse) {
            estimate.notes.push_back(
                "zeros are stored and multiplied like any other weight on this device: the model "
                "gets no smaller and no faster");
        } else {
            std::set<std::string> names;
            for (const WeightFacts& weight : model.weights)
                names.insert(weight.name);
            const ParameterCounter count = counterFor(
                model.config, [&](const std::string& name) { return names.count(name) != 0; });
            PruneSettings assumed = settings;
            // Decoding reads every parameter once, so half of them are twice as fast at best.
            if (settings.targetSpeedup > 1)
                assumed.targetParameters = std::llround(model.elements() / settings.targetSpeedup);
            const std::vector<PrunedShape> shapes = wantedShapes(model.config, assumed, count);
            estimateOutput(estimate, model, shapes.front());
            passes += settings.rules.axis == PruneAxis::Width
                          ? static_cast<double>(std::min(shapes.size(), kMostShapes))
                          : 0;
        }
        if (text)
            estimate.seconds = passes * static_cast<double>(settings.calibrationTokens) *
                               model.activeElements() / speed.multiplyRate;
    } catch (const EngineError& error) {
        estimate.problems.push_back(error.what());
    }
    return estimate;
}

Model Prune::apply(Model model, TechniqueContext& context) const {
    refuseNonFinite(model, context.control);
    const PruneSettings settings(context.params);
    const CalibrationText text = calibrationText(model, settings, context);
    Model out = settings.sparse ? pruneSparsely(std::move(model), settings, text, context)
                                : StructuredPrune(settings, context, text).run(std::move(model));
    out.speculative.reset();
    return out;
}

}  // namespace fettle
