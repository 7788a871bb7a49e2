// The migrations of resources/schema, embedded in the library when it is built.
#pragma once

#include <vector>

namespace fettle::storage {

struct SchemaFile {
    int version = 0;  ///< user_version of a database once the file has been applied
    const char* name = "";
    const char* sql = "";
};

/// All migrations, in ascending order of their versions, which count from 1 without gaps.
const std::vector<SchemaFile>& schemaFiles();

}  // namespace fettle::storage
