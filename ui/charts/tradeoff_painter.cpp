#include "ui/charts/tradeoff_painter.h"

#include <QCoreApplication>
#include <QGuiApplication>
#include <QPaintEngine>
#include <QPainter>
#include <algorithm>
#include <cmath>

namespace fettle::ui {
namespace {

constexpr std::size_t kVectorPoints = 500;    // above this, points are copied from sprites
constexpr std::size_t kIntervalPoints = 300;  // above this, bars would be a hatch over everything
constexpr std::size_t kLabelPoints = 120;

QFont scaled(QFont font, double factor) {
    if (font.pointSizeF() > 0) {
        font.setPointSizeF(font.pointSizeF() * factor);
    } else {
        font.setPixelSize(static_cast<int>(font.pixelSize() * factor));
    }
    return font;
}

/// Text with an outline of the ground behind it, readable over lines and points.
void haloText(QPainter& painter, const QPointF& at, const QString& text, const QColor& color,
              QColor ground) {
    QPainterPath path;
    path.addText(at, painter.font(), text);
    ground.setAlphaF(0.85F);
    painter.strokePath(path, QPen(ground, 5, Qt::SolidLine, Qt::RoundCap, Qt::RoundJoin));
    painter.setPen(color);
    painter.drawText(at, text);
}

}  // namespace

QString techniqueTitle(const QString& technique) {
    if (technique.isEmpty()) {
        return QCoreApplication::translate("Explore", "Baseline");
    }
    if (technique.size() <= 3) {
        return technique.toUpper();
    }
    return technique[0].toUpper() + technique.mid(1);
}

void TradeoffPainter::setData(TradeoffData data) {
    m_data = std::move(data);
    m_positions.clear();
    m_rasterStale = true;
}

void TradeoffPainter::setTheme(const ChartTheme& theme) {
    m_theme = theme;
    m_rasterStale = true;
}

void TradeoffPainter::setSelection(const QSet<qint64>& ids) {
    m_selection = ids;
    m_rasterStale = true;
}

void TradeoffPainter::setView(const TradeoffView& view) {
    m_view = view;
    m_rasterStale = true;
    m_offScale = 0;
    m_positions.resize(m_data.points.size());
    for (std::size_t i = 0; i < m_positions.size(); ++i) {
        const TradeoffPoint& point = m_data.points[i];
        m_positions[i] = view.toPixel(view.xScale.toAxis(point.x), view.yScale.toAxis(point.y));
        m_offScale += !std::isfinite(m_positions[i].x()) || !std::isfinite(m_positions[i].y());
    }
}

bool TradeoffPainter::visible(std::size_t point) const {
    // Comparisons with NaN are false, so values a logarithmic axis cannot hold are never visible.
    const QPointF at = m_positions[point];
    return at.x() >= m_view.plot.left() - 1 && at.x() <= m_view.plot.right() + 1 &&
           at.y() >= m_view.plot.top() - 1 && at.y() <= m_view.plot.bottom() + 1;
}

double TradeoffPainter::radius(std::size_t point) const {
    const std::size_t count = m_data.points.size();
    const TradeoffPoint& p = m_data.points[point];
    double base = count <= 150 ? 5.6 : count <= 1500 ? 4.4 : count <= 20000 ? 3.2 : 2.4;
    if (!m_data.query.size.isEmpty()) {
        // Area follows the metric; eight steps keep the number of distinct looks small.
        const double step = std::round(std::max(p.size, 0.0F) * 7) / 7;
        const double low = base * 0.75;
        const double high = base * (count <= 150 ? 2.4 : 1.8);
        base = std::sqrt(low * low + step * (high * high - low * low));
    }
    return p.baseline
               ? (m_data.query.size.isEmpty() ? std::max(base, 5.5) * 1.3 : std::max(base, 5.0))
               : base;
}

bool TradeoffPainter::isDimmed(const TradeoffPoint& point) const {
    if (point.baseline) {
        return false;
    }
    if (m_selection.size() > 1) {
        return !m_selection.contains(point.id);
    }
    // A front of three metrics has no line to show it.
    return !m_data.query.third.isEmpty() && !point.onFront && !m_selection.contains(point.id);
}

MarkerLook TradeoffPainter::look(const TradeoffPoint& point) const {
    MarkerLook result;
    result.marker = ChartTheme::techniqueMarker(point.technique);
    if (m_data.query.color.isEmpty()) {
        result.color = m_theme.techniqueColor(point.technique);
    } else {
        result.color =
            point.color < 0 ? m_theme.muted : m_theme.scaleColor(std::round(point.color * 15) / 15);
    }
    result.kind = point.kind;
    result.ground = m_theme.plot;
    result.dimmed = isDimmed(point);
    return result;
}

void TradeoffPainter::paint(QPainter& painter, bool vector) {
    if (m_positions.size() != m_data.points.size()) {
        setView(m_view);
    }
    painter.setFont(QGuiApplication::font());
    painter.save();
    painter.setClipRect(m_view.plot.adjusted(-1, -1, 1, 1));
    paintGuides(painter);
    paintFront(painter);
    paintIntervals(painter);
    painter.restore();
    // Markers on the very edge stay whole.
    painter.save();
    painter.setClipRect(m_view.plot.adjusted(-8, -8, 8, 8));
    paintPoints(painter, vector);
    paintLabels(painter);
    painter.restore();
    paintTitles(painter);
    paintLegend(painter);
}

void TradeoffPainter::paintGuides(QPainter& painter) {
    m_guideText = {};
    const TradeoffPoint* baseline = nullptr;
    for (const TradeoffPoint& point : m_data.points) {
        if (point.baseline) {
            if (baseline) {
                return;  // several models: no single reference to draw
            }
            baseline = &point;
        }
    }
    if (!baseline || m_data.xBetter == BetterWhen::Neither ||
        m_data.yBetter == BetterWhen::Neither) {
        return;
    }
    const QPointF at =
        m_view.toPixel(m_view.xScale.toAxis(baseline->x), m_view.yScale.toAxis(baseline->y));
    if (!std::isfinite(at.x()) || !std::isfinite(at.y())) {
        return;
    }
    const QRectF plot = m_view.plot;
    QRectF both = plot;
    const auto boundX = std::clamp(at.x(), plot.left(), plot.right());
    const auto boundY = std::clamp(at.y(), plot.top(), plot.bottom());
    m_data.xBetter == BetterWhen::Higher ? both.setLeft(boundX) : both.setRight(boundX);
    m_data.yBetter == BetterWhen::Higher ? both.setBottom(boundY) : both.setTop(boundY);
    QColor fill = m_theme.good;
    fill.setAlphaF(m_theme.dark ? 0.09F : 0.06F);
    painter.fillRect(both, fill);
    QPen pen(m_theme.muted, 1, Qt::DashLine);
    pen.setDashPattern({3, 4});
    painter.setPen(pen);
    painter.drawLine(QPointF(at.x(), plot.top()), QPointF(at.x(), plot.bottom()));
    painter.drawLine(QPointF(plot.left(), at.y()), QPointF(plot.right(), at.y()));
    painter.setFont(scaled(painter.font(), 0.92));
    const QString words =
        QCoreApplication::translate("Explore", "better than the baseline in both");
    const QFontMetricsF metrics(painter.font());
    const QSizeF size(metrics.horizontalAdvance(words) + 2, metrics.height());
    if (both.width() > size.width() + 16 && both.height() > size.height() + 8) {
        m_guideText = QRectF(
            QPointF(m_data.xBetter == BetterWhen::Higher ? both.right() - 8 - size.width()
                                                         : both.left() + 8,
                    m_data.yBetter == BetterWhen::Higher ? both.top() + 5
                                                         : both.bottom() - 5 - size.height()),
            size);
        painter.setPen(m_theme.good);
        painter.drawText(m_guideText, Qt::AlignCenter, words);
    }
}

void TradeoffPainter::paintFront(QPainter& painter) const {
    if (!m_data.query.third.isEmpty()) {
        return;  // a surface: seen from two of its sides it is no line
    }
    QPolygonF steps;
    for (const std::size_t index : m_data.front) {
        const QPointF at = m_positions[index];
        if (!std::isfinite(at.x()) || !std::isfinite(at.y())) {
            continue;
        }
        if (!steps.isEmpty()) {
            // Between two front points nothing better was measured: the corner lies on the worse
            // side of both.
            const QPointF last = steps.back();
            steps << (m_data.xBetter == BetterWhen::Higher ? QPointF(last.x(), at.y())
                                                           : QPointF(at.x(), last.y()));
        }
        steps << at;
    }
    if (steps.size() < 2) {
        return;
    }
    painter.save();
    painter.setRenderHint(QPainter::Antialiasing);
    QColor color = m_theme.accent;
    color.setAlphaF(0.75F);
    painter.setPen(QPen(color, 1.8, Qt::SolidLine, Qt::RoundCap, Qt::RoundJoin));
    painter.setBrush(Qt::NoBrush);
    painter.drawPolyline(steps);
    painter.restore();
}

void TradeoffPainter::paintIntervals(QPainter& painter) const {
    const bool all = m_data.points.size() <= kIntervalPoints;
    painter.setRenderHint(QPainter::Antialiasing, true);
    for (std::size_t i = 0; i < m_data.points.size(); ++i) {
        const TradeoffPoint& point = m_data.points[i];
        if (!point.hasInterval() || !visible(i) ||
            !(all || point.onFront || m_selection.contains(point.id))) {
            continue;
        }
        const MarkerLook style = look(point);
        QColor color = style.color;
        color.setAlphaF(style.dimmed ? 0.18F : 0.55F);
        painter.setPen(QPen(color, 1.3));
        const QPointF low =
            m_view.toPixel(m_view.xScale.toAxis(point.xLow), m_view.yScale.toAxis(point.yLow));
        const QPointF high =
            m_view.toPixel(m_view.xScale.toAxis(point.xHigh), m_view.yScale.toAxis(point.yHigh));
        const QPointF at = m_positions[i];
        constexpr double cap = 3;
        if (point.yLow < point.yHigh && std::isfinite(low.y()) && std::isfinite(high.y())) {
            painter.drawLine(QPointF(at.x(), low.y()), QPointF(at.x(), high.y()));
            painter.drawLine(QPointF(at.x() - cap, low.y()), QPointF(at.x() + cap, low.y()));
            painter.drawLine(QPointF(at.x() - cap, high.y()), QPointF(at.x() + cap, high.y()));
        }
        if (point.xLow < point.xHigh && std::isfinite(low.x()) && std::isfinite(high.x())) {
            painter.drawLine(QPointF(low.x(), at.y()), QPointF(high.x(), at.y()));
            painter.drawLine(QPointF(low.x(), at.y() - cap), QPointF(low.x(), at.y() + cap));
            painter.drawLine(QPointF(high.x(), at.y() - cap), QPointF(high.x(), at.y() + cap));
        }
    }
}

void TradeoffPainter::paintPoints(QPainter& painter, bool vector) {
    const bool raster =
        painter.paintEngine() && painter.paintEngine()->type() == QPaintEngine::Raster;
    if (vector || !raster || m_data.points.size() <= kVectorPoints) {
        m_drawn = 0;
        for (std::size_t i = 0; i < m_data.points.size(); ++i) {
            if (visible(i)) {
                MarkerLook style = look(m_data.points[i]);
                style.radius = radius(i);
                paintMarker(painter, m_positions[i], style);
                ++m_drawn;
            }
        }
        return;
    }
    const qreal ratio = painter.device()->devicePixelRatioF();
    if (m_rasterStale || ratio != m_rasterRatio) {
        fillRaster(ratio);
    }
    painter.drawImage(m_view.area.topLeft(), m_raster.image());
}

void TradeoffPainter::fillRaster(qreal ratio) {
    const std::size_t count = m_data.points.size();
    const int thinning = count > 50000 ? 4 : count > 20000 ? 3 : count > 5000 ? 2 : 1;
    m_raster.begin(m_view.area.size().toSize(), ratio,
                   static_cast<int>(std::lround(thinning * ratio)));
    // Looks by technique and kind are few: remember the last one rather than ask for each point.
    QHash<quint64, int> looks;
    m_drawn = 0;
    for (std::size_t i = 0; i < count; ++i) {
        if (!visible(i)) {
            continue;
        }
        const TradeoffPoint& point = m_data.points[i];
        const bool dimmed = isDimmed(point);
        const quint64 key =
            static_cast<quint64>(m_data.techniques.indexOf(point.technique) + 1) << 32 |
            static_cast<quint64>(point.kind) << 24 | (dimmed ? 1U << 23 : 0U) |
            (point.baseline ? 1U << 22 : 0U) |
            static_cast<quint64>(std::lround(std::max(point.size, 0.0F) * 7)) << 8 |
            static_cast<quint64>(std::lround((point.color < 0 ? 1.2F : point.color) * 15));
        auto known = looks.constFind(key);
        if (known == looks.constEnd()) {
            MarkerLook style = look(point);
            style.radius = radius(i);
            known = looks.insert(key, m_raster.look(style));
        }
        m_drawn += m_raster.add(m_positions[i] - m_view.area.topLeft(), *known,
                                point.onFront || point.baseline);
    }
    m_rasterStale = false;
    m_rasterRatio = ratio;
}

void TradeoffPainter::paintLabels(QPainter& painter) const {
    const bool few = m_data.points.size() <= kLabelPoints;
    painter.save();
    painter.setFont(scaled(painter.font(), 0.9));
    const QFontMetricsF metrics(painter.font());
    std::vector<QRectF> taken{m_guideText};
    if (few) {
        for (std::size_t i = 0; i < m_positions.size(); ++i) {
            if (visible(i)) {
                const double r = radius(i) + 1;
                taken.emplace_back(m_positions[i] - QPointF(r, r), QSizeF(2 * r, 2 * r));
            }
        }
    }
    const auto place = [&](std::size_t index, const QColor& color) {
        const QString text = metrics.elidedText(m_data.points[index].name, Qt::ElideRight, 170);
        const QSizeF size(metrics.horizontalAdvance(text) + 2, metrics.height());
        const QPointF at = m_positions[index];
        const double gap = radius(index) + 5;
        const QPointF tries[] = {{at.x() + gap, at.y() - size.height() - 1},
                                 {at.x() + gap, at.y() + 1},
                                 {at.x() - gap - size.width(), at.y() - size.height() - 1},
                                 {at.x() - gap - size.width(), at.y() + 1},
                                 {at.x() - size.width() / 2, at.y() - gap - size.height()},
                                 {at.x() - size.width() / 2, at.y() + gap}};
        for (const QPointF& corner : tries) {
            const QRectF box(corner, size);
            const bool free = m_view.plot.contains(box) &&
                              std::none_of(taken.begin(), taken.end(),
                                           [&](const QRectF& r) { return r.intersects(box); });
            if (free) {
                haloText(painter, {box.left() + 1, box.top() + metrics.ascent()}, text, color,
                         m_theme.plot);
                taken.push_back(box);
                return;
            }
        }
    };
    for (std::size_t i = 0; i < m_data.points.size(); ++i) {
        if (visible(i) && (m_data.points[i].baseline && few)) {
            place(i, m_theme.text);
        }
    }
    if (m_selection.size() <= 8) {
        for (std::size_t i = 0; i < m_data.points.size(); ++i) {
            if (!m_data.points[i].baseline && visible(i) &&
                m_selection.contains(m_data.points[i].id)) {
                place(i, m_theme.text);
            }
        }
    }
    if (few) {
        for (const std::size_t i : m_data.front) {
            if (visible(i) && !m_data.points[i].baseline &&
                !m_selection.contains(m_data.points[i].id)) {
                place(i, m_theme.muted);
            }
        }
    }
    painter.restore();
}

void TradeoffPainter::paintTitles(QPainter& painter) const {
    const auto draw = [&](const QRectF& box, const QString& title, BetterWhen better) {
        QFont font = painter.font();
        const QFontMetricsF metrics(font);
        const QString hint =
            better == BetterWhen::Higher  ? QCoreApplication::translate("Explore", "better \u2192")
            : better == BetterWhen::Lower ? QCoreApplication::translate("Explore", "\u2190 better")
                                          : QString();
        const double gap = hint.isEmpty() ? 0 : 14;
        const double hintWidth = metrics.horizontalAdvance(hint);
        const QString shown =
            metrics.elidedText(title, Qt::ElideRight, box.width() - gap - hintWidth);
        const double titleWidth = metrics.horizontalAdvance(shown);
        double x = box.center().x() - (titleWidth + gap + hintWidth) / 2;
        const double y = box.center().y() + (metrics.ascent() - metrics.descent()) / 2;
        if (better == BetterWhen::Lower) {
            painter.setPen(m_theme.good);
            painter.drawText(QPointF(x, y), hint);
            x += hintWidth + gap;
        }
        painter.setPen(m_theme.text);
        painter.drawText(QPointF(x, y), shown);
        if (better == BetterWhen::Higher) {
            painter.setPen(m_theme.good);
            painter.drawText(QPointF(x + titleWidth + gap, y), hint);
        }
    };
    const QRectF plot = m_view.plot;
    const double line = QFontMetricsF(painter.font()).height() + 4;
    draw(QRectF(plot.left(), m_view.area.bottom() - line - 6, plot.width(), line),
         m_view.xScale.title(), m_data.xBetter);
    painter.save();
    painter.translate(m_view.area.left() + 4 + line / 2, plot.center().y());
    painter.rotate(-90);
    draw(QRectF(-plot.height() / 2, -line / 2, plot.height(), line), m_view.yScale.title(),
         m_data.yBetter);
    painter.restore();
}

void TradeoffPainter::paintMarks(QPainter& painter, int current, int hovered) const {
    painter.save();
    painter.setClipRect(m_view.plot.adjusted(-8, -8, 8, 8));
    painter.setRenderHint(QPainter::Antialiasing);
    painter.setBrush(Qt::NoBrush);
    const auto ring = [&](std::size_t index, double gap, const QColor& color, double width) {
        const double r = radius(index) + gap;
        painter.setPen(QPen(color, width));
        painter.drawEllipse(m_positions[index], r, r);
    };
    if (!m_selection.isEmpty() && m_selection.size() <= 400) {
        for (std::size_t i = 0; i < m_data.points.size(); ++i) {
            if (m_selection.contains(m_data.points[i].id) && visible(i)) {
                ring(i, 3.5, m_theme.accent, 2);
            }
        }
    }
    const int count = static_cast<int>(m_data.points.size());
    if (current >= 0 && current < count && visible(static_cast<std::size_t>(current))) {
        ring(static_cast<std::size_t>(current), 6.5, m_theme.accent, 1);
    }
    if (hovered >= 0 && hovered < count && visible(static_cast<std::size_t>(hovered))) {
        QColor halo = m_theme.text;
        halo.setAlphaF(0.16F);
        ring(static_cast<std::size_t>(hovered), 6, halo, 6);
        ring(static_cast<std::size_t>(hovered), 3, m_theme.text, 1.4);
    }
    painter.restore();
}

}  // namespace fettle::ui
