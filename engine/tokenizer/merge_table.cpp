#include "engine/tokenizer/merge_table.h"

#include <algorithm>
#include <bit>

namespace fettle {

void MergeTable::reserve(std::size_t merges) {
    rehash(std::bit_ceil(merges * 2 + 16));
}

void MergeTable::rehash(std::size_t slots) {
    if (slots <= m_slots.size()) {
        return;
    }
    std::vector<Merge> old(slots);
    old.swap(m_slots);
    for (const Merge& merge : old) {
        if (merge.left >= 0) {
            m_slots[slotOf(merge.left, merge.right)] = merge;
        }
    }
}

void MergeTable::add(const Merge& merge) {
    if ((m_count + 1) * 2 > m_slots.size()) {
        rehash(std::max<std::size_t>(16, m_slots.size() * 2));
    }
    Merge& slot = m_slots[slotOf(merge.left, merge.right)];
    m_count += slot.left < 0 ? 1 : 0;
    slot = merge;
}

std::vector<MergeTable::Merge> MergeTable::byRank() const {
    std::vector<Merge> merges;
    merges.reserve(m_count);
    std::copy_if(m_slots.begin(), m_slots.end(), std::back_inserter(merges),
                 [](const Merge& merge) { return merge.left >= 0; });
    std::sort(merges.begin(), merges.end(),
              [](const Merge& a, const Merge& b) { return a.rank < b.rank; });
    return merges;
}

}  // namespace fettle
