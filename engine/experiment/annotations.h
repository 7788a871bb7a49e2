// What people say about an experiment: a star, tags, a note. Results never depend on it.
#pragma once

#include <string>
#include <vector>

namespace fettle {

struct Annotations {
    bool favourite = false;
    std::vector<std::string> tags;  ///< normal (see normalTag), sorted, each once
    std::string note;               ///< free text, lines as typed

    bool empty() const { return !favourite && tags.empty() && note.empty(); }
    bool hasTag(const std::string& tag) const;
    bool operator==(const Annotations&) const = default;
};

inline constexpr std::size_t kMaxTagCharacters = 40;

/// A tag as it is stored: runs of white space and commas (which separate tags in lists) are one
/// space, none at the ends, at most kMaxTagCharacters UTF-8 characters. Empty where nothing is
/// left.
std::string normalTag(const std::string& text);

}  // namespace fettle
