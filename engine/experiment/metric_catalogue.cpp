// The one list of metrics: ids, titles, units, which direction is good, and what each one says.
#include "engine/experiment/measurement.h"

namespace fettle {

const std::vector<MetricInfo>& metricCatalogue() {
    constexpr auto lower = BetterWhen::Lower;
    constexpr auto higher = BetterWhen::Higher;
    constexpr auto neither = BetterWhen::Neither;
    static const std::vector<MetricInfo> catalogue{
        // accuracy
        {"perplexity", "Perplexity", "", lower,
         "How surprised the model is by the evaluation text: the exponential of its mean loss per "
         "token."},
        {"ppl_ratio", "Perplexity ratio", "", lower,
         "Perplexity divided by the baseline's, paired over the same tokens; 1.02 is a loss of "
         "2%."},
        {"ppl_log_ratio", "Log perplexity ratio", "nats", lower,
         "Logarithm of the perplexity ratio: the mean extra loss per token against the baseline."},
        {"ppl_correlation", "Perplexity correlation", "%", higher,
         "How closely the losses per token follow the baseline's."},
        {"kl_mean", "KL divergence, mean", "nats", lower,
         "How far the predicted distribution is from the baseline's, averaged over all tokens; 0 "
         "is identical."},
        {"kl_median", "KL divergence, median", "nats", lower,
         "Divergence from the baseline at the typical token."},
        {"kl_p90", "KL divergence, 90th percentile", "nats", lower,
         "Nine of ten tokens diverge from the baseline by less than this."},
        {"kl_p99", "KL divergence, 99th percentile", "nats", lower,
         "Only one token in a hundred diverges more; the damage that a mean hides."},
        {"kl_max", "KL divergence, maximum", "nats", lower,
         "Divergence from the baseline at the worst token."},
        {"predicted_kl", "KL divergence, predicted", "nats", lower,
         "What the divergences of all weights, each quantized alone, add up to: what mixed "
         "precision "
         "was chosen by. An estimate, to be held against the mean that was measured."},
        {"top1_agreement", "Same top token", "%", higher,
         "Share of tokens at which the model and the baseline predict the same most likely token."},
        {"delta_p_mean", "Probability change, mean", "%", higher,
         "Mean change of the probability given to the correct token; below 0 the model lost "
         "knowledge."},
        {"delta_p_rms", "Probability change, RMS", "%", lower,
         "Typical size of the change of the probability given to the correct token, in either "
         "direction."},
        {"task_accuracy", "Task accuracy", "%", higher,
         "Share of multiple-choice tasks whose right answer the model finds most likely."},
        {"preference", "Blind preference", "%", higher,
         "Share of the blind votes in the playground that this model won; a tie counts half."},
        {"preference_votes", "Blind votes", "", neither,
         "Votes in the playground that the blind preference rests on."},
        {"tokens", "Tokens scored", "tokens", neither,
         "Tokens of the evaluation text that were scored."},
        // latency
        {"ttft_ms", "Time to first token", "ms", lower,
         "From handing over the prompt to the first token of the answer, tokenizing included."},
        {"prefill_tokens_per_s", "Prefill speed", "tokens/s", higher,
         "Tokens of the prompt read per second."},
        {"decode_tokens_per_s", "Decode speed", "tokens/s", higher,
         "Tokens of the answer written per second, for one conversation."},
        {"inter_token_ms_p50", "Time between tokens, median", "ms", lower,
         "Half of the tokens of an answer follow the one before within this time."},
        {"inter_token_ms_p95", "Time between tokens, 95th percentile", "ms", lower,
         "All but one token in twenty follow the one before within this time."},
        {"load_ms", "Load time", "ms", lower,
         "From opening the model's files to being ready for a prompt."},
        // speculative decoding
        {"speedup", "Speed-up", "", higher,
         "Decode speed divided by that of the same model without this technique."},
        {"acceptance_rate", "Acceptance rate", "%", higher,
         "Share of the drafted tokens that the full model accepted."},
        {"mean_accepted_length", "Mean accepted length", "tokens", higher,
         "Tokens gained per pass of the full model, its own one included."},
        {"acceptance_rate_copy", "Acceptance rate, copying", "%", higher,
         "The acceptance rate where the answer repeats its prompt."},
        {"acceptance_rate_code", "Acceptance rate, code", "%", higher,
         "The acceptance rate where a program is gone on with."},
        {"acceptance_rate_random", "Acceptance rate, nonsense", "%", higher,
         "The acceptance rate after random tokens: the worst that can be asked."},
        {"speedup_copy", "Speed-up, copying", "", higher,
         "The speed-up where the answer repeats its prompt."},
        {"speedup_code", "Speed-up, code", "", higher,
         "The speed-up where a program is gone on with."},
        {"speedup_random", "Speed-up, nonsense", "", higher,
         "The speed-up after random tokens; close to 1 where drafting switches itself off."},
        {"expected_speedup", "Expected speed-up", "", higher,
         "What the measured acceptance and the measured costs of drafting and checking promise."},
        {"draft_cost", "Cost of a drafted token", "%", lower,
         "Time to draft one token, as a share of one step of the full model."},
        {"draft_bytes", "Draft in memory", "bytes", lower,
         "Memory that drafting takes beyond the model itself."},
        {"identical_output", "Identical output", "%", higher,
         "Share of the answers that are token by token those of the model without drafting."},
        // size
        {"weight_bytes", "Weights in memory", "bytes", lower,
         "Memory that the weights take while the model runs."},
        {"kv_bytes_per_token", "KV cache per token", "bytes", lower,
         "Memory that each token of context takes in the key/value cache."},
        {"peak_bytes", "Peak memory", "bytes", lower,
         "Most memory the process held while measuring."},
        {"file_bytes", "Size on disk", "bytes", lower, "Bytes of all files of the model."},
        {"mixed_bits", "Bits per quantized weight", "bits", lower,
         "Mean bits of the weights that mixed precision chose schemes for, scales included."},
        {"mixed_weights", "Weights with a scheme of their own", "", neither,
         "How many weights mixed precision chose among: what its bits per weight are counted "
         "over."},
        {"bits_per_weight", "Bits per weight", "bits", lower,
         "Bits of all weights, scales included, divided by the number of parameters."},
        {"parameters", "Parameters", "", neither,
         "Number of weights the model has, zeros included."},
        {"sparsity", "Zero weights", "%", neither, "Share of the weights that are exactly zero."},
        // effort
        {"recipe_seconds", "Time of the recipe", "s", lower,
         "Wall-clock time the recipe's steps took."},
        {"wall_seconds", "Time of the run", "s", lower,
         "Wall-clock time of the whole run: loading, the recipe's steps, measuring and writing."},
        {"optimize_peak_bytes", "Peak memory of the recipe", "bytes", lower,
         "Most memory the process held while the recipe's steps ran."},
        {"run_peak_bytes", "Peak memory of the run", "bytes", lower,
         "Most memory the process held during the whole run."},
        {"calibration_tokens", "Calibration tokens", "tokens", neither,
         "Tokens of the calibration text that the recipe used."},
        {"recovery", "Recovery", "%", higher,
         "Share of the perplexity lost by the steps before that training won back, on text held "
         "back from the training text: 100% is the teacher's."},
        {"validation_perplexity", "Validation perplexity", "", lower,
         "Perplexity after training, on what was held back from the training text."},
        {"validation_perplexity_quantized", "Validation perplexity before training", "", lower,
         "The same for the quantized model that training started from."},
        {"validation_perplexity_original", "Validation perplexity of the original", "", lower,
         "The same for the full-precision model."},
        {"training_tokens", "Training tokens", "tokens", neither,
         "Tokens that the recipe trained on."},
        {"energy_joules", "Energy", "J", lower,
         "Energy the recipe took, where the machine reports it."},
    };
    return catalogue;
}

const MetricInfo* findMetric(std::string_view id) {
    for (const MetricInfo& info : metricCatalogue()) {
        if (info.id == id)
            return &info;
    }
    return nullptr;
}

}  // namespace fettle
