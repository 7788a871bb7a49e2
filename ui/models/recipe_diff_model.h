// Settings of the compared experiments side by side: model, recipe with all parameters, inputs,
// measuring. What is equal for all is left out unless asked for. GUI thread only.
#pragma once

#include <QAbstractTableModel>
#include <vector>

#include "ui/charts/chart_theme.h"
#include "ui/models/compared_experiments.h"

namespace fettle::ui {

class RecipeDiffModel : public QAbstractTableModel {
    Q_OBJECT

public:
    enum Role { EqualRole = Qt::UserRole + 1 };  ///< whether a setting is the same for all

    using QAbstractTableModel::QAbstractTableModel;

    void setExperiments(const ComparedExperiments& experiments);
    void setShowEqual(bool show);
    void setTheme(const ChartTheme& theme);
    int equalCount() const { return m_equal; }

    int rowCount(const QModelIndex& parent = {}) const override;
    int columnCount(const QModelIndex& parent = {}) const override;
    QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
    QVariant headerData(int section, Qt::Orientation orientation,
                        int role = Qt::DisplayRole) const override;

private:
    struct Row {
        QString title;
        QStringList values;
        bool equal = false;
    };
    void chooseShown();

    std::vector<Row> m_rows;
    std::vector<std::size_t> m_shown;  ///< indices into m_rows
    QStringList m_headers;
    ChartTheme m_theme = ChartTheme::light();
    int m_equal = 0;
    bool m_showEqual = false;
};

}  // namespace fettle::ui
