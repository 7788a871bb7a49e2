// What an evaluation leaves behind beside its metrics, small and bounded: sums per block of text,
// by which two experiments are compared token for token, the first tokens with their values, and
// the tokens that suffered most.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace fettle {

/// Sums over the scored tokens of one or more whole windows.
struct TraceBlock {
    std::int64_t tokens = 0;
    double nll = 0;      ///< nats
    double kl = 0;       ///< nats; 0 without a baseline
    double sameTop = 0;  ///< tokens at which model and baseline predict the same
};

struct TraceToken {
    std::string text;
    bool scored = false;  ///< the first token of a window is context only
    double nll = 0;       ///< nats
    double baselineNll = 0;
    double kl = 0;
};

/// A prediction that moved far: the token, what came before, and what both models expected.
struct WorstToken {
    std::int64_t position = 0;  ///< among the scored tokens of the whole text
    std::string before;
    std::string text;
    double kl = 0;
    double probability = 0;  ///< of `text`, 0..1
    double baselineProbability = 0;
    std::string top;  ///< the model's most likely token
    double topProbability = 0;
    std::string baselineTop;
    double baselineTopProbability = 0;
};

struct EvaluationTrace {
    static constexpr std::size_t kMaxBlocks = 512;
    static constexpr std::size_t kMaxTokens = 2048;
    static constexpr std::size_t kMaxWorst = 64;

    std::string protocol;      ///< of the text's numbers; empty: no text was scored
    bool hasBaseline = false;  ///< baseline values, KL and the worst tokens are there
    std::vector<TraceBlock> blocks;
    std::vector<TraceToken> tokens;  ///< the first of the text
    std::vector<WorstToken> worst;   ///< largest KL first
    std::string tasksProtocol;
    std::vector<char> tasksCorrect;  ///< one per task, in the file's order

    bool empty() const { return blocks.empty() && tasksCorrect.empty(); }
};

/// Values of tokens are kept to four significant digits, sums in full.
nlohmann::json toJson(const EvaluationTrace& trace);
/// Throws nlohmann::json::exception for wrong types; lists of different length are cut to the
/// shortest.
EvaluationTrace evaluationTraceFromJson(const nlohmann::json& json);

}  // namespace fettle
