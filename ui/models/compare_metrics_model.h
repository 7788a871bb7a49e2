// Metrics of the compared experiments as a table: one column per experiment and, for each but the
// first, one that says what changed and whether the change is real. GUI thread only.
#pragma once

#include <QAbstractTableModel>
#include <string>
#include <vector>

#include "ui/charts/chart_theme.h"
#include "ui/models/compared_experiments.h"

namespace fettle::ui {

class CompareMetricsModel : public QAbstractTableModel {
    Q_OBJECT

public:
    enum Role { GoodnessRole = Qt::UserRole + 1 };  ///< of a change: 1 better, -1 worse, 0 neither

    using QAbstractTableModel::QAbstractTableModel;

    void setExperiments(const ComparedExperiments& experiments);
    void setTheme(const ChartTheme& theme);
    /// Tab-separated, with the headers.
    QString toText() const;

    int rowCount(const QModelIndex& parent = {}) const override;
    int columnCount(const QModelIndex& parent = {}) const override;
    QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
    QVariant headerData(int section, Qt::Orientation orientation,
                        int role = Qt::DisplayRole) const override;

private:
    struct Cell {
        QString text;
        QString tip;
        int goodness = 0;
        bool muted = false;
    };
    struct Row {
        QString title;
        QString help;
        std::vector<Cell> cells;  ///< columns from the second on
    };
    Cell valueCell(const ExperimentRecord& record, const std::string& metric) const;
    Cell changeCell(const ComparedExperiment& one, const ExperimentRecord& reference,
                    const std::string& metric) const;

    std::vector<Row> m_rows;
    QStringList m_headers;
    QStringList m_headerTips;
    ChartTheme m_theme = ChartTheme::light();
};

}  // namespace fettle::ui
