// JSON from files that others wrote: depth is limited, a key may stand once in an object, no key
// holds a NUL.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include <filesystem>

namespace fettle {

/// Throws EngineError(BadInput) as "origin: cause". `maxDepth` counts nested objects and arrays.
nlohmann::json parseJson(std::string_view text, const std::string& origin, int maxDepth = 32);
/// The JSON object in a file of at most 64 MiB.
nlohmann::json readJsonObject(const std::filesystem::path& path);
/// `text` in quotes for a message: cut to 80 characters, bytes that do not print replaced by '?'.
std::string inQuotes(std::string_view text);
/// True for well-formed UTF-8 without control characters.
bool isPlainText(std::string_view text);

}  // namespace fettle
