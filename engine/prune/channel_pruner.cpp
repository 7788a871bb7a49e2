#include "engine/prune/channel_pruner.h"

#include <cmath>

#include "engine/prune/pruner.h"

namespace fettle {

namespace {

using Half = Transformer::Half;

void addMagnitudes(const float* x, std::int64_t rows, std::vector<double>& sums) {
    const std::size_t cols = sums.size();
    for (std::size_t r = 0; r < static_cast<std::size_t>(rows); ++r)
        for (std::size_t c = 0; c < cols; ++c)
            sums[c] += std::fabs(x[r * cols + c]);
}

void addSquares(const std::vector<float>& x, std::vector<double>& sums) {
    for (std::size_t i = 0; i < x.size(); ++i)
        sums[i % sums.size()] += static_cast<double>(x[i]) * x[i];
}

/// Root mean square of the channels that are kept over that of all.
double rootRatio(const std::vector<double>& power, const std::vector<std::int64_t>& kept) {
    double all = 0, rest = 0;
    for (const double p : power)
        all += p;
    for (const std::int64_t c : kept)
        rest += power[static_cast<std::size_t>(c)];
    if (all <= 0 || rest <= 0)
        return 1;
    return std::sqrt(rest / static_cast<double>(kept.size()) * static_cast<double>(power.size()) /
                     all);
}

/// The norm multiplies by offset + w: that becomes `factor` times as much.
void scaleNorm(Model& model, const std::string& name, double factor) {
    const Weight& weight = model.weight(name);
    std::vector<float> values = weight.toFloat();
    const double offset = model.config.normOffset;
    for (float& value : values)
        value = static_cast<float>((value + offset) * factor - offset);
    model.weights[name] = weightLike(weight, values);
}

}  // namespace

ChannelStatistics observeChannels(const Model& model, const CalibrationText& text, Backend& backend,
                                  RunControl& control) {
    const ModelConfig& c = model.config;
    const auto width = static_cast<std::size_t>(c.hiddenSize);
    Transformer transformer(model, backend, Transformer::LayerByLayer{});
    ChannelStatistics statistics;
    statistics.activation.assign(width, 0);
    statistics.power.assign(static_cast<std::size_t>(2 * c.layerCount() + 1),
                            std::vector<double>(width, 0));
    std::vector<std::vector<float>> stream;
    for (const std::vector<std::int32_t>& ids : text.sequences) {
        stream.emplace_back(ids.size() * width);
        transformer.embedTokens(ids, stream.back().data());
    }
    const auto rowsOf = [&](const std::vector<float>& x) {
        return static_cast<std::int64_t>(x.size() / width);
    };
    for (std::int64_t i = 0; i < c.layerCount(); ++i) {
        control.progress(static_cast<double>(i) / static_cast<double>(c.layerCount()),
                         "channels, layer " + std::to_string(i + 1));
        transformer.prepareLayer(model, i, &control);
        for (const Half half : {Half::Attention, Half::FeedForward})
            for (std::vector<float>& x : stream) {
                control.check();
                addSquares(x, statistics.power[static_cast<std::size_t>(
                                  2 * i + (half == Half::FeedForward ? 1 : 0))]);
                addMagnitudes(transformer.halfInput(i, half, x.data(), rowsOf(x)), rowsOf(x),
                              statistics.activation);
                transformer.runHalf(i, half, x.data(), rowsOf(x));
            }
    }
    for (const std::vector<float>& x : stream) {
        addSquares(x, statistics.power.back());
        addMagnitudes(transformer.finalInput(x.data(), rowsOf(x)), rowsOf(x),
                      statistics.activation);
    }
    for (double& value : statistics.activation)
        value /= static_cast<double>(std::max<std::int64_t>(1, text.tokens)) *
                 static_cast<double>(2 * c.layerCount() + 1);
    return statistics;
}

void rescaleNorms(Model& model, const ModelConfig& before, const PruningPlan& plan,
                  const ChannelStatistics& statistics) {
    const double embedding =
        static_cast<double>(before.embeddingScale) / model.config.embeddingScale;
    for (std::size_t i = 0; i < plan.layers.size(); ++i) {
        const std::string at = "layers." + std::to_string(i) + ".";
        const auto original = static_cast<std::size_t>(plan.layers[i]);
        scaleNorm(model, at + "attn_norm.weight",
                  rootRatio(statistics.power[2 * original], plan.channels));
        scaleNorm(model, at + "ffn_norm.weight",
                  rootRatio(statistics.power[2 * original + 1], plan.channels));
    }
    double last = rootRatio(statistics.power.back(), plan.channels);
    if (embedding != 1) {
        const Weight& weight = model.weight("embed.weight");
        std::vector<float> values = weight.toFloat();
        for (float& value : values)
            value = static_cast<float>(value * embedding);
        model.weights["embed.weight"] = weightLike(weight, values);
        if (model.config.tiedEmbeddings)
            last /= embedding;
    }
    scaleNorm(model, "final_norm.weight", last);
}

}  // namespace fettle
