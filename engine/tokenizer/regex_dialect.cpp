#include "engine/tokenizer/regex_dialect.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>
#include <vector>

#include "engine/tokenizer/utf8.h"

namespace fettle {

namespace {

// Oniguruma's \s is Unicode White_Space; PCRE2's also takes U+180E.
constexpr const char* kSpace =
    R"(\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
constexpr const char* kNotSpace =
    R"(\x{0}-\x{8}\x{E}-\x{1F}!-\x{84}\x{86}-\x{9F}\x{A1}-\x{167F}\x{1681}-\x{1FFF}\x{200B}-\x{2027})"
    R"(\x{202A}-\x{202E}\x{2030}-\x{205E}\x{2060}-\x{2FFF}\x{3001}-\x{D7FF}\x{E000}-\x{10FFFF})";
// The numbers of Latin-1 are word characters to Oniguruma, others are not.
constexpr const char* kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";
constexpr const char* kHex = "0-9A-Fa-f";

std::string propertyName(std::string_view name) {
    std::string loose;
    for (const char c : name) {
        if (c != ' ' && c != '_' && c != '-') {
            loose.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
        }
    }
    static constexpr std::array<std::pair<const char*, const char*>, 27> kNames{
        {{"letter", "L"},
         {"uppercaseletter", "Lu"},
         {"lowercaseletter", "Ll"},
         {"titlecaseletter", "Lt"},
         {"modifierletter", "Lm"},
         {"otherletter", "Lo"},
         {"mark", "M"},
         {"nonspacingmark", "Mn"},
         {"spacingmark", "Mc"},
         {"enclosingmark", "Me"},
         {"number", "N"},
         {"decimalnumber", "Nd"},
         {"letternumber", "Nl"},
         {"othernumber", "No"},
         {"punctuation", "P"},
         {"symbol", "S"},
         {"separator", "Z"},
         {"other", "C"},
         {"digit", "Nd"},
         {"space", "White_Space"},
         {"whitespace", "White_Space"},
         {"alpha", "Alphabetic"},
         {"alphabetic", "Alphabetic"},
         {"upper", "Uppercase"},
         {"lower", "Lowercase"},
         {"any", "Any"},
         {"emoji", "Emoji"}}};
    for (const auto& [from, to] : kNames) {
        if (loose == from) {
            return to;
        }
    }
    for (const char* unlike : {"alnum", "graph", "print", "punct", "word", "ascii", "assigned"}) {
        if (loose == unlike) {
            throw RegexDialectError("the property \\p{" + std::string(name) + "}");
        }
    }
    // A bare script name would mean Script_Extensions to PCRE2.
    return loose.size() <= 2 ? std::string(name) : "sc:" + std::string(name);
}

class Translator {
public:
    explicit Translator(std::string_view pattern) : m_in(pattern) {}

    std::string run() {
        while (!atEnd()) {
            step();
        }
        if (!m_groups.empty()) {
            throw RegexDialectError("a group that is not closed");
        }
        return std::move(m_out);
    }

private:
    bool atEnd() const { return m_pos >= m_in.size(); }
    char peek(std::size_t ahead = 0) const {
        return m_pos + ahead < m_in.size() ? m_in[m_pos + ahead] : '\0';
    }
    bool take(std::string_view text) {
        if (m_in.substr(m_pos, text.size()) != text) {
            return false;
        }
        m_pos += text.size();
        return true;
    }
    void copyCharacter() {
        const std::size_t length = decodeUtf8(m_in, m_pos).length;
        m_out.append(m_in.substr(m_pos, length));
        m_pos += length;
    }

    void step() {
        const char c = peek();
        if (c == '(') {
            openGroup();
        } else if (c == ')') {
            closeGroup();
        } else if (c == '{') {
            interval();
        } else if (c == '*' || c == '+' || c == '?' || c == '|' || c == '^' || c == '$') {
            copyCharacter();
        } else {
            m_atom = m_out.size();
            if (c == '[') {
                characterClass();
            } else if (c == '\\') {
                escape();
            } else {
                copyCharacter();
            }
        }
    }

    void openGroup() {
        m_groups.push_back(m_out.size());
        ++m_pos;
        if (peek() == '*') {
            throw RegexDialectError("a verb, (*...)");
        }
        if (peek() != '?') {
            m_out += '(';
            return;
        }
        ++m_pos;
        for (const char* head : {":", "=", "!", ">", "<=", "<!"}) {
            if (take(head)) {
                m_out.append("(?").append(head);
                return;
            }
        }
        if (peek() == '<') {
            const std::size_t end = m_in.find('>', m_pos);
            if (end == std::string_view::npos) {
                throw RegexDialectError("a group name that is not closed");
            }
            m_out.append("(?").append(m_in.substr(m_pos, end + 1 - m_pos));
            m_pos = end + 1;
            return;
        }
        options();
    }

    /// (?imx-imx:...) and (?imx-imx); Ruby's m is PCRE2's s.
    void options() {
        std::string flags;
        while (peek() == 'i' || peek() == 'm' || peek() == 'x' || peek() == '-') {
            flags.push_back(peek() == 'm' ? 's' : peek());
            ++m_pos;
        }
        if (take(":")) {
            m_out.append("(?").append(flags).append(":");
        } else if (peek() == ')' && !flags.empty() && (m_out.empty() || m_out.back() == '(')) {
            // The closing bracket is read as that of this group.
            m_out.append("(?").append(flags);
        } else {
            throw RegexDialectError("a group of the form (?" + std::string(m_in.substr(m_pos, 1)));
        }
    }

    void closeGroup() {
        if (m_groups.empty()) {
            throw RegexDialectError("a closing bracket without its opening one");
        }
        m_atom = m_groups.back();
        m_groups.pop_back();
        copyCharacter();
    }

    /// {n}, {n,}, {,m}, {n,m}. A `+` after it repeats it in Ruby's syntax (possessive to PCRE2),
    /// and `{n}?` makes it optional (lazy to PCRE2): both are spelt out with a group.
    void interval() {
        std::size_t end = m_pos + 1;
        while (end < m_in.size() &&
               (std::isdigit(static_cast<unsigned char>(m_in[end])) != 0 || m_in[end] == ',')) {
            ++end;
        }
        const std::string_view body = m_in.substr(m_pos + 1, end - m_pos - 1);
        const std::size_t commas =
            static_cast<std::size_t>(std::count(body.begin(), body.end(), ','));
        if (end >= m_in.size() || m_in[end] != '}' || body.empty() || body == "," || commas > 1) {
            m_atom = m_out.size();
            m_out += "\\{";
            ++m_pos;
            return;
        }
        m_pos = end + 1;
        m_out.append("{").append(body.front() == ',' ? "0" : "").append(body).append("}");
        if (peek() == '+' || (peek() == '?' && commas == 0)) {
            m_out.insert(m_atom, "(?:");
            m_out += ')';
        }
    }

    /// A class that PCRE2 reads differently, as the inside of brackets; empty where `letter` is
    /// none of them.
    static std::string shorthand(char letter, bool inClass) {
        const auto wrap = [&](const char* body, bool negated) {
            if (!inClass) {
                return std::string(negated ? "[^" : "[") + body + "]";
            }
            if (negated) {
                throw RegexDialectError("a negated shorthand inside a character class");
            }
            return std::string(body);
        };
        switch (letter) {
            case 's':
                return wrap(kSpace, false);
            case 'S':
                return inClass ? std::string(kNotSpace) : wrap(kSpace, true);
            case 'w':
                return wrap(kWord, false);
            case 'W':
                return wrap(kWord, true);
            case 'h':
                return wrap(kHex, false);
            case 'H':
                return wrap(kHex, true);
            default:
                return {};
        }
    }

    void escape(bool inClass = false) {
        const char letter = peek(1);
        if (letter == '\0') {
            throw RegexDialectError("a backslash at the end");
        }
        if (std::string body = shorthand(letter, inClass); !body.empty()) {
            m_out += body;
            m_pos += 2;
        } else if (letter == 'b' || letter == 'B') {
            m_pos += 2;
            wordBoundary(letter == 'B', inClass);
        } else if (letter == 'p' || letter == 'P') {
            property();
        } else if (letter == 'u') {
            const std::string_view digits = m_in.substr(std::min(m_pos + 2, m_in.size()), 4);
            m_out.append("\\x{").append(digits).append("}");
            m_pos += 2 + digits.size();
        } else if (letter == 'x' && peek(2) == '{') {
            const std::size_t end = std::min(m_in.find('}', m_pos), m_in.size() - 1);
            m_out.append(m_in.substr(m_pos, end + 1 - m_pos));
            m_pos = end + 1;
        } else if (letter == 'Q' || letter == 'E') {  // plain letters to Oniguruma
            m_out += letter;
            m_pos += 2;
        } else {
            m_out += '\\';
            ++m_pos;
            copyCharacter();
        }
    }

    void wordBoundary(bool negated, bool inClass) {
        if (inClass) {
            m_out += "\\x{8}";
            return;
        }
        const std::string word = std::string("[") + kWord + "]";
        const std::string inside = "(?<=" + word + ")", outside = "(?<!" + word + ")";
        const std::string next = "(?=" + word + ")", notNext = "(?!" + word + ")";
        m_out += negated ? "(?:" + inside + next + "|" + outside + notNext + ")"
                         : "(?:" + inside + notNext + "|" + outside + next + ")";
    }

    void property() {
        m_out.append(m_in.substr(m_pos, 2));
        m_pos += 2;
        if (peek() != '{') {
            throw RegexDialectError("\\p without braces");
        }
        const std::size_t end = m_in.find('}', m_pos);
        if (end == std::string_view::npos) {
            throw RegexDialectError("\\p{ that is not closed");
        }
        std::string_view name = m_in.substr(m_pos + 1, end - m_pos - 1);
        m_out += '{';
        if (name.starts_with('^')) {
            m_out += '^';
            name.remove_prefix(1);
        }
        m_out.append(propertyName(name)).append("}");
        m_pos = end + 1;
    }

    void characterClass() {
        m_out += '[';
        ++m_pos;
        if (take("^")) {
            m_out += '^';
        }
        if (take("]")) {
            m_out += "\\]";
        }
        while (peek() != ']') {
            if (atEnd()) {
                throw RegexDialectError("a character class that is not closed");
            }
            if (m_in.substr(m_pos, 2) == "&&" || peek() == '[') {
                throw RegexDialectError("a character class inside a character class");
            }
            if (peek() == '\\') {
                escape(true);
            } else {
                copyCharacter();
            }
        }
        m_out += ']';
        ++m_pos;
    }

    std::string_view m_in;
    std::size_t m_pos = 0;
    std::string m_out;
    std::size_t m_atom = 0;             // where the last atom begins in m_out
    std::vector<std::size_t> m_groups;  // where the open groups begin in m_out
};

}  // namespace

std::string onigurumaToPcre2(std::string_view pattern) {
    return Translator(pattern).run();
}

}  // namespace fettle
