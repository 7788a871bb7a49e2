#include "engine/tokenizer/token_table.h"

#include <xxhash.h>
#include <algorithm>
#include <bit>
#include <stdexcept>

namespace fettle {

namespace {

std::uint32_t hashOf(std::string_view text) {
    return static_cast<std::uint32_t>(XXH3_64bits(text.data(), text.size()));
}

}  // namespace

void TokenTable::reserve(std::size_t tokens, std::size_t bytes) {
    m_arena.reserve(bytes);
    m_spans.reserve(tokens);
    rehash(std::bit_ceil(tokens * 2 + 16));
}

std::size_t TokenTable::slotOf(std::string_view text, std::uint32_t hash) const {
    const std::size_t mask = m_slots.size() - 1;
    std::size_t slot = hash & mask;
    while (m_slots[slot].id >= 0) {
        if (m_slots[slot].hash == hash && this->text(m_slots[slot].id) == text) {
            break;
        }
        slot = (slot + 1) & mask;
    }
    return slot;
}

void TokenTable::rehash(std::size_t slots) {
    if (slots <= m_slots.size()) {
        return;
    }
    std::vector<Slot> old(slots);
    old.swap(m_slots);
    const std::size_t mask = slots - 1;
    for (const Slot& entry : old) {
        if (entry.id < 0) {
            continue;
        }
        std::size_t slot = entry.hash & mask;
        while (m_slots[slot].id >= 0) {
            slot = (slot + 1) & mask;
        }
        m_slots[slot] = entry;
    }
}

TokenTable::Added TokenTable::insert(std::int32_t id, std::string_view text, bool rename) {
    if (contains(id)) {
        return Added::IdTaken;
    }
    if ((m_count + 1) * 2 > m_slots.size()) {
        rehash(std::max<std::size_t>(16, m_slots.size() * 2));
    }
    const std::uint32_t hash = hashOf(text);
    const std::size_t slot = slotOf(text, hash);
    if (m_slots[slot].id >= 0 && !rename) {
        return Added::TextTaken;
    }
    if (m_arena.size() + text.size() >= kAbsent) {
        throw std::length_error("token texts exceed 4 GiB");
    }
    if (static_cast<std::size_t>(id) >= m_spans.size()) {
        m_spans.resize(static_cast<std::size_t>(id) + 1);
    }
    m_spans[static_cast<std::size_t>(id)] = {static_cast<std::uint32_t>(m_arena.size()),
                                             static_cast<std::uint32_t>(text.size())};
    m_arena.append(text);
    m_slots[slot] = {hash, id};
    ++m_count;
    m_longest = std::max(m_longest, text.size());
    return Added::Yes;
}

TokenTable::Added TokenTable::add(std::int32_t id, std::string_view text) {
    return insert(id, text, false);
}

TokenTable::Added TokenTable::addOrRename(std::int32_t id, std::string_view text) {
    return insert(id, text, true);
}

std::int32_t TokenTable::find(std::string_view text) const {
    if (m_slots.empty()) {
        return -1;
    }
    return m_slots[slotOf(text, hashOf(text))].id;
}

}  // namespace fettle
