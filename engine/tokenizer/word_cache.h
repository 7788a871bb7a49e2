// The ids of words already seen, for the time of one call. Bounded; not shared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fettle {

class WordCache {
public:
    struct Ids {
        const std::int32_t* data = nullptr;  ///< null if the word is not there
        std::size_t count = 0;
    };

    Ids find(std::string_view word);
    /// The word that `find` was last called with, which was not there.
    void insert(std::string_view word, const std::int32_t* ids, std::size_t count);

private:
    struct Slot {
        std::uint64_t hash = 0;
        std::uint32_t text = 0, ids = 0;  // offsets
        std::uint16_t length = 0;         // bytes; 0 = free
        std::uint16_t count = 0;
    };
    std::size_t slotOf(std::string_view word) const;
    void grow();

    std::vector<Slot> m_slots;
    std::size_t m_used = 0;
    std::uint64_t m_hash = 0;  // of the word last looked for
    std::string m_texts;
    std::vector<std::int32_t> m_ids;
};

}  // namespace fettle
