// The filters above chart and table: words, technique, model, device, status, tags, favourites and
// ranges of metrics. GUI thread only.
#pragma once

#include <QWidget>
#include <vector>

#include "ui/models/experiment_table_filter.h"

class QComboBox;
class QHBoxLayout;
class QLabel;
class QLineEdit;
class QPushButton;

namespace fettle::ui {

class ExploreFilterBar : public QWidget {
    Q_OBJECT

public:
    explicit ExploreFilterBar(QWidget* parent = nullptr);

    ExperimentFilter filter() const;
    void setFilter(const ExperimentFilter& filter);
    /// Fills the choices from what is there; the current choice stays.
    void setChoices(const ExperimentList& records, const QStringList& metrics,
                    const QStringList& tags = {});
    void setCounts(int shown, int total);
    /// One more range, or another in its place; an empty one takes it away.
    void setRange(const QString& metric, const MetricRange& range);

signals:
    void filterChanged();

private:
    void editRange();
    void showRanges();
    void emitChanged();

    QLineEdit* m_text;
    QComboBox* m_technique;
    QComboBox* m_model;
    QComboBox* m_device;
    QComboBox* m_status;
    QComboBox* m_tag;
    QPushButton* m_favourites;
    QPushButton* m_addRange;
    QPushButton* m_clear;
    QLabel* m_count;
    QWidget* m_chips;
    QHBoxLayout* m_chipLayout;
    QMap<QString, MetricRange> m_ranges;
    QStringList m_metrics;
};

}  // namespace fettle::ui
