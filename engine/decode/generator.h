// Continues a text token by token.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/core/run_control.h"
#include "engine/decode/token_distribution.h"
#include "engine/model/model.h"
#include "engine/model/transformer.h"
#include "engine/speculative/speculative_decoder.h"

namespace fettle {

struct GenerateOptions {
    int maxNewTokens = 64;
    SamplingOptions sampling;
    bool ignoreStop = false;  ///< measuring: go on past end-of-text
    /// Both given: decode speculatively. Borrowed.
    Proposer* proposer = nullptr;
    DraftLength* draftLength = nullptr;
    DraftTree tree;
};

/// New text in whole UTF-8 sequences, and the tokens of the round it came in.
using PieceHandler = std::function<void(const std::string&, const std::vector<TokenPiece>&)>;

/// Runs `prompt` and samples until a stop id or the limit. `onPiece` (may be empty) is called after
/// each pass of the model; the report's times are wall clock.
GenerateReport generate(Transformer& transformer, const Tokenizer& tokenizer,
                        const std::vector<std::int32_t>& prompt, const GenerateOptions& options,
                        RunControl& control, const PieceHandler& onPiece = {});

}  // namespace fettle
