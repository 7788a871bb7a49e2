#include "storage/annotation_repository.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include "storage/row_reader.h"
#include "storage/sqlite_access.h"
#include "storage/transaction.h"

namespace fettle::storage {

void AnnotationRepository::requireExperiment(std::int64_t experiment) const {
    RowReader row(m_database, "SELECT 1 FROM experiments WHERE id = ?1");
    if (!row.bind(1, experiment).next())
        throw StorageError(m_database.path().string(),
                           "there is no experiment " + std::to_string(experiment),
                           StorageCause::Missing);
}

void AnnotationRepository::setFavourite(std::int64_t experiment, bool favourite) {
    guarded(m_database, "mark an experiment", [&] {
        Transaction transaction(m_database);
        requireExperiment(experiment);
        SQLite::Statement update(m_database.sqlite(),
                                 "INSERT INTO annotations (experiment, favourite) VALUES (?, ?) ON "
                                 "CONFLICT (experiment) DO UPDATE SET favourite = "
                                 "excluded.favourite");
        update.bind(1, experiment);
        update.bind(2, favourite ? 1 : 0);
        update.exec();
        transaction.commit();
    });
}

void AnnotationRepository::setNote(std::int64_t experiment, const std::string& note) {
    guarded(m_database, "store a note", [&] {
        Transaction transaction(m_database);
        requireExperiment(experiment);
        SQLite::Statement update(m_database.sqlite(),
                                 "INSERT INTO annotations (experiment, note) VALUES (?, ?) ON "
                                 "CONFLICT (experiment) DO UPDATE SET note = excluded.note");
        update.bind(1, experiment);
        update.bind(2, note);
        update.exec();
        transaction.commit();
    });
}

void AnnotationRepository::addTag(std::int64_t experiment, const std::string& tag) {
    const std::string normal = normalTag(tag);
    guarded(m_database, "tag an experiment", [&] {
        Transaction transaction(m_database);
        requireExperiment(experiment);
        if (!normal.empty()) {
            SQLite::Statement insert(m_database.sqlite(),
                                     "INSERT OR IGNORE INTO tags (experiment, tag) VALUES (?, ?)");
            insert.bind(1, experiment);
            insert.bind(2, normal);
            insert.exec();
        }
        transaction.commit();
    });
}

void AnnotationRepository::removeTag(std::int64_t experiment, const std::string& tag) {
    guarded(m_database, "take a tag away", [&] {
        Transaction transaction(m_database);
        requireExperiment(experiment);
        SQLite::Statement erase(m_database.sqlite(),
                                "DELETE FROM tags WHERE experiment = ? AND tag = ?");
        erase.bind(1, experiment);
        erase.bind(2, normalTag(tag));
        erase.exec();
        transaction.commit();
    });
}

void AnnotationRepository::set(std::int64_t experiment, const Annotations& annotations) {
    guarded(m_database, "annotate an experiment", [&] {
        Transaction transaction(m_database);
        setFavourite(experiment, annotations.favourite);
        setNote(experiment, annotations.note);
        SQLite::Statement clear(m_database.sqlite(), "DELETE FROM tags WHERE experiment = ?");
        clear.bind(1, experiment);
        clear.exec();
        for (const std::string& tag : annotations.tags)
            addTag(experiment, tag);
        transaction.commit();
    });
}

std::vector<std::string> AnnotationRepository::allTags() const {
    return guarded(m_database, "list the tags", [&] {
        std::vector<std::string> tags;
        RowReader row(m_database,
                      "SELECT DISTINCT t.tag FROM tags t JOIN experiments e ON e.id = "
                      "t.experiment WHERE e.removed = 0 ORDER BY t.tag");
        while (row.next())
            tags.push_back(row.text(0));
        return tags;
    });
}

}  // namespace fettle::storage
