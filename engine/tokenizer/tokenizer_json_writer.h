// A tokenizer that came from GGUF metadata, as the tokenizer.json and tokenizer_config.json that
// Hugging Face reads.
#pragma once

#include <string>

#include "engine/tokenizer/tokenizer.h"

namespace fettle {

/// The text of tokenizer.json. Scores of SentencePiece tokenizers become merges: every way to make
/// a token of two others, in the order of the token's score, which is how Hugging Face converts
/// them. Throws EngineError(BadInput) naming `origin` for models other than "gpt2" and "llama".
std::string tokenizerJson(const GgufTokenizerData& data, const std::string& origin);
/// The text of tokenizer_config.json: special tokens, BOS/EOS switches, chat template.
std::string tokenizerConfigJson(const GgufTokenizerData& data);

}  // namespace fettle
