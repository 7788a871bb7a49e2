// Experiments as rows: star, name, technique, status, tags, then one column per metric the user
// chose, each with its delta against the baseline. Changes one row at a time; made for tens of
// thousands. GUI thread only.
#pragma once

#include <QAbstractTableModel>
#include <QHash>
#include <QStringList>
#include <vector>

#include "engine/experiment/experiment_record.h"
#include "ui/bridge/experiment_list.h"
#include "ui/models/experiment_comparison.h"

namespace fettle::ui {

class ExperimentTableModel : public QAbstractTableModel {
    Q_OBJECT

public:
    enum Column { Favourite, Name, Technique, Status, Tags, FirstMetric };
    enum Role {
        IdRole = Qt::UserRole + 1,  ///< qint64
        SortRole,       ///< double for metrics, text elsewhere; invalid where there is no number
        DeltaRole,      ///< "+1.9%", "≈" when not distinguishable from the baseline
        GoodnessRole,   ///< of the delta: 1, 0, -1
        StatusRole,     ///< ExperimentStatus as int
        TechniqueRole,  ///< primary technique id, "" for a baseline
        QualifierRole,  ///< PointKind as int: native, dequantized, estimated
        FavouriteRole,  ///< bool
        TagsRole        ///< QStringList
    };

    explicit ExperimentTableModel(QObject* parent = nullptr);

    void setRecords(ExperimentList records);
    /// Adds the record or puts it in place of the one with its id.
    void upsert(ExperimentRecord record);
    void remove(const std::vector<qint64>& ids);
    const ExperimentList& records() const { return m_records; }
    const ExperimentRecord* record(qint64 id) const;
    /// -1 when there is none.
    int rowOf(qint64 id) const { return m_rows.value(id, -1); }
    const ExperimentRecord* baselineOf(const ExperimentRecord& record) const;

    void setMetricColumns(const QStringList& metrics);
    const QStringList& metricColumns() const { return m_metrics; }
    /// Metrics that at least one experiment has, in the catalogue's order; unknown ones last.
    QStringList availableMetrics() const;
    /// Tags that at least one experiment has, in the order of the alphabet.
    QStringList availableTags() const;

    int rowCount(const QModelIndex& parent = {}) const override;
    int columnCount(const QModelIndex& parent = {}) const override;
    QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
    QVariant headerData(int section, Qt::Orientation orientation, int role) const override;

private:
    QVariant metricData(const ExperimentRecord& record, const std::string& metric, int role) const;
    QVariant textData(const ExperimentRecord& record, int column, int role) const;
    void reindex();

    ExperimentList m_records;
    QHash<qint64, int> m_rows;
    BaselineIndex m_baselines;
    QStringList m_metrics;
    std::vector<std::string> m_metricIds;
};

}  // namespace fettle::ui
