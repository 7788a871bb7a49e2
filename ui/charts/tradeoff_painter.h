// Paints a trade-off chart's contents (guides, front, intervals, points, labels, legend, titles)
// with any QPainter: the interactive chart and the PNG and SVG export share it. Keeps the point
// layer of the last frame. GUI thread.
#pragma once

#include <QHash>
#include <QRectF>
#include <QSet>
#include <vector>

#include "ui/charts/axis_scale.h"
#include "ui/charts/chart_theme.h"
#include "ui/charts/point_raster.h"
#include "ui/models/tradeoff_model.h"

class QPainter;

namespace fettle::ui {

/// The visible part of the plane: plot rectangle in logical pixels and its range in axis
/// coordinates.
struct TradeoffView {
    QRectF area;  ///< the whole chart
    QRectF plot;
    AxisScale xScale;
    AxisScale yScale;
    double x0 = 0, x1 = 1;
    double y0 = 0, y1 = 1;

    QPointF toPixel(double xAxis, double yAxis) const {
        return {plot.left() + (xAxis - x0) / (x1 - x0) * plot.width(),
                plot.bottom() - (yAxis - y0) / (y1 - y0) * plot.height()};
    }
    QPointF toAxis(const QPointF& pixel) const {
        return {x0 + (pixel.x() - plot.left()) / plot.width() * (x1 - x0),
                y0 + (plot.bottom() - pixel.y()) / plot.height() * (y1 - y0)};
    }
};

class TradeoffPainter {
public:
    void setData(TradeoffData data);
    const TradeoffData& data() const { return m_data; }
    void setTheme(const ChartTheme& theme);
    const ChartTheme& theme() const { return m_theme; }
    void setSelection(const QSet<qint64>& ids);
    const QSet<qint64>& selection() const { return m_selection; }

    /// Positions every point for `view`; call before painting and hit-testing.
    void setView(const TradeoffView& view);
    const TradeoffView& view() const { return m_view; }
    /// Centre of a point in logical pixels; not finite where a logarithmic axis cannot hold its
    /// value.
    QPointF position(std::size_t point) const { return m_positions[point]; }
    double radius(std::size_t point) const;
    /// Points that a logarithmic axis cannot hold.
    int offScale() const { return m_offScale; }

    /// Height that the legend takes at this width.
    double legendHeight(double width) const;
    /// `vector`: draw shapes rather than pixels, for SVG.
    void paint(QPainter& painter, bool vector);
    /// Rings around the selected, the current and the hovered point (-1: none).
    void paintMarks(QPainter& painter, int current, int hovered) const;
    /// Markers drawn in the last frame (the others were thinned out or out of view).
    int drawn() const { return m_drawn; }

private:
    struct LegendItem;
    MarkerLook look(const TradeoffPoint& point) const;
    bool isDimmed(const TradeoffPoint& point) const;
    bool visible(std::size_t point) const;
    void paintGuides(QPainter& painter);
    void paintFront(QPainter& painter) const;
    void paintIntervals(QPainter& painter) const;
    void paintPoints(QPainter& painter, bool vector);
    void fillRaster(qreal ratio);
    void paintLabels(QPainter& painter) const;
    void paintTitles(QPainter& painter) const;
    void paintLegend(QPainter& painter) const;
    std::vector<LegendItem> legendItems() const;

    TradeoffData m_data;
    ChartTheme m_theme = ChartTheme::light();
    TradeoffView m_view;
    QSet<qint64> m_selection;
    std::vector<QPointF> m_positions;
    QRectF m_guideText;  ///< where the words of the guides stand: labels keep clear of them
    int m_offScale = 0;
    int m_drawn = 0;
    PointRaster m_raster;
    bool m_rasterStale = true;
    qreal m_rasterRatio = 0;
};

/// "PTQ", "Distill", "Baseline": a technique id as people write it.
QString techniqueTitle(const QString& technique);

}  // namespace fettle::ui
