// Allocations that were run for real: what was predicted for each and what was measured. One row
// per experiment, the one that measured the scores among them. GUI thread only.
#pragma once

#include <QAbstractTableModel>
#include <vector>

#include "engine/experiment/experiment_record.h"
#include "ui/bridge/experiment_list.h"

namespace fettle::ui {

class AllocationModel;

/// A run of an allocation with its predictions; NaN for what is not known.
struct AllocationRun {
    ExperimentRecord record;
    double bits = 0;
    double predictedLoss = 0;
    double predictedBytes = 0;
    double predictedSpeed = 0;
    double measuredLoss = 0;  ///< mean KL divergence
    double measuredBytes = 0;
    double measuredSpeed = 0;
};

/// The runs among `records` whose schemes are one scored choice for each unit of `model`.
std::vector<AllocationRun> allocationRuns(const AllocationModel& model,
                                          const ExperimentList& records);

class AllocationRunsModel : public QAbstractTableModel {
    Q_OBJECT

public:
    /// Loss, Size and Speed hold "predicted → measured".
    enum Column { Run, Bits, Loss, Size, Speed, ColumnCount };
    enum Role { ExperimentRole = Qt::UserRole };

    using QAbstractTableModel::QAbstractTableModel;

    void setRuns(std::vector<AllocationRun> runs);
    const std::vector<AllocationRun>& runs() const { return m_runs; }

    int rowCount(const QModelIndex& parent = {}) const override;
    int columnCount(const QModelIndex& parent = {}) const override;
    QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
    QVariant headerData(int section, Qt::Orientation orientation,
                        int role = Qt::DisplayRole) const override;

private:
    QString text(const AllocationRun& run, int column) const;

    std::vector<AllocationRun> m_runs;
};

}  // namespace fettle::ui
