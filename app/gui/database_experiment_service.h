// ExperimentService over the database. Opens the file on a thread of its own, so that the window
// never waits for it; keeps the list of experiments in memory and reads one row anew when a run
// reports. GUI thread, but for open().
#pragma once

#include <QHash>
#include <QString>
#include <filesystem>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "engine/experiment/job_values.h"
#include "storage/artifact_store.h"
#include "storage/database.h"
#include "ui/bridge/experiment_service.h"

namespace fettle::storage {
class AnnotationRepository;
}

namespace fettle::app {

class DatabaseExperimentService : public ui::ExperimentService {
    Q_OBJECT

public:
    explicit DatabaseExperimentService(std::filesystem::path database, QObject* parent = nullptr);
    /// Deletes for good what was removed.
    ~DatabaseExperimentService() override;

    /// Opens the database in the background; opened() follows.
    void open();
    bool isOpen() const { return m_database != nullptr; }
    const std::filesystem::path& path() const { return m_path; }
    /// Takes notice of what a run stored: call it with each event after the recorder had it.
    void follow(const JobEvent& event);

    ui::ExperimentList experiments() const override;
    std::optional<ExperimentRecord> experiment(qint64 id) const override;
    std::optional<ExperimentDetail> detail(qint64 id) const override;
    std::optional<EvaluationTrace> trace(qint64 id) const override;
    qint64 create(const RunRequest& request, const QString& name) override;
    QString artifactFolder(qint64 id) const override;
    std::optional<RunRequest> requestFor(qint64 id) const override;
    void remove(const std::vector<qint64>& ids) override;
    void undoRemove() override;
    void rename(qint64 id, const QString& name) override;
    void setFavourite(const std::vector<qint64>& ids, bool favourite) override;
    void setTag(const std::vector<qint64>& ids, const QString& tag, bool on) override;
    void setNote(qint64 id, const QString& note) override;
    void storeMetric(qint64 id, const Measurement& metric) override;
    std::vector<ui::LibraryItem> library() const override;
    qint64 addToLibrary(ui::LibraryItem item) override;
    void removeFromLibrary(qint64 id) override;
    QString openingNotice() const override { return m_notice; }
    bool readOnly() const override { return m_readOnly; }

signals:
    void opened();

private:
    struct Opening;  ///< what the opening thread found

    Opening openInBackground(const std::filesystem::path& path);
    /// Called twice where the list can be shown before the file has been looked through; nothing
    /// can be changed until that is done.
    void showRecords(ui::ExperimentList records);
    void finishOpening(Opening& opening);
    /// Says why where it is not: still being opened, of a newer version.
    bool canWrite();
    void refresh(qint64 id);
    void rebuildIndex();
    /// Annotates all of `ids` in one transaction, then reads them anew.
    void annotate(const std::vector<qint64>& ids,
                  const std::function<void(storage::AnnotationRepository&, std::int64_t)>& work);
    void loadLibrary();
    /// Runs `work`; a StorageError becomes problemOccurred. False when it failed.
    bool guarded(const std::function<void()>& work) const;

    std::filesystem::path m_path;
    std::jthread m_opener;
    std::unique_ptr<storage::Database> m_database;
    std::unique_ptr<storage::ArtifactStore> m_artifacts;
    ui::ExperimentList m_records;  ///< in the order of their ids
    QHash<qint64, std::size_t> m_index;
    std::vector<ui::LibraryItem> m_library;
    QString m_notice;
    bool m_readOnly = false;
    bool m_removedSome = false;
};

}  // namespace fettle::app
