// What speculative decoding gains on real text: plain and speculative decoding of the same prompts
// in turns, so that a machine whose speed drifts treats both alike.
#pragma once

#include <vector>

#include "engine/core/run_control.h"
#include "engine/experiment/draft_values.h"
#include "engine/model/model.h"
#include "engine/speculative/draft_source.h"
#include "engine/speculative/speculative_decoder.h"

namespace fettle {

struct SpeculationOptions {
    int promptTokens = 512;
    int newTokens = 128;
    int repeats = 3;
    /// Also: acceptance at temperatures above 0, and prompts that copy or make no sense.
    bool thorough = true;
    bool copies = false;  ///< also prompts that copy
};

struct SpeculationMeasure {
    std::vector<Measurement> metrics;  ///< speedup, acceptance_rate, ... as in metricCatalogue()
    DraftTrial trial;                  ///< the same by fields, with the series and the verdict
    double stepMs = 0;                 ///< one token without drafting
    std::vector<double> verifyCost;    ///< of a pass over 1, 2, ... tokens, in steps
};

/// `text` is cut into prompts. Greedy decoding, one sequence at a time, past any end of text.
/// decode_tokens_per_s, ttft_ms and the inter-token times are those of speculative decoding.
SpeculationMeasure measureSpeculation(Transformer& target, const Model& model, Proposer& proposer,
                                      const SpeculativeSetup& setup, const std::string& text,
                                      const SpeculationOptions& options, RunControl& control);

/// Seconds that a pass over 1, 2, ... `most` tokens takes after `context` tokens, logits included;
/// index 0 is one token, the least of many. The others are that times the median of what they take
/// in steps right before and after them: memory and processor have slow spells of their own.
std::vector<double> measureVerifySeconds(Transformer& target, std::int64_t context, int most,
                                         RunControl& control);

}  // namespace fettle
