#include "storage/library_repository.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include "storage/row_reader.h"

namespace fettle::storage {
namespace {

const char* kindName(LibraryKind kind) {
    switch (kind) {
        case LibraryKind::Text:
            return "text";
        case LibraryKind::Tasks:
            return "tasks";
        case LibraryKind::Model:
            break;
    }
    return "model";
}

LibraryKind kindFrom(const std::string& name) {
    return name == "text"    ? LibraryKind::Text
           : name == "tasks" ? LibraryKind::Tasks
                             : LibraryKind::Model;
}

}  // namespace

std::vector<LibraryEntry> LibraryRepository::list() const {
    return guarded(m_database, "read the library", [&] {
        std::vector<LibraryEntry> entries;
        RowReader row(
            m_database,
            "SELECT id, kind, name, path, detail, bundled FROM library ORDER BY bundled DESC, id");
        while (row.next())
            entries.push_back({row.integer(0), kindFrom(row.text(1)), row.text(2), row.text(3),
                               row.text(4), row.integer(5) != 0});
        return entries;
    });
}

std::int64_t LibraryRepository::add(const LibraryEntry& entry) {
    return guarded(m_database, "add to the library", [&] {
        SQLite::Statement insert(m_database.sqlite(),
                                 "INSERT INTO library (kind, name, path, detail, bundled, "
                                 "added_ms) VALUES (?, ?, ?, ?, ?, ?) "
                                 "ON CONFLICT (kind, path) DO UPDATE SET name = excluded.name, "
                                 "detail = excluded.detail, "
                                 "bundled = excluded.bundled RETURNING id");
        insert.bind(1, kindName(entry.kind));
        insert.bind(2, entry.name);
        insert.bind(3, entry.path);
        insert.bind(4, entry.detail);
        insert.bind(5, entry.bundled ? 1 : 0);
        insert.bind(6, nowMs());
        insert.executeStep();
        const std::int64_t id = insert.getColumn(0).getInt64();
        while (insert.executeStep()) {
        }
        return id;
    });
}

void LibraryRepository::remove(std::int64_t id) {
    guarded(m_database, "remove from the library", [&] {
        SQLite::Statement erase(m_database.sqlite(), "DELETE FROM library WHERE id = ?");
        erase.bind(1, id);
        erase.exec();
    });
}

}  // namespace fettle::storage
