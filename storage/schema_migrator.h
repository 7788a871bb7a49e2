// Private to storage/: brings a database up to the newest schema, one transaction per version.
#pragma once

#include <vector>

#include "storage/schema_files.h"

namespace SQLite {
class Database;
}

namespace fettle::storage {

/// PRAGMA application_id of our files ("FTTL"): tells them from other programs' databases.
inline constexpr int kApplicationId = 0x4654544C;

int newestSchemaVersion();
/// Applies what is missing and returns the version found before. Safe against another process doing
/// the same. Throws SQLite::Exception; the version that failed has left no trace then.
int migrateSchema(SQLite::Database& database, const std::vector<SchemaFile>& files = schemaFiles());

}  // namespace fettle::storage
