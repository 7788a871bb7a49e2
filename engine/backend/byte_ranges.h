// A set of bytes, as ranges that neither touch nor overlap.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <map>
#include <utility>
#include <vector>

namespace fettle {

struct ByteRange {
    std::size_t begin = 0, end = 0;
    bool operator==(const ByteRange&) const = default;
};

class ByteRanges {
public:
    void add(ByteRange range) {
        if (range.begin >= range.end)
            return;
        auto at = firstReaching(range.begin);
        while (at != m_ends.end() && at->first <= range.end) {
            range.begin = std::min(range.begin, at->first);
            range.end = std::max(range.end, at->second);
            at = m_ends.erase(at);
        }
        m_ends[range.begin] = range.end;
    }
    void remove(ByteRange range) {
        if (range.begin >= range.end)
            return;
        auto at = firstReaching(range.begin);
        while (at != m_ends.end() && at->first < range.end) {
            const ByteRange held = {at->first, at->second};
            at = m_ends.erase(at);
            if (held.begin < range.begin)
                m_ends[held.begin] = range.begin;
            if (held.end > range.end)
                m_ends[range.end] = held.end;
        }
    }
    /// The parts of `range` that are in the set.
    std::vector<ByteRange> within(ByteRange range) const {
        std::vector<ByteRange> parts;
        for (const auto& [begin, end] : m_ends)
            if (begin < range.end && end > range.begin)
                parts.push_back({std::max(begin, range.begin), std::min(end, range.end)});
        return parts;
    }
    /// Those that are not.
    std::vector<ByteRange> missing(ByteRange range) const {
        std::vector<ByteRange> gaps;
        for (const ByteRange& part : within(range)) {
            if (part.begin > range.begin)
                gaps.push_back({range.begin, part.begin});
            range.begin = part.end;
        }
        if (range.begin < range.end)
            gaps.push_back(range);
        return gaps;
    }

private:
    using Ends = std::map<std::size_t, std::size_t>;  // by begin
    Ends::iterator firstReaching(std::size_t begin) {
        auto at = m_ends.upper_bound(begin);
        if (at != m_ends.begin() && std::prev(at)->second >= begin)
            --at;
        return at;
    }
    Ends m_ends;
};

}  // namespace fettle
