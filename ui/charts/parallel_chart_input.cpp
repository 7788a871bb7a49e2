// Mouse and keyboard of ParallelChart.
#include <QApplication>
#include <QKeyEvent>
#include <QMouseEvent>
#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "ui/charts/hover_card.h"
#include "ui/charts/parallel_chart.h"

namespace fettle::ui {

namespace {
constexpr double kLineReach = 7;   ///< pixels above and below the pointer in which a line is taken
constexpr double kAxisReach = 10;  ///< pixels beside an axis in which a drag brushes it
constexpr double kEndReach = 5;    ///< pixels around the end of a range in which a drag moves it
}  // namespace

int ParallelChart::axisAt(double x, double reach) const {
    int best = -1;
    for (int axis = 0; axis < axisCount(); ++axis) {
        const double distance = std::abs(axisX(axis) - x);
        if (distance <= reach) {
            reach = distance;
            best = axis;
        }
    }
    return best;
}

int ParallelChart::titleAt(const QPointF& at) const {
    const double room = axisCount() > 1 ? m_plot.width() / (axisCount() - 1) : m_plot.width();
    return m_titles.contains(at) ? axisAt(at.x(), room / 2) : -1;
}

int ParallelChart::nearestLine(const QPointF& at, double reach) const {
    if (axisCount() < 2 || !m_plot.adjusted(-6, -6, 6, 6).contains(at)) {
        return -1;
    }
    const double place =
        std::clamp((at.x() - m_plot.left()) / m_plot.width(), 0.0, 1.0) * (axisCount() - 1);
    const int gap = std::min(static_cast<int>(place), axisCount() - 2);
    const double part = place - gap;
    const double step = m_plot.width() / (axisCount() - 1);
    int best = -1;
    for (std::size_t line = 0; line < m_data.lines.size(); ++line) {
        if (!m_active[line]) {
            continue;
        }
        const double y0 = lineY(line, gap);
        const double y1 = lineY(line, gap + 1);
        // The distance to the line, not along the vertical: steep lines would be hard to meet.
        const double slope = (y1 - y0) / step;
        const double distance =
            std::abs(y0 + (y1 - y0) * part - at.y()) / std::sqrt(1 + slope * slope);
        if (distance <= reach) {  // false for NaN: no line in this gap
            reach = distance;
            best = static_cast<int>(line);
        }
    }
    return best;
}

void ParallelChart::setHovered(int line, const QPointF& at) {
    if (line == m_hovered && (line < 0 || !m_card->isHidden())) {
        return;
    }
    const bool changed = line != m_hovered;
    m_hovered = line;
    update();
    const qint64 id = line < 0 ? -1 : m_data.lines[static_cast<std::size_t>(line)].id;
    if (line < 0 || !m_hoverSource) {
        m_card->hide();
    } else {
        m_card->showAt(at.toPoint(), m_hoverSource(id));
    }
    if (changed) {
        emit hovered(id);
    }
}

void ParallelChart::select(const QSet<qint64>& ids) {
    if (ids == m_selection) {
        return;
    }
    setSelection({ids.begin(), ids.end()});
    emit selectionChanged(selection());
}

void ParallelChart::mousePressEvent(QMouseEvent* event) {
    setFocus(Qt::MouseFocusReason);
    if (event->button() != Qt::LeftButton || m_data.lines.empty()) {
        QWidget::mousePressEvent(event);
        return;
    }
    m_pressed = m_dragged = event->position();
    m_drag = Drag::Pressed;
    m_dragAxis = titleAt(m_pressed);
    if (m_dragAxis >= 0) {
        m_axis = m_dragAxis;
        update();
    }
    event->accept();
}

void ParallelChart::beginDrag(const QPointF& at) {
    setHovered(-1, {});
    if (m_dragAxis >= 0) {
        m_drag = Drag::Title;
        return;
    }
    const bool along = m_pressed.y() >= m_plot.top() - 6 && m_pressed.y() <= m_plot.bottom() + 6;
    const int axis = along ? axisAt(m_pressed.x(), kAxisReach) : -1;
    if (axis < 0) {
        m_drag = Drag::None;
        return;
    }
    m_axis = m_dragAxis = axis;
    m_drag = Drag::NewRange;
    if (const auto rect = rangeRect(axis)) {
        m_dragLow = rect->top() + 1;
        m_dragHigh = rect->bottom() - 1;
        if (std::abs(m_pressed.y() - m_dragLow) <= kEndReach) {
            m_drag = Drag::LowEnd;
        } else if (std::abs(m_pressed.y() - m_dragHigh) <= kEndReach) {
            m_drag = Drag::HighEnd;
        } else if (rect->contains(m_pressed)) {
            m_drag = Drag::MoveRange;
        }
    }
    dragTo(at);
}

void ParallelChart::dragTo(const QPointF& at) {
    m_dragged = at;
    switch (m_drag) {
        case Drag::NewRange:
            setRangeByPixels(m_dragAxis, m_pressed.y(), at.y());
            break;
        case Drag::LowEnd:
            setRangeByPixels(m_dragAxis, at.y(), m_dragHigh);
            break;
        case Drag::HighEnd:
            setRangeByPixels(m_dragAxis, m_dragLow, at.y());
            break;
        case Drag::MoveRange: {
            const double by =
                std::clamp(at.y() - m_pressed.y(), std::min(m_plot.top() - m_dragLow, 0.0),
                           std::max(m_plot.bottom() - m_dragHigh, 0.0));
            setRangeByPixels(m_dragAxis, m_dragLow + by, m_dragHigh + by);
            break;
        }
        case Drag::Title:
            update();
            break;
        case Drag::None:
        case Drag::Pressed:
            break;
    }
}

void ParallelChart::setRangeByPixels(int axis, double y0, double y1) {
    const double top = std::clamp(std::min(y0, y1), m_plot.top(), m_plot.bottom());
    const double bottom = std::clamp(std::max(y0, y1), m_plot.top(), m_plot.bottom());
    double low = toValue(axis, bottom);
    double high = toValue(axis, top);
    if (low > high) {
        std::swap(low, high);
    }
    // A range that reaches the end of the axis has no end there: what comes later is let in.
    const bool up = upwards(axis);
    const bool openLow = up ? bottom >= m_plot.bottom() - 0.5 : top <= m_plot.top() + 0.5;
    const bool openHigh = up ? top <= m_plot.top() + 0.5 : bottom >= m_plot.bottom() - 0.5;
    MetricRange range;
    if (!openLow) {
        range.low = low;
    }
    if (!openHigh) {
        range.high = high;
    }
    QMap<QString, MetricRange> ranges = m_ranges;
    const QString& metric = m_data.axes[static_cast<std::size_t>(axis)].metric;
    if (range.low || range.high) {
        ranges[metric] = range;
    } else {
        ranges.remove(metric);
    }
    setRanges(ranges);
}

void ParallelChart::changeRange(int axis, const MetricRange& range) {
    const QString metric = m_data.axes[static_cast<std::size_t>(axis)].metric;
    QMap<QString, MetricRange> ranges = m_ranges;
    if (range.low || range.high) {
        ranges[metric] = range;
    } else {
        ranges.remove(metric);
    }
    setRanges(ranges);
    emit brushed(metric, range);
}

void ParallelChart::mouseMoveEvent(QMouseEvent* event) {
    const QPointF at = event->position();
    if (m_drag == Drag::Pressed &&
        (at - m_pressed).manhattanLength() >= QApplication::startDragDistance()) {
        beginDrag(at);
        return;
    }
    if (m_drag != Drag::None && m_drag != Drag::Pressed) {
        dragTo(at);
        return;
    }
    if (event->buttons() != Qt::NoButton || m_data.lines.empty()) {
        return;
    }
    Qt::CursorShape shape = Qt::ArrowCursor;
    const int line = nearestLine(at, kLineReach);
    const bool along = at.y() >= m_plot.top() && at.y() <= m_plot.bottom();
    const int axis = along ? axisAt(at.x(), kAxisReach) : -1;
    if (titleAt(at) >= 0) {
        shape = Qt::OpenHandCursor;
    } else if (axis >= 0) {
        shape = Qt::CrossCursor;
        if (const auto rect = rangeRect(axis)) {
            const bool end = std::abs(at.y() - rect->top()) <= kEndReach ||
                             std::abs(at.y() - rect->bottom()) <= kEndReach;
            shape = end                  ? Qt::SizeVerCursor
                    : rect->contains(at) ? Qt::SizeAllCursor
                                         : Qt::CrossCursor;
        }
    } else if (line >= 0) {
        shape = Qt::PointingHandCursor;
    }
    setCursor(shape);
    setHovered(line, at);
}

void ParallelChart::mouseReleaseEvent(QMouseEvent* event) {
    const Drag drag = std::exchange(m_drag, Drag::None);
    if (event->button() != Qt::LeftButton || drag == Drag::None) {
        return;
    }
    if (drag == Drag::Title) {
        // Where the title was let go, counted among the places of the others.
        const double step = axisCount() > 1 ? m_plot.width() / (axisCount() - 1) : 1;
        moveAxis(m_dragAxis, static_cast<int>(std::lround((m_dragged.x() - m_plot.left()) / step)));
        update();
        return;
    }
    if (drag != Drag::Pressed) {
        // A copy: who hears of it brings new data, axes included.
        const QString metric = m_data.axes[static_cast<std::size_t>(m_dragAxis)].metric;
        emit brushed(metric, m_ranges.value(metric));
        return;
    }
    if (titleAt(event->position()) >= 0) {
        return;
    }
    const int line = nearestLine(event->position(), kLineReach);
    const bool extend = event->modifiers() & (Qt::ControlModifier | Qt::ShiftModifier);
    const bool along =
        event->position().y() >= m_plot.top() && event->position().y() <= m_plot.bottom();
    const int axis = along ? axisAt(event->position().x(), kAxisReach) : -1;
    if (axis >= 0 && rangeRect(axis) && !extend) {
        m_axis = axis;
        changeRange(axis, {});  // a click on a brushed axis lets everything in again
        return;
    }
    QSet<qint64> ids = extend ? m_selection : QSet<qint64>();
    if (line >= 0) {
        const qint64 id = m_data.lines[static_cast<std::size_t>(line)].id;
        if (!extend || !ids.remove(id)) {
            ids.insert(id);
        }
        m_currentId = id;
    }
    select(ids);
}

void ParallelChart::mouseDoubleClickEvent(QMouseEvent* event) {
    m_drag = Drag::None;
    if (event->button() != Qt::LeftButton || m_data.lines.empty()) {
        return;
    }
    if (const int axis = titleAt(event->position()); axis >= 0) {
        reverse(axis);
    } else if (const int line = nearestLine(event->position(), kLineReach); line >= 0) {
        emit activated(m_data.lines[static_cast<std::size_t>(line)].id);
    }
}

void ParallelChart::leaveEvent(QEvent* event) {
    setHovered(-1, {});
    QWidget::leaveEvent(event);
}

void ParallelChart::reverse(int axis) {
    const QString metric = m_data.axes[static_cast<std::size_t>(axis)].metric;
    QSet<QString> reversed = m_reversed;
    if (!reversed.remove(metric)) {
        reversed.insert(metric);
    }
    setReversed(reversed);
    emit reversedChanged();
}

void ParallelChart::moveAxis(int from, int to) {
    to = std::clamp(to, 0, axisCount() - 1);
    if (from == to) {
        return;
    }
    QStringList metrics = m_data.query.metrics;
    metrics.move(from, to);
    m_axis = to;
    emit axesMoved(metrics);
}

void ParallelChart::walk(bool up) {
    // The next line in the order of the current axis; ties are broken by the index, so that every
    // line is reached.
    const auto key = [&](std::size_t line) { return std::tuple(-lineY(line, m_axis), line); };
    std::optional<std::size_t> current;
    for (std::size_t line = 0; line < m_data.lines.size(); ++line) {
        if (m_data.lines[line].id == m_currentId && !std::isnan(lineY(line, m_axis))) {
            current = line;
        }
    }
    std::optional<std::size_t> best;
    for (std::size_t line = 0; line < m_data.lines.size(); ++line) {
        if (!m_active[line] || std::isnan(lineY(line, m_axis)) ||
            (current && (line == *current || (key(line) > key(*current)) != up))) {
            continue;
        }
        if (!best || (key(line) < key(*best)) == up) {
            best = line;
        }
    }
    if (best) {
        m_currentId = m_data.lines[*best].id;
        m_hovered = -1;
        setHovered(static_cast<int>(*best), QPointF(axisX(m_axis), lineY(*best, m_axis)));
        select({m_currentId});
    }
}

void ParallelChart::keyPressEvent(QKeyEvent* event) {
    if (axisCount() < 2 || m_data.lines.empty()) {
        QWidget::keyPressEvent(event);
        return;
    }
    const bool move = event->modifiers() & Qt::ControlModifier;
    switch (event->key()) {
        case Qt::Key_Left:
        case Qt::Key_Right: {
            const int to =
                std::clamp(m_axis + (event->key() == Qt::Key_Left ? -1 : 1), 0, axisCount() - 1);
            if (move) {
                moveAxis(m_axis, to);
            } else {
                m_axis = to;
            }
            update();
            break;
        }
        case Qt::Key_Up:
        case Qt::Key_Down:
            walk(event->key() == Qt::Key_Up);
            break;
        case Qt::Key_Return:
        case Qt::Key_Enter:
            if (m_currentId >= 0) {
                emit activated(m_currentId);
            }
            break;
        case Qt::Key_R:
            reverse(m_axis);
            break;
        case Qt::Key_Delete:
        case Qt::Key_Backspace:
            changeRange(m_axis, {});
            break;
        case Qt::Key_Escape:
            setHovered(-1, {});
            select({});
            break;
        default:
            QWidget::keyPressEvent(event);
            return;
    }
    event->accept();
}

void ParallelChart::focusInEvent(QFocusEvent* event) {
    QWidget::focusInEvent(event);
    update();
}

void ParallelChart::focusOutEvent(QFocusEvent* event) {
    QWidget::focusOutEvent(event);
    update();
}

}  // namespace fettle::ui
