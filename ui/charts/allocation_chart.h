// Bits against predicted loss: the best allocations of every budget as a line, the chosen one and
// the ones that were run on it. GUI thread only.
#pragma once

#include <optional>
#include <vector>

#include "ui/charts/plain_chart.h"

namespace fettle::ui {

class AllocationChart : public PlainChart {
    Q_OBJECT

public:
    struct Run {
        double bits = 0;
        double predicted = 0;
        double measured = 0;  ///< NaN: not measured
        QString title;
    };

    explicit AllocationChart(QWidget* parent = nullptr);

    /// (bits, loss) of the front, the fewest bits first.
    void setFront(std::vector<QPointF> front);
    void setCurrent(const QPointF& point);
    void setRuns(std::vector<Run> runs);
    /// What the losses are: nats of divergence, or a score that only ranks.
    void setDivergence(bool divergence);
    QPointF current() const { return m_current; }
    /// Where the current point is drawn, for tests.
    QPointF currentPlace() const;
    int runCount() const { return static_cast<int>(m_runs.size()); }

signals:
    /// A place on the chart was clicked or dragged to.
    void bitsChosen(double bits);

protected:
    Frame frame() const override;
    void paintContent(QPainter& painter, const Frame& frame) override;
    QString describe(const QPointF& at, const Frame& frame) const override;
    QString emptyText() const override;
    QString xTitle() const override;
    QString yTitle() const override;
    void mousePressEvent(QMouseEvent* event) override;
    void mouseMoveEvent(QMouseEvent* event) override;

private:
    void choose(const QPointF& at);
    double shownLoss(double loss) const;

    std::vector<QPointF> m_front;
    QPointF m_current;
    std::vector<Run> m_runs;
    double m_least = 0;  ///< of the losses above 0, the end of the axis
    bool m_divergence = true;
};

}  // namespace fettle::ui
