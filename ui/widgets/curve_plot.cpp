#include "ui/widgets/curve_plot.h"

#include <QPainter>
#include <QPainterPath>
#include <algorithm>
#include <limits>
#include <map>

#include "ui/widgets/theme.h"

namespace fettle::ui {

CurvePlot::CurvePlot(QWidget* parent) : QWidget(parent) {
    setAccessibleName(tr("Curve of the running job"));
    setMinimumHeight(70);
}

void CurvePlot::setPoints(const std::vector<SeriesPoint>& points) {
    m_points = points;
    update();
}

void CurvePlot::paintEvent(QPaintEvent*) {
    const ThemeColors& c = themeColors();
    QPainter painter(this);
    painter.setRenderHint(QPainter::Antialiasing);
    painter.setPen(c.muted);
    if (m_points.size() < 2) {
        painter.drawText(rect(), Qt::AlignCenter, tr("The curve appears when training begins."));
        return;
    }
    double low = std::numeric_limits<double>::max();
    double high = std::numeric_limits<double>::lowest();
    double last = 1;
    std::map<std::string, std::vector<const SeriesPoint*>> lines;
    for (const SeriesPoint& point : m_points) {
        low = std::min(low, point.value);
        high = std::max(high, point.value);
        last = std::max(last, point.step);
        lines[point.name].push_back(&point);
    }
    const QRectF plot = QRectF(rect()).adjusted(54, 20, -10, -22);
    const double span = high > low ? high - low : 1;
    painter.setPen(c.border);
    painter.drawLine(plot.bottomLeft(), plot.bottomRight());
    painter.drawLine(plot.topLeft(), plot.topRight());
    painter.setPen(c.muted);
    const auto label = [&](double value, double y) {
        painter.drawText(QRectF(0, y - 9, 48, 18), Qt::AlignRight | Qt::AlignVCenter,
                         QString::number(value, 'g', 4));
    };
    label(high, plot.top());
    label(low, plot.bottom());
    painter.drawText(QRectF(plot.left(), plot.bottom() + 3, plot.width(), 18), Qt::AlignRight,
                     tr("step %1").arg(last));
    std::size_t at = 0;
    double legend = plot.left();
    for (const auto& [name, points] : lines) {
        const QColor color = c.series[at++ % c.series.size()];
        const std::size_t stride = std::max<std::size_t>(
            1, points.size() / static_cast<std::size_t>(std::max(1, width())));
        QPainterPath path;
        for (std::size_t i = 0; i < points.size(); i += stride) {
            const QPointF p(plot.left() + points[i]->step / last * plot.width(),
                            plot.bottom() - (points[i]->value - low) / span * plot.height());
            i == 0 ? path.moveTo(p) : path.lineTo(p);
        }
        painter.setPen(QPen(color, 1.6));
        painter.setBrush(Qt::NoBrush);
        painter.drawPath(path);
        const QString title = QString::fromStdString(name);
        painter.drawText(QPointF(legend, 13), title);
        legend += painter.fontMetrics().horizontalAdvance(title) + 16;
    }
}

}  // namespace fettle::ui
