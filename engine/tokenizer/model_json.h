// Reads `model` of a tokenizer.json: the vocabulary and the merges, straight into their tables.
#pragma once

#include <cstddef>
#include <string>

#include "engine/tokenizer/bpe_model.h"
#include "engine/tokenizer/json_reader.h"
#include "engine/tokenizer/vocabulary.h"

namespace fettle {

/// `reader` stands before the object. `file` is named in errors; its size bounds the ids it may
/// use. Everything in `options` but `byteLevel` is set. Throws EngineError(BadInput).
void readBpeModel(JsonReader& reader, const std::string& file, std::size_t fileBytes,
                  Vocabulary& vocabulary, BpeOptions& options);

}  // namespace fettle
