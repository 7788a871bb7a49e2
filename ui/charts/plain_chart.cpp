#include "ui/charts/plain_chart.h"

#include <QEvent>
#include <QMouseEvent>
#include <QPainter>
#include <algorithm>
#include <cmath>

#include "ui/charts/hover_card.h"

namespace fettle::ui {

QPointF PlainChart::Frame::toPixel(double xValue, double yValue) const {
    return {plot.left() + (x.toAxis(xValue) - x0) / (x1 - x0) * plot.width(),
            plot.bottom() - (y.toAxis(yValue) - y0) / (y1 - y0) * plot.height()};
}

PlainChart::PlainChart(QWidget* parent)
    : QWidget(parent), m_theme(ChartTheme::fromPalette(palette())), m_card(new HoverCard(this)) {
    setMouseTracking(true);
    setMinimumSize(180, 120);
    m_card->setTheme(m_theme);
}

void PlainChart::setTheme(const ChartTheme& theme) {
    m_theme = theme;
    m_ownTheme = true;
    m_card->setTheme(theme);
    update();
}

QString PlainChart::hoverText() const {
    return m_card->isHidden() ? QString() : m_card->text();
}

QRectF PlainChart::plotRect(double labelWidth) const {
    const double line = QFontMetricsF(font()).height();
    const double left = line + 16 + labelWidth;
    return {left, line / 2 + 6, std::max(width() - left - 14, 20.0),
            std::max(height() - 2.5 * line - 22, 20.0)};
}

PlainChart::Frame PlainChart::laidOut() const {
    Frame made = frame();
    double widest = 0;
    const QFontMetricsF metrics(font());
    for (const AxisTick& tick : made.y.ticks(made.y0, made.y1, 5)) {
        widest = std::max(widest, metrics.horizontalAdvance(tick.label));
    }
    made.plot = plotRect(widest);
    return made;
}

void PlainChart::paintEvent(QPaintEvent*) {
    QPainter painter(this);
    painter.fillRect(rect(), m_theme.background);
    if (const QString empty = emptyText(); !empty.isEmpty()) {
        painter.setPen(m_theme.muted);
        painter.drawText(rect().adjusted(16, 16, -16, -16), Qt::AlignCenter | Qt::TextWordWrap,
                         empty);
        return;
    }
    const Frame made = laidOut();
    paintAxes(painter, made);
    painter.save();
    painter.setClipRect(made.plot.adjusted(-1, -1, 1, 1));
    painter.setRenderHint(QPainter::Antialiasing);
    paintContent(painter, made);
    painter.restore();
}

void PlainChart::paintAxes(QPainter& painter, const Frame& made) const {
    const QFontMetricsF metrics(font());
    const QRectF& plot = made.plot;
    for (const AxisTick& tick :
         made.y.ticks(made.y0, made.y1, std::clamp(static_cast<int>(plot.height() / 42), 2, 8))) {
        const double y =
            plot.bottom() - (tick.position - made.y0) / (made.y1 - made.y0) * plot.height();
        painter.setPen(m_theme.grid);
        painter.drawLine(QPointF(plot.left(), y), QPointF(plot.right(), y));
        painter.setPen(m_theme.muted);
        painter.drawText(QPointF(plot.left() - 6 - metrics.horizontalAdvance(tick.label),
                                 y + (metrics.ascent() - metrics.descent()) / 2),
                         tick.label);
    }
    for (const AxisTick& tick :
         made.x.ticks(made.x0, made.x1, std::clamp(static_cast<int>(plot.width() / 85), 2, 10))) {
        const double x =
            plot.left() + (tick.position - made.x0) / (made.x1 - made.x0) * plot.width();
        painter.setPen(m_theme.grid);
        painter.drawLine(QPointF(x, plot.top()), QPointF(x, plot.bottom()));
        painter.setPen(m_theme.muted);
        painter.drawText(QPointF(x - metrics.horizontalAdvance(tick.label) / 2,
                                 plot.bottom() + metrics.ascent() + 4),
                         tick.label);
    }
    painter.setPen(m_theme.frame);
    painter.drawLine(plot.bottomLeft(), plot.bottomRight());
    painter.drawLine(plot.topLeft(), plot.bottomLeft());
    painter.setPen(m_theme.text);
    painter.drawText(
        QRectF(plot.left(), height() - metrics.height() - 5, plot.width(), metrics.height()),
        Qt::AlignCenter, xTitle());
    painter.save();
    painter.translate(4 + metrics.height() / 2, plot.center().y());
    painter.rotate(-90);
    painter.drawText(
        QRectF(-plot.height() / 2, -metrics.height() / 2, plot.height(), metrics.height()),
        Qt::AlignCenter, yTitle());
    painter.restore();
}

void PlainChart::mouseMoveEvent(QMouseEvent* event) {
    QString text;
    if (emptyText().isEmpty()) {  // a frame is made of data
        const Frame made = laidOut();
        if (made.plot.contains(event->position())) {
            text = describe(event->position(), made);
        }
    }
    if (text.isEmpty()) {
        m_card->hide();
    } else {
        m_card->showAt(event->pos(), text);
    }
}

void PlainChart::leaveEvent(QEvent* event) {
    m_card->hide();
    QWidget::leaveEvent(event);
}

void PlainChart::changeEvent(QEvent* event) {
    QWidget::changeEvent(event);
    if (event->type() == QEvent::PaletteChange && !m_ownTheme) {
        m_theme = ChartTheme::fromPalette(palette());
        m_card->setTheme(m_theme);
        update();
    }
}

}  // namespace fettle::ui
