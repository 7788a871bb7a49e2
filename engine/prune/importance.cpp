#include "engine/prune/importance.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/core/error.h"
#include "engine/speculative/block_influence.h"
#include "engine/train/network.h"

namespace fettle {

namespace {

constexpr std::int64_t kLogitRows = 128;

/// Calls add(row, col, value) for every element of a weight.
template <typename Add>
void forEachElement(const Weight& weight, const Add& add) {
    const kernels::WeightView view = weight.view();
    std::vector<float> row(static_cast<std::size_t>(view.cols));
    for (std::int64_t r = 0; r < view.rows; ++r) {
        weight.rowToFloat(r, row.data());
        for (std::int64_t c = 0; c < view.cols; ++c)
            add(r, c, static_cast<double>(row[static_cast<std::size_t>(c)]));
    }
    weight.dropPages();
}

std::string inLayer(std::int64_t layer, const char* rest) {
    return "layers." + std::to_string(layer) + "." + rest;
}

UnitScores emptyScores(const ModelConfig& c) {
    const auto layers = static_cast<std::size_t>(c.layerCount());
    UnitScores scores;
    scores.neurons.assign(layers, std::vector<double>(static_cast<std::size_t>(c.feedForwardSize)));
    scores.heads.assign(layers, std::vector<double>(static_cast<std::size_t>(c.heads)));
    scores.channels.assign(static_cast<std::size_t>(c.hiddenSize), 0);
    return scores;
}

double tokenLoss(const float* logits, std::int64_t vocabulary, std::int32_t target) {
    const float largest = *std::max_element(logits, logits + vocabulary);
    double sum = 0;
    for (std::int64_t v = 0; v < vocabulary; ++v)
        sum += std::exp(static_cast<double>(logits[v]) - largest);
    return std::log(sum) + largest - logits[target];
}

}  // namespace

Importance importanceByName(const std::string& name) {
    if (name == "activation")
        return Importance::Activation;
    if (name == "magnitude")
        return Importance::Magnitude;
    if (name == "taylor")
        return Importance::Taylor;
    if (name == "reconstruction")
        return Importance::Reconstruction;
    throw EngineError(ErrorKind::Usage, "prune: unknown importance \"" + name + "\"");
}

UnitScores magnitudeScores(const Model& model, RunControl& control) {
    const ModelConfig& c = model.config;
    UnitScores scores = emptyScores(c);
    for (std::int64_t i = 0; i < c.layerCount(); ++i) {
        control.check();
        const auto at = static_cast<std::size_t>(i);
        std::vector<double> in(static_cast<std::size_t>(c.feedForwardSize)), out(in.size());
        for (const char* name : {"ffn.gate.weight", "ffn.up.weight"})
            if (model.has(inLayer(i, name)))
                forEachElement(model.weight(inLayer(i, name)),
                               [&](std::int64_t r, std::int64_t, double w) {
                                   in[static_cast<std::size_t>(r)] += w * w;
                               });
        forEachElement(model.weight(inLayer(i, "ffn.down.weight")),
                       [&](std::int64_t r, std::int64_t j, double w) {
                           out[static_cast<std::size_t>(j)] += w * w;
                           scores.channels[static_cast<std::size_t>(r)] += w * w;
                       });
        for (std::size_t j = 0; j < in.size(); ++j)
            scores.neurons[at][j] = std::sqrt(in[j] * out[j]);
        forEachElement(model.weight(inLayer(i, "attn.o.weight")),
                       [&](std::int64_t r, std::int64_t j, double w) {
                           scores.heads[at][static_cast<std::size_t>(j / c.headDim)] += w * w;
                           scores.channels[static_cast<std::size_t>(r)] += w * w;
                       });
        for (double& head : scores.heads[at])
            head = std::sqrt(head);
    }
    forEachElement(model.weight("embed.weight"), [&](std::int64_t, std::int64_t j, double w) {
        scores.channels[static_cast<std::size_t>(j)] += w * w;
    });
    for (double& channel : scores.channels)
        channel = std::sqrt(channel);
    return scores;
}

UnitScores taylorScores(const Model& model, const CalibrationText& text, kernels::WorkerPool& pool,
                        RunControl& control) {
    const ModelConfig& c = model.config;
    Network network(model, pool);
    UnitScores scores = emptyScores(c);
    /// Sum of gradient times weight over the columns of `name`, in units of `width`.
    const auto columnProducts = [&](const std::string& name, std::int64_t width) {
        const TrainParameter& p = network.parameter(name);
        const float* w = network.values().data() + p.offset;
        const float* g = network.grads().data() + p.offset;
        std::vector<double> sums(static_cast<std::size_t>(p.cols / width));
        for (std::int64_t i = 0; i < p.count(); ++i)
            sums[static_cast<std::size_t>(i % p.cols / width)] += static_cast<double>(w[i]) * g[i];
        return sums;
    };
    const auto addSquares = [](const std::vector<double>& sums, std::vector<double>& to) {
        for (std::size_t i = 0; i < sums.size(); ++i)
            to[i] += sums[i] * sums[i];
    };
    for (std::size_t s = 0; s < text.sequences.size(); ++s) {
        control.progress(static_cast<double>(s) / static_cast<double>(text.sequences.size()),
                         "gradients");
        TrainBatch batch;
        batch.add(text.sequences[s]);
        network.zeroGrads();
        network.accumulate(batch, {},
                           1.0F / static_cast<float>(std::max<std::int64_t>(1, batch.scored())),
                           nullptr, &control);
        std::vector<double> channels(scores.channels.size());
        for (std::int64_t i = 0; i < c.layerCount(); ++i) {
            const auto at = static_cast<std::size_t>(i);
            addSquares(columnProducts(inLayer(i, "ffn.down.weight"), 1), scores.neurons[at]);
            addSquares(columnProducts(inLayer(i, "attn.o.weight"), c.headDim), scores.heads[at]);
            for (const char* norm : {"attn_norm.weight", "ffn_norm.weight"}) {
                const std::vector<double> sums = columnProducts(inLayer(i, norm), 1);
                for (std::size_t j = 0; j < sums.size(); ++j)
                    channels[j] += sums[j];
            }
        }
        addSquares(channels, scores.channels);
    }
    return scores;
}

double meanLoss(Transformer& transformer, const CalibrationText& text,
                const Transformer::SkippedLayers* skipped, RunControl& control) {
    const std::int64_t vocabulary = transformer.config().vocabularySize;
    std::vector<float> logits(static_cast<std::size_t>(kLogitRows * vocabulary));
    double sum = 0;
    std::int64_t scored = 0;
    for (const std::vector<std::int32_t>& ids : text.sequences) {
        const auto count = static_cast<std::int64_t>(ids.size());
        KvCache cache = transformer.makeCache(count);
        transformer.forward(ids, cache, &control, skipped);
        for (std::int64_t first = 0; first + 1 < count; first += kLogitRows) {
            control.check();
            const std::int64_t rows = std::min(kLogitRows, count - 1 - first);
            transformer.logits(first, rows, logits.data());
            for (std::int64_t r = 0; r < rows; ++r)
                sum += tokenLoss(logits.data() + r * vocabulary, vocabulary,
                                 ids[static_cast<std::size_t>(first + r + 1)]);
            scored += rows;
        }
    }
    return scored > 0 ? sum / static_cast<double>(scored) : 0;
}

LayerChoice chooseLayers(Transformer& transformer, const CalibrationText& text, std::int64_t remove,
                         LayerImportance by, RunControl& control) {
    const auto layers = static_cast<std::size_t>(transformer.config().layerCount());
    LayerChoice choice;
    std::vector<bool> gone(layers, false);
    if (by == LayerImportance::Influence) {
        choice.importance = blockInfluence(transformer, text.sequences, control);
        for (const int layer : leastInfluential(choice.importance, static_cast<int>(remove)))
            gone[static_cast<std::size_t>(layer)] = true;
    } else {
        const double whole = meanLoss(transformer, text, nullptr, control);
        for (std::int64_t n = 0; n < std::max<std::int64_t>(remove, 1); ++n) {
            std::size_t best = 0;
            double least = std::numeric_limits<double>::infinity();
            std::vector<double> increase(layers, 0);
            for (std::size_t i = 0; i < layers; ++i) {
                if (gone[i])
                    continue;
                control.progress((static_cast<double>(n) +
                                  static_cast<double>(i) / static_cast<double>(layers)) /
                                     static_cast<double>(std::max<std::int64_t>(remove, 1)),
                                 "leaving out layer " + std::to_string(i));
                Transformer::SkippedLayers skipped = gone;
                skipped[i] = true;
                increase[i] = meanLoss(transformer, text, &skipped, control) - whole;
                if (increase[i] < least) {
                    least = increase[i];
                    best = i;
                }
            }
            if (choice.importance.empty())
                choice.importance = increase;
            if (n < remove)
                gone[best] = true;
        }
    }
    for (std::size_t i = 0; i < layers; ++i)
        if (!gone[i])
            choice.kept.push_back(static_cast<std::int64_t>(i));
    return choice;
}

}  // namespace fettle
