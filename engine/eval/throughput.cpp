#include "engine/eval/throughput.h"

#include <algorithm>

#include "engine/core/random.h"
#include "engine/eval/memory_probe.h"
#include "engine/eval/statistics.h"

namespace fettle {

namespace {

struct Repeat {
    double ttft = 0;         // seconds
    double prefillRate = 0;  // tokens/s
    double decodeRate = 0;
    std::vector<double> interToken;  // seconds
};

Repeat runOnce(Transformer& transformer, const std::vector<std::int32_t>& prompt, int newTokens,
               KvCache& cache, RunControl& control) {
    Repeat repeat;
    cache.truncate(0);
    const double start = steadySeconds();
    transformer.forward(prompt, cache, &control);
    std::int32_t token = transformer.likeliestLast();
    double last = steadySeconds();
    repeat.ttft = last - start;
    repeat.prefillRate = static_cast<double>(prompt.size()) / repeat.ttft;
    for (int i = 1; i < newTokens; ++i) {
        transformer.forward(std::span<const std::int32_t>(&token, 1), cache, &control);
        token = transformer.likeliestLast();
        const double now = steadySeconds();
        repeat.interToken.push_back(now - last);
        last = now;
    }
    if (!repeat.interToken.empty())
        repeat.decodeRate =
            static_cast<double>(repeat.interToken.size()) / (last - start - repeat.ttft);
    return repeat;
}

Measurement measured(const std::string& name, const std::string& unit,
                     const std::vector<double>& values, bool native) {
    Measurement metric;
    metric.name = name;
    metric.unit = unit;
    metric.value = median(values);
    metric.native = native;
    if (values.size() > 1) {
        metric.low = *std::min_element(values.begin(), values.end());
        metric.high = *std::max_element(values.begin(), values.end());
    }
    return metric;
}

}  // namespace

std::vector<Measurement> measureThroughput(Transformer& transformer,
                                           const ThroughputOptions& options, RunControl& control) {
    resetPeakResident();
    transformer.backend().resetPeak();
    const ModelConfig& config = transformer.config();
    std::int64_t promptTokens = std::max(1, options.promptTokens);
    int newTokens = std::max(2, options.newTokens);
    if (config.learnedPositions && promptTokens + newTokens > config.contextLength) {
        // Models with learned positions cannot go past their table.
        newTokens = static_cast<int>(
            std::max<std::int64_t>(2, std::min<std::int64_t>(newTokens, config.contextLength / 2)));
        promptTokens = std::max<std::int64_t>(1, config.contextLength - newTokens);
        control.warn("measured with " + std::to_string(promptTokens) + " + " +
                     std::to_string(newTokens) + " tokens: the model's context ends at " +
                     std::to_string(config.contextLength));
    }
    Philox random(1, 0x70E5);
    std::vector<std::int32_t> prompt(static_cast<std::size_t>(promptTokens));
    for (std::int32_t& id : prompt)
        id = static_cast<std::int32_t>(
            random.below(static_cast<std::uint64_t>(config.vocabularySize)));

    KvCache cache = transformer.makeCache(promptTokens + newTokens);
    const int repeats = std::max(1, options.repeats);
    runOnce(transformer, prompt, std::min(newTokens, 8), cache, control);  // warm-up
    std::vector<double> ttft, prefill, decode, interToken;
    for (int i = 0; i < repeats; ++i) {
        control.progress(static_cast<double>(i) / repeats,
                         "repeat " + std::to_string(i + 1) + " of " + std::to_string(repeats));
        const Repeat repeat = runOnce(transformer, prompt, newTokens, cache, control);
        ttft.push_back(repeat.ttft * 1e3);
        prefill.push_back(repeat.prefillRate);
        decode.push_back(repeat.decodeRate);
        for (const double seconds : repeat.interToken)
            interToken.push_back(seconds * 1e3);
    }
    const bool native = transformer.native();
    const std::uint64_t peak = transformer.backend().peakBytes().value_or(peakResidentBytes());
    const std::string& device = transformer.backend().device().id;
    const bool bfloat16 = transformer.backend().products() == kernels::Products::BFloat16;
    std::vector<Measurement> metrics{
        measured("ttft_ms", "ms", ttft, native),
        measured("prefill_tokens_per_s", "tokens/s", prefill, native),
        measured("decode_tokens_per_s", "tokens/s", decode, native),
        measured("inter_token_ms_p50", "ms", {percentile(interToken, 0.5)}, native),
        measured("inter_token_ms_p95", "ms", {percentile(interToken, 0.95)}, native),
        measured("weight_bytes", "bytes", {static_cast<double>(transformer.weightBytes())}, native),
        measured("kv_bytes_per_token", "bytes", {static_cast<double>(config.kvBytesPerToken())},
                 native),
        measured("peak_bytes", "bytes", {static_cast<double>(peak)}, native),
    };
    const std::string& remark = transformer.backend().device().reason;
    const std::string protocol =
        "speed prompt=" + std::to_string(promptTokens) + " new=" + std::to_string(newTokens) +
        " threads=" + std::to_string(transformer.backend().threads()) + " device=" + device +
        (bfloat16 ? " compute=bf16" : "") + (remark.empty() ? "" : " (" + remark + ")");
    for (Measurement& metric : metrics)
        metric.protocol = protocol;
    return metrics;
}

}  // namespace fettle
