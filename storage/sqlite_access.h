// Private to storage/*.cpp: binding and reading of values, and the way SQLite's errors become
// StorageErrors. No header of this project includes SQLite's; a .cpp file that needs this one
// includes them first.
#pragma once

#ifndef SQLITE_VERSION
#error "include <SQLiteCpp/SQLiteCpp.h> and <sqlite3.h> before this header"
#endif

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "storage/database.h"

namespace fettle::storage {

[[noreturn]] void throwSqlite(const std::filesystem::path& path, const std::string& action,
                              const SQLite::Exception& error);

/// Runs `work`; what SQLite has to say about it is thrown as "path: cannot action: reason".
template <typename Work>
auto guarded(const Database& database, const char* action, Work work) {
    try {
        return work();
    } catch (const SQLite::Exception& error) {
        throwSqlite(database.path(), action, error);
    }
}

/// SQLite has no "not a number": it stores NULL, which is what bind does with a NaN by itself.
inline double realOrNan(const SQLite::Column& column) {
    return column.isNull() ? std::numeric_limits<double>::quiet_NaN() : column.getDouble();
}
inline void bindOptional(SQLite::Statement& statement, int index,
                         const std::optional<double>& value) {
    if (value)
        statement.bind(index, *value);
    else
        statement.bind(index);
}
/// Text with NUL bytes inside keeps its length, unlike with getText().
inline std::string textOf(const SQLite::Column& column) {
    return column.getString();
}

/// Seeds are unsigned, SQLite's integers are not: the same 64 bits either way.
inline std::int64_t signedBits(std::uint64_t value) {
    return static_cast<std::int64_t>(value);
}
inline std::uint64_t unsignedBits(std::int64_t value) {
    return static_cast<std::uint64_t>(value);
}

/// Invalid UTF-8, which texts of foreign files may hold, becomes U+FFFD.
inline std::string compactJson(const nlohmann::json& value) {
    return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::int64_t nowMs();

}  // namespace fettle::storage
