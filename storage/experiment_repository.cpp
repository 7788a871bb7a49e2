#include "storage/experiment_repository.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <sqlite3.h>

#include <algorithm>

#include "storage/catalogue_repository.h"
#include "storage/measurement_repository.h"
#include "storage/process_identity.h"
#include "storage/sqlite_access.h"
#include "storage/transaction.h"

namespace fettle::storage {
namespace {

void bindOwner(SQLite::Statement& statement, int first, const ProcessIdentity& owner) {
    statement.bind(first, owner.pid);
    statement.bind(first + 1, owner.start);
    statement.bind(first + 2, owner.boot);
}

/// The experiment whose artifact the model is, if it is one.
std::optional<std::int64_t> parentOf(Database& database, const std::string& modelPath) {
    SQLite::Statement find(
        database.sqlite(),
        "SELECT experiment FROM artifacts WHERE path = ? ORDER BY id DESC LIMIT 1");
    find.bind(1, modelPath);
    return find.executeStep() ? std::optional(find.getColumn(0).getInt64()) : std::nullopt;
}

void linkDatasets(Database& database, std::int64_t id, const RunInputs& inputs) {
    CatalogueRepository catalogue(database);
    const std::pair<const std::string&, const char*> files[] = {{inputs.calibration, "calibration"},
                                                                {inputs.train, "train"},
                                                                {inputs.evaluate, "evaluate"},
                                                                {inputs.tasks, "tasks"}};
    for (const auto& [path, role] : files) {
        if (path.empty())
            continue;
        SQLite::Statement link(
            database.sqlite(),
            "INSERT OR IGNORE INTO experiment_datasets (experiment, dataset) VALUES (?, ?)");
        link.bind(1, id);
        link.bind(2, catalogue.ensureDataset(path, role));
        link.exec();
    }
}

ProcessIdentity ownerIn(SQLite::Statement& row, int first) {
    return {row.getColumn(first).getInt64(), row.getColumn(first + 1).getInt64(),
            row.getColumn(first + 2).getString()};
}

}  // namespace

std::int64_t ExperimentRepository::create(const RunRequest& request, const std::string& name,
                                          const std::string& appVersion) {
    return guarded(m_database, "store a new experiment", [&] {
        Transaction transaction(m_database);
        CatalogueRepository catalogue(m_database);
        SQLite::Statement insert(m_database.sqlite(),
                                 "INSERT INTO experiments (name, model, recipe, recipe_name, seed, "
                                 "status, app_version, inputs, "
                                 "measure, created_ms, parent, owner_pid, owner_start, owner_boot) "
                                 "VALUES (?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?)");
        std::string title = name;
        if (title.empty())
            title =
                request.recipe.name.empty() ? recipeSummary(request.recipe) : request.recipe.name;
        insert.bind(1, title);
        insert.bind(2, catalogue.ensureModel(request.modelPath, ""));
        insert.bind(3, catalogue.ensureRecipe(request.recipe));
        insert.bind(4, request.recipe.name);
        insert.bind(5, signedBits(request.recipe.seed));
        insert.bind(6, appVersion);
        insert.bind(7, compactJson(toJson(request.inputs)));
        insert.bind(8, compactJson(toJson(request.measure)));
        insert.bind(9, nowMs());
        if (const auto parent = parentOf(m_database, request.modelPath))
            insert.bind(10, *parent);
        bindOwner(insert, 11, thisProcess());
        insert.exec();
        const std::int64_t id = m_database.sqlite().getLastInsertRowid();
        linkDatasets(m_database, id, request.inputs);
        transaction.commit();
        return id;
    });
}

void ExperimentRepository::rename(std::int64_t id, const std::string& name) {
    guarded(m_database, "rename an experiment", [&] {
        SQLite::Statement update(m_database.sqlite(),
                                 "UPDATE experiments SET name = ? WHERE id = ?");
        update.bind(1, name);
        update.bind(2, id);
        update.exec();
    });
}

void ExperimentRepository::setStatus(std::int64_t id, ExperimentStatus status,
                                     const std::string& error) {
    const bool open = status == ExperimentStatus::Queued || status == ExperimentStatus::Running;
    guarded(m_database, "store the state of an experiment", [&] {
        SQLite::Statement update(
            m_database.sqlite(),
            "UPDATE experiments SET status = ?1, error = ?2, owner_pid = ?3, owner_start = ?4, "
            "owner_boot = ?5, "
            "started_ms = CASE ?1 WHEN 'queued' THEN 0 WHEN 'running' THEN ?6 ELSE started_ms END, "
            "finished_ms = CASE WHEN ?1 IN ('queued', 'running') THEN 0 ELSE ?6 END WHERE id = ?7");
        update.bind(1, toString(status));
        update.bind(2, error);
        bindOwner(update, 3, open ? thisProcess() : ProcessIdentity{});
        update.bind(6, nowMs());
        update.bind(7, id);
        if (update.exec() == 0)
            throw StorageError(m_database.path().string(),
                               "there is no experiment " + std::to_string(id),
                               StorageCause::Missing);
    });
}

void ExperimentRepository::setQueued(std::int64_t id) {
    setStatus(id, ExperimentStatus::Queued, {});
}

void ExperimentRepository::setRunning(std::int64_t id) {
    Transaction transaction(m_database);
    setStatus(id, ExperimentStatus::Running, {});
    MeasurementRepository(m_database).clearResults(id);
    transaction.commit();
}

void ExperimentRepository::setEnded(std::int64_t id, ExperimentStatus status,
                                    const std::string& error) {
    setStatus(id, status, error);
}

void ExperimentRepository::setModelHash(std::int64_t id, const std::string& hash) {
    if (hash.empty())
        return;
    guarded(m_database, "store the model's hash", [&] {
        SQLite::Statement find(m_database.sqlite(),
                               "SELECT m.id, m.path FROM models m JOIN experiments e ON e.model = "
                               "m.id WHERE e.id = ?");
        find.bind(1, id);
        if (!find.executeStep())
            return;
        const std::int64_t before = find.getColumn(0).getInt64();
        const std::int64_t after =
            CatalogueRepository(m_database).ensureModel(find.getColumn(1).getString(), hash);
        find.reset();
        if (before == after)
            return;
        SQLite::Statement copy(m_database.sqlite(),
                               "UPDATE models SET architecture = o.architecture, parameters = "
                               "o.parameters, file_bytes = o.file_bytes, "
                               "name = o.name FROM models o WHERE o.id = ? AND models.id = ? AND "
                               "models.architecture = ''");
        copy.bind(1, before);
        copy.bind(2, after);
        copy.exec();
        SQLite::Statement point(m_database.sqlite(),
                                "UPDATE experiments SET model = ? WHERE id = ?");
        point.bind(1, after);
        point.bind(2, id);
        point.exec();
    });
}

void ExperimentRepository::setEstimate(std::int64_t id, const RecipeEstimate& estimate) {
    guarded(m_database, "store the estimate", [&] {
        SQLite::Statement update(m_database.sqlite(),
                                 "UPDATE experiments SET estimate = ? WHERE id = ?");
        update.bind(1, compactJson(toJson(estimate)));
        update.bind(2, id);
        update.exec();
    });
}

void ExperimentRepository::finish(std::int64_t id, const RunResult& result) {
    guarded(m_database, "store the results of a run", [&] {
        Transaction transaction(m_database);
        setStatus(id, ExperimentStatus::Finished, {});
        setModelHash(id, result.modelHash);
        if (!result.deviceName.empty()) {
            SQLite::Statement update(m_database.sqlite(),
                                     "UPDATE experiments SET device = ? WHERE id = ?");
            update.bind(1, CatalogueRepository(m_database).ensureDevice(result));
            update.bind(2, id);
            update.exec();
        }
        // Layer metrics and samples come with the result only; storing it twice must not double
        // them.
        for (const char* table : {"layer_metrics", "samples"}) {
            SQLite::Statement clear(m_database.sqlite(),
                                    std::string("DELETE FROM ") + table + " WHERE experiment = ?");
            clear.bind(1, id);
            clear.exec();
        }
        MeasurementRepository measurements(m_database);
        measurements.addSteps(id, result.steps);
        measurements.addMetrics(id, result.metrics);
        measurements.addLayerMetrics(id, result.layerMetrics);
        measurements.addSamples(id, result.samples);
        if (result.artifact)
            measurements.addArtifact(id, *result.artifact);
        if (result.estimate)
            setEstimate(id, *result.estimate);
        if (result.trace)
            measurements.addTrace(id, *result.trace);
        transaction.commit();
    });
}

std::vector<std::int64_t> ExperimentRepository::markInterrupted() {
    return guarded(m_database, "mark interrupted runs", [&] {
        std::vector<std::int64_t> gone;
        Transaction transaction(m_database);
        SQLite::Statement open(m_database.sqlite(),
                               "SELECT id, owner_pid, owner_start, owner_boot FROM experiments "
                               "WHERE status IN ('queued', 'running') ORDER BY id");
        while (open.executeStep()) {
            if (!ownerIn(open, 1).alive())
                gone.push_back(open.getColumn(0).getInt64());
        }
        for (const std::int64_t id : gone)
            setStatus(id, ExperimentStatus::Interrupted, "The program ended before this run did.");
        transaction.commit();
        return gone;
    });
}

std::int64_t ExperimentRepository::remove(const std::vector<std::int64_t>& ids) {
    return guarded(m_database, "remove experiments", [&] {
        Transaction transaction(m_database);
        const std::int64_t removal =
            m_database.sqlite()
                .execAndGet("SELECT coalesce(max(removed), 0) + 1 FROM experiments")
                .getInt64();
        SQLite::Statement hide(m_database.sqlite(),
                               "UPDATE experiments SET removed = ? WHERE id = ? AND removed = 0");
        int hidden = 0;
        for (const std::int64_t id : ids) {
            hide.bind(1, removal);
            hide.bind(2, id);
            hidden += hide.exec();
            hide.reset();
        }
        transaction.commit();
        return hidden > 0 ? removal : std::int64_t{0};
    });
}

std::vector<std::int64_t> ExperimentRepository::undoRemoval(std::int64_t removal) {
    return guarded(m_database, "bring experiments back", [&] {
        std::vector<std::int64_t> ids;
        Transaction transaction(m_database);
        if (removal == 0)
            removal = m_database.sqlite()
                          .execAndGet("SELECT coalesce(max(removed), 0) FROM experiments")
                          .getInt64();
        if (removal != 0) {
            SQLite::Statement find(m_database.sqlite(),
                                   "SELECT id FROM experiments WHERE removed = ? ORDER BY id");
            find.bind(1, removal);
            while (find.executeStep())
                ids.push_back(find.getColumn(0).getInt64());
            find.reset();
            SQLite::Statement show(m_database.sqlite(),
                                   "UPDATE experiments SET removed = 0 WHERE removed = ?");
            show.bind(1, removal);
            show.exec();
        }
        transaction.commit();
        return ids;
    });
}

std::vector<std::int64_t> ExperimentRepository::purge(ArtifactStore& artifacts) {
    return guarded(m_database, "delete removed experiments", [&] {
        std::vector<std::int64_t> ids;
        SQLite::Statement find(m_database.sqlite(),
                               "SELECT id, status, owner_pid, owner_start, owner_boot FROM "
                               "experiments WHERE removed != 0 ORDER BY id");
        while (find.executeStep()) {
            const std::string status = find.getColumn(1).getString();
            const bool runs =
                (status == "queued" || status == "running") && ownerIn(find, 2).alive();
            if (!runs)
                ids.push_back(find.getColumn(0).getInt64());
        }
        find.reset();
        // Files first: killed in between, the rows still say what is to be deleted, and the next
        // purge ends the work.
        for (const std::int64_t id : ids)
            artifacts.remove(id);
        Transaction transaction(m_database);
        SQLite::Statement erase(m_database.sqlite(),
                                "DELETE FROM experiments WHERE id = ? AND removed != 0");
        for (const std::int64_t id : ids) {
            erase.bind(1, id);
            erase.exec();
            erase.reset();
        }
        transaction.commit();
        return ids;
    });
}

}  // namespace fettle::storage
