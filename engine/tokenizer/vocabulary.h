// The tokens of a model and how pairs of them merge: what `model` of a tokenizer.json or a GGUF
// file holds. Immutable after loading; may be shared by threads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/tokenizer/merge_table.h"
#include "engine/tokenizer/token_table.h"

namespace fettle {

struct Vocabulary {
    TokenTable tokens;
    MergeTable merges;

    /// Adds the merge of two token texts with the next rank; returns what is wrong, empty if
    /// nothing.
    std::string addMerge(std::string_view left, std::string_view right, std::uint32_t rank);

private:
    std::int32_t m_lastMerged = -1;  // merges of the same token often follow one another
};

/// Largest id that a file with `entries` tokens may use: holes are allowed, absurd ids are not.
std::int64_t largestTokenId(std::size_t entries);

/// Where texts can be cut in front of each `mark` without changing any merge: never after
/// `keepTogether`. Makes long texts without word boundaries quick to encode. `possible` is false
/// where no such rule holds.
struct SafeCut {
    bool possible = false;
    std::u32string keepTogether;
};
/// `unknown` is the id of the unknown token or -1.
SafeCut findSafeCut(const TokenTable& tokens, std::string_view mark, std::int32_t unknown);

}  // namespace fettle
