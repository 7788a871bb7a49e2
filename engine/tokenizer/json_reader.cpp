#include "engine/tokenizer/json_reader.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "engine/core/error.h"
#include "engine/tokenizer/utf8.h"

namespace fettle {

JsonReader::JsonReader(std::string_view text, std::string file)
    : m_text(text), m_file(std::move(file)) {
    if (!isValidUtf8(text)) {
        throwBadInput(m_file, "is not valid UTF-8");
    }
}

void JsonReader::fail(const std::string& cause) const {
    const auto end = m_text.begin() + static_cast<std::ptrdiff_t>(std::min(m_pos, m_text.size()));
    const auto line = 1 + std::count(m_text.begin(), end, '\n');
    throwBadInput(m_file, "line " + std::to_string(line) + ": " + cause);
}

void JsonReader::skipSpace() {
    while (m_pos < m_text.size() && (m_text[m_pos] == ' ' || m_text[m_pos] == '\n' ||
                                     m_text[m_pos] == '\r' || m_text[m_pos] == '\t')) {
        ++m_pos;
    }
}

char JsonReader::peek() {
    skipSpace();
    return m_pos < m_text.size() ? m_text[m_pos] : '\0';
}

void JsonReader::expect(char wanted, const char* what) {
    if (peek() != wanted) {
        fail(m_pos >= m_text.size() ? "the file ends too early" : std::string("wanted ") + what);
    }
    ++m_pos;
}

JsonReader::Scope JsonReader::enterObject() {
    expect('{', "an object");
    return {};
}

JsonReader::Scope JsonReader::enterArray() {
    expect('[', "an array");
    return {};
}

bool JsonReader::nextKey(Scope& scope, std::string_view& key) {
    if (peek() == '}') {
        ++m_pos;
        return false;
    }
    if (!scope.first) {
        expect(',', "a comma or the end of the object");
    }
    scope.first = false;
    key = readString();
    expect(':', "a colon");
    return true;
}

bool JsonReader::nextElement(Scope& scope) {
    if (peek() == ']') {
        ++m_pos;
        return false;
    }
    if (!scope.first) {
        expect(',', "a comma or the end of the array");
    }
    scope.first = false;
    return true;
}

std::string_view JsonReader::readString() {
    expect('"', "a string");
    const std::size_t begin = m_pos;
    for (; m_pos < m_text.size(); ++m_pos) {
        const char c = m_text[m_pos];
        if (c == '"') {
            return m_text.substr(begin, m_pos++ - begin);
        }
        if (c == '\\') {
            return unescape(begin);
        }
        if (static_cast<unsigned char>(c) < 0x20) {
            fail("a control character in a string");
        }
    }
    fail("a string that is not closed");
}

std::string_view JsonReader::unescape(std::size_t begin) {
    m_buffer.assign(m_text.substr(begin, m_pos - begin));
    while (m_pos < m_text.size()) {
        const char c = m_text[m_pos++];
        if (c == '"') {
            return m_buffer;
        }
        if (static_cast<unsigned char>(c) < 0x20) {
            fail("a control character in a string");
        }
        if (c == '\\') {
            appendEscape();
        } else {
            m_buffer.push_back(c);
        }
    }
    fail("a string that is not closed");
}

void JsonReader::appendEscape() {
    const char c = m_pos < m_text.size() ? m_text[m_pos++] : '\0';
    switch (c) {
        case '"':
        case '\\':
        case '/':
            m_buffer.push_back(c);
            return;
        case 'b':
            m_buffer.push_back('\b');
            return;
        case 'f':
            m_buffer.push_back('\f');
            return;
        case 'n':
            m_buffer.push_back('\n');
            return;
        case 'r':
            m_buffer.push_back('\r');
            return;
        case 't':
            m_buffer.push_back('\t');
            return;
        case 'u':
            break;
        default:
            fail("an escape that JSON does not have");
    }
    char32_t code = readHex4();
    if (code >= 0xD800 && code < 0xDC00 && m_text.substr(m_pos, 2) == "\\u") {
        m_pos += 2;
        const char32_t low = readHex4();
        if (low < 0xDC00 || low > 0xDFFF) {
            fail("a surrogate without its other half");
        }
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    if (code >= 0xD800 && code <= 0xDFFF) {
        fail("a surrogate without its other half");
    }
    appendUtf8(m_buffer, code);
}

char32_t JsonReader::readHex4() {
    unsigned value = 0;
    const std::string_view digits = m_text.substr(std::min(m_pos, m_text.size()), 4);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (error != std::errc() || digits.size() != 4 || end != digits.data() + 4) {
        fail("wanted four hexadecimal digits");
    }
    m_pos += 4;
    return value;
}

std::int64_t JsonReader::readInteger() {
    peek();
    const char* begin = m_text.data() + m_pos;
    const char* end = m_text.data() + m_text.size();
    std::int64_t value = 0;
    const auto [rest, error] = std::from_chars(begin, end, value);
    if (error != std::errc() || (rest != end && (*rest == '.' || *rest == 'e' || *rest == 'E'))) {
        fail("wanted an integer");
    }
    m_pos += static_cast<std::size_t>(rest - begin);
    return value;
}

void JsonReader::skipString() {
    for (++m_pos; m_pos < m_text.size(); ++m_pos) {
        if (m_text[m_pos] == '"') {
            ++m_pos;
            return;
        }
        if (m_text[m_pos] == '\\') {
            ++m_pos;
        }
    }
    fail("a string that is not closed");
}

std::string_view JsonReader::skipValue() {
    peek();
    const std::size_t begin = m_pos;
    std::size_t depth = 0;
    while (m_pos < m_text.size()) {
        const char c = m_text[m_pos];
        if (c == '"') {
            skipString();
        } else if (c == '{' || c == '[') {
            ++depth;
            ++m_pos;
        } else if (c == '}' || c == ']') {
            if (depth == 0) {
                break;
            }
            --depth;
            ++m_pos;
        } else if (c == ',' && depth == 0) {
            break;
        } else {
            ++m_pos;
            continue;  // inside a number, a word or between values
        }
        if (depth == 0) {
            break;
        }
    }
    if (depth != 0 || m_pos == begin) {
        fail(m_pos >= m_text.size() ? "the file ends too early" : "wanted a value");
    }
    return m_text.substr(begin, m_pos - begin);
}

void JsonReader::finish() {
    if (peek() != '\0' || m_pos < m_text.size()) {
        fail("something follows the end of the document");
    }
}

}  // namespace fettle
