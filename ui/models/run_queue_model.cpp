#include "ui/models/run_queue_model.h"

#include <QDateTime>
#include <algorithm>
#include <type_traits>
#include <utility>

namespace fettle::ui {

using State = RunEntry::State;

QString toString(State state) {
    switch (state) {
        case State::Queued:
            return RunQueueModel::tr("Waiting");
        case State::Running:
            return RunQueueModel::tr("Running");
        case State::Paused:
            return RunQueueModel::tr("Paused");
        case State::Finished:
            return RunQueueModel::tr("Finished");
        case State::Failed:
            return RunQueueModel::tr("Failed");
        case State::Cancelled:
            return RunQueueModel::tr("Cancelled");
        case State::Interrupted:
            return RunQueueModel::tr("Interrupted");
    }
    return {};
}

void RunQueueModel::track(JobId job, const QString& title, qint64 experiment) {
    RunEntry entry;
    entry.job = job;
    entry.experiment = experiment;
    entry.title = title;
    const int old = experiment != 0 ? rowOfExperiment(experiment) : -1;
    if (old >= 0 && m_entries[static_cast<std::size_t>(old)].ended()) {
        m_entries[static_cast<std::size_t>(old)] = std::move(entry);
        emit dataChanged(index(old, 0), index(old, ColumnCount - 1));
        emit stateChanged(old);
    } else {
        const int row = rowCount();
        beginInsertRows({}, row, row);
        m_entries.push_back(std::move(entry));
        endInsertRows();
    }
    emit activeChanged();
}

void RunQueueModel::setInterrupted(const ExperimentList& records) {
    for (const ExperimentRecord& record : records) {
        if (record.status != ExperimentStatus::Interrupted || rowOfExperiment(record.id) >= 0) {
            continue;
        }
        RunEntry entry;
        entry.experiment = record.id;
        entry.title = QString::fromStdString(record.name);
        entry.state = State::Interrupted;
        entry.startedMs = record.startedMs;
        const int row = rowCount();
        beginInsertRows({}, row, row);
        m_entries.push_back(std::move(entry));
        endInsertRows();
    }
}

void RunQueueModel::removeRow(int row) {
    if (row < 0 || row >= rowCount() || !entry(row).ended()) {
        return;
    }
    beginRemoveRows({}, row, row);
    m_entries.erase(m_entries.begin() + row);
    endRemoveRows();
}

void RunQueueModel::removeEnded() {
    for (int row = rowCount() - 1; row >= 0; --row) {
        if (entry(row).state != State::Interrupted) {
            removeRow(row);
        }
    }
}

int RunQueueModel::rowOfJob(JobId job) const {
    const auto found = std::find_if(m_entries.begin(), m_entries.end(),
                                    [&](const RunEntry& e) { return e.job == job; });
    return job == 0 || found == m_entries.end() ? -1 : static_cast<int>(found - m_entries.begin());
}

int RunQueueModel::rowOfExperiment(qint64 experiment) const {
    const auto found = std::find_if(m_entries.begin(), m_entries.end(),
                                    [&](const RunEntry& e) { return e.experiment == experiment; });
    return experiment == 0 || found == m_entries.end()
               ? -1
               : static_cast<int>(found - m_entries.begin());
}

int RunQueueModel::activeCount() const {
    return static_cast<int>(std::count_if(m_entries.begin(), m_entries.end(),
                                          [](const RunEntry& e) { return !e.ended(); }));
}

void RunQueueModel::handle(const JobEvent& event) {
    const int row = rowOfJob(event.job);
    if (row >= 0) {
        applyBody(row, event.body);
        emit dataChanged(index(row, 0), index(row, ColumnCount - 1));
    }
}

void RunQueueModel::setState(int row, State state) {
    RunEntry& entry = m_entries[static_cast<std::size_t>(row)];
    entry.state = state;
    const qint64 now = QDateTime::currentMSecsSinceEpoch();
    if (state == State::Running && entry.startedMs == 0) {
        entry.startedMs = now;
    }
    if (entry.ended()) {
        entry.finishedMs = now;
        entry.secondsLeft = -1;
        entry.finishable = false;
        entry.tokensPerSecond = 0;
        entry.phase.clear();
        entry.detail.clear();
    }
    emit stateChanged(row);
    emit activeChanged();
}

void RunQueueModel::appendLog(int row, const char* level, const std::string& text) {
    RunEntry& entry = m_entries[static_cast<std::size_t>(row)];
    entry.log.push_back({QDateTime::currentMSecsSinceEpoch(), level, text});
    if (entry.log.size() > kMaxLogLines) {
        entry.log.pop_front();
    }
    emit logAppended(row, entry.log.back());
}

void RunQueueModel::applyResult(int row, const JobResult& result) {
    RunEntry& entry = m_entries[static_cast<std::size_t>(row)];
    if (const auto* run = std::get_if<RunResult>(&result)) {
        entry.metrics = run->metrics;
    } else if (const auto* evaluation = std::get_if<EvaluateResult>(&result)) {
        entry.metrics = evaluation->metrics;
    } else {
        return;
    }
    emit metricsChanged(row);
}

void RunQueueModel::applyBody(int row, const JobEventBody& body) {
    RunEntry& entry = m_entries[static_cast<std::size_t>(row)];
    const auto apply = [&](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, JobQueued>) {
            setState(row, State::Queued);
        } else if constexpr (std::is_same_v<T, JobStarted> || std::is_same_v<T, JobResumed>) {
            setState(row, State::Running);
        } else if constexpr (std::is_same_v<T, JobPaused>) {
            setState(row, State::Paused);
        } else if constexpr (std::is_same_v<T, JobProgress>) {
            entry.phase = QString::fromStdString(value.phase);
            entry.detail = QString::fromStdString(value.detail);
            entry.fraction = value.fraction;
            entry.tokensPerSecond = value.tokensPerSecond;
            entry.secondsLeft = value.secondsLeft;
            if (std::exchange(entry.finishable, value.finishable) != value.finishable) {
                emit stateChanged(row);
            }
        } else if constexpr (std::is_same_v<T, JobLog>) {
            const bool error = value.level == JobLog::Level::Error;
            appendLog(row,
                      error                                   ? "error"
                      : value.level == JobLog::Level::Warning ? "warning"
                                                              : "info",
                      value.text);
        } else if constexpr (std::is_same_v<T, JobSeries>) {
            entry.series.push_back(value.point);
            emit seriesAppended(row);
        } else if constexpr (std::is_same_v<T, JobMetric>) {
            const auto same = [&](const Measurement& m) { return m.name == value.metric.name; };
            const auto found = std::find_if(entry.metrics.begin(), entry.metrics.end(), same);
            found == entry.metrics.end() ? entry.metrics.push_back(value.metric)
                                         : void(*found = value.metric);
            emit metricsChanged(row);
        } else if constexpr (std::is_same_v<T, JobStepFinished>) {
            appendLog(row, "info",
                      "Step " + std::to_string(value.step.index + 1) + " (" + value.step.technique +
                          ") done in " + formatDuration(value.step.seconds));
        } else if constexpr (std::is_same_v<T, JobFinished>) {
            entry.fraction = 1;
            applyResult(row, value.result);
            setState(row, State::Finished);
        } else if constexpr (std::is_same_v<T, JobFailed>) {
            entry.error = QString::fromStdString(value.error.message);
            appendLog(row, "error", value.error.message);
            setState(row, State::Failed);
        } else if constexpr (std::is_same_v<T, JobCancelled>) {
            setState(row, State::Cancelled);
        }
    };
    std::visit(apply, body);
}

int RunQueueModel::rowCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : static_cast<int>(m_entries.size());
}

int RunQueueModel::columnCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : ColumnCount;
}

static QString progressText(const RunEntry& entry) {
    if (entry.state == State::Failed) {
        return entry.error;
    }
    if (entry.ended()) {
        return entry.finishedMs > entry.startedMs && entry.startedMs > 0
                   ? RunQueueModel::tr("took %1").arg(QString::fromStdString(formatDuration(
                         static_cast<double>(entry.finishedMs - entry.startedMs) / 1000)))
                   : QString();
    }
    return entry.detail.isEmpty() ? entry.phase
                                  : QStringLiteral("%1 · %2").arg(entry.phase, entry.detail);
}

QVariant RunQueueModel::data(const QModelIndex& index, int role) const {
    if (!index.isValid()) {
        return {};
    }
    const RunEntry& row = entry(index.row());
    switch (role) {
        case StateRole:
            return static_cast<int>(row.state);
        case FractionRole:
            return row.fraction;
        case ExperimentRole:
            return row.experiment;
        case Qt::ToolTipRole:
            return row.state == State::Failed ? row.error
                   : index.column() == Title  ? row.title
                                              : progressText(row);
        case Qt::TextAlignmentRole:
            return QVariant::fromValue(Qt::Alignment(
                Qt::AlignVCenter | (index.column() >= Speed ? Qt::AlignRight : Qt::AlignLeft)));
        case Qt::AccessibleTextRole:
            if (index.column() == Progress && !row.ended() && row.fraction >= 0) {
                return tr("%1 percent, %2")
                    .arg(static_cast<int>(row.fraction * 100))
                    .arg(progressText(row));
            }
            break;
        default:
            break;
    }
    if (role != Qt::DisplayRole && role != Qt::AccessibleTextRole) {
        return {};
    }
    switch (index.column()) {
        case Title:
            return row.title;
        case Status:
            return toString(row.state);
        case Progress:
            return progressText(row);
        case Speed:
            return row.tokensPerSecond > 0 ? tr("%1 tokens/s").arg(row.tokensPerSecond, 0, 'f', 0)
                                           : QString();
        case TimeLeft:
            return row.secondsLeft >= 0 && !row.ended()
                       ? QString::fromStdString(formatDuration(row.secondsLeft))
                       : QString();
        default:
            return {};
    }
}

QVariant RunQueueModel::headerData(int section, Qt::Orientation orientation, int role) const {
    if (orientation == Qt::Horizontal && role == Qt::TextAlignmentRole) {
        return QVariant::fromValue(
            Qt::Alignment(Qt::AlignVCenter | (section >= Speed ? Qt::AlignRight : Qt::AlignLeft)));
    }
    if (orientation != Qt::Horizontal || role != Qt::DisplayRole) {
        return {};
    }
    switch (section) {
        case Title:
            return tr("Run");
        case Status:
            return tr("State");
        case Progress:
            return tr("Progress");
        case Speed:
            return tr("Speed");
        case TimeLeft:
            return tr("Time left");
        default:
            return {};
    }
}

}  // namespace fettle::ui
