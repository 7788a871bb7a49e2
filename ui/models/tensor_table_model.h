// The tensors of a model as a sortable table, and the filter over it. GUI thread only.
#pragma once

#include <QAbstractTableModel>
#include <QSortFilterProxyModel>
#include <vector>

#include "engine/experiment/model_report.h"

namespace fettle::ui {

class TensorTableModel : public QAbstractTableModel {
    Q_OBJECT

public:
    enum Column { Name, Type, Shape, Values, Size, Bits, ColumnCount };
    static constexpr int kSortRole = Qt::UserRole;

    using QAbstractTableModel::QAbstractTableModel;

    void setTensors(std::vector<TensorReport> tensors);
    const TensorReport& tensor(int row) const { return m_tensors[static_cast<std::size_t>(row)]; }

    int rowCount(const QModelIndex& parent = {}) const override;
    int columnCount(const QModelIndex& parent = {}) const override;
    QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
    QVariant headerData(int section, Qt::Orientation orientation,
                        int role = Qt::DisplayRole) const override;

private:
    std::vector<TensorReport> m_tensors;
};

/// Keeps rows whose name or type contains every word of the filter; names sort as people count
/// ("layers.2" before "layers.10").
class TensorFilterModel : public QSortFilterProxyModel {
    Q_OBJECT

public:
    explicit TensorFilterModel(QObject* parent = nullptr);
    void setWords(const QString& text);

protected:
    bool filterAcceptsRow(int row, const QModelIndex& parent) const override;
    bool lessThan(const QModelIndex& left, const QModelIndex& right) const override;

private:
    QStringList m_words;
};

}  // namespace fettle::ui
