// Where drafting pays: the acceptance that a draft of a given cost needs to break even and to reach
// 1.5, 2 and 3 times the speed, with what was measured as points. Lines follow the measured costs
// of verification. GUI thread only.
#pragma once

#include "engine/experiment/draft_values.h"
#include "ui/charts/plain_chart.h"

namespace fettle::ui {

class BreakEvenChart : public PlainChart {
    Q_OBJECT

public:
    explicit BreakEvenChart(QWidget* parent = nullptr);

    void setReport(const DraftTrialReport& report);
    /// Rings this trial; -1: none.
    void setCurrent(int trial);
    int pointCount() const;
    /// Where a trial's mark is, for tests; outside the chart where there is none.
    QPointF placeOf(int trial) const;

signals:
    void trialClicked(int trial);

protected:
    Frame frame() const override;
    void paintContent(QPainter& painter, const Frame& frame) override;
    QString describe(const QPointF& at, const Frame& frame) const override;
    QString emptyText() const override;
    QString xTitle() const override;
    QString yTitle() const override;
    void mousePressEvent(QMouseEvent* event) override;

private:
    int nearest(const QPointF& at, const Frame& frame) const;
    void paintLine(QPainter& painter, const Frame& frame, double speedup, int index) const;

    DraftTrialReport m_report;
    int m_current = -1;
};

}  // namespace fettle::ui
