// What the window knows about the experiment database. Implemented in app/, where storage meets the
// window; pages and models hold a pointer to this interface and see values only. All calls on the
// GUI thread; each is short.
#pragma once

#include <QObject>
#include <QString>
#include <optional>
#include <vector>

#include "engine/experiment/experiment_record.h"
#include "engine/experiment/job_values.h"
#include "ui/bridge/experiment_list.h"

namespace fettle::ui {

/// An entry of the library: a model, a text or a task set that the user added.
struct LibraryItem {
    enum class Kind { Model, Text, Tasks } kind = Kind::Model;
    qint64 id = 0;
    QString name;
    QString path;
    QString detail;  ///< "llama, 4.2M parameters, 8.4 MB"
    bool bundled = false;
    bool missing = false;  ///< the file is gone
};

class ExperimentService : public QObject {
    Q_OBJECT

public:
    using QObject::QObject;

    virtual ExperimentList experiments() const = 0;
    virtual std::optional<ExperimentRecord> experiment(qint64 id) const = 0;
    virtual std::optional<ExperimentDetail> detail(qint64 id) const = 0;
    /// Values per token of its evaluation, where they were kept.
    virtual std::optional<EvaluationTrace> trace(qint64 id) const = 0;
    /// A new experiment in state "queued"; returns its id. Its artifact folder is
    /// artifactFolder(id).
    virtual qint64 create(const RunRequest& request, const QString& name) = 0;
    virtual QString artifactFolder(qint64 id) const = 0;
    /// The request to run a stored experiment once more (interrupted, failed or cancelled ones).
    virtual std::optional<RunRequest> requestFor(qint64 id) const = 0;
    /// Hides experiments; undoRemove brings the last removed ones back. Files go when the
    /// application closes.
    virtual void remove(const std::vector<qint64>& ids) = 0;
    virtual void undoRemove() = 0;
    virtual void rename(qint64 id, const QString& name) = 0;
    // What people say about experiments; experimentChanged follows for each that is there.
    virtual void setFavourite(const std::vector<qint64>& ids, bool favourite) = 0;
    /// Puts a tag (see normalTag) on experiments or takes it off.
    virtual void setTag(const std::vector<qint64>& ids, const QString& tag, bool on) = 0;
    virtual void setNote(qint64 id, const QString& note) = 0;
    /// Adds a number that was taken in the window to an experiment, or replaces it.
    virtual void storeMetric(qint64 id, const Measurement& metric) = 0;

    virtual std::vector<LibraryItem> library() const = 0;
    virtual qint64 addToLibrary(LibraryItem item) = 0;
    virtual void removeFromLibrary(qint64 id) = 0;

    /// Set when the database could not be opened as asked: newer version (read only) or corrupt
    /// (set aside).
    virtual QString openingNotice() const = 0;
    virtual bool readOnly() const = 0;

signals:
    void experimentsReset();
    void experimentChanged(qint64 id);  ///< added or changed
    void experimentsRemoved(const std::vector<qint64>& ids);
    void libraryChanged();
    /// Something could not be read or stored: one line that names file and cause.
    void problemOccurred(const QString& message);
};

}  // namespace fettle::ui
