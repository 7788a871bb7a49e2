// The names that GGUF files give to pre-tokenizers (tokenizer.ggml.pre), and the expressions they
// stand for.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fettle {

struct GgufPre {
    std::vector<const char*> patterns;  ///< each isolates its matches in what the one before left
    bool ignoreMerges = false;
    bool addsBos = false;  ///< where the file does not say
    bool nfc = false;      ///< the tokenizer it was made from normalizes; llama.cpp does not
};

/// Null for names that are not known. The empty name is "default".
const GgufPre* findGgufPre(std::string_view name);
/// The name for a byte-level tokenizer.json by `ParsedPreTokenizer::signature`; "default" if it has
/// none.
std::string ggufPreName(const std::vector<std::string>& signature);

}  // namespace fettle
