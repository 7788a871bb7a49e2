// A roofline: operations per second over operations per byte, both logarithmic. The roofs, what
// each model is predicted to reach under them (hollow) and what was measured (filled). GUI thread
// only.
#pragma once

#include "ui/charts/plain_chart.h"
#include "ui/models/roofline.h"

namespace fettle::ui {

class RooflineChart : public PlainChart {
    Q_OBJECT

public:
    struct Series {
        QString name;
        int color = 0;  ///< of ChartTheme::seriesColor
        std::vector<RooflinePoint> points;
    };

    using PlainChart::PlainChart;

    void setData(const DeviceRoofs& roofs, std::vector<Series> series);
    void setEmptyText(const QString& text);
    const std::vector<Series>& series() const { return m_series; }
    /// Place of a point as predicted, or as measured; null where it was not measured.
    QPointF pointPlace(std::size_t series, std::size_t point, bool measured) const;

protected:
    Frame frame() const override;
    void paintContent(QPainter& painter, const Frame& frame) override;
    QString describe(const QPointF& at, const Frame& frame) const override;
    QString emptyText() const override;
    QString xTitle() const override;
    QString yTitle() const override;

private:
    void paintRoofs(QPainter& painter, const Frame& frame) const;

    DeviceRoofs m_roofs;
    std::vector<Series> m_series;
    QString m_emptyText;
};

}  // namespace fettle::ui
