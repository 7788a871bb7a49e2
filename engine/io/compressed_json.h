// Reading compressed-tensors' quantization_config: keys may be absent, null or empty.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "engine/core/error.h"

namespace fettle {

/// Whether `object` says something under `key`; null and {} say nothing.
inline bool isPresent(const nlohmann::json& object, const char* key) {
    return object.contains(key) && !object[key].is_null() &&
           !(object[key].is_object() && object[key].empty());
}

/// What stands under `key`, or `fallback`. Throws BadInput naming `origin` for another kind of
/// value.
template <typename T>
T valueOr(const nlohmann::json& object, const char* key, T fallback, const std::string& origin) {
    if (!isPresent(object, key))
        return fallback;
    try {
        return object[key].get<T>();
    } catch (const nlohmann::json::exception&) {
        throwBadInput(
            origin, std::string("quantization_config: ") + key + " has a value of the wrong kind");
    }
}

}  // namespace fettle
