#include "app/core/report_findings.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>

#include "engine/experiment/paired_comparison.h"

namespace fettle::app {
namespace {

enum class Loss { Untested, Real, NotDistinguishable, Gain };

std::string formatted(const char* format, double value) {
    char text[48];
    std::snprintf(text, sizeof text, format, value);
    return text;
}

const Measurement* measured(const ExperimentRecord& record, const std::string& name) {
    const auto found = record.metrics.find(name);
    const bool usable = found != record.metrics.end() && std::isfinite(found->second.value);
    return usable ? &found->second : nullptr;
}

std::string nameOf(const ExperimentRecord& record) {
    return std::to_string(record.id) + " · " +
           (record.name.empty() ? record.summary() : record.name);
}

class Finder {
public:
    Finder(const std::vector<ExperimentDetail>& experiments, std::int64_t baseline,
           const std::map<std::int64_t, EvaluationTrace>& traces)
        : m_traces(traces) {
        for (const ExperimentDetail& e : experiments) {
            if (e.record.status != ExperimentStatus::Finished)
                continue;
            m_records.push_back(e.record);
            if (e.record.id == baseline)
                m_baseline = e.record;
        }
    }

    ReportFindings find() {
        for (const ExperimentRecord& record : m_records) {
            m_found.experiments.push_back({record.id, {}, {}, false});
            m_losses.push_back(Loss::Untested);
            m_extra.push_back(0);
            if (m_baseline && record.id != m_baseline->id)
                testDifferences(m_found.experiments.size() - 1);
        }
        placeOnFront();
        recommend();
        return std::move(m_found);
    }

private:
    void take(std::size_t at, Finding finding, const std::string& metric, double value) {
        Loss& loss = m_losses[at];
        if (finding == Finding::Loss)
            loss = Loss::Real;
        else if (loss == Loss::Untested || (loss == Loss::Gain && finding != Finding::Gain))
            loss = finding == Finding::Gain ? Loss::Gain : Loss::NotDistinguishable;
        if (metric == "perplexity")
            m_extra[at] = value;
    }

    void testDifferences(std::size_t at) {
        const ExperimentRecord& record = m_records[at];
        ReportFindings::Standing& standing = m_found.experiments[at];
        const auto reference = m_traces.find(m_baseline->id);
        const auto own = m_traces.find(record.id);
        if (reference != m_traces.end() && own != m_traces.end()) {
            for (const PairedFinding& one : comparePaired(reference->second, own->second).findings)
                if (one.metric == "perplexity" || one.metric == "task_accuracy") {
                    standing.differences.push_back(one.text());
                    take(at, one.finding, one.metric, one.value);
                }
        }
        if (!standing.differences.empty())
            return;
        // Older experiments kept no values per token, but the interval of their paired ratio.
        const Measurement* ratio = measured(record, "ppl_ratio");
        if (!ratio || !ratio->low || !ratio->high) {
            standing.differences.push_back(
                "Not tested: no values per token were kept that the baseline's could be paired "
                "with.");
            return;
        }
        const Finding finding = *ratio->low > 1    ? Finding::Loss
                                : *ratio->high < 1 ? Finding::Gain
                                                   : Finding::NotDistinguishable;
        standing.differences.push_back(
            findingTitle(finding) + ": perplexity " +
            formatted("%+.2f%%", 100 * (ratio->value - 1)) + " (95% interval " +
            formatted("%+.2f%%", 100 * (*ratio->low - 1)) + " to " +
            formatted("%+.2f%%", 100 * (*ratio->high - 1)) + "), paired over the same tokens.");
        take(at, finding, "perplexity", ratio->value - 1);
    }

    /// The most common protocol of a metric among the records that have it natively.
    std::optional<std::string> protocolOf(const std::string& metric) const {
        std::map<std::string, int> counts;
        for (const ExperimentRecord& record : m_records)
            if (const Measurement* m = measured(record, metric); m && m->native && !m->estimated)
                ++counts[m->protocol];
        const auto most =
            std::max_element(counts.begin(), counts.end(),
                             [](const auto& a, const auto& b) { return a.second < b.second; });
        return most == counts.end() || most->second < 2 ? std::nullopt : std::optional(most->first);
    }

    void placeOnFront() {
        std::optional<std::string> gainProtocol = protocolOf(m_gain = "decode_tokens_per_s");
        if (!gainProtocol)
            gainProtocol = protocolOf(m_gain = "weight_bytes");
        const std::optional<std::string> lossProtocol = protocolOf("perplexity");
        if (!gainProtocol || !lossProtocol)
            return;
        const bool speed = m_gain == "decode_tokens_per_s";
        m_found.front = speed ? "decode speed and perplexity" : "weights in memory and perplexity";
        std::vector<ExperimentRecord> charted;
        std::vector<std::size_t> source;
        for (std::size_t i = 0; i < m_records.size(); ++i) {
            const Measurement* gain = measured(m_records[i], m_gain);
            const Measurement* loss = measured(m_records[i], "perplexity");
            if (gain && loss && gain->native && gain->protocol == *gainProtocol &&
                loss->protocol == *lossProtocol) {
                charted.push_back(m_records[i]);
                source.push_back(i);
            }
        }
        const auto better = speed ? BetterWhen::Higher : BetterWhen::Lower;
        for (const std::size_t at :
             paretoFront(charted, m_gain, better, "perplexity", BetterWhen::Lower))
            m_found.experiments[source[at]].onFront = true;
        for (const std::size_t at : source)
            describePlace(at, source, speed);
    }

    void describePlace(std::size_t at, const std::vector<std::size_t>& charted, bool speed) {
        ReportFindings::Standing& standing = m_found.experiments[at];
        if (standing.onFront) {
            standing.place = "On the front of " + m_found.front + ": nothing beats it in both.";
            return;
        }
        const auto value = [&](std::size_t i, const std::string& metric) {
            return measured(m_records[i], metric)->value;
        };
        for (const std::size_t other : charted) {
            const double gain = value(other, m_gain), own = value(at, m_gain);
            const bool beats = m_found.experiments[other].onFront &&
                               (speed ? gain >= own : gain <= own) &&
                               value(other, "perplexity") <= value(at, "perplexity");
            if (!beats)
                continue;
            standing.place = "Beaten by " + nameOf(m_records[other]) + ": " +
                             formatMetric(m_gain, gain) + " against " + formatMetric(m_gain, own) +
                             ", perplexity " +
                             formatMetric("perplexity", value(other, "perplexity")) + " against " +
                             formatMetric("perplexity", value(at, "perplexity")) + ".";
            return;
        }
    }

    /// "1.83 times as fast (…), 27% of the memory": what an experiment is worth.
    std::string worthOf(const ExperimentRecord& record) const {
        std::string text;
        const auto add = [&](const std::string& part) {
            text += (text.empty() ? "" : ", ") + part;
        };
        const auto both = [&](const char* metric) {
            const Measurement* base = measured(*m_baseline, metric);
            const Measurement* own = measured(record, metric);
            return base && own && base->protocol == own->protocol && base->value > 0
                       ? std::optional(own->value / base->value)
                       : std::nullopt;
        };
        if (const auto speed = both("decode_tokens_per_s"))
            add(formatted("%.2f times the decode speed of the baseline", *speed) +
                (measured(record, "decode_tokens_per_s")->native ? ""
                                                                 : " (through dequantization)"));
        if (const auto memory = both("weight_bytes"))
            add(formatted("%.0f%% of its memory for weights", 100 * *memory));
        return text.empty() ? "neither speed nor memory was measured for both" : text;
    }

    void recommend() {
        if (!m_baseline) {
            m_found.recommendation =
                "No recommendation: no finished baseline is among the experiments, so no loss "
                "could be tested.";
            return;
        }
        std::optional<std::size_t> best, least;
        for (std::size_t i = 0; i < m_records.size(); ++i) {
            if (m_records[i].id == m_baseline->id || m_losses[i] == Loss::Untested)
                continue;
            if (m_losses[i] == Loss::Real) {
                if (!least || m_extra[i] < m_extra[*least])
                    least = i;
            } else if (m_found.experiments[i].onFront && (!best || isBetter(i, *best))) {
                best = i;
            }
        }
        if (best) {
            m_found.recommended = m_records[*best].id;
            m_found.recommendation =
                "Recommended: " + nameOf(m_records[*best]) + ". " +
                (m_losses[*best] == Loss::Gain ? "Its accuracy is no worse than the baseline's"
                                               : "Its loss is not distinguishable from none") +
                ", and it has " + worthOf(m_records[*best]) +
                ". Of the experiments without a real loss that are on the front it is the " +
                (m_gain == "decode_tokens_per_s" ? "fastest" : "smallest") + ".";
        } else if (least) {
            m_found.recommendation =
                "No experiment on the front is free of a real loss. The least loss that is real "
                "is that of " +
                nameOf(m_records[*least]) + ", perplexity " +
                formatted("%+.2f%%", 100 * m_extra[*least]) + ", with " +
                worthOf(m_records[*least]) + ": take it only if that loss is acceptable.";
        } else {
            m_found.recommendation =
                "No recommendation: no experiment was tested against the baseline and found on "
                "the front.";
        }
    }

    bool isBetter(std::size_t a, std::size_t b) const {
        const double x = measured(m_records[a], m_gain)->value;
        const double y = measured(m_records[b], m_gain)->value;
        return m_gain == "decode_tokens_per_s" ? x > y : x < y;
    }

    const std::map<std::int64_t, EvaluationTrace>& m_traces;
    std::vector<ExperimentRecord> m_records;
    std::optional<ExperimentRecord> m_baseline;
    std::vector<Loss> m_losses;
    std::vector<double> m_extra;  ///< perplexity against the baseline, ratio - 1
    std::string m_gain;
    ReportFindings m_found;
};

}  // namespace

ReportFindings reportFindings(const std::vector<ExperimentDetail>& experiments,
                              std::int64_t baseline,
                              const std::map<std::int64_t, EvaluationTrace>& traces) {
    return Finder(experiments, baseline, traces).find();
}

}  // namespace fettle::app
