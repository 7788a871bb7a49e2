#include "engine/tokenizer/word_cache.h"

#include <xxhash.h>
#include <algorithm>

namespace fettle {

namespace {

constexpr std::size_t kLongestWord = 128;  // bytes
constexpr std::size_t kMostWords = 1 << 18;

}  // namespace

std::size_t WordCache::slotOf(std::string_view word) const {
    const std::size_t mask = m_slots.size() - 1;
    std::size_t slot = m_hash & mask;
    while (m_slots[slot].length != 0) {
        const Slot& entry = m_slots[slot];
        if (entry.hash == m_hash &&
            std::string_view(m_texts).substr(entry.text, entry.length) == word) {
            break;
        }
        slot = (slot + 1) & mask;
    }
    return slot;
}

WordCache::Ids WordCache::find(std::string_view word) {
    if (word.size() > kLongestWord) {
        return {};
    }
    if (m_slots.empty()) {
        m_slots.resize(256);
    }
    m_hash = XXH3_64bits(word.data(), word.size());
    const Slot& entry = m_slots[slotOf(word)];
    if (entry.length == 0) {
        return {};
    }
    return {m_ids.data() + entry.ids, entry.count};
}

void WordCache::insert(std::string_view word, const std::int32_t* ids, std::size_t count) {
    if (word.size() > kLongestWord || m_used >= kMostWords) {
        return;
    }
    if ((m_used + 1) * 2 > m_slots.size()) {
        grow();
    }
    Slot& entry = m_slots[slotOf(word)];
    entry = {m_hash, static_cast<std::uint32_t>(m_texts.size()),
             static_cast<std::uint32_t>(m_ids.size()), static_cast<std::uint16_t>(word.size()),
             static_cast<std::uint16_t>(count)};
    m_texts.append(word);
    m_ids.insert(m_ids.end(), ids, ids + count);
    ++m_used;
}

void WordCache::grow() {
    std::vector<Slot> old(m_slots.size() * 2);
    old.swap(m_slots);
    const std::size_t mask = m_slots.size() - 1;
    for (const Slot& entry : old) {
        if (entry.length != 0) {
            std::size_t slot = entry.hash & mask;
            while (m_slots[slot].length != 0) {
                slot = (slot + 1) & mask;
            }
            m_slots[slot] = entry;
        }
    }
}

}  // namespace fettle
