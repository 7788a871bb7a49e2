#include "ui/models/fuzzy_match.h"

#include <algorithm>
#include <limits>

namespace fettle::ui {
namespace {

constexpr int kLetter = 4;       ///< for every letter found
constexpr int kWordStart = 10;   ///< more where it begins a word
constexpr int kInARow = 8;       ///< more where it follows the one before
constexpr int kTextStart = 6;    ///< more for the very first letter
constexpr int kMaxPattern = 40;  ///< letters beyond are left out: nobody types more
constexpr int kMaxText = 200;
constexpr int kNone = std::numeric_limits<int>::min() / 2;

bool beginsWord(const QString& text, int at) {
    if (at == 0) {
        return true;
    }
    const QChar before = text[at - 1];
    return !before.isLetterOrNumber() || (before.isLower() && text[at].isUpper()) ||
           (before.isLetter() && text[at].isDigit());
}

}  // namespace

std::optional<FuzzyMatch> fuzzyMatch(const QString& pattern, const QString& text) {
    QString wanted;
    for (const QChar c : pattern) {
        if (!c.isSpace() && wanted.size() < kMaxPattern) {
            wanted += c.toLower();
        }
    }
    if (wanted.isEmpty()) {
        return FuzzyMatch{};
    }
    const int length = static_cast<int>(std::min<qsizetype>(text.size(), kMaxText));
    // Most texts do not match: one pass finds that out.
    int next = 0;
    for (int i = 0; i < length && next < wanted.size(); ++i) {
        next += text[i].toLower() == wanted[next];
    }
    if (next < wanted.size()) {
        return std::nullopt;
    }
    // best[i][j]: the best score with letter i found at place j; from[i][j]: where letter i - 1 was
    // found then.
    const auto count = static_cast<int>(wanted.size());
    const auto cell = [length](int i, int j) {
        return static_cast<std::size_t>(i) * static_cast<std::size_t>(length) +
               static_cast<std::size_t>(j);
    };
    std::vector<int> best(cell(count, 0), kNone);
    std::vector<int> from(cell(count, 0), -1);
    for (int i = 0; i < count; ++i) {
        int before = kNone;  // the best end of the letters before, further left than the last place
        int beforeAt = -1;
        for (int j = i; j < length; ++j) {
            if (before > kNone) {
                --before;  // one more letter is skipped
            }
            if (i > 0 && j >= 2 && best[cell(i - 1, j - 2)] > kNone &&
                best[cell(i - 1, j - 2)] - 1 > before) {
                before = best[cell(i - 1, j - 2)] - 1;
                beforeAt = j - 2;
            }
            if (text[j].toLower() != wanted[i]) {
                continue;
            }
            const int own = kLetter + (beginsWord(text, j) ? kWordStart : 0) +
                            (i == 0 && j == 0 ? kTextStart : 0);
            if (i == 0) {
                best[cell(0, j)] = own - std::min(j, 10);
                continue;
            }
            const int row = best[cell(i - 1, j - 1)];
            const bool inARow = row > kNone && row + kInARow >= before;
            if (inARow || before > kNone) {
                best[cell(i, j)] = own + (inARow ? row + kInARow : before);
                from[cell(i, j)] = inARow ? j - 1 : beforeAt;
            }
        }
    }
    int end = -1;
    for (int j = 0; j < length; ++j) {
        if (best[cell(count - 1, j)] > kNone &&
            (end < 0 || best[cell(count - 1, j)] > best[cell(count - 1, end)])) {
            end = j;
        }
    }
    if (end < 0) {
        return std::nullopt;
    }
    FuzzyMatch match;
    // Of two texts that match alike the shorter one is nearer.
    match.score = best[cell(count - 1, end)] * 4 - length;
    for (int i = count - 1; i >= 0; --i) {
        match.positions.push_back(end);
        end = from[cell(i, end)];
    }
    std::reverse(match.positions.begin(), match.positions.end());
    return match;
}

}  // namespace fettle::ui
