// Private to storage/: a prepared statement read without SQLiteCpp's Column objects, each of which
// copies a shared pointer: over a million metrics that costs more than SQLite itself.
#pragma once

#include "storage/sqlite_access.h"

namespace fettle::storage {

class RowReader {
public:
    RowReader(const Database& database, const std::string& sql)
        : m_handle(database.sqlite().getHandle()) {
        if (sqlite3_prepare_v2(m_handle, sql.c_str(), static_cast<int>(sql.size()), &m_statement,
                               nullptr) != SQLITE_OK)
            throw SQLite::Exception(m_handle);
    }
    ~RowReader() { sqlite3_finalize(m_statement); }
    RowReader(const RowReader&) = delete;
    RowReader& operator=(const RowReader&) = delete;

    RowReader& bind(int index, std::int64_t value) {
        sqlite3_bind_int64(m_statement, index, value);
        return *this;
    }
    /// `value` must outlive the reader.
    RowReader& bind(int index, const std::string& value) {
        sqlite3_bind_text(m_statement, index, value.data(), static_cast<int>(value.size()),
                          SQLITE_STATIC);
        return *this;
    }
    bool next() {
        const int code = sqlite3_step(m_statement);
        if (code != SQLITE_ROW && code != SQLITE_DONE)
            throw SQLite::Exception(m_handle, code);
        return code == SQLITE_ROW;
    }

    bool isNull(int column) const {
        return sqlite3_column_type(m_statement, column) == SQLITE_NULL;
    }
    std::int64_t integer(int column) const { return sqlite3_column_int64(m_statement, column); }
    double real(int column) const {
        return isNull(column) ? std::numeric_limits<double>::quiet_NaN()
                              : sqlite3_column_double(m_statement, column);
    }
    std::optional<double> optionalReal(int column) const {
        return isNull(column) ? std::nullopt
                              : std::optional(sqlite3_column_double(m_statement, column));
    }
    std::string text(int column) const {
        const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(m_statement, column));
        return data ? std::string(
                          data, static_cast<std::size_t>(sqlite3_column_bytes(m_statement, column)))
                    : std::string();
    }

private:
    sqlite3* m_handle;
    sqlite3_stmt* m_statement = nullptr;
};

/// Several SELECTs that see one state of the database, whatever other connections write meanwhile.
class ReadSnapshot {
public:
    explicit ReadSnapshot(const Database& database) : m_handle(database.sqlite().getHandle()) {
        m_own = sqlite3_get_autocommit(m_handle) != 0 &&
                sqlite3_exec(m_handle, "BEGIN", nullptr, nullptr, nullptr) == SQLITE_OK;
    }
    ~ReadSnapshot() {
        if (m_own)
            sqlite3_exec(m_handle, "COMMIT", nullptr, nullptr, nullptr);
    }
    /// False inside a transaction that was begun before.
    bool isOwn() const { return m_own; }
    ReadSnapshot(const ReadSnapshot&) = delete;
    ReadSnapshot& operator=(const ReadSnapshot&) = delete;

private:
    sqlite3* m_handle;
    bool m_own;
};

}  // namespace fettle::storage
