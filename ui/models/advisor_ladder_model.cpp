#include "ui/models/advisor_ladder_model.h"

#include <cmath>
#include <limits>

#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

using State = AdvisorRung::State;

double valueOf(const AdvisorRung& rung, const char* metric) {
    const auto found = rung.metrics.find(metric);
    return found == rung.metrics.end() ? std::numeric_limits<double>::quiet_NaN()
                                       : found->second.value;
}

QString metric(const AdvisorRung& rung, const char* id) {
    const double value = valueOf(rung, id);
    return std::isfinite(value) ? QString::fromStdString(formatMetric(id, value)) : QString();
}

}  // namespace

double rungSpeedup(const AdvisorReport& report, const AdvisorRung& rung) {
    if (report.rungs.empty()) {
        return std::numeric_limits<double>::quiet_NaN();
    }
    return valueOf(rung, "decode_tokens_per_s") /
           valueOf(report.rungs.front(), "decode_tokens_per_s");
}

double rungIncrease(const AdvisorRung& rung) {
    return rung.trial.recipe.steps.empty() && rung.metrics.count("perplexity") != 0
               ? 0
               : valueOf(rung, "ppl_ratio") - 1;
}

void AdvisorLadderModel::setReport(const AdvisorReport& report) {
    // Rungs only ever come, change their state or are taken back: rows keep their selection unless
    // their number changes.
    if (report.rungs.size() == m_report.rungs.size()) {
        m_report = report;
        if (!m_report.rungs.empty()) {
            emit dataChanged(index(0, 0), index(rowCount() - 1, ColumnCount - 1));
        }
        return;
    }
    beginResetModel();
    m_report = report;
    endResetModel();
}

int AdvisorLadderModel::rowCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : static_cast<int>(m_report.rungs.size());
}

int AdvisorLadderModel::columnCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : ColumnCount;
}

QString AdvisorLadderModel::state(const AdvisorRung& rung) const {
    switch (rung.state) {
        case State::Waiting:
            return tr("waiting");
        case State::Running:
            return tr("running");
        case State::Failed:
            return tr("failed");
        case State::Skipped:
            return tr("left out");
        case State::Finished:
            break;
    }
    if (!rung.trial.inFull()) {
        return tr("tried");
    }
    return rung.meets() ? tr("holds") : tr("misses");
}

QString AdvisorLadderModel::why(const AdvisorRung& rung) const {
    if (!rung.reason.empty()) {
        return QString::fromStdString(rung.reason);
    }
    QStringList texts;
    for (const TargetCheck& check : rung.checks) {
        if (!check.met) {
            texts << QString::fromStdString(check.text);
        }
    }
    if (texts.isEmpty() && rung.state == State::Finished && rung.trial.inFull()) {
        return tr("every target");
    }
    return texts.join(QStringLiteral("; "));
}

QString AdvisorLadderModel::text(const AdvisorRung& rung, int column) const {
    const bool ran = rung.state == State::Finished;
    switch (column) {
        case Rung:
            return rung.trial.stage == "baseline" ? tr("The model as it is")
                                                  : QString::fromStdString(rung.title);
        case Status:
            return state(rung);
        case Loss: {
            const double increase = rungIncrease(rung) * 100;
            return ran && std::isfinite(increase)
                       ? QStringLiteral("%1%2%").arg(
                             increase >= 0 ? QStringLiteral("+") : QString(),
                             QString::number(increase, 'f', 2))
                       : QString();
        }
        case Speedup: {
            const double speedup = rungSpeedup(m_report, rung);
            return ran && std::isfinite(speedup)
                       ? QString::fromStdString(formatMetric("speedup", speedup))
                       : QString();
        }
        case Weights:
            return metric(rung, "weight_bytes");
        case Time:
            return ran ? QString::fromStdString(formatDuration(rung.seconds)) : QString();
        case Data:
            return ran ? QString::fromStdString(formatMetric("training_tokens", rung.tokens))
                       : QString();
        case Memory:
            return ran ? QString::fromStdString(formatBytes(rung.peakBytes)) : QString();
        default:
            return why(rung);
    }
}

QVariant AdvisorLadderModel::data(const QModelIndex& index, int role) const {
    if (!index.isValid()) {
        return {};
    }
    const AdvisorRung& rung = this->rung(index.row());
    switch (role) {
        case Qt::DisplayRole:
            return text(rung, index.column());
        case Qt::ToolTipRole:
            return index.column() == Why || index.column() == Rung ? text(rung, index.column())
                                                                   : QVariant();
        case Qt::TextAlignmentRole:
            return index.column() >= Loss && index.column() < Why
                       ? QVariant::fromValue(Qt::AlignRight | Qt::AlignVCenter)
                       : QVariant::fromValue(Qt::AlignLeft | Qt::AlignVCenter);
        case Qt::ForegroundRole:
            if (rung.state == State::Skipped || rung.state == State::Waiting) {
                return themeColors().muted;
            }
            if (index.column() == Status && rung.state == State::Failed) {
                return themeColors().danger;
            }
            if (index.column() == Status && rung.trial.inFull() && rung.meets()) {
                return themeColors().success;
            }
            return {};
        case ExperimentRole:
            return QVariant::fromValue<qint64>(rung.experiment);
        case StateRole:
            return static_cast<int>(rung.state);
        default:
            return {};
    }
}

QVariant AdvisorLadderModel::headerData(int section, Qt::Orientation orientation, int role) const {
    if (orientation != Qt::Horizontal || role != Qt::DisplayRole) {
        return {};
    }
    switch (section) {
        case Rung:
            return tr("Rung");
        case Status:
            return tr("Targets");
        case Loss:
            return tr("Perplexity");
        case Speedup:
            return tr("Speed");
        case Weights:
            return tr("Weights");
        case Time:
            return tr("Time");
        case Data:
            return tr("Data");
        case Memory:
            return tr("Memory");
        default:
            return tr("Why");
    }
}

}  // namespace fettle::ui
