#include "ui/models/draft_trials_model.h"

#include <QFileInfo>
#include <QFont>

namespace fettle::ui {
namespace {

QString metric(const char* id, double value) {
    return QString::fromStdString(formatMetric(id, value));
}

}  // namespace

bool hasPoint(const DraftTrial& trial) {
    return trial.refusal.empty() && trial.meanDepth > 0;
}

QString trialTitle(const DraftTrial& trial) {
    QString draft = QString::fromStdString(trial.draft);
    if (draft.contains(QLatin1Char('/'))) {
        draft = QFileInfo(draft).fileName();
    }
    QString title = QStringLiteral("%1 · %2").arg(draft, QString::fromStdString(trial.draftTokens));
    if (!trial.tree.empty() && trial.tree != "off") {
        title += DraftTrialsModel::tr(" · tree %1").arg(QString::fromStdString(trial.tree));
    }
    return title;
}

void DraftTrialsModel::setReport(const DraftTrialReport& report) {
    beginResetModel();
    m_report = report;
    endResetModel();
}

int DraftTrialsModel::rowCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : static_cast<int>(m_report.trials.size());
}

int DraftTrialsModel::columnCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : ColumnCount;
}

QString DraftTrialsModel::text(const DraftTrial& trial, int column) const {
    if (column == Draft) {
        return trialTitle(trial);
    }
    if (!trial.refusal.empty()) {
        return column == Promised  ? QString::fromStdString(trial.refusal)
               : column == Speedup ? tr("refused")
                                   : QString();
    }
    switch (column) {
        case Speedup:
            return metric("speedup", trial.speedup);
        case Promised:
            return metric("speedup", trial.expected);
        case Accepted:
            return metric("acceptance_rate", 100 * trial.acceptance);
        case Cost:
            return metric("draft_cost", 100 * trial.draftCost);
        case PerPass:
            return metric("mean_accepted_length", trial.acceptedLength);
        case Copying:
            return trial.copySpeedup > 0 ? metric("speedup", trial.copySpeedup) : QString();
        case FirstToken:
            return metric("ttft_ms", trial.ttftMs);
        case Memory:
            return metric("draft_bytes", trial.draftBytes);
        default:
            return QString::fromStdString(trial.verdict);
    }
}

QVariant DraftTrialsModel::data(const QModelIndex& index, int role) const {
    if (!index.isValid() || index.row() >= rowCount()) {
        return {};
    }
    const DraftTrial& trial = m_report.trials[static_cast<std::size_t>(index.row())];
    const int column = index.column();
    if (role == Qt::DisplayRole) {
        return text(trial, column);
    }
    if (role == Qt::ToolTipRole) {
        return trial.refusal.empty()
                   ? QString::fromStdString(trial.description + ": " + trial.verdict)
                   : QString::fromStdString(trial.refusal);
    }
    if (role == Qt::TextAlignmentRole) {
        const bool words = column == Draft || column == Why || !trial.refusal.empty();
        return QVariant(Qt::Alignment(Qt::AlignVCenter | (words ? Qt::AlignLeft : Qt::AlignRight)));
    }
    if (role == Qt::FontRole && index.row() == m_report.best()) {
        QFont font;
        font.setBold(true);
        return font;
    }
    return {};
}

QVariant DraftTrialsModel::headerData(int section, Qt::Orientation orientation, int role) const {
    if (orientation != Qt::Horizontal) {
        return {};
    }
    const QString titles[] = {tr("Draft"),      tr("Speed-up"), tr("Promised"), tr("Accepted"),
                              tr("Draft cost"), tr("Per pass"), tr("Copying"),  tr("First token"),
                              tr("Memory"),     tr("Why")};
    const QString helps[] = {
        tr("Who guesses, tokens a round, tree"),
        tr("Measured: decode speed with the draft against that without, same prompts in turns"),
        tr("What the formula promises from the measured acceptance and costs"),
        tr("Share of the tried tokens that the model accepted"),
        tr("Time to draft one token, as a share of one step of the model"),
        tr("Tokens gained per pass of the model"),
        tr("Speed-up on prompts whose answer repeats them"),
        tr("Time to the first token with the draft"),
        tr("What the draft takes beyond the model"),
        tr("Why it pays, does not pay or cannot draft")};
    if (role == Qt::DisplayRole) {
        return titles[section];
    }
    if (role == Qt::ToolTipRole) {
        return helps[section];
    }
    if (role == Qt::TextAlignmentRole) {
        const bool words = section == Draft || section == Why;
        return QVariant(Qt::Alignment(Qt::AlignVCenter | (words ? Qt::AlignLeft : Qt::AlignRight)));
    }
    return {};
}

}  // namespace fettle::ui
