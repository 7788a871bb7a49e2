// Mouse and keyboard of TradeoffChart.
#include <QApplication>
#include <QCategoryAxis>
#include <QGraphicsItem>
#include <QKeyEvent>
#include <QMouseEvent>
#include <QRubberBand>
#include <QWheelEvent>
#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include "ui/charts/hover_card.h"
#include "ui/charts/tradeoff_chart.h"

namespace fettle::ui {

namespace {
constexpr double kReach = 10;  ///< pixels around the pointer in which a point is taken
}

int TradeoffChart::nearest(const QPointF& at, double reach) const {
    int best = -1;
    double bestDistance = reach * reach;
    const auto& points = m_painter.data().points;
    for (std::size_t i = 0; i < points.size(); ++i) {
        const QPointF d = m_painter.position(i) - at;
        const double distance = d.x() * d.x() + d.y() * d.y();
        if (distance <= bestDistance) {
            bestDistance = distance;
            best = static_cast<int>(i);
        }
    }
    return best;
}

void TradeoffChart::setHovered(int point, const QPointF& at) {
    if (point == m_hovered && (point < 0 || !m_card->isHidden())) {
        return;
    }
    if (point != m_hovered) {
        m_hovered = point;
        emit hovered(point < 0 ? -1 : m_painter.data().points[static_cast<std::size_t>(point)].id);
    }
    viewport()->setCursor(point >= 0 ? Qt::PointingHandCursor : Qt::ArrowCursor);
    viewport()->update();
    if (point < 0 || !m_hoverSource) {
        m_card->hide();
        return;
    }
    m_card->showAt(at.toPoint(),
                   m_hoverSource(m_painter.data().points[static_cast<std::size_t>(point)].id));
}

void TradeoffChart::zoom(double factor, const QPointF& around, bool x, bool y) {
    const QPointF fixed = m_view.toAxis(around);
    const auto scale = [&](double& low, double& high, double at, const double(&fit)[2]) {
        low = at - (at - low) / factor;
        high = at + (high - at) / factor;
        keepNear(low, high, fit[0], fit[1]);
    };
    if (x) {
        scale(m_view.x0, m_view.x1, fixed.x(), m_fitX);
    }
    if (y) {
        scale(m_view.y0, m_view.y1, fixed.y(), m_fitY);
    }
    m_zoomed = true;
    m_card->hide();
    applyView();
    emit viewChanged(true);
}

void TradeoffChart::pan(const QPointF& pixels) {
    const double dx = pixels.x() / m_view.plot.width() * (m_view.x1 - m_view.x0);
    const double dy = pixels.y() / m_view.plot.height() * (m_view.y1 - m_view.y0);
    m_view.x0 -= dx;
    m_view.x1 -= dx;
    m_view.y0 += dy;
    m_view.y1 += dy;
    keepNear(m_view.x0, m_view.x1, m_fitX[0], m_fitX[1]);
    keepNear(m_view.y0, m_view.y1, m_fitY[0], m_fitY[1]);
    m_zoomed = true;
    applyView();
    emit viewChanged(true);
}

void TradeoffChart::resizeEvent(QResizeEvent* event) {
    QChartView::resizeEvent(event);
    relayout();
}

void TradeoffChart::wheelEvent(QWheelEvent* event) {
    const QPointF at = event->position();
    const int turn =
        event->angleDelta().y() != 0 ? event->angleDelta().y() : event->angleDelta().x();
    if (turn == 0 || m_painter.data().points.empty()) {
        event->ignore();
        return;
    }
    const bool overX = at.y() > m_view.plot.bottom();
    const bool overY = at.x() < m_view.plot.left();
    const QPointF around(std::clamp(at.x(), m_view.plot.left(), m_view.plot.right()),
                         std::clamp(at.y(), m_view.plot.top(), m_view.plot.bottom()));
    zoom(std::pow(1.0016, turn), around, !overY || overX, !overX || overY);
    event->accept();
}

void TradeoffChart::mousePressEvent(QMouseEvent* event) {
    setFocus(Qt::MouseFocusReason);
    if (event->button() != Qt::LeftButton && event->button() != Qt::MiddleButton) {
        QChartView::mousePressEvent(event);
        return;
    }
    m_pressed = event->pos();
    m_last = event->pos();
    m_drag = Drag::Pressed;
    event->accept();
}

void TradeoffChart::mouseMoveEvent(QMouseEvent* event) {
    if (m_drag == Drag::None) {
        const bool inside = m_view.plot.adjusted(-8, -8, 8, 8).contains(event->position());
        setHovered(inside ? nearest(event->position(), kReach) : -1, event->position());
        return;
    }
    if (m_drag == Drag::Pressed &&
        (event->pos() - m_pressed).manhattanLength() >= QApplication::startDragDistance()) {
        setHovered(-1, {});
        const bool brushing =
            (event->buttons() & Qt::LeftButton) &&
            (m_dragMode == DragMode::Select) != bool(event->modifiers() & Qt::ShiftModifier);
        m_drag = brushing ? Drag::Brushing : Drag::Panning;
        viewport()->setCursor(brushing ? Qt::CrossCursor : Qt::ClosedHandCursor);
    }
    if (m_drag == Drag::Panning) {
        pan(event->pos() - m_last);
        m_last = event->pos();
    } else if (m_drag == Drag::Brushing) {
        m_band->setGeometry(QRect(m_pressed, event->pos()).normalized() & m_view.plot.toRect());
        m_band->show();
    }
}

void TradeoffChart::mouseReleaseEvent(QMouseEvent* event) {
    const Drag drag = m_drag;
    m_drag = Drag::None;
    viewport()->setCursor(Qt::ArrowCursor);
    if (drag == Drag::Brushing) {
        m_band->hide();
        brush(QRectF(QRect(m_pressed, event->pos()).normalized()), event->modifiers());
    } else if (drag == Drag::Pressed && event->button() == Qt::LeftButton) {
        const int point = nearest(event->position(), kReach);
        QSet<qint64> ids = m_painter.selection();
        const bool extend = event->modifiers() & (Qt::ControlModifier | Qt::ShiftModifier);
        if (!extend) {
            ids.clear();
        }
        if (point >= 0) {
            const qint64 id = m_painter.data().points[static_cast<std::size_t>(point)].id;
            if (!extend || !ids.remove(id)) {
                ids.insert(id);
            }
            m_current = point;
        }
        select(ids);
    }
}

void TradeoffChart::brush(const QRectF& area, Qt::KeyboardModifiers modifiers) {
    QSet<qint64> ids = modifiers & Qt::ControlModifier ? m_painter.selection() : QSet<qint64>();
    const auto& points = m_painter.data().points;
    const QRectF inside = area & m_view.plot;
    for (std::size_t i = 0; i < points.size(); ++i) {
        if (inside.contains(m_painter.position(i))) {
            ids.insert(points[i].id);
        }
    }
    select(ids);
}

void TradeoffChart::mouseDoubleClickEvent(QMouseEvent* event) {
    if (event->button() != Qt::LeftButton) {
        return;
    }
    const int point = nearest(event->position(), kReach);
    if (point >= 0) {
        emit activated(m_painter.data().points[static_cast<std::size_t>(point)].id);
    } else {
        resetView();
    }
}

void TradeoffChart::leaveEvent(QEvent* event) {
    setHovered(-1, {});
    QChartView::leaveEvent(event);
}

void TradeoffChart::moveCurrent(bool horizontal, bool forward) {
    // The next point in reading order of one axis; ties are broken by the other axis and the index,
    // so that every point is reached.
    const auto& points = m_painter.data().points;
    const auto key = [&](std::size_t i) {
        const double x = m_painter.position(i).x();
        const double y = -m_painter.position(i).y();
        return horizontal ? std::tuple(x, y, i) : std::tuple(y, x, i);
    };
    int best = -1;
    for (std::size_t i = 0; i < points.size(); ++i) {
        const QPointF at = m_painter.position(i);
        if (!std::isfinite(at.x()) || !std::isfinite(at.y()) || static_cast<int>(i) == m_current) {
            continue;
        }
        if (m_current >= 0) {
            const bool after = key(i) > key(static_cast<std::size_t>(m_current));
            if (after != forward) {
                continue;
            }
        }
        if (best < 0 || (key(i) < key(static_cast<std::size_t>(best))) == forward) {
            best = static_cast<int>(i);
        }
    }
    if (best >= 0) {
        m_current = best;
        showCurrent();
    }
}

void TradeoffChart::showCurrent() {
    const auto index = static_cast<std::size_t>(m_current);
    const QPointF at = m_painter.position(index);
    if (!m_view.plot.contains(at)) {
        pan(m_view.plot.center() - at);
    }
    m_hovered = -1;
    setHovered(m_current, m_painter.position(index));
    select({m_painter.data().points[index].id});
}

void TradeoffChart::keyPressEvent(QKeyEvent* event) {
    const QPointF center = m_view.plot.center();
    switch (event->key()) {
        case Qt::Key_Right:
            moveCurrent(true, true);
            break;
        case Qt::Key_Left:
            moveCurrent(true, false);
            break;
        case Qt::Key_Up:
            moveCurrent(false, true);
            break;
        case Qt::Key_Down:
            moveCurrent(false, false);
            break;
        case Qt::Key_Return:
        case Qt::Key_Enter:
            if (currentId() >= 0) {
                emit activated(currentId());
            }
            break;
        case Qt::Key_Plus:
        case Qt::Key_Equal:
            zoom(1.25, center);
            break;
        case Qt::Key_Minus:
            zoom(0.8, center);
            break;
        case Qt::Key_0:
        case Qt::Key_Home:
            resetView();
            break;
        case Qt::Key_Escape:
            setHovered(-1, {});
            select({});
            break;
        default:
            QChartView::keyPressEvent(event);
            return;
    }
    event->accept();
}

void TradeoffChart::focusInEvent(QFocusEvent* event) {
    QChartView::focusInEvent(event);
    viewport()->update();
}

void TradeoffChart::focusOutEvent(QFocusEvent* event) {
    QChartView::focusOutEvent(event);
    viewport()->update();
}

void TradeoffChart::changeEvent(QEvent* event) {
    QChartView::changeEvent(event);
    if (event->type() == QEvent::PaletteChange && !m_ownTheme) {
        setTheme(ChartTheme::fromPalette(palette()));
        m_ownTheme = false;
    } else if (event->type() == QEvent::FontChange) {
        relayout();
    }
}

}  // namespace fettle::ui
