#include "engine/quant/activation_report.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/backend/device_work.h"

namespace fettle {

namespace {

using Half = Transformer::Half;

constexpr double kOutlierRatio = 6;
constexpr int kMiddleBin = 32;  // begins at 1

int binOf(float magnitude) {
    if (!(magnitude > 0))
        return 0;
    const double bin = std::floor(2 * std::log2(static_cast<double>(magnitude))) + kMiddleBin;
    return static_cast<int>(std::clamp(bin, 0.0, static_cast<double>(kActivationBins - 1)));
}

class Summarizer {
public:
    explicit Summarizer(std::int64_t cols)
        : m_squares(static_cast<std::size_t>(cols)), m_largest(static_cast<std::size_t>(cols)) {
        m_summary.channels = cols;
        m_summary.histogram.resize(kActivationBins);
    }

    void add(const float* x, std::int64_t rows) {
        for (std::int64_t i = 0; i < rows * m_summary.channels; ++i) {
            const auto channel = static_cast<std::size_t>(i % m_summary.channels);
            const double square = static_cast<double>(x[i]) * x[i];
            m_squares[channel] += square;
            m_fourth += square * square;
            m_largest[channel] = std::max(m_largest[channel], std::fabs(x[i]));
            ++m_summary.histogram[static_cast<std::size_t>(binOf(std::fabs(x[i])))];
        }
        m_summary.tokens += rows;
    }

    /// What a device has added up, instead of add().
    void take(InputSums&& sums, std::int64_t rows) {
        m_squares = std::move(sums.squares);
        m_largest = std::move(sums.largest);
        m_fourth = std::accumulate(sums.fourths.begin(), sums.fourths.end(), 0.0);
        m_summary.histogram = std::move(sums.histogram);
        m_summary.tokens = rows;
    }

    ActivationSummary finish() {
        ActivationSummary& s = m_summary;
        double sum = 0;
        for (const double square : m_squares)
            sum += square;
        const double count = static_cast<double>(std::max<std::int64_t>(1, s.tokens) * s.channels);
        const double mean = sum / count;
        s.rms = std::sqrt(mean);
        s.largest = *std::max_element(m_largest.begin(), m_largest.end());
        s.kurtosis = mean > 0 ? m_fourth / count / (mean * mean) : 0;
        std::vector<double> sorted = m_squares;
        const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
        std::nth_element(sorted.begin(), middle, sorted.end());
        double energy = 0;
        for (std::size_t j = 0; j < m_squares.size() && *middle > 0; ++j) {
            const double ratio = std::sqrt(m_squares[j] / *middle);
            if (ratio < kOutlierRatio)
                continue;
            s.outliers.push_back({static_cast<std::int64_t>(j), m_largest[j], ratio});
            energy += m_squares[j];
        }
        std::sort(s.outliers.begin(), s.outliers.end(),
                  [](const auto& a, const auto& b) { return a.ratio > b.ratio; });
        s.outlierEnergy = sum > 0 ? energy / sum : 0;
        return std::move(s);
    }

private:
    ActivationSummary m_summary;
    std::vector<double> m_squares;
    std::vector<float> m_largest;
    double m_fourth = 0;
};

}  // namespace

double activationBinEdge(int bin) {
    return std::exp2((bin - kMiddleBin) / 2.0);
}

std::vector<ActivationSummary> summarizeActivations(const Model& model, const CalibrationText& text,
                                                    Backend& backend, RunControl& control) {
    Transformer transformer(model, backend, Transformer::LayerByLayer{});
    auto* const device = dynamic_cast<InputObserver*>(&backend);
    if (device)
        transformer.leaveInputsOnDevice();
    CalibrationStream stream(transformer, text, backend.pool(), control);
    const ModelConfig& c = model.config;
    std::vector<ActivationSummary> all;
    const auto add = [&](int layer, const std::vector<const char*>& readers, std::int64_t cols,
                         const auto& visit) {
        Summarizer summarizer(cols);
        std::int64_t seen = 0;
        if (device)
            device->beginInput(cols);
        visit([&](const float* x, std::int64_t rows) {
            seen += rows;
            if (device)
                device->addInput(x, rows);
            else
                summarizer.add(x, rows);
        });
        if (device)
            summarizer.take(device->endInput(), seen);
        ActivationSummary summary = summarizer.finish();
        summary.layer = layer;
        for (const char* reader : readers) {
            const std::string name =
                layer < 0 ? reader : "layers." + std::to_string(layer) + "." + reader;
            if (layer < 0 || model.has(name))
                summary.readers.push_back(name);
        }
        summary.name = summary.readers.front();
        all.push_back(std::move(summary));
    };
    for (std::int64_t i = 0; i < c.layerCount(); ++i) {
        const int layer = static_cast<int>(i);
        transformer.prepareLayer(model, i, &control);
        for (const Half half : {Half::Attention, Half::FeedForward}) {
            control.progress(
                (static_cast<double>(i) + (half == Half::FeedForward ? 0.4 : 0)) /
                    static_cast<double>(c.layerCount()),
                "layer " + std::to_string(i + 1) + " of " + std::to_string(c.layerCount()));
            const bool attention = half == Half::Attention;
            for (const bool inner : {false, true}) {
                const std::vector<const char*> readers =
                    attention
                        ? (inner ? std::vector{"attn.o.weight"}
                                 : std::vector{"attn.q.weight", "attn.k.weight", "attn.v.weight"})
                        : (inner ? std::vector{"ffn.down.weight"}
                                 : std::vector{"ffn.gate.weight", "ffn.up.weight"});
                const std::int64_t cols = !inner      ? c.hiddenSize
                                          : attention ? c.heads * c.headDim
                                                      : c.feedForwardSize;
                add(layer, readers, cols, [&](const CalibrationStream::Visitor& visitor) {
                    stream.visit(i, half, inner, visitor);
                });
            }
            stream.advance(i, half);
        }
    }
    add(-1, {"lm_head.weight"}, c.hiddenSize,
        [&](const CalibrationStream::Visitor& visitor) { stream.visitFinal(visitor); });
    return all;
}

nlohmann::json toJson(const ActivationSummary& s) {
    nlohmann::json outliers = nlohmann::json::array(), edges = nlohmann::json::array();
    for (const ActivationSummary::Channel& channel : s.outliers)
        outliers.push_back(
            {{"channel", channel.index}, {"max", channel.largest}, {"rms_ratio", channel.ratio}});
    for (int bin = 0; bin < kActivationBins; ++bin)
        edges.push_back(activationBinEdge(bin));
    return {
        {"layer", s.layer},         {"name", s.name},         {"readers", s.readers},
        {"tokens", s.tokens},       {"channels", s.channels}, {"rms", s.rms},
        {"max", s.largest},         {"kurtosis", s.kurtosis}, {"histogram", s.histogram},
        {"histogram_edges", edges}, {"outliers", outliers},   {"outlier_energy", s.outlierEnergy}};
}

}  // namespace fettle
