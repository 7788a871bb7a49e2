// Queues jobs for the pages: posts requests, hands each answer to the one who asked, and ties runs
// to experiments of the store. GUI thread only; nothing here waits.
#pragma once

#include <QHash>
#include <QObject>
#include <QPointer>
#include <functional>
#include <optional>

#include "ui/bridge/engine_bridge.h"
#include "ui/bridge/experiment_service.h"

namespace fettle::ui {

class JobController : public QObject {
    Q_OBJECT

public:
    using ResultHandler = std::function<void(const JobResult&)>;
    using ErrorHandler = std::function<void(const ErrorInfo&)>;

    JobController(EngineBridge* engine, ExperimentService* experiments, QObject* parent = nullptr);

    EngineBridge* engine() const { return m_engine; }
    ExperimentService* experiments() const { return m_experiments; }

    /// Posts a request whose answer only `context` wants (inspect, histogram, estimate). The
    /// handlers are not called after `context` is gone, nor for a cancelled job.
    JobId ask(JobRequest request, QObject* context, ResultHandler done, ErrorHandler failed = {});
    /// Posts a job that the runs panel shows.
    JobId queue(JobRequest request, const QString& title, QObject* context = nullptr,
                ResultHandler done = {}, ErrorHandler failed = {});
    /// Stores a new experiment and queues its run; returns the experiment's id, 0 when it could not
    /// be queued. `keepModel` false: measured, the optimized model is not written.
    qint64 queueRun(RunRequest request, const QString& name, bool keepModel = true);
    /// Queues a stored experiment (interrupted, failed, cancelled) once more, under its own id.
    bool rerun(qint64 experiment, bool keepModel = true);
    /// A measured or queued baseline of this model under the same protocol, if there is one.
    std::optional<qint64> findBaseline(const RunRequest& request) const;

signals:
    void jobPosted(fettle::JobId job, const QString& title, qint64 experiment);
    void runFinished(qint64 experiment, const fettle::RunResult& result);
    /// A job ended in error and nobody else says so: `title` names the job, `message` file and
    /// cause.
    void failed(const QString& title, const QString& message);

private:
    struct Pending {
        QString title;
        QPointer<QObject> context;
        bool hasContext = false;
        bool visible = false;
        ResultHandler done;
        ErrorHandler failed;
    };

    JobId post(JobRequest request, Pending pending, qint64 experiment);
    void handle(const JobEvent& event);

    EngineBridge* m_engine;
    ExperimentService* m_experiments;
    QHash<JobId, Pending> m_pending;
};

}  // namespace fettle::ui
