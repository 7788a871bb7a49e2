#include "engine/model/config_fields.h"

#include <cmath>

#include "engine/core/error.h"

namespace fettle {
namespace {

std::string shortDump(const nlohmann::json& value) {
    return value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace).substr(0, 60);
}

}  // namespace

void ConfigFields::refuse(const std::string& key, const std::string& cause) const {
    throwBadInput(m_origin, key + " " + cause);
}

std::int64_t ConfigFields::size(const char* key, std::int64_t most,
                                std::optional<std::int64_t> fallback) const {
    if (!has(key)) {
        if (fallback)
            return *fallback;
        refuse(key, "is missing");
    }
    const nlohmann::json& value = m_json[key];
    if (!value.is_number_integer())
        refuse(key, "is " + shortDump(value) + ", wanted a whole number");
    const bool huge =
        value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(most);
    if (huge || value.get<std::int64_t>() < 1 || value.get<std::int64_t>() > most)
        refuse(key, "is " + shortDump(value) + ", wanted 1 to " + std::to_string(most));
    return value.get<std::int64_t>();
}

float ConfigFields::positive(const char* key, std::optional<float> fallback) const {
    if (!has(key)) {
        if (fallback)
            return *fallback;
        refuse(key, "is missing");
    }
    const nlohmann::json& value = m_json[key];
    if (!value.is_number())
        refuse(key, "is " + shortDump(value) + ", wanted a number");
    const auto number = value.get<float>();
    if (!std::isfinite(number) || number <= 0)
        refuse(key, "is " + shortDump(value) + ", wanted a finite number above 0");
    return number;
}

bool ConfigFields::flag(const char* key, bool fallback) const {
    if (!has(key))
        return fallback;
    if (!m_json[key].is_boolean())
        refuse(key, "is " + shortDump(m_json[key]) + ", wanted true or false");
    return m_json[key].get<bool>();
}

std::string ConfigFields::text(const char* key, const std::string& fallback) const {
    if (!has(key))
        return fallback;
    if (!m_json[key].is_string())
        refuse(key, "is " + shortDump(m_json[key]) + ", wanted a string");
    return m_json[key].get<std::string>();
}

ConfigFields ConfigFields::object(const char* key) const {
    if (!has(key) || !m_json[key].is_object())
        refuse(key, "is not an object");
    return {m_json[key], m_origin + ": " + key};
}

}  // namespace fettle
