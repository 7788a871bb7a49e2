#include "ui/bridge/job_controller.h"

#include <exception>
#include <utility>

namespace fettle::ui {

JobController::JobController(EngineBridge* engine, ExperimentService* experiments, QObject* parent)
    : QObject(parent), m_engine(engine), m_experiments(experiments) {
    connect(engine, &EngineBridge::jobEvent, this, &JobController::handle);
}

JobId JobController::post(JobRequest request, Pending pending, qint64 experiment) {
    try {
        const JobId job = m_engine->post(std::move(request));
        const bool visible = pending.visible;
        const QString title = pending.title;
        m_pending.insert(job, std::move(pending));
        if (visible) {
            emit jobPosted(job, title, experiment);
        }
        return job;
    } catch (const std::exception& error) {  // the queue is bounded: a full one refuses
        emit failed(pending.title, QString::fromUtf8(error.what()));
        return 0;
    }
}

JobId JobController::ask(JobRequest request, QObject* context, ResultHandler done,
                         ErrorHandler failed) {
    Pending pending{QString::fromStdString(jobTitle(request)),
                    context,
                    context != nullptr,
                    false,
                    std::move(done),
                    std::move(failed)};
    return post(std::move(request), std::move(pending), 0);
}

JobId JobController::queue(JobRequest request, const QString& title, QObject* context,
                           ResultHandler done, ErrorHandler failed) {
    Pending pending{title, context, context != nullptr, true, std::move(done), std::move(failed)};
    return post(std::move(request), std::move(pending), 0);
}

qint64 JobController::queueRun(RunRequest request, const QString& name, bool keepModel) {
    const qint64 id = m_experiments->create(request, name);
    if (id == 0) {
        emit failed(name, tr("The experiment could not be stored."));
        return 0;
    }
    request.experiment = id;
    if (keepModel && !request.recipe.steps.empty()) {
        request.artifactFolder = m_experiments->artifactFolder(id).toStdString();
    }
    Pending pending{name, nullptr, false, true, {}, {}};
    return post(std::move(request), std::move(pending), id) != 0 ? id : 0;
}

bool JobController::rerun(qint64 experiment, bool keepModel) {
    std::optional<RunRequest> request = m_experiments->requestFor(experiment);
    const std::optional<ExperimentRecord> record = m_experiments->experiment(experiment);
    if (!request || !record) {
        emit failed(tr("Run again"),
                    tr("Experiment %1 is no longer in the database.").arg(experiment));
        return false;
    }
    if (!keepModel) {
        request->artifactFolder.clear();
    }
    Pending pending{QString::fromStdString(record->name), nullptr, false, true, {}, {}};
    return post(*request, std::move(pending), experiment) != 0;
}

std::optional<qint64> JobController::findBaseline(const RunRequest& request) const {
    for (const ExperimentRecord& record : m_experiments->experiments()) {
        const bool alive = record.status == ExperimentStatus::Finished ||
                           record.status == ExperimentStatus::Running ||
                           record.status == ExperimentStatus::Queued;
        if (!record.isBaseline() || !alive || record.modelPath != request.modelPath) {
            continue;
        }
        const std::optional<ExperimentDetail> detail = m_experiments->detail(record.id);
        const bool same = detail && detail->inputs.evaluate == request.inputs.evaluate &&
                          detail->inputs.tasks == request.inputs.tasks &&
                          toJson(detail->measure) == toJson(request.measure);
        if (same) {
            return record.id;
        }
    }
    return std::nullopt;
}

void JobController::handle(const JobEvent& event) {
    const auto found = m_pending.find(event.job);
    if (found == m_pending.end()) {
        return;
    }
    const bool finished = std::holds_alternative<JobFinished>(event.body);
    const auto* failure = std::get_if<JobFailed>(&event.body);
    if (!finished && !failure && !std::holds_alternative<JobCancelled>(event.body)) {
        return;
    }
    const Pending pending = m_pending.take(event.job);
    const bool listening = !pending.hasContext || pending.context;
    if (finished) {
        const JobResult& result = std::get<JobFinished>(event.body).result;
        if (pending.done && listening) {
            pending.done(result);
        }
        if (const auto* run = std::get_if<RunResult>(&result)) {
            emit runFinished(event.experiment, *run);
        }
    } else if (failure) {
        if (pending.failed && listening) {
            pending.failed(failure->error);
        } else if (listening) {
            emit failed(pending.title, QString::fromStdString(failure->error.message));
        }
    }
}

}  // namespace fettle::ui
