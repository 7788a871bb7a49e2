// The advisor's ladder as a table: one row per rung with its state, what it reached and what it
// cost. GUI thread only.
#pragma once

#include <QAbstractTableModel>

#include "engine/experiment/advisor_values.h"

namespace fettle::ui {

class AdvisorLadderModel : public QAbstractTableModel {
    Q_OBJECT

public:
    enum Column { Rung, Status, Loss, Speedup, Weights, Time, Data, Memory, Why, ColumnCount };
    enum Role { ExperimentRole = Qt::UserRole, StateRole };

    using QAbstractTableModel::QAbstractTableModel;

    void setReport(const AdvisorReport& report);
    const AdvisorRung& rung(int row) const { return m_report.rungs[static_cast<std::size_t>(row)]; }
    const AdvisorReport& report() const { return m_report; }

    int rowCount(const QModelIndex& parent = {}) const override;
    int columnCount(const QModelIndex& parent = {}) const override;
    QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
    QVariant headerData(int section, Qt::Orientation orientation,
                        int role = Qt::DisplayRole) const override;

private:
    QString text(const AdvisorRung& rung, int column) const;
    QString state(const AdvisorRung& rung) const;
    QString why(const AdvisorRung& rung) const;

    AdvisorReport m_report;
};

/// Decode speed of a rung against the baseline's; NaN where unknown.
double rungSpeedup(const AdvisorReport& report, const AdvisorRung& rung);
/// Perplexity change as a share; NaN where unknown.
double rungIncrease(const AdvisorRung& rung);

}  // namespace fettle::ui
