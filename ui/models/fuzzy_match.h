// Finds what someone means by a few letters: "exp int4" or "eint" for "Export int4-g32". Values
// only.
#pragma once

#include <QString>
#include <optional>
#include <vector>

namespace fettle::ui {

struct FuzzyMatch {
    int score = 0;               ///< higher is nearer
    std::vector<int> positions;  ///< places of the letters in the text, ascending
};

/// The letters of `pattern` must occur in `text` in their order; case and blanks do not count.
/// Letters that begin words and letters in a row score higher, letters skipped lower. None where
/// they do not occur. An empty pattern matches everything with 0.
std::optional<FuzzyMatch> fuzzyMatch(const QString& pattern, const QString& text);

}  // namespace fettle::ui
