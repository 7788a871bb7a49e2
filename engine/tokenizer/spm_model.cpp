#include "engine/tokenizer/spm_model.h"

#include <algorithm>
#include <bit>

#include "engine/tokenizer/bpe_model.h"
#include "engine/tokenizer/utf8.h"

namespace fettle {

namespace {

struct LaterCandidate {
    bool operator()(const WordScratch::Candidate& a, const WordScratch::Candidate& b) const {
        return a.key > b.key;
    }
};

/// Smaller for higher scores, so that one integer orders by score, then from left to right.
std::uint32_t descending(float score) {
    const auto bits = std::bit_cast<std::uint32_t>(score + 0.0f);  // -0 becomes +0
    return (bits & 0x80000000u) != 0 ? bits : 0x7FFFFFFFu - bits;
}

}  // namespace

SpmModel::SpmModel(const TokenTable& tokens, const std::vector<float>& scores, std::int32_t unknown)
    : m_tokens(tokens), m_scores(scores), m_unknown(unknown) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
        const char raw = static_cast<char>(byte);
        const std::int32_t id = findByteToken(tokens, static_cast<unsigned char>(byte));
        m_byteIds[byte] = id >= 0 ? id : tokens.find({&raw, 1});
    }
}

void SpmModel::tokenize(std::string_view word, WordScratch& scratch,
                        std::vector<std::int32_t>& ids) const {
    auto& symbols = scratch.symbols;
    auto& queue = scratch.queue;
    symbols.clear();
    queue.clear();
    for (std::size_t i = 0; i < word.size();) {
        const std::size_t length = decodeUtf8(word, i).length;
        const auto index = static_cast<std::int32_t>(symbols.size());
        symbols.push_back({-1, index - 1, i + length < word.size() ? index + 1 : -1,
                           static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(length)});
        i += length;
    }
    const auto textAt = [&](std::uint32_t begin, std::uint32_t length) {
        return word.substr(begin, length);
    };
    const auto push = [&](std::int32_t left) {
        if (left < 0 || symbols[static_cast<std::size_t>(left)].next < 0) {
            return;
        }
        const auto& a = symbols[static_cast<std::size_t>(left)];
        const auto& b = symbols[static_cast<std::size_t>(a.next)];
        const std::uint32_t size = a.length + b.length;
        if (size > m_tokens.longest()) {
            return;
        }
        const std::int32_t merged = m_tokens.find(textAt(a.begin, size));
        if (merged < 0) {
            return;
        }
        const std::uint64_t order = descending(m_scores[static_cast<std::size_t>(merged)]);
        queue.push_back({(order << 32) | std::uint32_t(left), std::uint32_t(left), size, merged});
        std::push_heap(queue.begin(), queue.end(), LaterCandidate());
    };
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
        push(static_cast<std::int32_t>(i));
    }
    while (!queue.empty()) {
        std::pop_heap(queue.begin(), queue.end(), LaterCandidate());
        const WordScratch::Candidate top = queue.back();
        queue.pop_back();
        auto& left = symbols[top.left];
        if (left.length == 0 || left.next < 0) {
            continue;
        }
        auto& right = symbols[static_cast<std::size_t>(left.next)];
        if (left.length + right.length != top.size) {
            continue;  // one of the two was merged with another neighbour since
        }
        left.length = top.size;
        left.id = top.merged;
        left.next = right.next;
        right.length = 0;
        if (right.next >= 0) {
            symbols[static_cast<std::size_t>(right.next)].previous =
                static_cast<std::int32_t>(top.left);
        }
        push(left.previous);
        push(static_cast<std::int32_t>(top.left));
    }
    for (std::int32_t i = 0; i >= 0; i = symbols[static_cast<std::size_t>(i)].next) {
        const auto& symbol = symbols[static_cast<std::size_t>(i)];
        const std::string_view text = textAt(symbol.begin, symbol.length);
        const std::int32_t id = symbol.id >= 0 ? symbol.id : m_tokens.find(text);
        if (id >= 0) {
            ids.push_back(id);
            continue;
        }
        for (const char byte : text) {
            const std::int32_t byteId = m_byteIds[static_cast<unsigned char>(byte)];
            if (byteId >= 0 || m_unknown >= 0) {
                ids.push_back(byteId >= 0 ? byteId : m_unknown);
            }
        }
    }
}

}  // namespace fettle
