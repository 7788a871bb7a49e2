#include "ui/charts/roofline_chart.h"

#include <QPainter>
#include <algorithm>
#include <cmath>
#include <limits>

namespace fettle::ui {
namespace {

double flopsAt(const RooflinePoint& point, double tokensPerSecond) {
    return point.flopsPerToken * tokensPerSecond;
}

QString flopsText(double flops) {
    return flops >= 1e12 ? RooflineChart::tr("%1 TFLOP/s").arg(shortNumber(flops / 1e12, 3))
                         : RooflineChart::tr("%1 GFLOP/s").arg(shortNumber(flops / 1e9, 3));
}

}  // namespace

void RooflineChart::setData(const DeviceRoofs& roofs, std::vector<Series> series) {
    m_roofs = roofs;
    m_series = std::move(series);
    std::erase_if(m_series, [](const Series& one) { return one.points.empty(); });
    setAccessibleName(tr("Roofline of %1 models").arg(m_series.size()));
    update();
}

void RooflineChart::setEmptyText(const QString& text) {
    m_emptyText = text;
    update();
}

PlainChart::Frame RooflineChart::frame() const {
    double low = m_roofs.ridge();
    double high = m_roofs.ridge();
    double floor = m_roofs.flopsPerSecond;
    double top = m_roofs.flopsPerSecond;
    for (const Series& series : m_series) {
        for (const RooflinePoint& point : series.points) {
            low = std::min(low, point.intensity);
            high = std::max(high, point.intensity);
            floor = std::min(floor, flopsAt(point, point.predicted));
            if (point.measured) {
                floor = std::min(floor, flopsAt(point, *point.measured));
                top = std::max(top, flopsAt(point, *point.measured));
            }
        }
    }
    Frame made;
    made.x = AxisScale(QString(), true, 1);
    made.y = AxisScale(QString(), true, 1);
    made.x0 = made.x.toAxis(low) - 0.35;
    made.x1 = made.x.toAxis(high) + 0.5;
    made.y0 = made.y.toAxis(floor / 1e9) - 0.3;
    made.y1 = made.y.toAxis(top / 1e9) + 0.35;
    return made;
}

QPointF RooflineChart::pointPlace(std::size_t series, std::size_t at, bool measured) const {
    const RooflinePoint& point = m_series[series].points[at];
    if (measured && !point.measured) {
        return {};
    }
    return laidOut().toPixel(point.intensity,
                             flopsAt(point, measured ? *point.measured : point.predicted) / 1e9);
}

void RooflineChart::paintRoofs(QPainter& painter, const Frame& frame) const {
    const double left = frame.x.fromAxis(frame.x0);
    const double right = frame.x.fromAxis(frame.x1);
    const double ridge = m_roofs.ridge();
    const double top = m_roofs.flopsPerSecond / 1e9;
    QPolygonF roof;
    roof << frame.toPixel(left, m_roofs.bytesPerSecond * left / 1e9) << frame.toPixel(ridge, top)
         << frame.toPixel(right, top);
    painter.setPen(QPen(theme().text, 2));
    painter.drawPolyline(roof);
    const QFontMetricsF metrics(font());
    painter.setPen(theme().muted);
    const QString compute =
        tr("%1: the fastest prompt measured").arg(flopsText(m_roofs.flopsPerSecond));
    painter.drawText(
        QPointF(frame.plot.right() - metrics.horizontalAdvance(compute) - 6, roof.back().y() - 6),
        compute);
    const QString memory = tr("%1/s: the fastest answer measured")
                               .arg(QString::fromStdString(formatBytes(m_roofs.bytesPerSecond)));
    painter.save();
    // Towards the ridge, where no points lie.
    painter.translate(roof[0] + (roof[1] - roof[0]) * 0.72);
    painter.rotate(std::atan2(roof[1].y() - roof[0].y(), roof[1].x() - roof[0].x()) * 180 / M_PI);
    painter.drawText(QPointF(-metrics.horizontalAdvance(memory) / 2, -6), memory);
    painter.restore();
}

void RooflineChart::paintContent(QPainter& painter, const Frame& frame) {
    paintRoofs(painter, frame);
    for (std::size_t s = 0; s < m_series.size(); ++s) {
        const QColor color = theme().seriesColor(m_series[s].color);
        for (std::size_t p = 0; p < m_series[s].points.size(); ++p) {
            const RooflinePoint& point = m_series[s].points[p];
            // Prompts are squares, answers circles: colour tells the experiment.
            const QPainterPath& shape = markerPath(
                point.phase == RooflinePoint::Phase::Prefill ? Marker::Square : Marker::Circle);
            const auto draw = [&](const QPointF& at, bool filled) {
                painter.save();
                painter.translate(at);
                painter.scale(6, 6);
                QPen pen(color, 0.32);
                painter.setPen(pen);
                painter.setBrush(filled ? QBrush(color) : QBrush(theme().background));
                painter.drawPath(shape);
                painter.restore();
            };
            const QPointF predicted = pointPlace(s, p, false);
            if (point.measured) {
                const QPointF measured = pointPlace(s, p, true);
                painter.setPen(QPen(color, 1.2, Qt::DotLine));
                painter.drawLine(predicted, measured);
                draw(measured, point.native);
            }
            draw(predicted, false);
        }
    }
}

QString RooflineChart::describe(const QPointF& at, const Frame&) const {
    QString text;
    double nearest = 14;
    for (std::size_t s = 0; s < m_series.size(); ++s) {
        for (std::size_t p = 0; p < m_series[s].points.size(); ++p) {
            const RooflinePoint& point = m_series[s].points[p];
            for (const bool measured : {true, false}) {
                if (measured && !point.measured) {
                    continue;
                }
                const double away = QLineF(at, pointPlace(s, p, measured)).length();
                if (away >= nearest) {
                    continue;
                }
                nearest = away;
                const double rate = measured ? *point.measured : point.predicted;
                text = tr("<b>%1</b>, %2<br>%3: <b>%4 tokens/s</b>, %5<br>%6 operations per byte: "
                          "%7")
                           .arg(m_series[s].name.toHtmlEscaped(),
                                point.phase == RooflinePoint::Phase::Prefill ? tr("prompt")
                                                                             : tr("answer"),
                                measured ? tr("Measured") : tr("Predicted"), shortNumber(rate, 4),
                                flopsText(flopsAt(point, rate)), shortNumber(point.intensity, 3),
                                point.memoryBound ? tr("bound by memory") : tr("bound by compute"));
            }
        }
    }
    return text;
}

QString RooflineChart::emptyText() const {
    return m_series.empty() ? m_emptyText : QString();
}

QString RooflineChart::xTitle() const {
    return tr("Operations per byte");
}

QString RooflineChart::yTitle() const {
    return tr("GFLOP/s");
}

}  // namespace fettle::ui
