#include "storage/transaction.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include "storage/sqlite_access.h"

namespace fettle::storage {

Transaction::Transaction(Database& database)
    : m_database(database), m_nested(sqlite3_get_autocommit(database.sqlite().getHandle()) == 0) {
    guarded(m_database, "begin writing",
            [&] { m_database.sqlite().exec(m_nested ? "SAVEPOINT part" : "BEGIN IMMEDIATE"); });
}

Transaction::~Transaction() {
    // After a full disk SQLite has rolled back by itself and there is nothing left to undo.
    sqlite3* handle = m_database.sqlite().getHandle();
    if (!m_open || sqlite3_get_autocommit(handle) != 0)
        return;
    sqlite3_exec(handle, m_nested ? "ROLLBACK TO part; RELEASE part" : "ROLLBACK", nullptr, nullptr,
                 nullptr);
}

void Transaction::commit() {
    guarded(m_database, "store",
            [&] { m_database.sqlite().exec(m_nested ? "RELEASE part" : "COMMIT"); });
    m_open = false;
}

}  // namespace fettle::storage
