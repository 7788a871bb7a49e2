// GGUF metadata to a tokenizer. What the file does not say is taken as llama.cpp takes it.
#pragma once

#include <string>

#include "engine/tokenizer/pipeline_tokenizer.h"

namespace fettle {

/// Throws EngineError(BadInput) naming `origin` and what is not supported or broken.
TokenizerParts partsFromGguf(const GgufTokenizerData& data, const std::string& origin);

/// Adds the tokens that are known to end a turn, and sorts the stop ids.
void addKnownStopIds(TokenizerParts& parts);

}  // namespace fettle
