// Climbs the advisor's ladder for the window: answers its questions from the experiments that are
// there, else by queueing ordinary runs, one after the other. GUI thread only; nothing here waits.
#pragma once

#include <QObject>
#include <QTimer>
#include <optional>
#include <string>
#include <vector>

#include "engine/experiment/advisor_values.h"
#include "engine/experiment/job_values.h"

namespace fettle::ui {

class JobController;

class AdvisorController : public QObject {
    Q_OBJECT

public:
    explicit AdvisorController(JobController* jobs, QObject* parent = nullptr);

    /// Begins a ladder, or goes on with the one of an equal goal: experiments that are in the
    /// database are not run again.
    void start(AdvisorGoal goal);
    /// Cancels the run of the ladder and ends it; what was measured stays.
    void stop();
    bool isRunning() const { return m_running; }
    const AdvisorGoal& goal() const { return m_goal; }
    const AdvisorReport& report() const { return m_report; }
    /// Of the rung that runs: 0..1, negative while unknown.
    double fraction() const { return m_fraction; }
    const QString& phase() const { return m_phase; }

signals:
    void reportChanged();
    void progressChanged();
    /// The ladder is at its end; `problem` says why when it did not come there by itself.
    void ended(const QString& problem);

private:
    void step();
    void answerEstimate(const AdvisorQuestion& question);
    void answerRun(const AdvisorQuestion& question);
    void follow(const JobEvent& event);
    void learn(AdvisorOutcome outcome);
    void end(const QString& problem);
    std::optional<ExperimentRecord> findSame(const RunRequest& request) const;
    RunRequest requestFor(const AdvisorTrial& trial) const;

    JobController* m_jobs;
    AdvisorGoal m_goal;
    AdvisorKnowledge m_known;
    AdvisorReport m_report;
    std::string m_key;  ///< of the trial that runs
    qint64 m_experiment = 0;
    JobId m_job = 0;
    bool m_running = false;
    bool m_posting = false;   ///< the run that is posted just now is the ladder's
    bool m_overtime = false;  ///< the budget ended the run
    double m_fraction = -1;
    QString m_phase;
    qint64 m_startedMs = 0;
    int m_ladder = 0;  ///< counts starts, so that answers of an earlier ladder are not taken
    QTimer m_deadline;
};

}  // namespace fettle::ui
