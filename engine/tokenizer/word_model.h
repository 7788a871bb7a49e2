// Words to token ids. Immutable; may be shared by threads, each with its own scratch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace fettle {

/// Buffers of one thread that are kept from word to word.
struct WordScratch {
    struct Symbol {
        std::int32_t id = -1;
        std::int32_t previous = -1, next = -1;  // positions
        std::uint32_t begin = 0, length = 0;    // bytes in the word; length 0 = merged away
    };
    struct Candidate {
        std::uint64_t key = 0;  // the smallest is merged first
        std::uint32_t left = 0;
        std::uint32_t size = 0;    // bytes of both
        std::int32_t merged = -1;  // token
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> queue;
    std::vector<std::int32_t> ids;
};

class WordModel {
public:
    virtual ~WordModel() = default;
    /// Appends the ids of `word`, valid UTF-8 that is not empty.
    virtual void tokenize(std::string_view word, WordScratch& scratch,
                          std::vector<std::int32_t>& ids) const = 0;
};

}  // namespace fettle
