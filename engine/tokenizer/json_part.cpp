#include "engine/tokenizer/json_part.h"

#include "engine/core/error.h"
#include "engine/tokenizer/utf8.h"

namespace fettle {

std::string quoteForMessage(std::string_view text) {
    constexpr std::size_t kShown = 60;
    std::string shown = "'";
    for (std::size_t i = 0; i < text.size();) {
        if (i >= kShown) {
            shown += "...";
            break;
        }
        const Utf8Char c = decodeUtf8(text, i);
        appendUtf8(shown, c.code < 0x20 ? U'\uFFFD' : c.code);
        i += c.length;
    }
    return shown + "'";
}

bool JsonPart::has(const char* key) const {
    return m_value->is_object() && m_value->contains(key) && !(*m_value)[key].is_null();
}

JsonPart JsonPart::at(const char* key) const {
    want(m_value->is_object(), "an object");
    const auto found = m_value->find(key);
    if (found == m_value->end()) {
        fail(std::string("'") + key + "' is missing");
    }
    return {*found, *m_file, m_place.empty() ? key : m_place + "." + key};
}

std::vector<JsonPart> JsonPart::elements() const {
    want(m_value->is_array(), "an array");
    std::vector<JsonPart> parts;
    parts.reserve(m_value->size());
    for (const nlohmann::json& element : *m_value) {
        parts.emplace_back(element, *m_file, m_place + "[" + std::to_string(parts.size()) + "]");
    }
    return parts;
}

std::vector<std::pair<std::string, JsonPart>> JsonPart::members() const {
    want(m_value->is_object(), "an object");
    std::vector<std::pair<std::string, JsonPart>> parts;
    for (const auto& [key, value] : m_value->items()) {
        parts.emplace_back(key, JsonPart(value, *m_file, m_place + "." + key));
    }
    return parts;
}

const std::string& JsonPart::string() const {
    want(m_value->is_string(), "a string");
    return m_value->get_ref<const std::string&>();
}

std::string JsonPart::string(const char* key, const char* fallback) const {
    return has(key) ? at(key).string() : fallback;
}

bool JsonPart::boolean() const {
    want(m_value->is_boolean(), "true or false");
    return m_value->get<bool>();
}

bool JsonPart::boolean(const char* key, bool fallback) const {
    return has(key) ? at(key).boolean() : fallback;
}

std::int64_t JsonPart::integer() const {
    want(m_value->is_number_integer(), "an integer");
    if (m_value->is_number_unsigned() && m_value->get<std::uint64_t>() > INT64_MAX) {
        fail("the integer is too large");
    }
    return m_value->get<std::int64_t>();
}

char32_t JsonPart::character() const {
    const std::u32string codes = codePoints(string());
    want(codes.size() == 1, "one character");
    return codes.front();
}

void JsonPart::fail(const std::string& cause) const {
    throwBadInput(*m_file, m_place.empty() ? cause : quoteForMessage(m_place) + ": " + cause);
}

void JsonPart::want(bool holds, const char* what) const {
    if (!holds) {
        fail(std::string("wanted ") + what + ", found " + m_value->type_name());
    }
}

}  // namespace fettle
