// Typed, range-checked access to the fields of a config.json; every refusal names the file, the
// field and the value.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

namespace fettle {

class ConfigFields {
public:
    ConfigFields(const nlohmann::json& json, std::string origin)
        : m_json(json), m_origin(std::move(origin)) {}

    const std::string& origin() const { return m_origin; }
    /// Present and not null.
    bool has(const char* key) const { return m_json.contains(key) && !m_json[key].is_null(); }
    const nlohmann::json& at(const char* key) const { return m_json[key]; }
    [[noreturn]] void refuse(const std::string& key, const std::string& cause) const;

    /// A whole number in [1, most]; `fallback` where absent, a refusal where there is none.
    std::int64_t size(const char* key, std::int64_t most,
                      std::optional<std::int64_t> fallback = {}) const;
    /// A finite number above 0.
    float positive(const char* key, std::optional<float> fallback = {}) const;
    bool flag(const char* key, bool fallback) const;
    std::string text(const char* key, const std::string& fallback) const;
    /// The object under `key` as fields of its own.
    ConfigFields object(const char* key) const;

private:
    const nlohmann::json& m_json;
    std::string m_origin;
};

}  // namespace fettle
