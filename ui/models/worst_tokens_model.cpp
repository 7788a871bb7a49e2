#include "ui/models/worst_tokens_model.h"

#include <cmath>
#include <utility>

#include "engine/experiment/measurement.h"

namespace fettle::ui {

QString visibleToken(const std::string& text) {
    QString shown = QString::fromStdString(text);
    shown.replace(QLatin1Char('\n'), QStringLiteral("⏎")).replace(QLatin1Char('\t'), u'⇥');
    qsizetype spaces = 0;
    while (spaces < shown.size() && shown[spaces] == QLatin1Char(' ')) {
        shown[spaces++] = u'␣';
    }
    return shown.isEmpty() ? QStringLiteral("·") : shown;
}

QString probabilityText(double probability) {
    const double percent = 100 * probability;
    if (!std::isfinite(percent)) {
        return QStringLiteral("–");
    }
    return percent > 0 && percent < 0.1
               ? QStringLiteral("<0.1%")
               : QString::number(percent, 'f', percent < 10 ? 1 : 0) + QLatin1Char('%');
}

void WorstTokensModel::setTokens(std::vector<WorstToken> tokens) {
    beginResetModel();
    m_tokens = std::move(tokens);
    endResetModel();
}

void WorstTokensModel::setReference(const QString& name) {
    m_reference = name;
    emit headerDataChanged(Qt::Horizontal, 0, ColumnCount - 1);
}

int WorstTokensModel::rowCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : static_cast<int>(m_tokens.size());
}

int WorstTokensModel::columnCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : ColumnCount;
}

QVariant WorstTokensModel::data(const QModelIndex& index, int role) const {
    if (!index.isValid()) {
        return {};
    }
    const WorstToken& token = m_tokens[static_cast<std::size_t>(index.row())];
    if (role == Qt::TextAlignmentRole) {
        const bool right = index.column() == Context || index.column() == Divergence ||
                           index.column() == Before || index.column() == After;
        return QVariant::fromValue(
            Qt::Alignment(Qt::AlignVCenter | (right ? Qt::AlignRight : Qt::AlignLeft)));
    }
    if (role == Qt::ToolTipRole) {
        return tr("…%1 → “%2”\nToken %3 of the evaluation text")
            .arg(QString::fromStdString(token.before), QString::fromStdString(token.text))
            .arg(token.position + 1);
    }
    if (role != Qt::DisplayRole && role != kSortRole) {
        return {};
    }
    const bool sort = role == kSortRole;
    const auto predicted = [](const std::string& text, double probability) {
        return QStringLiteral("%1  %2").arg(visibleToken(text), probabilityText(probability));
    };
    switch (index.column()) {
        case Context:
            return sort ? QVariant(static_cast<qlonglong>(token.position))
                        : QVariant(QStringLiteral("…") +
                                   QString::fromStdString(token.before).simplified().right(48));
        case Token:
            return visibleToken(token.text);
        case Divergence:
            return sort ? QVariant(token.kl)
                        : QVariant(QString::fromStdString(formatMetric("kl_max", token.kl)));
        case Before:
            return sort ? QVariant(token.baselineProbability)
                        : QVariant(probabilityText(token.baselineProbability));
        case After:
            return sort ? QVariant(token.probability)
                        : QVariant(probabilityText(token.probability));
        case Expected:
            return sort ? QVariant(token.baselineTopProbability)
                        : QVariant(predicted(token.baselineTop, token.baselineTopProbability));
        case Instead:
            return sort ? QVariant(token.topProbability)
                        : QVariant(predicted(token.top, token.topProbability));
        default:
            return {};
    }
}

QVariant WorstTokensModel::headerData(int section, Qt::Orientation orientation, int role) const {
    if (orientation != Qt::Horizontal) {
        return {};
    }
    if (role == Qt::TextAlignmentRole) {
        const bool right =
            section == Context || section == Divergence || section == Before || section == After;
        return QVariant::fromValue(
            Qt::Alignment(Qt::AlignVCenter | (right ? Qt::AlignRight : Qt::AlignLeft)));
    }
    if (role == Qt::ToolTipRole) {
        switch (section) {
            case Before:
                return tr("Probability that the original model gives to the token of the text");
            case After:
                return tr("Probability that this model gives to the token of the text");
            case Expected:
                return tr("What the original model finds most likely here");
            case Instead:
                return tr("What this model finds most likely here");
            default:
                return {};
        }
    }
    if (role != Qt::DisplayRole) {
        return {};
    }
    switch (section) {
        case Context:
            return tr("Text before");
        case Token:
            return tr("Token");
        case Divergence:
            return tr("KL");
        case Before:
            return m_reference.isEmpty() ? tr("Original") : m_reference;
        case After:
            return tr("This model");
        case Expected:
            return m_reference.isEmpty() ? tr("Original expects")
                                         : tr("%1 expects").arg(m_reference);
        case Instead:
            return tr("This model expects");
        default:
            return {};
    }
}

}  // namespace fettle::ui
