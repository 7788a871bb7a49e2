#include "engine/eval/text_scores.h"

#include <algorithm>
#include <cmath>

#include "engine/backend/range_marker.h"
#include "engine/eval/statistics.h"
#include "engine/experiment/block_bootstrap.h"

namespace fettle {

namespace {

// Rows of logits held at once: vocabulary x 32 floats is 33 MB for the largest vocabularies.
constexpr std::int64_t kLogitRows = 32;

// Logits stay on the device; what is scored comes to the host.
struct WindowLogits {
    const float* values = nullptr;
    std::vector<kernels::RowSummary> summaries;
    std::vector<float> targets;
    std::vector<std::int32_t> largestIds;
    std::vector<float> largest;

    void compute(Transformer& transformer, std::int64_t first, std::int64_t rows,
                 const std::int32_t* ids) {
        const std::int64_t vocabulary = transformer.config().vocabularySize;
        summaries.resize(static_cast<std::size_t>(rows));
        targets.resize(static_cast<std::size_t>(rows));
        values = transformer.deviceLogits(first, rows);
        transformer.backend().summarizeLogits(values, rows, vocabulary, summaries.data());
        transformer.backend().gather(values, rows, vocabulary, ids, targets.data());
        largestIds.clear();
        for (const kernels::RowSummary& summary : summaries)
            largestIds.push_back(static_cast<std::int32_t>(summary.argmax));
        largest.resize(static_cast<std::size_t>(rows));
        transformer.backend().gather(values, rows, vocabulary, largestIds.data(), largest.data());
    }
    double nll(std::int64_t row) const {
        return static_cast<double>(summaries[static_cast<std::size_t>(row)].logSumExp) -
               targets[static_cast<std::size_t>(row)];
    }
    TopToken top(std::int64_t row) const {
        const auto at = static_cast<std::size_t>(row);
        return {largestIds[at], std::exp(largest[at] - summaries[at].logSumExp)};
    }
};

void scoreWindow(Transformer& model, Transformer* baseline, const TextWindow& window,
                 WindowLogits& m, WindowLogits& b, TextScores& scores, RunControl& control) {
    const std::int64_t vocabulary = model.config().vocabularySize;
    const std::int64_t end = static_cast<std::int64_t>(window.ids.size()) -
                             1;  // the last position predicts nothing we know
    std::vector<double> kl;
    for (std::int64_t first = window.firstScored - 1; first < end; first += kLogitRows) {
        control.check();
        const std::int64_t rows = std::min(kLogitRows, end - first);
        const std::int32_t* ids = window.ids.data() + first + 1;
        m.compute(model, first, rows, ids);
        if (baseline) {
            b.compute(*baseline, first, rows, ids);
            kl.resize(static_cast<std::size_t>(rows));
            model.backend().klDivergence(b.values, b.summaries.data(), m.values, m.summaries.data(),
                                         rows, vocabulary, kl.data());
        }
        for (std::int64_t r = 0; r < rows; ++r) {
            const double nll = m.nll(r);
            scores.nll.push_back(nll);
            if (!baseline)
                continue;
            const double before = b.nll(r);
            scores.baselineNll.push_back(before);
            scores.kl.push_back(std::max(0.0, kl[static_cast<std::size_t>(r)]));
            scores.sameTop.push_back(m.summaries[static_cast<std::size_t>(r)].argmax ==
                                     b.summaries[static_cast<std::size_t>(r)].argmax);
            scores.deltaP.push_back(std::exp(-nll) - std::exp(-before));
            scores.top.push_back(m.top(r));
            scores.baselineTop.push_back(b.top(r));
        }
    }
    scores.windowEnds.push_back(scores.nll.size());
}

// Sums of a per-token value over each window, the currency of the block bootstrap.
template <typename Values>
std::vector<double> windowSums(const Values& values, const std::vector<std::size_t>& ends) {
    std::vector<double> sums;
    std::size_t at = 0;
    for (const std::size_t end : ends) {
        double sum = 0;
        for (; at < end; ++at)
            sum += static_cast<double>(values[at]);
        sums.push_back(sum);
    }
    return sums;
}

double weighted(const std::vector<double>& sums, const std::vector<int>& counts) {
    double total = 0;
    for (std::size_t i = 0; i < sums.size(); ++i)
        total += sums[i] * counts[i];
    return total;
}

class Summary {
public:
    Summary(const TextScores& scores, std::string protocol, bool native)
        : m_scores(scores), m_protocol(std::move(protocol)), m_native(native) {
        m_tokens = windowSums(std::vector<double>(scores.nll.size(), 1.0), scores.windowEnds);
    }

    // transform(mean of the per-token values), with an interval over windows.
    template <typename Values, typename Transform>
    void addMean(const std::string& name, const std::string& unit, const Values& values,
                 const Transform& transform) {
        const std::vector<double> sums = windowSums(values, m_scores.windowEnds);
        const auto statistic = [&](const std::vector<int>& counts) {
            return transform(weighted(sums, counts) / weighted(m_tokens, counts));
        };
        add(name, unit, statistic(std::vector<int>(sums.size(), 1)),
            bootstrapBlocks(sums.size(), statistic));
    }
    void addValue(const std::string& name, const std::string& unit, double value) {
        add(name, unit, value, std::nullopt);
    }
    std::vector<Measurement> take() { return std::move(m_metrics); }

private:
    void add(const std::string& name, const std::string& unit, double value,
             std::optional<Interval> interval) {
        Measurement metric;
        metric.name = name;
        metric.unit = unit;
        metric.value = value;
        // One window alone says nothing about the spread.
        if (interval && m_scores.windowEnds.size() > 1) {
            metric.low = interval->low;
            metric.high = interval->high;
        }
        metric.native = m_native;
        metric.protocol = m_protocol;
        m_metrics.push_back(std::move(metric));
    }

    const TextScores& m_scores;
    std::string m_protocol;
    bool m_native;
    std::vector<double> m_tokens;
    std::vector<Measurement> m_metrics;
};

}  // namespace

TextScores scoreText(Transformer& model, Transformer* baseline,
                     const std::vector<TextWindow>& windows, RunControl& control) {
    if (baseline && baseline->config().vocabularySize != model.config().vocabularySize)
        throw EngineError(ErrorKind::BadInput,
                          "the baseline has a vocabulary of " +
                              std::to_string(baseline->config().vocabularySize) +
                              " tokens, the model " +
                              std::to_string(model.config().vocabularySize) +
                              ": their predictions cannot be compared");
    if (windows.empty())
        throw EngineError(ErrorKind::BadInput, "the evaluation text is too short for one window");
    std::size_t longest = 0;
    for (const TextWindow& window : windows)
        longest = std::max(longest, window.ids.size());
    KvCache cache = model.makeCache(static_cast<std::int64_t>(longest));
    std::optional<KvCache> baselineCache;
    if (baseline)
        baselineCache.emplace(baseline->makeCache(static_cast<std::int64_t>(longest)));

    const RangeScope range(model.backend(), "evaluation");
    TextScores scores;
    WindowLogits modelLogits, baselineLogits;
    const double start = steadySeconds();
    for (std::size_t w = 0; w < windows.size(); ++w) {
        const double elapsed = steadySeconds() - start;
        control.progress(
            static_cast<double>(w) / static_cast<double>(windows.size()),
            "window " + std::to_string(w + 1) + " of " + std::to_string(windows.size()),
            elapsed > 0 ? static_cast<double>(scores.nll.size()) / elapsed : 0);
        cache.truncate(0);
        model.forward(windows[w].ids, cache, &control);
        if (baseline) {
            baselineCache->truncate(0);
            baseline->forward(windows[w].ids, *baselineCache, &control);
        }
        scoreWindow(model, baseline, windows[w], modelLogits, baselineLogits, scores, control);
        if (!std::isfinite(scores.nll.back()))
            throw EngineError(ErrorKind::BadInput,
                              "the model's predictions are not finite numbers (window " +
                                  std::to_string(w + 1) + "): its weights are damaged");
    }
    scores.seconds = steadySeconds() - start;
    return scores;
}

std::vector<Measurement> summarize(const TextScores& scores, const std::string& protocol,
                                   bool native) {
    Summary summary(scores, protocol, native);
    const auto plain = [](double x) { return x; };
    summary.addMean("perplexity", "", scores.nll, [](double x) { return std::exp(x); });
    summary.addValue("tokens", "tokens", static_cast<double>(scores.nll.size()));
    if (!scores.hasBaseline())
        return summary.take();

    std::vector<double> logRatio(scores.nll.size()), squared(scores.nll.size());
    for (std::size_t i = 0; i < scores.nll.size(); ++i) {
        logRatio[i] = scores.nll[i] - scores.baselineNll[i];
        squared[i] = scores.deltaP[i] * scores.deltaP[i];
    }
    summary.addMean("ppl_ratio", "", logRatio, [](double x) { return std::exp(x); });
    summary.addMean("kl_mean", "nats", scores.kl, plain);
    summary.addValue("kl_median", "nats", median(scores.kl));
    summary.addValue("kl_p90", "nats", percentile(scores.kl, 0.90));
    summary.addValue("kl_p99", "nats", percentile(scores.kl, 0.99));
    summary.addValue("kl_max", "nats", *std::max_element(scores.kl.begin(), scores.kl.end()));
    summary.addMean("top1_agreement", "%", scores.sameTop, [](double x) { return 100 * x; });
    summary.addMean("delta_p_mean", "%", scores.deltaP, [](double x) { return 100 * x; });
    summary.addMean("delta_p_rms", "%", squared, [](double x) { return 100 * std::sqrt(x); });
    return summary.take();
}

}  // namespace fettle
