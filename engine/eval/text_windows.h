// An evaluation text as token windows under the measuring protocol.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/experiment/run_values.h"
#include "engine/tokenizer/tokenizer.h"

namespace fettle {

struct TextWindow {
    std::vector<std::int32_t> ids;
    std::int64_t firstScored =
        1;  ///< ids[firstScored..] are scored, each predicted from all before it
};

/// Reads a text file whole. Throws EngineError(BadInput) for a missing, empty or binary file.
std::string readText(const std::string& path);
/// Short content hash of a text, part of the protocol that is stored with its numbers.
std::string textHash(const std::string& text);
/// Plain protocol: windows of `context` tokens without overlap, BOS first in each where the
/// tokenizer adds it; the first token of a window is not scored. llama.cpp's: the stream starts
/// with BOS where the tokenizer adds it, the first token of each window is replaced by BOS, only
/// predictions made in its second half are scored, the last incomplete window is dropped.
std::vector<TextWindow> makeWindows(const Tokenizer& tokenizer, const std::string& text,
                                    const MeasureOptions& options);

}  // namespace fettle
