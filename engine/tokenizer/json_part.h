// A value inside a JSON file, with its place in the file for error messages. Accessors throw
// EngineError(BadInput) naming the file, the place, what was wanted and what was found. Borrows the
// document.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace fettle {

/// How deep sequences of steps may be nested: nothing that anybody trains goes beyond two.
inline constexpr int kDeepestSequence = 8;

/// Untrusted text for a message: valid UTF-8 without control characters, at most 60 bytes of it, in
/// quotes.
std::string quoteForMessage(std::string_view text);

class JsonPart {
public:
    /// `file` and `value` must outlive the part.
    JsonPart(const nlohmann::json& value, const std::string& file, std::string place)
        : m_value(&value), m_file(&file), m_place(std::move(place)) {}

    bool isNull() const { return m_value->is_null(); }
    bool isString() const { return m_value->is_string(); }
    bool isObject() const { return m_value->is_object(); }
    bool isArray() const { return m_value->is_array(); }
    bool isInteger() const { return m_value->is_number_integer(); }

    bool has(const char* key) const;  ///< there and not null
    JsonPart at(const char* key) const;
    std::vector<JsonPart> elements() const;
    std::vector<std::pair<std::string, JsonPart>> members() const;

    const std::string& string() const;
    std::string string(const char* key, const char* fallback) const;
    bool boolean() const;
    bool boolean(const char* key, bool fallback) const;
    std::int64_t integer() const;
    /// The string as exactly one character.
    char32_t character() const;

    [[noreturn]] void fail(const std::string& cause) const;
    const std::string& file() const { return *m_file; }

private:
    void want(bool holds, const char* what) const;

    const nlohmann::json* m_value;
    const std::string* m_file;
    std::string m_place;  // "pre_tokenizer.pretokenizers[0]"
};

}  // namespace fettle
