// Which experiments the explore page shows: text, technique, model, device, status, stars, tags and
// ranges of metrics. The value type serves chart and table alike; the proxy sorts numbers as
// numbers. GUI thread only.
#pragma once

#include <QMap>
#include <QSet>
#include <QSortFilterProxyModel>
#include <QString>
#include <optional>

#include "engine/experiment/experiment_record.h"

namespace fettle::ui {

struct MetricRange {
    std::optional<double> low;
    std::optional<double> high;
    bool operator==(const MetricRange&) const = default;
};

struct ExperimentFilter {
    QString text;       ///< every word must occur in name, recipe, model, device, tags or note
    QString technique;  ///< id of any step, "baseline", or empty: all
    QString model;      ///< model name; empty: all
    QString device;
    std::optional<ExperimentStatus> status;
    bool favourites = false;            ///< only those with a star
    QString tag;                        ///< empty: all
    QMap<QString, MetricRange> ranges;  ///< an experiment without the metric is left out

    bool accepts(const ExperimentRecord& record) const;
    bool isEmpty() const { return *this == ExperimentFilter(); }
    bool operator==(const ExperimentFilter&) const = default;
};

class ExperimentTableModel;

class ExperimentTableFilter : public QSortFilterProxyModel {
    Q_OBJECT

public:
    explicit ExperimentTableFilter(ExperimentTableModel* model, QObject* parent = nullptr);

    const ExperimentFilter& filter() const { return m_filter; }
    void setFilter(const ExperimentFilter& filter);

protected:
    bool filterAcceptsRow(int row, const QModelIndex& parent) const override;
    bool lessThan(const QModelIndex& left, const QModelIndex& right) const override;

private:
    ExperimentTableModel* m_model;
    ExperimentFilter m_filter;
};

}  // namespace fettle::ui
