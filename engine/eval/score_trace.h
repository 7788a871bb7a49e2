// The part of an evaluation's values per token that is kept: see EvaluationTrace.
#pragma once

#include <string>
#include <vector>

#include "engine/eval/text_scores.h"
#include "engine/experiment/evaluation_trace.h"
#include "engine/tokenizer/tokenizer.h"

namespace fettle {

/// `scores` must be those of `windows`. Neighbouring windows share a block where there are more
/// than kMaxBlocks of them. Bytes of a character that several tokens make up are shown with the
/// last of them.
EvaluationTrace traceOf(const TextScores& scores, const std::vector<TextWindow>& windows,
                        const Tokenizer& tokenizer, const std::string& protocol);

}  // namespace fettle
