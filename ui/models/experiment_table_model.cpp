#include "ui/models/experiment_table_model.h"

#include <algorithm>
#include <set>

#include "ui/bridge/engine_text.h"
#include "ui/models/tradeoff_model.h"

namespace fettle::ui {
namespace {

QStringList tagsOf(const ExperimentRecord& record) {
    QStringList tags;
    for (const std::string& tag : record.annotations.tags) {
        tags << QString::fromStdString(tag);
    }
    return tags;
}

}  // namespace

ExperimentTableModel::ExperimentTableModel(QObject* parent) : QAbstractTableModel(parent) {}

void ExperimentTableModel::setRecords(ExperimentList records) {
    beginResetModel();
    m_records = std::move(records);
    reindex();
    endResetModel();
}

void ExperimentTableModel::reindex() {
    m_rows.clear();
    m_rows.reserve(static_cast<qsizetype>(m_records.size()));
    for (std::size_t i = 0; i < m_records.size(); ++i) {
        m_rows.insert(m_records[i].id, static_cast<int>(i));
    }
    m_baselines.rebuild(m_records);
}

void ExperimentTableModel::upsert(ExperimentRecord record) {
    const bool baseline = record.isBaseline();
    const int row = rowOf(record.id);
    if (row < 0) {
        const int last = rowCount();
        beginInsertRows({}, last, last);
        m_rows.insert(record.id, last);
        m_records.append(std::move(record));
        endInsertRows();
    } else {
        m_records.replace(static_cast<std::size_t>(row), std::move(record));
        emit dataChanged(index(row, 0), index(row, columnCount() - 1));
    }
    if (baseline) {
        // Every delta may hang on it.
        m_baselines.rebuild(m_records);
        if (columnCount() > FirstMetric) {
            emit dataChanged(index(0, FirstMetric), index(rowCount() - 1, columnCount() - 1));
        }
    }
}

void ExperimentTableModel::remove(const std::vector<qint64>& ids) {
    std::set<int> rows;
    for (const qint64 id : ids) {
        if (const int row = rowOf(id); row >= 0) {
            rows.insert(row);
        }
    }
    if (rows.size() > 64) {
        // One reset is cheaper than many notices that each shift all rows below.
        beginResetModel();
        m_records.removeIf([&](const ExperimentRecord& record) {
            return rows.contains(m_rows.value(record.id, -1));
        });
        reindex();
        endResetModel();
        return;
    }
    for (auto row = rows.rbegin(); row != rows.rend(); ++row) {
        beginRemoveRows({}, *row, *row);
        m_records.remove(static_cast<std::size_t>(*row));
        reindex();
        endRemoveRows();
    }
    if (!rows.empty() && rowCount() > 0 && columnCount() > FirstMetric) {
        emit dataChanged(index(0, FirstMetric), index(rowCount() - 1, columnCount() - 1));
    }
}

const ExperimentRecord* ExperimentTableModel::record(qint64 id) const {
    const int row = rowOf(id);
    return row < 0 ? nullptr : &m_records[static_cast<std::size_t>(row)];
}

const ExperimentRecord* ExperimentTableModel::baselineOf(const ExperimentRecord& record) const {
    const auto found = m_baselines.find(record);
    return found && *found < m_records.size() ? &m_records[*found] : nullptr;
}

void ExperimentTableModel::setMetricColumns(const QStringList& metrics) {
    if (metrics == m_metrics) {
        return;
    }
    beginResetModel();
    m_metrics = metrics;
    m_metricIds.clear();
    for (const QString& metric : metrics) {
        m_metricIds.push_back(metric.toStdString());
    }
    endResetModel();
}

QStringList ExperimentTableModel::availableMetrics() const {
    // Most experiments have the metrics of the one before them: walking along the names found so
    // far costs one comparison each.
    std::set<std::string> present;
    for (const ExperimentRecord& record : m_records) {
        auto expected = present.begin();
        for (const auto& entry : record.metrics) {
            if (expected == present.end() || *expected != entry.first) {
                expected = present.insert(entry.first).first;
            }
            ++expected;
        }
    }
    QStringList result;
    for (const MetricInfo& info : metricCatalogue()) {
        if (present.erase(info.id) > 0) {
            result << QString::fromStdString(info.id);
        }
    }
    for (const std::string& id : present) {
        result << QString::fromStdString(id);
    }
    return result;
}

QStringList ExperimentTableModel::availableTags() const {
    std::set<std::string> present;
    for (const ExperimentRecord& record : m_records) {
        present.insert(record.annotations.tags.begin(), record.annotations.tags.end());
    }
    QStringList result;
    for (const std::string& tag : present) {
        result << QString::fromStdString(tag);
    }
    return result;
}

int ExperimentTableModel::rowCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : static_cast<int>(m_records.size());
}

int ExperimentTableModel::columnCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : FirstMetric + static_cast<int>(m_metricIds.size());
}

QVariant ExperimentTableModel::data(const QModelIndex& index, int role) const {
    if (!checkIndex(index, CheckIndexOption::IndexIsValid | CheckIndexOption::ParentIsInvalid)) {
        return {};
    }
    const ExperimentRecord& record = m_records[static_cast<std::size_t>(index.row())];
    switch (role) {
        case IdRole:
            return qint64(record.id);
        case StatusRole:
            return static_cast<int>(record.status);
        case TechniqueRole:
            return primaryTechnique(record);
        case FavouriteRole:
            return record.annotations.favourite;
        case TagsRole:
            return tagsOf(record);
        default:
            break;
    }
    if (index.column() < FirstMetric) {
        return textData(record, index.column(), role);
    }
    return metricData(record, m_metricIds[static_cast<std::size_t>(index.column() - FirstMetric)],
                      role);
}

QVariant ExperimentTableModel::textData(const ExperimentRecord& record, int column,
                                        int role) const {
    if (role == Qt::TextAlignmentRole) {
        return QVariant(Qt::AlignLeft | Qt::AlignVCenter);
    }
    if (role == Qt::ToolTipRole && column == Status && !record.error.empty()) {
        return QString::fromStdString(record.error);
    }
    if (column == Favourite) {
        // The delegate draws the star; these are its words.
        return role == Qt::AccessibleTextRole
                   ? QVariant(record.annotations.favourite ? tr("Favourite") : tr("No favourite"))
               : role == Qt::ToolTipRole
                   ? QVariant(record.annotations.favourite ? tr("Favourite; click to take it back")
                                                           : tr("Click to make it a favourite"))
                   : QVariant();
    }
    if (role == Qt::ToolTipRole && column == Name && !record.annotations.note.empty()) {
        return QString::fromStdString(record.name + "\n\n" + record.annotations.note);
    }
    if (role != Qt::DisplayRole && role != SortRole && role != Qt::ToolTipRole) {
        return {};
    }
    switch (column) {
        case Name:
            return QString::fromStdString(record.name);
        case Technique:
            return QString::fromStdString(record.summary());
        case Status:
            return statusTitle(record.status);
        case Tags:
            return tagsOf(record).join(QStringLiteral(", "));
        default:
            return {};
    }
}

QVariant ExperimentTableModel::metricData(const ExperimentRecord& record, const std::string& metric,
                                          int role) const {
    if (role == Qt::TextAlignmentRole) {
        return QVariant(Qt::AlignRight | Qt::AlignVCenter);
    }
    const auto found = record.metrics.find(metric);
    if (found == record.metrics.end()) {
        return {};
    }
    const Measurement& value = found->second;
    switch (role) {
        case Qt::DisplayRole:
            return QString::fromStdString(formatMetric(metric, value.value));
        case SortRole:
            return value.value;
        case QualifierRole:
            return static_cast<int>(!value.native     ? PointKind::Dequantized
                                    : value.estimated ? PointKind::Estimated
                                                      : PointKind::Native);
        case DeltaRole:
        case GoodnessRole: {
            const ExperimentRecord* baseline = baselineOf(record);
            const auto delta = baseline ? metricDelta(record, *baseline, metric) : std::nullopt;
            if (!delta) {
                return {};
            }
            return role == GoodnessRole
                       ? QVariant(delta->goodness)
                       : QVariant(delta->distinguishable ? delta->text : QStringLiteral("≈"));
        }
        case Qt::ToolTipRole: {
            QString text = valueWithInterval(value);
            const ExperimentRecord* baseline = baselineOf(record);
            if (const auto delta =
                    baseline ? metricDelta(record, *baseline, metric) : std::nullopt) {
                text += delta->distinguishable
                            ? tr("\n%1 against the baseline").arg(delta->text)
                            : tr("\nNot distinguishable from the baseline (%1, intervals overlap)")
                                  .arg(delta->text);
            }
            if (!value.native) {
                text += tr("\nNot native: measured through dequantization");
            } else if (value.estimated) {
                text += tr("\nEstimated, not measured");
            }
            if (!value.protocol.empty()) {
                text += "\n" + QString::fromStdString(value.protocol);
            }
            return text;
        }
        default:
            return {};
    }
}

QVariant ExperimentTableModel::headerData(int section, Qt::Orientation orientation,
                                          int role) const {
    if (orientation != Qt::Horizontal || section < 0 || section >= columnCount()) {
        return {};
    }
    if (section < FirstMetric) {
        if (role == Qt::TextAlignmentRole) {
            return QVariant(Qt::AlignLeft | Qt::AlignVCenter);
        }
        if (section == Favourite) {
            return role == Qt::ToolTipRole || role == Qt::AccessibleTextRole
                       ? QVariant(tr("Favourites; click to sort them to one end"))
                       : QVariant();
        }
        static const char* titles[] = {"", QT_TR_NOOP("Name"), QT_TR_NOOP("Technique"),
                                       QT_TR_NOOP("Status"), QT_TR_NOOP("Tags")};
        return role == Qt::DisplayRole ? QVariant(tr(titles[section])) : QVariant();
    }
    const QString& metric = m_metrics[section - FirstMetric];
    const MetricInfo* info = findMetric(metric.toStdString());
    switch (role) {
        case Qt::TextAlignmentRole:
            return QVariant(Qt::AlignRight | Qt::AlignVCenter);
        case Qt::DisplayRole:
            return info ? engineText(info->title) : metric;
        case Qt::ToolTipRole: {
            if (!info) {
                return metric;
            }
            const QString good = info->better == BetterWhen::Higher  ? tr(" Higher is better.")
                                 : info->better == BetterWhen::Lower ? tr(" Lower is better.")
                                                                     : QString();
            return engineText(info->help) + good;
        }
        default:
            return {};
    }
}

}  // namespace fettle::ui
