// The merges of a byte-pair vocabulary: pair of token ids -> rank and id of the merged token. One
// flat hash table. Immutable after it was filled; may then be shared by threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fettle {

class MergeTable {
public:
    struct Merge {
        std::int32_t left = -1, right = -1;
        std::uint32_t rank = 0;  ///< lower merges first
        std::int32_t merged = -1;
    };

    void reserve(std::size_t merges);
    /// A pair that is there already takes the new rank, as the last one wins in Hugging Face's
    /// tokenizers.
    void add(const Merge& merge);
    const Merge* find(std::int32_t left, std::int32_t right) const {
        if (m_slots.empty()) {
            return nullptr;
        }
        const Merge& slot = m_slots[slotOf(left, right)];
        return slot.left >= 0 ? &slot : nullptr;
    }
    std::size_t count() const { return m_count; }
    std::vector<Merge> byRank() const;

private:
    std::size_t slotOf(std::int32_t left, std::int32_t right) const {
        const std::uint64_t key = (std::uint64_t(std::uint32_t(left)) << 32) | std::uint32_t(right);
        const std::size_t mask = m_slots.size() - 1;
        std::size_t slot =
            ((key * 0x9E3779B97F4A7C15ull) ^ (key >> 29)) * 0xBF58476D1CE4E5B9ull >> 20 & mask;
        while (m_slots[slot].left >= 0 &&
               (m_slots[slot].left != left || m_slots[slot].right != right)) {
            slot = (slot + 1) & mask;
        }
        return slot;
    }
    void rehash(std::size_t slots);

    std::vector<Merge> m_slots;  // open addressing, a power of two
    std::size_t m_count = 0;
};

}  // namespace fettle
