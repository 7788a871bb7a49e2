// The legend of TradeoffPainter: techniques with their shapes, what hollow and hatched mean, the
// scales of the third metrics. Flows over as many rows as the width asks for.
#include <QCoreApplication>
#include <QPainter>
#include <algorithm>

#include "engine/experiment/measurement.h"
#include "ui/charts/tradeoff_painter.h"

namespace fettle::ui {

namespace {
constexpr double kGap = 18;
constexpr double kMark = 20;
constexpr double kTop = 8;

double rowHeight(const QFontMetricsF& metrics) {
    return metrics.height() + 6;
}
}  // namespace

struct TradeoffPainter::LegendItem {
    enum class Kind { Marker, Front, Interval, ColorScale, SizeScale } kind = Kind::Marker;
    MarkerLook look;
    QString text;
    QString low;
    QString high;

    double width(const QFontMetricsF& metrics) const {
        const double words = metrics.horizontalAdvance(text);
        switch (kind) {
            case Kind::ColorScale:
                return words + metrics.horizontalAdvance(low) + metrics.horizontalAdvance(high) +
                       90 + 3 * 6;
            case Kind::SizeScale:
                return words + metrics.horizontalAdvance(low) + metrics.horizontalAdvance(high) +
                       56 + 3 * 6;
            default:
                return kMark + words;
        }
    }
};

std::vector<TradeoffPainter::LegendItem> TradeoffPainter::legendItems() const {
    using Kind = LegendItem::Kind;
    std::vector<LegendItem> items;
    const bool byTechnique = m_data.query.color.isEmpty();
    for (const QString& technique : m_data.techniques) {
        MarkerLook look;
        look.color = byTechnique ? m_theme.techniqueColor(technique) : m_theme.muted;
        look.marker = ChartTheme::techniqueMarker(technique);
        look.ground = m_theme.background;
        items.push_back({Kind::Marker, look, techniqueTitle(technique), {}, {}});
    }
    const auto has = [&](PointKind kind) {
        return std::any_of(m_data.points.begin(), m_data.points.end(),
                           [&](const auto& p) { return p.kind == kind; });
    };
    MarkerLook look;
    look.color = m_theme.muted;
    look.ground = m_theme.background;
    if (has(PointKind::Dequantized)) {
        look.kind = PointKind::Dequantized;
        items.push_back({Kind::Marker,
                         look,
                         QCoreApplication::translate("Explore", "hollow: not native (dequantized)"),
                         {},
                         {}});
    }
    if (has(PointKind::Estimated)) {
        look.kind = PointKind::Estimated;
        items.push_back({Kind::Marker,
                         look,
                         QCoreApplication::translate("Explore", "hatched: estimated"),
                         {},
                         {}});
    }
    if (m_data.front.size() > 1) {
        if (m_data.query.third.isEmpty()) {
            items.push_back(
                {Kind::Front, {}, QCoreApplication::translate("Explore", "Pareto front"), {}, {}});
        } else {
            look.kind = PointKind::Native;
            look.dimmed = true;
            items.push_back(
                {Kind::Marker,
                 look,
                 QCoreApplication::translate("Explore", "pale: beaten in all three metrics"),
                 {},
                 {}});
            look.dimmed = false;
        }
    }
    if (m_data.points.size() <= 300 && std::any_of(m_data.points.begin(), m_data.points.end(),
                                                   [](const auto& p) { return p.hasInterval(); })) {
        items.push_back(
            {Kind::Interval, {}, QCoreApplication::translate("Explore", "95% interval"), {}, {}});
    }
    const auto scale = [&](Kind kind, const QString& metric, double low, double high) {
        if (!metric.isEmpty() && low <= high) {
            const std::string id = metric.toStdString();
            items.push_back({kind,
                             {},
                             metricTitle(metric),
                             QString::fromStdString(formatMetric(id, low)),
                             QString::fromStdString(formatMetric(id, high))});
        }
    };
    scale(Kind::ColorScale, m_data.query.color, m_data.colorLow, m_data.colorHigh);
    scale(Kind::SizeScale, m_data.query.size, m_data.sizeLow, m_data.sizeHigh);
    return items;
}

double TradeoffPainter::legendHeight(double width) const {
    const QFontMetricsF metrics{QFont()};
    double x = 0;
    int rows = 1;
    for (const LegendItem& item : legendItems()) {
        const double w = item.width(metrics);
        if (x > 0 && x + w > width) {
            x = 0;
            ++rows;
        }
        x += w + kGap;
    }
    return kTop + rows * rowHeight(metrics) + 6;
}

void TradeoffPainter::paintLegend(QPainter& painter) const {
    const QFontMetricsF metrics(painter.font());
    const double height = rowHeight(metrics);
    const double left = m_view.plot.left();
    double x = left;
    double y = m_view.area.top() + kTop;
    painter.save();
    painter.setRenderHint(QPainter::Antialiasing);
    for (const LegendItem& item : legendItems()) {
        const double w = item.width(metrics);
        if (x > left && x + w > m_view.plot.right()) {
            x = left;
            y += height;
        }
        const double middle = y + height / 2;
        const double baselineY = middle + (metrics.ascent() - metrics.descent()) / 2;
        double textX = x + kMark;
        switch (item.kind) {
            case LegendItem::Kind::Marker: {
                MarkerLook look = item.look;
                look.radius = 5;
                paintMarker(painter, {x + 8, middle}, look);
                break;
            }
            case LegendItem::Kind::Front:
                painter.setPen(QPen(m_theme.accent, 2, Qt::SolidLine, Qt::FlatCap));
                painter.drawPolyline(QPolygonF{{x + 1, middle + 4},
                                               {x + 8, middle + 4},
                                               {x + 8, middle - 4},
                                               {x + 15, middle - 4}});
                break;
            case LegendItem::Kind::Interval:
                painter.setPen(QPen(m_theme.muted, 1.3));
                painter.drawLine(QPointF(x + 8, middle - 6), QPointF(x + 8, middle + 6));
                painter.drawLine(QPointF(x + 5, middle - 6), QPointF(x + 11, middle - 6));
                painter.drawLine(QPointF(x + 5, middle + 6), QPointF(x + 11, middle + 6));
                break;
            case LegendItem::Kind::ColorScale:
            case LegendItem::Kind::SizeScale: {
                textX = x;
                double at = x + metrics.horizontalAdvance(item.text) + 8;
                painter.setPen(m_theme.muted);
                painter.drawText(QPointF(at, baselineY), item.low);
                at += metrics.horizontalAdvance(item.low) + 6;
                if (item.kind == LegendItem::Kind::ColorScale) {
                    QLinearGradient gradient(at, 0, at + 90, 0);
                    for (int i = 0; i <= 8; ++i) {
                        gradient.setColorAt(i / 8.0, m_theme.scaleColor(i / 8.0));
                    }
                    painter.fillRect(QRectF(at, middle - 5, 90, 10), gradient);
                    at += 90 + 6;
                } else {
                    painter.setBrush(Qt::NoBrush);
                    painter.setPen(QPen(m_theme.muted, 1.3));
                    painter.drawEllipse(QPointF(at + 6, middle), 3, 3);
                    painter.drawEllipse(QPointF(at + 22, middle), 5, 5);
                    painter.drawEllipse(QPointF(at + 43, middle), 8, 8);
                    at += 56 + 6;
                }
                painter.setPen(m_theme.muted);
                painter.drawText(QPointF(at, baselineY), item.high);
                break;
            }
        }
        painter.setPen(m_theme.text);
        painter.drawText(QPointF(textX, baselineY), item.text);
        x += w + kGap;
    }
    painter.restore();
}

}  // namespace fettle::ui
