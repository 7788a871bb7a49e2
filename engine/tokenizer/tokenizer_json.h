// Reads tokenizer.json as Hugging Face's tokenizers writes it. Untrusted input: errors are
// EngineError(BadInput).
#pragma once

#include <filesystem>

#include "engine/tokenizer/pipeline_tokenizer.h"

namespace fettle {

/// Everything but bos, eos, padding, stop ids and the chat template, which lie in other files.
TokenizerParts readTokenizerJson(const std::filesystem::path& file);

/// The text of a file of at most `most` bytes.
std::string readTextFile(const std::filesystem::path& file, std::uintmax_t most);

}  // namespace fettle
