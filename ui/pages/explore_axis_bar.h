// Which charts are shown and what they show: metrics of the axes, of size and colour, logarithmic
// axes, the axes of the parallel chart and, where numbers of several measuring protocols exist,
// which of them. GUI thread only.
#pragma once

#include <QHash>
#include <QWidget>
#include <vector>

#include "ui/models/tradeoff_model.h"

class QCheckBox;
class QComboBox;
class QHBoxLayout;
class QLabel;
class QPushButton;
class QToolButton;

namespace fettle::ui {

class FlowLayout;

class ExploreAxisBar : public QWidget {
    Q_OBJECT

public:
    /// Which charts are shown.
    enum class View { Scatter, Parallel, Both };

    explicit ExploreAxisBar(QWidget* parent = nullptr);

    TradeoffQuery query() const;
    /// What the user asked for, also while a metric of it is not there yet: the thing to remember.
    const TradeoffQuery& wish() const { return m_query; }
    void setQuery(const TradeoffQuery& query);
    bool logX() const;
    bool logY() const;
    void setLog(bool x, bool y);
    void setMetrics(const QStringList& metrics);
    /// Shows the protocol choice while an axis has more than one.
    void setProtocols(const TradeoffData& data);
    void setZoomed(bool zoomed);
    View view() const;
    void setView(View view);
    /// Axes of the parallel chart that the user asked for, from left to right.
    const QStringList& parallelAxes() const { return m_parallelAxes; }
    void setParallelAxes(const QStringList& metrics);

signals:
    void viewChanged();
    void parallelAxesChanged();
    void queryChanged();
    void logChanged();
    void selectModeChanged(bool select);
    void resetRequested();

private:
    void buildProtocolRow();
    /// What belongs together stays together when the bar takes a second row.
    QHBoxLayout* addGroup(bool scatterOnly);
    void buildViewSwitch();
    void chooseParallelAxes();
    void showForView();
    void fill(QComboBox& box, const QStringList& metrics, const QString& wanted) const;

    TradeoffQuery m_query;
    FlowLayout* m_flow;
    QComboBox* m_x;
    QComboBox* m_y;
    QComboBox* m_color;
    QComboBox* m_size;
    QComboBox* m_third = nullptr;
    QCheckBox* m_logX;
    QCheckBox* m_logY;
    QComboBox* m_view = nullptr;
    QToolButton* m_axes = nullptr;
    QStringList m_metrics;
    QStringList m_parallelAxes;
    std::vector<QWidget*> m_scatterOnly;
    QPushButton* m_select;
    QPushButton* m_reset;
    QWidget* m_protocolRow;
    QLabel* m_protocolCaption[2];  ///< of the x axis and of the y axis
    QComboBox* m_protocol[2];
    QLabel* m_protocolNote;
};

}  // namespace fettle::ui
