#include "storage/catalogue_repository.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include <filesystem>

#include "storage/sqlite_access.h"
#include "storage/transaction.h"

namespace fettle::storage {
namespace {

/// `insert` must do nothing on conflict; `select` takes the same parameters and finds the row
/// either way.
template <typename Bind>
std::int64_t ensureRow(Database& database, const char* insert, const char* select, Bind bind) {
    return guarded(database, "store", [&] {
        Transaction transaction(database);
        SQLite::Statement find(database.sqlite(), select);
        bind(find);
        if (!find.executeStep()) {
            find.reset();
            SQLite::Statement add(database.sqlite(), insert);
            bind(add);
            add.exec();
            find.executeStep();
        }
        const std::int64_t id = find.getColumn(0).getInt64();
        find.reset();
        transaction.commit();
        return id;
    });
}

}  // namespace

std::string modelNameFromPath(const std::string& text) {
    std::filesystem::path path(text);
    if (!path.has_filename() && path.has_parent_path())
        path = path.parent_path();  // "models/qwen/"
    if (path.extension() == ".gguf")
        path.replace_extension();
    return path.filename().empty() ? text : path.filename().string();
}

std::int64_t CatalogueRepository::ensureModel(const std::string& path, const std::string& hash) {
    return ensureRow(
        m_database, "INSERT INTO models (path, hash, name, added_ms) VALUES (?1, ?2, ?3, ?4)",
        "SELECT id FROM models WHERE path = ?1 AND hash = ?2 AND ?3 IS NOT NULL AND ?4 IS NOT NULL",
        [&](SQLite::Statement& statement) {
            statement.bind(1, path);
            statement.bind(2, hash);
            statement.bind(3, modelNameFromPath(path));
            statement.bind(4, nowMs());
        });
}

void CatalogueRepository::describeModel(const ModelReport& report) {
    guarded(m_database, "store the model's description", [&] {
        Transaction transaction(m_database);
        ensureModel(report.path, report.hash);
        SQLite::Statement update(
            m_database.sqlite(),
            "UPDATE models SET architecture = ?, parameters = ?, file_bytes = ?, "
            "name = CASE WHEN ? != '' THEN ? ELSE name END WHERE path = ? AND hash IN ('', ?)");
        update.bind(1, report.architecture);
        update.bind(2, signedBits(report.parameters));
        update.bind(3, signedBits(report.fileBytes));
        update.bind(4, report.name);
        update.bind(5, report.name);
        update.bind(6, report.path);
        update.bind(7, report.hash);
        update.exec();
        transaction.commit();
    });
}

std::int64_t CatalogueRepository::ensureDataset(const std::string& path, const std::string& role) {
    return ensureRow(m_database, "INSERT INTO datasets (path, role) VALUES (?1, ?2)",
                     "SELECT id FROM datasets WHERE path = ?1 AND role = ?2 AND hash = ''",
                     [&](SQLite::Statement& statement) {
                         statement.bind(1, path);
                         statement.bind(2, role);
                     });
}

std::int64_t CatalogueRepository::ensureDevice(const RunResult& result) {
    return ensureRow(m_database,
                     "INSERT INTO devices (name, kind, isa, memory_bytes) VALUES (?1, ?2, ?3, ?4)",
                     "SELECT id FROM devices WHERE name = ?1 AND kind = ?2 AND isa = ?3 AND "
                     "memory_bytes = ?4 AND driver = ''",
                     [&](SQLite::Statement& statement) {
                         statement.bind(1, result.deviceName);
                         statement.bind(2, result.deviceKind);
                         statement.bind(3, result.deviceIsa);
                         statement.bind(4, signedBits(result.deviceMemory));
                     });
}

std::int64_t CatalogueRepository::ensureRecipe(const Recipe& recipe) {
    nlohmann::json form = toJson(recipe);
    form.erase("name");  // two experiments may name the same recipe differently
    const std::string text = form.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    return ensureRow(m_database, "INSERT INTO recipes (hash, json, steps) VALUES (?1, ?2, ?3)",
                     "SELECT id FROM recipes WHERE hash = ?1 AND ?2 IS NOT NULL AND ?3 IS NOT NULL",
                     [&](SQLite::Statement& statement) {
                         statement.bind(1, recipeHash(recipe));
                         statement.bind(2, text);
                         statement.bind(3, signedBits(recipe.steps.size()));
                     });
}

}  // namespace fettle::storage
