// The queue of jobs as a table: what runs, what waits, what ended, what a former session left
// unfinished. Fed with job events; holds the log, metrics and curves of each job. GUI thread only.
#pragma once

#include <QAbstractTableModel>
#include <deque>
#include <vector>

#include "engine/experiment/experiment_record.h"
#include "engine/experiment/job_values.h"
#include "ui/bridge/experiment_list.h"

namespace fettle::ui {

struct RunEntry {
    enum class State { Queued, Running, Paused, Finished, Failed, Cancelled, Interrupted };

    JobId job = 0;          ///< 0 for a run of a former session
    qint64 experiment = 0;  ///< 0 for jobs that are not stored, e.g. an export
    QString title;
    State state = State::Queued;
    QString phase;
    QString detail;
    double fraction = -1;  ///< negative while unknown
    double tokensPerSecond = 0;
    double secondsLeft = -1;
    bool finishable = false;  ///< it trains, and can be ended early with what it has
    QString error;
    qint64 startedMs = 0;
    qint64 finishedMs = 0;
    std::deque<LogLine> log;
    std::vector<Measurement> metrics;
    std::vector<SeriesPoint> series;

    bool ended() const { return state >= State::Finished; }
};
QString toString(RunEntry::State state);

class RunQueueModel : public QAbstractTableModel {
    Q_OBJECT

public:
    enum Column { Title, Status, Progress, Speed, TimeLeft, ColumnCount };
    enum Role { StateRole = Qt::UserRole, FractionRole, ExperimentRole };
    static constexpr std::size_t kMaxLogLines = 5000;

    using QAbstractTableModel::QAbstractTableModel;

    /// Shows a job from now on; a row of the same experiment that has ended is taken over.
    void track(JobId job, const QString& title, qint64 experiment);
    void handle(const JobEvent& event);
    /// Rows for runs that a former session left unfinished.
    void setInterrupted(const ExperimentList& records);
    void removeEnded();
    void removeRow(int row);

    const RunEntry& entry(int row) const { return m_entries[static_cast<std::size_t>(row)]; }
    int rowOfJob(JobId job) const;
    int rowOfExperiment(qint64 experiment) const;
    int activeCount() const;  ///< queued, running or paused

    int rowCount(const QModelIndex& parent = {}) const override;
    int columnCount(const QModelIndex& parent = {}) const override;
    QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
    QVariant headerData(int section, Qt::Orientation orientation,
                        int role = Qt::DisplayRole) const override;

signals:
    void logAppended(int row, const fettle::LogLine& line);
    void metricsChanged(int row);
    void seriesAppended(int row);
    void stateChanged(int row);
    void activeChanged();

private:
    void setState(int row, RunEntry::State state);
    void appendLog(int row, const char* level, const std::string& text);
    void applyBody(int row, const JobEventBody& body);
    void applyResult(int row, const JobResult& result);

    std::vector<RunEntry> m_entries;
};

}  // namespace fettle::ui
