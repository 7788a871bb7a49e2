#include "engine/tokenizer/bpe_model.h"

#include <algorithm>
#include <cstdio>
#include <limits>

#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/utf8.h"

namespace fettle {

namespace {

/// Up to this many symbols, looking through all pairs beats keeping a queue.
constexpr std::size_t kShortWord = 32;
constexpr std::uint32_t kNoRank = std::numeric_limits<std::uint32_t>::max();

struct LaterCandidate {
    bool operator()(const WordScratch::Candidate& a, const WordScratch::Candidate& b) const {
        return a.key > b.key;
    }
};

int hexDigit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

}  // namespace

std::int32_t findByteToken(const TokenTable& tokens, unsigned char byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    return tokens.find(name);
}

int byteOfToken(std::string_view token) {
    if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') {
        return -1;
    }
    const int high = hexDigit(token[3]), low = hexDigit(token[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

BpeModel::BpeModel(const TokenTable& tokens, const MergeTable& merges, const BpeOptions& options)
    : m_tokens(tokens), m_merges(merges), m_options(options) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
        std::string character;
        appendUtf8(character, byteAlphabet()[byte]);
        m_byteIds[byte] = tokens.find(character);
        m_fallbackIds[byte] = findByteToken(tokens, static_cast<unsigned char>(byte));
    }
    m_everyByte = m_options.byteLevel && std::all_of(m_byteIds.begin(), m_byteIds.end(),
                                                     [](std::int32_t id) { return id >= 0; });
}

void BpeModel::tokenize(std::string_view word, WordScratch& scratch,
                        std::vector<std::int32_t>& ids) const {
    if (m_options.ignoreMerges) {
        const std::int32_t whole =
            m_options.byteLevel ? m_tokens.find(toByteLevel(word)) : m_tokens.find(word);
        if (whole >= 0) {
            ids.push_back(whole);
            return;
        }
    }
    std::vector<std::int32_t>& symbols = scratch.ids;
    symbols.clear();
    if (m_everyByte || (m_options.byteLevel && m_options.unknown < 0 && !m_options.byteFallback)) {
        for (const char byte : word) {
            const std::int32_t id = m_byteIds[static_cast<unsigned char>(byte)];
            if (id >= 0) {
                symbols.push_back(id);
            }
        }
    } else if (m_options.byteLevel) {
        appendCharacters(toByteLevel(word), symbols);
    } else {
        appendCharacters(word, symbols);
    }
    if (symbols.size() <= kShortWord) {
        mergeShort(symbols);
    } else {
        mergeLong(scratch, symbols);
    }
    ids.insert(ids.end(), symbols.begin(), symbols.end());
}

void BpeModel::appendCharacters(std::string_view word, std::vector<std::int32_t>& ids) const {
    bool pendingUnknown = false;
    const auto flush = [&] {
        if (pendingUnknown) {
            ids.push_back(m_options.unknown);
        }
        pendingUnknown = false;
    };
    for (std::size_t i = 0; i < word.size();) {
        const std::string_view character = word.substr(i, decodeUtf8(word, i).length);
        i += character.size();
        if (const std::int32_t id = m_tokens.find(character); id >= 0) {
            flush();
            ids.push_back(id);
            continue;
        }
        const auto fallback = [&](char byte) {
            return m_fallbackIds[static_cast<unsigned char>(byte)];
        };
        if (m_options.byteFallback && std::all_of(character.begin(), character.end(),
                                                  [&](char byte) { return fallback(byte) >= 0; })) {
            // A pending unknown token stays behind these, as in Hugging Face's merge_word.
            std::transform(character.begin(), character.end(), std::back_inserter(ids), fallback);
        } else if (m_options.unknown >= 0) {
            if (!m_options.fuseUnknown) {
                flush();
            }
            pendingUnknown = true;
        }
    }
    flush();
}

void BpeModel::mergeShort(std::vector<std::int32_t>& ids) const {
    const MergeTable::Merge* pairs[kShortWord];
    const auto lookUp = [&](std::size_t i) { pairs[i] = m_merges.find(ids[i], ids[i + 1]); };
    std::size_t count = ids.size();
    for (std::size_t i = 0; i + 1 < count; ++i) {
        lookUp(i);
    }
    while (count > 1) {
        std::uint32_t lowest = kNoRank;
        std::size_t at = 0;
        for (std::size_t i = 0; i + 1 < count; ++i) {
            if (pairs[i] != nullptr && pairs[i]->rank < lowest) {
                lowest = pairs[i]->rank;
                at = i;
            }
        }
        if (lowest == kNoRank) {
            break;
        }
        ids[at] = pairs[at]->merged;
        --count;
        for (std::size_t i = at + 1; i < count; ++i) {
            ids[i] = ids[i + 1];
            pairs[i] = i + 1 < count ? pairs[i + 1] : nullptr;
        }
        if (at > 0) {
            lookUp(at - 1);
        }
        if (at + 1 < count) {
            lookUp(at);
        }
    }
    ids.resize(count);
}

void BpeModel::mergeLong(WordScratch& scratch, std::vector<std::int32_t>& ids) const {
    auto& symbols = scratch.symbols;
    auto& queue = scratch.queue;
    const auto count = static_cast<std::int32_t>(ids.size());
    symbols.resize(ids.size());
    queue.clear();
    // Equal ranks merge from left to right.
    const auto candidate = [&](std::int32_t left, WordScratch::Candidate& found) {
        const auto& symbol = symbols[static_cast<std::size_t>(left)];
        if (symbol.next < 0) {
            return false;
        }
        const auto* merge =
            m_merges.find(symbol.id, symbols[static_cast<std::size_t>(symbol.next)].id);
        if (merge == nullptr) {
            return false;
        }
        found = {(std::uint64_t(merge->rank) << 32) | std::uint32_t(left), std::uint32_t(left), 0,
                 merge->merged};
        return true;
    };
    const auto push = [&](std::int32_t left) {
        WordScratch::Candidate found;
        if (left >= 0 && candidate(left, found)) {
            queue.push_back(found);
            std::push_heap(queue.begin(), queue.end(), LaterCandidate());
        }
    };
    for (std::int32_t i = 0; i < count; ++i) {
        symbols[static_cast<std::size_t>(i)] = {ids[static_cast<std::size_t>(i)], i - 1,
                                                i + 1 < count ? i + 1 : -1, 0, 1};
    }
    for (std::int32_t i = 0; i + 1 < count; ++i) {
        WordScratch::Candidate found;
        if (candidate(i, found)) {
            queue.push_back(found);
        }
    }
    std::make_heap(queue.begin(), queue.end(), LaterCandidate());
    while (!queue.empty()) {
        std::pop_heap(queue.begin(), queue.end(), LaterCandidate());
        const WordScratch::Candidate top = queue.back();
        queue.pop_back();
        auto& left = symbols[top.left];
        WordScratch::Candidate now;
        if (left.length == 0 || !candidate(static_cast<std::int32_t>(top.left), now) ||
            now.merged != top.merged) {
            continue;  // one of the two was merged with another neighbour since
        }
        auto& right = symbols[static_cast<std::size_t>(left.next)];
        right.length = 0;
        left.id = top.merged;
        left.next = right.next;
        if (right.next >= 0) {
            symbols[static_cast<std::size_t>(right.next)].previous =
                static_cast<std::int32_t>(top.left);
        }
        push(left.previous);
        push(static_cast<std::int32_t>(top.left));
    }
    ids.clear();
    for (std::int32_t i = 0; i >= 0 && i < count; i = symbols[static_cast<std::size_t>(i)].next) {
        ids.push_back(symbols[static_cast<std::size_t>(i)].id);
    }
}

}  // namespace fettle
