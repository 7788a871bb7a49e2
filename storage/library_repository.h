// The library: models, texts and task sets that the user added, with those that came with the
// program. On the thread of its Database.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "storage/database.h"

namespace fettle::storage {

enum class LibraryKind { Model, Text, Tasks };

struct LibraryEntry {
    std::int64_t id = 0;
    LibraryKind kind = LibraryKind::Model;
    std::string name;
    std::string path;
    std::string detail;
    bool bundled = false;
};

class LibraryRepository {
public:
    explicit LibraryRepository(Database& database) : m_database(database) {}

    /// Bundled entries first, then in the order in which they were added.
    std::vector<LibraryEntry> list() const;
    /// Adding the same path again changes name and detail of the entry that is there; returns its
    /// id.
    std::int64_t add(const LibraryEntry& entry);
    void remove(std::int64_t id);

private:
    Database& m_database;
};

}  // namespace fettle::storage
