// A chart that is one shape and needs no series of Qt Charts: own axes with the scales and theme of
// the other charts, hover card, keyboard focus. Base of HistogramChart and SeriesChart. GUI thread
// only.
#pragma once

#include <QWidget>

#include "ui/charts/axis_scale.h"
#include "ui/charts/chart_theme.h"

namespace fettle::ui {

class HoverCard;

class PlainChart : public QWidget {
    Q_OBJECT

public:
    explicit PlainChart(QWidget* parent = nullptr);
    void setTheme(const ChartTheme& theme);
    QString hoverText() const;
    QSize sizeHint() const override { return {420, 260}; }

protected:
    struct Frame {
        QRectF plot;
        double x0 = 0, x1 = 1, y0 = 0, y1 = 1;
        AxisScale x;
        AxisScale y;
        QPointF toPixel(double xValue, double yValue) const;
    };
    /// The range of the axes and what they measure; called before every paint.
    virtual Frame frame() const = 0;
    virtual void paintContent(QPainter& painter, const Frame& frame) = 0;
    /// Text for the card at a place inside the plot; empty: none.
    virtual QString describe(const QPointF& at, const Frame& frame) const = 0;
    virtual QString emptyText() const = 0;
    virtual QString xTitle() const = 0;
    virtual QString yTitle() const = 0;

    const ChartTheme& theme() const { return m_theme; }
    QRectF plotRect(double labelWidth) const;

    void paintEvent(QPaintEvent* event) override;
    void mouseMoveEvent(QMouseEvent* event) override;
    void leaveEvent(QEvent* event) override;
    void changeEvent(QEvent* event) override;

    /// frame() with the place of the plot, for finding things under the pointer.
    Frame laidOut() const;

private:
    void paintAxes(QPainter& painter, const Frame& frame) const;

    ChartTheme m_theme;
    HoverCard* m_card;
    bool m_ownTheme = false;
};

}  // namespace fettle::ui
