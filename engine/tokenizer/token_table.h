// Token texts by id and ids by text, in two flat arrays: quick to fill with 262,144 tokens and
// small. Immutable after it was filled; may then be shared by threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fettle {

class TokenTable {
public:
    enum class Added { Yes, IdTaken, TextTaken };

    void reserve(std::size_t tokens, std::size_t bytes);
    /// `id` is not negative; the caller bounds it. A text or id that is there already leaves the
    /// table as it was.
    Added add(std::int32_t id, std::string_view text);
    /// Like `add`, but a text that is there already is found under the new id from now on.
    Added addOrRename(std::int32_t id, std::string_view text);

    std::int32_t find(std::string_view text) const;  ///< -1 if absent
    bool contains(std::int32_t id) const {
        return id >= 0 && static_cast<std::size_t>(id) < m_spans.size() &&
               m_spans[static_cast<std::size_t>(id)].length != kAbsent;
    }
    /// Empty if absent.
    std::string_view text(std::int32_t id) const {
        if (!contains(id)) {
            return {};
        }
        const Span& span = m_spans[static_cast<std::size_t>(id)];
        return {m_arena.data() + span.offset, span.length};
    }
    std::int32_t idEnd() const { return static_cast<std::int32_t>(m_spans.size()); }
    std::size_t count() const { return m_count; }
    std::size_t longest() const { return m_longest; }  ///< bytes

private:
    struct Span {
        std::uint32_t offset = 0;
        std::uint32_t length = kAbsent;
    };
    struct Slot {
        std::uint32_t hash = 0;
        std::int32_t id = -1;
    };
    static constexpr std::uint32_t kAbsent = 0xFFFFFFFFu;

    std::size_t slotOf(std::string_view text, std::uint32_t hash) const;
    void rehash(std::size_t slots);
    Added insert(std::int32_t id, std::string_view text, bool rename);

    std::string m_arena;
    std::vector<Span> m_spans;  // by id
    std::vector<Slot> m_slots;  // open addressing, a power of two
    std::size_t m_count = 0;
    std::size_t m_longest = 0;
};

}  // namespace fettle
