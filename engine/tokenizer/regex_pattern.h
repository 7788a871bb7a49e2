// One compiled regular expression (PCRE2, just-in-time compiled where the machine allows). Matching
// has limits, so that an expression from an untrusted file cannot run away. Immutable; may be
// shared by threads.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace fettle {

class RegexPattern {
public:
    enum class Syntax { Oniguruma, Literal };
    struct Match {
        std::size_t begin = 0, end = 0;  ///< bytes
    };

    /// `origin` (the file) and `pattern` are named in errors. Throws EngineError(BadInput).
    RegexPattern(std::string pattern, Syntax syntax, std::string origin);
    ~RegexPattern();
    RegexPattern(const RegexPattern&) = delete;
    RegexPattern& operator=(const RegexPattern&) = delete;

    /// The first match that begins at or after `from` in valid UTF-8. Throws EngineError(BadInput)
    /// where the limits are reached.
    bool search(std::string_view text, std::size_t from, Match& match) const;

    /// Calls `visit(match, isMatch)` for contiguous parts that cover `text`, in order: the matches
    /// and what lies between them. An empty match right behind a match does not count.
    template <class Visit>
    void forEachPart(std::string_view text, const Visit& visit) const {
        std::size_t from = 0, covered = 0;
        bool matchedBefore = false;
        Match match;
        while (from <= text.size() && search(text, from, match)) {
            if (match.begin == match.end && matchedBefore && match.end == covered) {
                from += from < text.size() ? characterLength(text, from) : 1;
                continue;
            }
            if (covered != match.begin) {
                visit(Match{covered, match.begin}, false);
            }
            visit(match, true);
            covered = from = match.end;
            matchedBefore = true;
        }
        if (covered != text.size()) {
            visit(Match{covered, text.size()}, false);
        }
    }

    const std::string& pattern() const { return m_pattern; }

private:
    struct Code;
    static std::size_t characterLength(std::string_view text, std::size_t position);
    [[noreturn]] void fail(const std::string& cause) const;

    std::string m_pattern;
    std::string m_origin;
    std::unique_ptr<Code> m_code;  // none for a literal that is not empty
};

}  // namespace fettle
