#include "storage/schema_migrator.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include <string>

namespace fettle::storage {
namespace {

int userVersion(SQLite::Database& database) {
    return database.execAndGet("PRAGMA user_version").getInt();
}

void apply(SQLite::Database& database, const SchemaFile& file) {
    // Immediate: a second process that opens the same old file waits here and then finds the work
    // done.
    SQLite::Transaction transaction(database, SQLite::TransactionBehavior::IMMEDIATE);
    if (userVersion(database) >= file.version)
        return;
    database.exec(file.sql);
    SQLite::Statement broken(database, "PRAGMA foreign_key_check");
    if (broken.executeStep())
        throw SQLite::Exception(std::string("migration ") + file.name + " leaves a row of " +
                                    broken.getColumn(0).getString() + " without its parent",
                                SQLITE_CONSTRAINT);
    database.exec("PRAGMA application_id = " + std::to_string(kApplicationId));
    database.exec("PRAGMA user_version = " + std::to_string(file.version));
    transaction.commit();
}

}  // namespace

int newestSchemaVersion() {
    return schemaFiles().back().version;
}

int migrateSchema(SQLite::Database& database, const std::vector<SchemaFile>& files) {
    const int before = userVersion(database);
    for (const SchemaFile& file : files) {
        if (file.version > before)
            apply(database, file);
    }
    return before;
}

}  // namespace fettle::storage
