// Accuracy on a text: perplexity, and against a baseline KL divergence, top-1 agreement and changes
// of the correct token's probability, with llama.cpp's definitions and paired over the same tokens.
#pragma once

#include <vector>

#include "engine/core/run_control.h"
#include "engine/eval/text_windows.h"
#include "engine/experiment/measurement.h"
#include "engine/model/transformer.h"

namespace fettle {

/// A model's most likely next token.
struct TopToken {
    std::int32_t id = 0;
    float probability = 0;
};

/// Values of every scored token, in order; `windowEnds` cuts them into windows.
struct TextScores {
    std::vector<double> nll;          ///< -log p(token), nats
    std::vector<double> baselineNll;  ///< empty without a baseline, likewise the next three
    std::vector<double> kl;           ///< KL(baseline || model), nats
    std::vector<char> sameTop;
    std::vector<double> deltaP;         ///< p(token) - p_baseline(token)
    std::vector<TopToken> top;          ///< what the model predicts; empty without a baseline
    std::vector<TopToken> baselineTop;  ///< what the baseline predicts
    std::vector<std::size_t> windowEnds;
    double seconds = 0;

    bool hasBaseline() const { return !baselineNll.empty(); }
};

/// Scores `windows` with `model` and, where given, `baseline` (same vocabulary). Logits are made a
/// few rows at a time.
TextScores scoreText(Transformer& model, Transformer* baseline,
                     const std::vector<TextWindow>& windows, RunControl& control);

/// The metrics of `scores` with bootstrap 95% intervals over windows. `protocol` is stored with
/// each.
std::vector<Measurement> summarize(const TextScores& scores, const std::string& protocol,
                                   bool native);

}  // namespace fettle
