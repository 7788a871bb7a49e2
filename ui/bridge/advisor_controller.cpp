#include "ui/bridge/advisor_controller.h"

#include <QDateTime>
#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/advisor/advisor.h"
#include "engine/job/recipe_runner.h"
#include "ui/bridge/job_controller.h"

namespace fettle::ui {
namespace {

constexpr double kLongestTimerMs = 2e9;  ///< what a timer can count

AdvisorOutcome outcomeOf(const ExperimentRecord& record) {
    AdvisorOutcome outcome;
    outcome.experiment = record.id;
    outcome.status = record.status;
    outcome.error = record.error;
    outcome.metrics = record.metrics;
    outcome.reused = true;
    const auto seconds = record.metrics.find("wall_seconds");
    outcome.seconds = seconds == record.metrics.end() ? 0 : seconds->second.value;
    return outcome;
}

}  // namespace

AdvisorController::AdvisorController(JobController* jobs, QObject* parent)
    : QObject(parent), m_jobs(jobs) {
    m_deadline.setSingleShot(true);
    connect(&m_deadline, &QTimer::timeout, this, [this] {
        m_overtime = true;
        m_jobs->engine()->cancel(m_job);
    });
    connect(jobs->engine(), &EngineBridge::jobEvent, this, &AdvisorController::follow);
    connect(jobs, &JobController::jobPosted, this,
            [this](JobId job, const QString&, qint64 experiment) {
                if (m_posting && experiment != 0) {
                    m_job = job;
                    m_experiment = experiment;
                }
            });
}

void AdvisorController::start(AdvisorGoal goal) {
    if (m_running) {
        return;
    }
    goal.inputs = resolvedInputs(goal.modelPath, goal.inputs);
    m_goal = std::move(goal);
    m_known = {};
    m_report = {};
    m_running = true;
    ++m_ladder;
    emit reportChanged();
    // The number of layers decides what can be left out, the other sizes whether heads can draft.
    m_jobs->ask(
        InspectRequest{m_goal.modelPath}, this,
        [this, ladder = m_ladder](const JobResult& result) {
            if (const auto* model = std::get_if<ModelReport>(&result);
                model && m_running && ladder == m_ladder) {
                m_goal.layers = model->layers;
                m_goal.hiddenSize = model->hiddenSize;
                m_goal.vocabulary = model->vocabularySize;
                step();
            }
        },
        [this, ladder = m_ladder](const ErrorInfo& error) {
            if (ladder == m_ladder) {
                end(QString::fromStdString(error.message));
            }
        });
}

void AdvisorController::stop() {
    if (!m_running) {
        return;
    }
    const JobId job = m_job;
    end(tr("Stopped. What was measured is kept; starting again goes on from there."));
    if (job != 0) {
        m_jobs->engine()->cancel(job);
    }
}

void AdvisorController::step() {
    m_report = advise(m_goal, m_jobs->engine()->techniques(), m_known);
    emit reportChanged();
    if (!m_report.question) {
        end({});
    } else if (m_report.question->kind == AdvisorQuestion::Kind::Estimate) {
        answerEstimate(*m_report.question);
    } else {
        answerRun(*m_report.question);
    }
}

RunRequest AdvisorController::requestFor(const AdvisorTrial& trial) const {
    RunRequest request;
    request.modelPath = m_goal.modelPath;
    request.recipe = trial.recipe;
    request.inputs = trial.inputs;
    request.measure = trial.measure;
    return request;
}

void AdvisorController::answerEstimate(const AdvisorQuestion& question) {
    const RunRequest request = requestFor(question.trial);
    m_jobs->ask(
        EstimateRequest{request.modelPath, request.recipe, request.inputs, request.measure}, this,
        [this, ladder = m_ladder, key = trialKey(question.trial)](const JobResult& result) {
            const auto* estimate = std::get_if<RecipeEstimate>(&result);
            if (estimate && m_running && ladder == m_ladder) {
                m_known.estimates[key] = *estimate;
                step();
            }
        },
        [this, ladder = m_ladder](const ErrorInfo& error) {
            if (ladder == m_ladder) {
                end(QString::fromStdString(error.message));
            }
        });
}

std::optional<ExperimentRecord> AdvisorController::findSame(const RunRequest& request) const {
    const std::string hash = recipeHash(request.recipe);
    std::optional<ExperimentRecord> found;
    for (const ExperimentRecord& record : m_jobs->experiments()->experiments()) {
        if (record.modelPath != request.modelPath || recipeHash(record.recipe) != hash ||
            (found && found->status == ExperimentStatus::Finished &&
             record.status != ExperimentStatus::Finished)) {
            continue;
        }
        const std::optional<ExperimentDetail> detail = m_jobs->experiments()->detail(record.id);
        if (detail && toJson(detail->inputs) == toJson(request.inputs) &&
            toJson(detail->measure) == toJson(request.measure)) {
            found = record;
        }
    }
    return found;
}

void AdvisorController::answerRun(const AdvisorQuestion& question) {
    m_key = trialKey(question.trial);
    m_job = 0;
    m_experiment = 0;
    m_overtime = false;
    m_fraction = -1;
    m_phase.clear();
    m_startedMs = QDateTime::currentMSecsSinceEpoch();
    const bool inFull = question.trial.inFull();
    const RunRequest request = requestFor(question.trial);
    const std::optional<ExperimentRecord> same = findSame(request);
    if (same && same->status == ExperimentStatus::Finished &&
        (!inFull || same->isBaseline() || !same->artifactPath.empty())) {
        // Through the event loop: a ladder that is all in the database must not block the window.
        QTimer::singleShot(0, this, [this, ladder = m_ladder, outcome = outcomeOf(*same)] {
            if (m_running && ladder == m_ladder) {
                learn(outcome);
            }
        });
        return;
    }
    const auto rung =
        std::find_if(m_report.rungs.begin(), m_report.rungs.end(),
                     [](const AdvisorRung& r) { return r.state == AdvisorRung::State::Running; });
    const QString title = tr("Advisor: %1").arg(QString::fromStdString(rung->title));
    const bool again = same && (same->status == ExperimentStatus::Interrupted ||
                                same->status == ExperimentStatus::Cancelled ||
                                same->status == ExperimentStatus::Failed);
    m_posting = true;
    const bool queued =
        again
            ? m_jobs->rerun(same->id, inFull)
            : m_jobs->queueRun(request, inFull ? title : tr("%1 (trial)").arg(title), inFull) != 0;
    m_posting = false;
    if (!queued) {
        end(tr("The next run could not be queued."));
    } else if (const double ms = question.secondsLeft * 1000; ms < kLongestTimerMs) {
        m_deadline.start(static_cast<int>(std::max(0.0, ms)));
    }
}

void AdvisorController::follow(const JobEvent& event) {
    if (!m_running || m_job == 0 || event.job != m_job) {
        return;
    }
    if (const auto* progress = std::get_if<JobProgress>(&event.body)) {
        m_fraction = progress->fraction;
        m_phase = QString::fromStdString(progress->phase);
        emit progressChanged();
        return;
    }
    AdvisorOutcome outcome;
    outcome.experiment = m_experiment;
    outcome.seconds = static_cast<double>(QDateTime::currentMSecsSinceEpoch() - m_startedMs) / 1000;
    if (const auto* finished = std::get_if<JobFinished>(&event.body)) {
        if (const auto* result = std::get_if<RunResult>(&finished->result)) {
            for (const Measurement& metric : result->metrics) {
                outcome.metrics[metric.name] = metric;
            }
        }
        learn(std::move(outcome));
    } else if (const auto* failed = std::get_if<JobFailed>(&event.body)) {
        outcome.status = ExperimentStatus::Failed;
        outcome.error = failed->error.message;
        learn(std::move(outcome));
    } else if (std::holds_alternative<JobCancelled>(event.body)) {
        if (!m_overtime) {
            end(tr("Its run was cancelled. Starting again goes on from there."));
            return;
        }
        outcome.status = ExperimentStatus::Cancelled;
        outcome.error = tr("stopped, because the budget was used up").toStdString();
        learn(std::move(outcome));
    }
}

void AdvisorController::learn(AdvisorOutcome outcome) {
    m_deadline.stop();
    m_known.outcomes[std::exchange(m_key, {})] = std::move(outcome);
    m_job = 0;
    m_experiment = 0;
    // Not from within the handling of an event that others still have to see.
    QTimer::singleShot(0, this, [this, ladder = m_ladder] {
        if (m_running && ladder == m_ladder) {
            step();
        }
    });
}

void AdvisorController::end(const QString& problem) {
    m_deadline.stop();
    m_running = false;
    m_job = 0;
    m_key.clear();
    emit ended(problem);
}

}  // namespace fettle::ui
