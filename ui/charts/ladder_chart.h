// All rungs of the advisor's ladder on one chart: what each costs in accuracy against what it gains
// in speed or size, the region in which the targets hold, the recommended one ringed. The size of a
// mark is the time it took. GUI thread only.
#pragma once

#include "engine/experiment/advisor_values.h"
#include "ui/charts/plain_chart.h"

namespace fettle::ui {

class LadderChart : public PlainChart {
    Q_OBJECT

public:
    enum class XAxis { Speed, Size };

    explicit LadderChart(QWidget* parent = nullptr);

    void setReport(const AdvisorReport& report, const AdvisorTargets& targets);
    void setXAxis(XAxis axis);
    XAxis xAxis() const { return m_axis; }
    int pointCount() const { return static_cast<int>(m_points.size()); }
    /// Where the mark of an experiment is, for tests; outside the chart where there is none.
    QPointF placeOf(qint64 experiment) const;

signals:
    void experimentClicked(qint64 experiment);

protected:
    Frame frame() const override;
    void paintContent(QPainter& painter, const Frame& frame) override;
    QString describe(const QPointF& at, const Frame& frame) const override;
    QString emptyText() const override;
    QString xTitle() const override;
    QString yTitle() const override;
    void mousePressEvent(QMouseEvent* event) override;

private:
    struct Point {
        double x = 0;
        double y = 0;    ///< perplexity change, %
        double low = 0;  ///< of its interval
        double high = 0;
        double radius = 4;
        QString technique;  ///< last of its recipe; "" is the baseline
        QString text;
        qint64 experiment = 0;
        bool inFull = true;
        bool recommended = false;
    };

    void collect();
    const Point* nearest(const QPointF& at, const Frame& frame) const;
    void paintRegion(QPainter& painter, const Frame& frame) const;
    void paintFront(QPainter& painter, const Frame& frame) const;
    void paintPoint(QPainter& painter, const Frame& frame, const Point& point) const;

    AdvisorReport m_report;
    AdvisorTargets m_targets;
    XAxis m_axis = XAxis::Speed;
    std::vector<Point> m_points;
};

}  // namespace fettle::ui
