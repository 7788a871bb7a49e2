// A model's configuration and tokenizer as GGUF keys: the other direction of gguf_config.h.
#pragma once

#include <string>
#include <vector>

#include "engine/io/gguf_writer.h"
#include "engine/model/model_config.h"
#include "engine/tokenizer/tokenizer.h"

namespace fettle {

/// general.* and {arch}.* keys. Throws EngineError(BadInput), naming `name`, for what GGUF's keys
/// cannot say.
void writeGgufConfig(const ModelConfig& config, const std::string& name, std::uint64_t parameters,
                     std::uint32_t fileType, GgufWriter& writer);
/// tokenizer.*; the token list is cut or padded to the embedding's rows, as llama.cpp wants it.
void writeGgufTokenizer(GgufTokenizerData tokenizer, std::int64_t rows, GgufWriter& writer);
/// What changes in meaning on the way: one sentence each.
std::vector<std::string> ggufConfigNotes(const ModelConfig& config);

}  // namespace fettle
