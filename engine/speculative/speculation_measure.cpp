#include "engine/speculative/speculation_measure.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "engine/core/random.h"
#include "engine/eval/statistics.h"
#include "engine/speculative/code_sample.h"

namespace fettle {

namespace {

using Prompts = std::vector<std::vector<std::int32_t>>;

constexpr std::uint64_t kNoiseStream = 0x5BEC;
constexpr int kCostRounds = 5;
// Passes that take less time than this find their weights in caches, if nothing else was there in
// between: as they will when they follow each other, so they are run again at once.
constexpr double kQuickPass = 5e-3;
constexpr int kQuickRuns = 3;

struct Sequence {
    std::vector<std::int32_t> answer;
    double ttft = 0;    // seconds
    double decode = 0;  // seconds from the first token on
    std::vector<double> interToken;
    SpeculationCounts counts;
};

/// Plain and speculative runs of the same prompts.
struct Paired {
    std::vector<double> speedups, ttft, plainTtft, decodeRate, interToken;
    SpeculationCounts counts;
    double plainSeconds = 0, plainSteps = 0;
    int same = 0, runs = 0;
};

class Bench {
public:
    Bench(Transformer& target, Proposer& proposer, const SpeculativeSetup& setup, int newTokens,
          RunControl& control)
        : m_target(target),
          m_proposer(proposer),
          m_setup(setup),
          m_newTokens(newTokens),
          m_control(control),
          m_length(makeDraftLength(setup)) {}

    /// Forgets what was learned of costs and acceptance: other texts follow. From one answer to the
    /// next of them it stays, as it does for somebody who asks one question after another.
    void forget() { m_length = makeDraftLength(m_setup); }

    Sequence run(const std::vector<std::int32_t>& prompt, const SamplingOptions& sampling,
                 bool speculative) {
        SpeculativeDecoder decoder(m_target, speculative ? &m_proposer : nullptr,
                                   speculative ? m_length.get() : nullptr, sampling,
                                   static_cast<std::int64_t>(prompt.size()) + m_newTokens,
                                   draftTree(m_setup.tree));
        Sequence sequence;
        const double start = steadySeconds();
        decoder.begin(prompt, m_control);
        const double first = steadySeconds();
        double last = first;
        for (int left = m_newTokens - 1; left > 0;) {
            const Round& round = decoder.next(left, m_control);
            const double now = steadySeconds();
            // Tokens of one round appear together: the first waits for it, the others do not.
            sequence.interToken.push_back(now - last);
            sequence.interToken.insert(sequence.interToken.end(), round.tokens.size() - 1, 0.0);
            last = now;
            left -= static_cast<int>(round.tokens.size());
        }
        sequence.ttft = first - start;
        sequence.decode = last - first;
        sequence.counts = decoder.counts();
        sequence.answer.assign(decoder.text().begin() + static_cast<std::ptrdiff_t>(prompt.size()),
                               decoder.text().end());
        return sequence;
    }

    /// Greedy, `repeats` times over all prompts; which of the two goes first changes.
    Paired compare(const Prompts& prompts, int repeats) {
        Paired paired;
        // To warm up; backwards, so that a proposer that remembers texts has not seen the answer.
        const std::vector<std::int32_t> backwards(prompts.front().rbegin(), prompts.front().rend());
        run(backwards, {}, true);
        run(backwards, {}, false);
        forget();
        bool plainFirst = true;
        for (int repeat = 0; repeat < repeats; ++repeat)
            for (const auto& prompt : prompts) {
                Sequence plain, fast;
                if (plainFirst)
                    plain = run(prompt, {}, false);
                fast = run(prompt, {}, true);
                if (!plainFirst)
                    plain = run(prompt, {}, false);
                plainFirst = !plainFirst;
                add(paired, plain, fast);
            }
        return paired;
    }

private:
    void add(Paired& paired, const Sequence& plain, const Sequence& fast) const {
        const double tokens = m_newTokens - 1;
        paired.speedups.push_back(plain.decode / fast.decode);
        paired.ttft.push_back(fast.ttft * 1e3);
        paired.plainTtft.push_back(plain.ttft * 1e3);
        paired.decodeRate.push_back(tokens / fast.decode);
        for (const double seconds : fast.interToken)
            paired.interToken.push_back(seconds * 1e3);
        paired.counts.add(fast.counts);
        paired.plainSeconds += plain.decode;
        paired.plainSteps += tokens;
        paired.same += plain.answer == fast.answer ? 1 : 0;
        ++paired.runs;
    }

    Transformer& m_target;
    Proposer& m_proposer;
    const SpeculativeSetup& m_setup;
    int m_newTokens;
    RunControl& m_control;
    std::unique_ptr<DraftLength> m_length;
};

Measurement metricOf(const std::string& name, const std::string& unit, double value, bool native) {
    Measurement metric;
    metric.name = name;
    metric.unit = unit;
    metric.value = value;
    metric.native = native;
    return metric;
}

Measurement rangeOf(const std::string& name, const std::string& unit,
                    const std::vector<double>& values, bool native) {
    Measurement metric = metricOf(name, unit, median(values), native);
    if (values.size() > 1) {
        metric.low = *std::min_element(values.begin(), values.end());
        metric.high = *std::max_element(values.begin(), values.end());
    }
    return metric;
}

/// Pieces of `text`, evenly spread.
Prompts proseOf(const std::vector<std::int32_t>& ids, std::size_t size, std::size_t count) {
    Prompts prompts;
    const std::size_t step = std::max<std::size_t>(1, (ids.size() - size) / count);
    for (std::size_t i = 0; i < count && i * step + size <= ids.size(); ++i)
        prompts.emplace_back(ids.begin() + static_cast<std::ptrdiff_t>(i * step),
                             ids.begin() + static_cast<std::ptrdiff_t>(i * step + size));
    return prompts;
}

/// A passage and its own beginning again: the answer that a faithful copy would go on with is in
/// the prompt.
Prompts copiesOf(const Prompts& prose) {
    Prompts prompts;
    for (const auto& prompt : prose) {
        const auto part = static_cast<std::ptrdiff_t>(prompt.size() * 3 / 4);
        std::vector<std::int32_t> copy(prompt.begin(), prompt.begin() + part);
        copy.insert(copy.end(), prompt.begin(),
                    prompt.begin() + static_cast<std::ptrdiff_t>(prompt.size()) - part);
        prompts.push_back(std::move(copy));
    }
    return prompts;
}

/// Tokens without sense: nothing in them helps to guess.
Prompts noiseLike(const Prompts& prose, std::int64_t vocabulary) {
    Philox random(1, kNoiseStream);
    Prompts prompts = prose;
    for (auto& prompt : prompts)
        for (std::int32_t& id : prompt)
            id = static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(vocabulary)));
    return prompts;
}

/// What the formula promises for the forms of drafts that were used, at their measured acceptance.
double promised(const SpeculationCounts& counts, double draftCost, double step,
                const std::vector<double>& verify) {
    double tokens = 0, steps = counts.catchUpSeconds / step;
    for (const auto& [form, seen] : counts.forms) {
        const auto [depth, nodes] = form;
        const double acceptance = seen.levelsTried > 0 ? static_cast<double>(seen.levelsAccepted) /
                                                             static_cast<double>(seen.levelsTried)
                                                       : 0;
        const auto rounds = static_cast<double>(seen.rounds);
        const auto rows = std::min(static_cast<std::size_t>(nodes), verify.size() - 1);
        tokens += rounds * expectedTokens(acceptance, depth);
        steps += rounds * (depth * draftCost + verify[rows] / verify[0]);
    }
    return steps > 0 ? tokens / steps : 1;
}

/// Levels and passes of the rounds that drafted, in the mean.
void addMeans(const SpeculationCounts& counts, const std::vector<double>& verify,
              DraftTrial& trial) {
    double rounds = 0, depth = 0, cost = 0;
    for (const auto& [form, seen] : counts.forms) {
        if (form.first == 0)
            continue;
        const auto weight = static_cast<double>(seen.rounds);
        const auto rows = std::min(static_cast<std::size_t>(form.second), verify.size() - 1);
        rounds += weight;
        depth += weight * form.first;
        cost += weight * verify[rows] / verify[0];
    }
    trial.meanDepth = rounds > 0 ? depth / rounds : 0;
    trial.verifyCost = rounds > 0 ? cost / rounds : 0;
}

int mostVerified(const SpeculationCounts& counts) {
    int most = kMostDrafted;
    for (const auto& [form, seen] : counts.forms)
        most = std::max(most, form.second);
    return most + 1;
}

std::string verdictOf(const DraftTrial& trial, double verifyTwo) {
    char text[200];
    if (trial.meanDepth <= 0)
        return "drafted nothing on these prompts";
    if (trial.speedup > 1)
        std::snprintf(text, sizeof text,
                      "pays: %.2f x plain decoding; %.0f%% of the tried tokens were accepted, "
                      "drafting one takes %.0f%% of a step",
                      trial.speedup, 100 * trial.acceptance, 100 * trial.draftCost);
    else
        std::snprintf(text, sizeof text,
                      "does not pay (%.2f x): %.0f%% of the tried tokens were accepted, but "
                      "drafting one takes %.0f%% of a step and verifying two %.0f%%",
                      trial.speedup, 100 * trial.acceptance, 100 * trial.draftCost,
                      100 * verifyTwo);
    return text;
}

}  // namespace

std::vector<double> measureVerifySeconds(Transformer& target, std::int64_t context, int most,
                                         RunControl& control) {
    const std::int64_t vocabulary = target.config().vocabularySize;
    KvCache cache = target.makeCache(context + most);
    std::vector<std::int32_t> ids(static_cast<std::size_t>(std::max<std::int64_t>(context, most)));
    for (std::size_t i = 0; i < ids.size(); ++i)
        ids[i] = static_cast<std::int32_t>(i % static_cast<std::size_t>(vocabulary));
    const std::span<const std::int32_t> tokens(ids);
    target.forward(tokens.first(static_cast<std::size_t>(context)), cache, &control);
    std::vector<std::int64_t> likeliest(static_cast<std::size_t>(most));
    const auto timed = [&](int m) {
        double least = 1e30;
        for (int run = 0; run < kQuickRuns && (run == 0 || least < kQuickPass); ++run) {
            const double start = steadySeconds();
            target.forward(tokens.first(static_cast<std::size_t>(m)), cache, &control);
            target.likeliest(0, m, likeliest.data());
            least = std::min(least, steadySeconds() - start);
            cache.truncate(context);
        }
        return least;
    };
    std::vector<std::vector<double>> steps(static_cast<std::size_t>(most));
    double least = timed(1);
    for (int round = 0; round < kCostRounds; ++round) {
        double before = timed(1);
        for (int m = 2; m <= most; m += 2) {
            const int last = std::min(m + 1, most);
            std::array<double, 2> seconds{};
            for (int n = m; n <= last; ++n)
                seconds[static_cast<std::size_t>(n - m)] = timed(n);
            const double after = timed(1);
            for (int n = m; n <= last; ++n)
                steps[static_cast<std::size_t>(n - 1)].push_back(
                    2 * seconds[static_cast<std::size_t>(n - m)] / (before + after));
            least = std::min({least, before, after});
            before = after;
        }
    }
    std::vector<double> out{least};
    for (int m = 2; m <= most; ++m)
        out.push_back(least * median(steps[static_cast<std::size_t>(m - 1)]));
    return out;
}

SpeculationMeasure measureSpeculation(Transformer& target, const Model& model, Proposer& proposer,
                                      const SpeculativeSetup& setup, const std::string& text,
                                      const SpeculationOptions& options, RunControl& control) {
    // Past the context a model was made for, neither its text nor its acceptance means anything.
    const std::int64_t context = std::max<std::int64_t>(target.config().contextLength, 16);
    const auto newTokens = static_cast<int>(
        std::clamp<std::int64_t>(options.newTokens, 2, std::max<std::int64_t>(2, context / 2)));
    const std::vector<std::int32_t> ids = model.tokenizer->encode(text, false);
    const std::int64_t wanted = std::min<std::int64_t>(options.promptTokens, context - newTokens);
    const auto size = static_cast<std::size_t>(
        std::clamp<std::int64_t>(wanted, 1, static_cast<std::int64_t>(ids.size())));
    if (ids.size() < 8)
        throw EngineError(ErrorKind::Usage,
                          "the text to measure speculative decoding on has fewer than 8 tokens");
    const Prompts prose =
        proseOf(ids, size, static_cast<std::size_t>(std::max(1, options.repeats)));

    Bench bench(target, proposer, setup, newTokens, control);
    const Paired paired = bench.compare(prose, 1);
    const SpeculationCounts& counts = paired.counts;
    const std::vector<double> verify = measureVerifySeconds(target, static_cast<std::int64_t>(size),
                                                            mostVerified(counts), control);
    const double step = paired.plainSeconds / paired.plainSteps;
    const bool native = target.native();
    std::int64_t levels = 0;
    for (const auto& [form, seen] : counts.forms)
        levels += form.first * seen.rounds;

    SpeculationMeasure out;
    out.stepMs = 1e3 * step;
    for (const double seconds : verify)
        out.verifyCost.push_back(seconds / verify[0]);
    DraftTrial& trial = out.trial;
    trial.draft = setup.draft;
    trial.draftTokens = setup.draftTokens;
    trial.tree = setup.tree;
    trial.description = proposer.description();
    trial.acceptance = counts.acceptanceRate();
    trial.draftCost = levels > 0 ? (counts.draftSeconds - counts.catchUpSeconds) /
                                       static_cast<double>(levels) / step
                                 : 0;
    addMeans(counts, verify, trial);
    trial.acceptedLength = counts.meanAcceptedLength();
    trial.speedup = median(paired.speedups);
    trial.speedupLow = *std::min_element(paired.speedups.begin(), paired.speedups.end());
    trial.speedupHigh = *std::max_element(paired.speedups.begin(), paired.speedups.end());
    trial.expected = promised(counts, trial.draftCost, step, verify);
    trial.tokensPerSecond = median(paired.decodeRate);
    trial.ttftMs = median(paired.ttft);
    trial.plainTtftMs = median(paired.plainTtft);
    trial.draftBytes = static_cast<double>(proposer.bytes());
    trial.identical = 100.0 * paired.same / paired.runs;
    trial.verdict = verdictOf(trial, verify[1] / verify[0]);
    const auto rate = [](const SpeculationCounts& c) { return 100 * c.acceptanceRate(); };
    out.metrics = {
        rangeOf("speedup", "", paired.speedups, native),
        metricOf("expected_speedup", "", trial.expected, native),
        metricOf("acceptance_rate", "%", rate(counts), native),
        metricOf("mean_accepted_length", "tokens", trial.acceptedLength, native),
        metricOf("identical_output", "%", trial.identical, native),
        metricOf("draft_cost", "%", 100 * trial.draftCost, native),
        metricOf("draft_bytes", "bytes", trial.draftBytes, native),
        rangeOf("decode_tokens_per_s", "tokens/s", paired.decodeRate, native),
        rangeOf("ttft_ms", "ms", paired.ttft, native),
        metricOf("inter_token_ms_p50", "ms", percentile(paired.interToken, 0.5), native),
        metricOf("inter_token_ms_p95", "ms", percentile(paired.interToken, 0.95), native),
    };
    for (std::size_t i = 0; i < counts.triedAt.size(); ++i)
        if (counts.triedAt[i] > 0)
            trial.series.push_back({"acceptance_by_position", static_cast<double>(i + 1),
                                    100 * static_cast<double>(counts.acceptedAt[i]) /
                                        static_cast<double>(counts.triedAt[i])});
    for (std::size_t m = 0; m < verify.size(); ++m)
        trial.series.push_back({"verify_cost", static_cast<double>(m + 1), verify[m] / verify[0]});

    const auto addClass = [&](const std::string& name, const Prompts& prompts) {
        const Paired other = bench.compare(prompts, 1);
        out.metrics.push_back(metricOf("acceptance_rate_" + name, "%", rate(other.counts), native));
        out.metrics.push_back(rangeOf("speedup_" + name, "", other.speedups, native));
        return median(other.speedups);
    };
    if (options.thorough || options.copies)
        trial.copySpeedup = addClass("copy", copiesOf(prose));
    if (!options.thorough)
        return out;
    const std::vector<std::int32_t> code = model.tokenizer->encode(kCodeSample, false);
    addClass("code", proseOf(code, std::min(size, code.size() / 2), prose.size()));
    addClass("random", noiseLike(prose, target.config().vocabularySize));
    trial.series.push_back({"acceptance_by_temperature", 0, rate(counts)});
    for (const double temperature : {0.7, 1.0}) {
        SpeculationCounts sampled;
        bench.forget();
        for (const auto& prompt : prose) {
            SamplingOptions sampling;
            sampling.temperature = temperature;
            sampled.add(bench.run(prompt, sampling, true).counts);
        }
        trial.series.push_back({"acceptance_by_temperature", temperature, rate(sampled)});
    }
    return out;
}

}  // namespace fettle
