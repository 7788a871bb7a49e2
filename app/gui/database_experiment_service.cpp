#include "app/gui/database_experiment_service.h"

#include <QFileInfo>
#include <QMetaObject>
#include <algorithm>
#include <exception>
#include <optional>
#include <utility>

#include "app/core/logging.h"
#include "app/core/paths.h"
#include "app/core/unsaved_results.h"
#include "app/core/version.h"
#include "app/gui/bundled_library.h"
#include "storage/annotation_repository.h"
#include "storage/experiment_reader.h"
#include "storage/experiment_repository.h"
#include "storage/library_repository.h"
#include "storage/measurement_repository.h"
#include "storage/transaction.h"

namespace fettle::app {

using ui::LibraryItem;

struct DatabaseExperimentService::Opening {
    bool ok = false;
    bool readOnly = false;
    QString notice;
    std::unique_ptr<storage::ArtifactStore> artifacts;
    bool early = false;  ///< the records were shown already and still hold
    ui::ExperimentList records;
};

DatabaseExperimentService::DatabaseExperimentService(std::filesystem::path database,
                                                     QObject* parent)
    : ExperimentService(parent), m_path(std::move(database)), m_library(bundledLibrary()) {}

DatabaseExperimentService::~DatabaseExperimentService() {
    if (m_opener.joinable()) {
        m_opener.join();
    }
    if (m_removedSome && m_database && m_artifacts) {
        guarded([this] { storage::ExperimentRepository(*m_database).purge(*m_artifacts); });
    }
}

namespace {

/// The list as it stands, before the file is looked through for damage, which takes as long again;
/// nothing where it cannot be read like that.
std::optional<ui::ExperimentList> listEarly(const std::filesystem::path& path) {
    try {
        const storage::Database database =
            storage::Database::open(path, {.create = false, .readOnly = true, .check = false});
        return storage::ExperimentReader(database).list();
    } catch (const std::exception&) {
        return std::nullopt;  // whoever opens the file for good says what is wrong with it
    }
}

}  // namespace

DatabaseExperimentService::Opening DatabaseExperimentService::openInBackground(
    const std::filesystem::path& path) {
    Opening opening;
    const std::optional<ui::ExperimentList> early = listEarly(path);
    if (early) {
        QMetaObject::invokeMethod(
            this, [this, list = *early] { showRecords(list); }, Qt::QueuedConnection);
    }
    try {
        storage::Database database = storage::Database::open(path);
        bool changed = database.outcome() != storage::OpenOutcome::Opened &&
                       database.outcome() != storage::OpenOutcome::ReadOnlyNewer;
        opening.readOnly = database.readOnly();
        opening.notice = QString::fromStdString(database.notice());
        if (!opening.readOnly) {
            opening.artifacts = std::make_unique<storage::ArtifactStore>(artifactsRootFor(path));
            const ImportOutcome imported = importUnsaved(database, artifactsRootFor(path));
            changed = changed || !imported.experiments.empty();
            for (const std::string& problem : imported.problems) {
                opening.notice += (opening.notice.isEmpty() ? QString() : QStringLiteral("\n")) +
                                  QString::fromStdString(problem);
            }
            changed = !storage::ExperimentRepository(database).markInterrupted().empty() || changed;
        }
        // Pages learn with a reset that nothing can be changed.
        opening.early = early && !changed && !opening.readOnly;
        if (!opening.early) {
            opening.records = storage::ExperimentReader(database).list();
        }
        opening.ok = true;
    } catch (const std::exception& error) {
        opening.readOnly = true;
        opening.notice = QString::fromUtf8(error.what());
    }
    return opening;
}

void DatabaseExperimentService::open() {
    m_opener = std::jthread([this] {
        auto opening = std::make_shared<Opening>(openInBackground(m_path));
        QMetaObject::invokeMethod(
            this, [this, opening] { finishOpening(*opening); }, Qt::QueuedConnection);
    });
}

void DatabaseExperimentService::showRecords(ui::ExperimentList records) {
    m_records = std::move(records);
    rebuildIndex();
    emit experimentsReset();
}

void DatabaseExperimentService::finishOpening(Opening& opening) {
    m_notice = opening.notice;
    m_readOnly = opening.readOnly;
    m_artifacts = std::move(opening.artifacts);
    if (opening.ok) {
        guarded([this] {
            m_database = std::make_unique<storage::Database>(
                m_readOnly ? storage::Database::open(
                                 m_path, {.create = false, .readOnly = true, .check = false})
                           : storage::Database::openAgain(m_path));
        });
        loadLibrary();
    }
    if (!opening.early) {
        showRecords(std::move(opening.records));
    }
    emit libraryChanged();
    emit opened();
}

bool DatabaseExperimentService::guarded(const std::function<void()>& work) const {
    try {
        work();
        return true;
    } catch (const std::exception& error) {
        logError(error.what());
        emit const_cast<DatabaseExperimentService*>(this)->problemOccurred(
            QString::fromUtf8(error.what()));
        return false;
    }
}

void DatabaseExperimentService::rebuildIndex() {
    m_index.clear();
    m_index.reserve(static_cast<qsizetype>(m_records.size()));
    for (std::size_t i = 0; i < m_records.size(); ++i) {
        m_index.insert(m_records[i].id, i);
    }
}

void DatabaseExperimentService::follow(const JobEvent& event) {
    const bool changes = std::holds_alternative<JobStarted>(event.body) ||
                         std::holds_alternative<JobFinished>(event.body) ||
                         std::holds_alternative<JobFailed>(event.body) ||
                         std::holds_alternative<JobCancelled>(event.body);
    if (event.experiment != 0 && changes) {
        refresh(event.experiment);
    }
}

void DatabaseExperimentService::refresh(qint64 id) {
    if (!m_database) {
        return;
    }
    std::optional<ExperimentRecord> record;
    if (!guarded([&] { record = storage::ExperimentReader(*m_database).record(id); }) || !record) {
        return;
    }
    const auto found = m_index.constFind(id);
    if (found != m_index.constEnd()) {
        m_records.replace(*found, std::move(*record));
    } else {
        const auto place = std::lower_bound(
            m_records.begin(), m_records.end(), id,
            [](const ExperimentRecord& r, qint64 wanted) { return r.id < wanted; });
        const bool last = place == m_records.end();
        m_records.insert(static_cast<std::size_t>(place - m_records.begin()), std::move(*record));
        last ? void(m_index.insert(id, m_records.size() - 1)) : rebuildIndex();
    }
    emit experimentChanged(id);
}

ui::ExperimentList DatabaseExperimentService::experiments() const {
    return m_records;
}

std::optional<ExperimentRecord> DatabaseExperimentService::experiment(qint64 id) const {
    const auto found = m_index.constFind(id);
    return found == m_index.constEnd() ? std::nullopt : std::optional(m_records[*found]);
}

std::optional<ExperimentDetail> DatabaseExperimentService::detail(qint64 id) const {
    std::optional<ExperimentDetail> detail;
    if (m_database) {
        guarded([&] { detail = storage::ExperimentReader(*m_database).detail(id); });
    }
    return detail;
}

std::optional<EvaluationTrace> DatabaseExperimentService::trace(qint64 id) const {
    std::optional<EvaluationTrace> trace;
    if (m_database) {
        guarded([&] { trace = storage::ExperimentReader(*m_database).trace(id); });
    }
    return trace;
}

bool DatabaseExperimentService::canWrite() {
    if (m_database && !m_readOnly) {
        return true;
    }
    emit problemOccurred(m_notice.isEmpty()
                             ? tr("The database is still being opened; try again in a moment.")
                             : m_notice);
    return false;
}

qint64 DatabaseExperimentService::create(const RunRequest& request, const QString& name) {
    qint64 id = 0;
    if (!canWrite()) {
        return id;
    }
    guarded([&] {
        id = storage::ExperimentRepository(*m_database)
                 .create(request, name.toStdString(), applicationVersion());
    });
    if (id != 0) {
        refresh(id);
    }
    return id;
}

QString DatabaseExperimentService::artifactFolder(qint64 id) const {
    return m_artifacts ? QString::fromStdString(m_artifacts->folder(id).string()) : QString();
}

std::optional<RunRequest> DatabaseExperimentService::requestFor(qint64 id) const {
    std::optional<RunRequest> request;
    if (m_database && !m_readOnly) {
        guarded([&] { request = storage::ExperimentReader(*m_database).requestFor(id); });
    }
    if (request && !request->recipe.steps.empty()) {
        request->artifactFolder = artifactFolder(id).toStdString();
    }
    return request;
}

void DatabaseExperimentService::remove(const std::vector<qint64>& ids) {
    const std::vector<std::int64_t> numbers(ids.begin(), ids.end());
    if (!canWrite() ||
        !guarded([&] { storage::ExperimentRepository(*m_database).remove(numbers); })) {
        return;
    }
    m_removedSome = true;
    m_records.removeIf([&](const ExperimentRecord& record) {
        return std::find(ids.begin(), ids.end(), record.id) != ids.end();
    });
    rebuildIndex();
    emit experimentsRemoved(ids);
}

void DatabaseExperimentService::undoRemove() {
    std::vector<std::int64_t> back;
    if (canWrite()) {
        guarded([&] { back = storage::ExperimentRepository(*m_database).undoRemoval(); });
    }
    for (const std::int64_t id : back) {
        refresh(id);
    }
}

void DatabaseExperimentService::storeMetric(qint64 id, const Measurement& metric) {
    if (canWrite() &&
        guarded([&] { storage::MeasurementRepository(*m_database).addMetrics(id, {metric}); })) {
        refresh(id);
    }
}

void DatabaseExperimentService::rename(qint64 id, const QString& name) {
    if (canWrite() && guarded([&] {
            storage::ExperimentRepository(*m_database).rename(id, name.toStdString());
        })) {
        refresh(id);
    }
}

void DatabaseExperimentService::annotate(
    const std::vector<qint64>& ids,
    const std::function<void(storage::AnnotationRepository&, std::int64_t)>& work) {
    if (!canWrite() || !guarded([&] {
            storage::Transaction transaction(*m_database);
            storage::AnnotationRepository repository(*m_database);
            for (const qint64 id : ids) {
                work(repository, id);
            }
            transaction.commit();
        })) {
        return;
    }
    for (const qint64 id : ids) {
        refresh(id);
    }
}

void DatabaseExperimentService::setFavourite(const std::vector<qint64>& ids, bool favourite) {
    annotate(ids, [favourite](storage::AnnotationRepository& repository, std::int64_t id) {
        repository.setFavourite(id, favourite);
    });
}

void DatabaseExperimentService::setTag(const std::vector<qint64>& ids, const QString& tag,
                                       bool on) {
    annotate(ids, [name = tag.toStdString(), on](storage::AnnotationRepository& repository,
                                                 std::int64_t id) {
        on ? repository.addTag(id, name) : repository.removeTag(id, name);
    });
}

void DatabaseExperimentService::setNote(qint64 id, const QString& note) {
    annotate({id}, [&](storage::AnnotationRepository& repository, std::int64_t experiment) {
        repository.setNote(experiment, note.toStdString());
    });
}

void DatabaseExperimentService::loadLibrary() {
    m_library = bundledLibrary();
    if (!m_database) {
        return;
    }
    guarded([this] {
        for (const storage::LibraryEntry& entry : storage::LibraryRepository(*m_database).list()) {
            LibraryItem item;
            item.kind = static_cast<LibraryItem::Kind>(entry.kind);
            item.id = entry.id;
            item.name = QString::fromStdString(entry.name);
            item.path = QString::fromStdString(entry.path);
            item.detail = QString::fromStdString(entry.detail);
            m_library.push_back(std::move(item));
        }
    });
}

std::vector<LibraryItem> DatabaseExperimentService::library() const {
    std::vector<LibraryItem> items = m_library;
    for (LibraryItem& item : items) {
        item.missing = !item.bundled && !QFileInfo::exists(item.path);
    }
    return items;
}

qint64 DatabaseExperimentService::addToLibrary(LibraryItem item) {
    qint64 id = 0;
    if (m_database && !m_readOnly) {
        guarded([&] {
            id = storage::LibraryRepository(*m_database)
                     .add({0, static_cast<storage::LibraryKind>(item.kind), item.name.toStdString(),
                           item.path.toStdString(), item.detail.toStdString(), false});
        });
        loadLibrary();
    } else {  // kept for this session only
        id = -1000 - static_cast<qint64>(m_library.size());
        item.id = id;
        m_library.push_back(std::move(item));
    }
    emit libraryChanged();
    return id;
}

void DatabaseExperimentService::removeFromLibrary(qint64 id) {
    if (id > 0 && m_database && !m_readOnly) {
        guarded([&] { storage::LibraryRepository(*m_database).remove(id); });
        loadLibrary();
    } else {
        std::erase_if(m_library,
                      [id](const LibraryItem& item) { return item.id == id && !item.bundled; });
    }
    emit libraryChanged();
}

}  // namespace fettle::app
