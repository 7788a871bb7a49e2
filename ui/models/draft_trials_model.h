// Drafts that were tried for a model, one row each; what was refused says why. GUI thread only.
#pragma once

#include <QAbstractTableModel>

#include "engine/experiment/draft_values.h"

namespace fettle::ui {

/// A trial drafted something, so that it has a cost and an acceptance.
bool hasPoint(const DraftTrial& trial);
/// "demo-draft · 4 · tree 3-2-1"
QString trialTitle(const DraftTrial& trial);

class DraftTrialsModel : public QAbstractTableModel {
    Q_OBJECT

public:
    enum Column {
        Draft,
        Speedup,
        Promised,
        Accepted,
        Cost,
        PerPass,
        Copying,
        FirstToken,
        Memory,
        Why,
        ColumnCount
    };

    using QAbstractTableModel::QAbstractTableModel;

    void setReport(const DraftTrialReport& report);
    const DraftTrialReport& report() const { return m_report; }

    int rowCount(const QModelIndex& parent = {}) const override;
    int columnCount(const QModelIndex& parent = {}) const override;
    QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
    QVariant headerData(int section, Qt::Orientation orientation,
                        int role = Qt::DisplayRole) const override;

private:
    QString text(const DraftTrial& trial, int column) const;

    DraftTrialReport m_report;
};

}  // namespace fettle::ui
