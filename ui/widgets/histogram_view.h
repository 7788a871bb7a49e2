// The distribution of a tensor's values as bars, drawn with Qt Charts. GUI thread only.
#pragma once

#include <QWidget>

#include "engine/experiment/model_report.h"

class QAreaSeries;
class QChart;
class QChartView;
class QLabel;
class QStackedLayout;
class QValueAxis;

namespace fettle::ui {

class HistogramView : public QWidget {
    Q_OBJECT

public:
    explicit HistogramView(QWidget* parent = nullptr);

    void setHistogram(const TensorHistogram& histogram);
    void setMessage(const QString& text);
    bool hasHistogram() const { return m_shown; }

private:
    void applyTheme();
    QWidget* addTile(const QString& title, QLabel** value);

    QChart* m_chart;
    QChartView* m_view;
    QAreaSeries* m_area;
    QValueAxis* m_x;
    QValueAxis* m_y;
    QLabel* m_title;
    QLabel* m_message;
    QLabel* m_mean;
    QLabel* m_deviation;
    QLabel* m_range;
    QLabel* m_zeros;
    QStackedLayout* m_stack;
    bool m_shown = false;
};

}  // namespace fettle::ui
