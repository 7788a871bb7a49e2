// Reads a large JSON document in one pass without building it in memory: a vocabulary with a
// million entries takes milliseconds. Strict; errors are EngineError(BadInput) with the file and
// the line. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace fettle {

class JsonReader {
public:
    /// Inside an object or array: how far the reading of it is.
    struct Scope {
        bool first = true;
    };

    /// `text` must outlive the reader; it must be valid UTF-8. `file` is named in errors.
    JsonReader(std::string_view text, std::string file);

    Scope enterObject();
    Scope enterArray();
    /// The next key of the object, valid until the next string is read; false at its end.
    bool nextKey(Scope& scope, std::string_view& key);
    bool nextElement(Scope& scope);

    /// Valid until the next string is read.
    std::string_view readString();
    std::int64_t readInteger();
    /// Steps over any value and gives its text. Its brackets are matched; more is not checked.
    std::string_view skipValue();
    /// First character of the next value; '\0' at the end.
    char peek();
    /// Nothing but white space may follow.
    void finish();

    [[noreturn]] void fail(const std::string& cause) const;

private:
    void skipSpace();
    void expect(char wanted, const char* what);
    std::string_view unescape(std::size_t begin);
    void skipString();
    char32_t readHex4();
    void appendEscape();

    std::string_view m_text;
    std::string m_file;
    std::size_t m_pos = 0;
    std::string m_buffer;
};

}  // namespace fettle
