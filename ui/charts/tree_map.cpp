#include "ui/charts/tree_map.h"

#include <QKeyEvent>
#include <QMouseEvent>
#include <QPainter>
#include <algorithm>
#include <limits>
#include <numeric>

#include "ui/charts/hover_card.h"

namespace fettle::ui {
namespace {

constexpr double kGroupGap = 3;

/// Worst ratio of sides of a row of parts of area `sum` in all, the least `least` and the largest
/// `most`, along a side of length `side`.
double worstRatio(double sum, double least, double most, double side) {
    const double square = side * side;
    return std::max(square * most / (sum * sum), sum * sum / (square * least));
}

/// Places one row along the shorter side and returns what is left of the area.
QRectF placeRow(const std::vector<double>& areas, std::size_t first, std::size_t last,
                const QRectF& left, std::vector<QRectF>& rects) {
    const double sum = std::accumulate(areas.begin() + static_cast<std::ptrdiff_t>(first),
                                       areas.begin() + static_cast<std::ptrdiff_t>(last), 0.0);
    const bool tall = left.height() <= left.width();
    const double side = tall ? left.height() : left.width();
    const double thick = side > 0 ? sum / side : 0;
    double along = tall ? left.top() : left.left();
    for (std::size_t i = first; i < last; ++i) {
        const double length = thick > 0 ? areas[i] / thick : 0;
        rects.push_back(tall ? QRectF(left.left(), along, thick, length)
                             : QRectF(along, left.top(), length, thick));
        along += length;
    }
    return tall ? left.adjusted(thick, 0, 0, 0) : left.adjusted(0, thick, 0, 0);
}

}  // namespace

std::vector<QRectF> squarified(const std::vector<double>& sizes, const QRectF& area) {
    std::vector<QRectF> rects;
    const double total = std::accumulate(sizes.begin(), sizes.end(), 0.0);
    if (!(total > 0)) {
        return std::vector<QRectF>(sizes.size(), QRectF(area.topLeft(), QSizeF(0, 0)));
    }
    std::vector<double> areas;
    for (const double size : sizes) {
        areas.push_back(std::max(size, 1e-9 * total) / total * area.width() * area.height());
    }
    QRectF left = area;
    for (std::size_t first = 0; first < areas.size();) {
        const double side = std::min(left.width(), left.height());
        std::size_t last = first + 1;
        double sum = areas[first];
        double ratio = worstRatio(sum, areas[first], areas[first], side);
        while (last < areas.size()) {
            const double next = worstRatio(sum + areas[last], areas[last], areas[first], side);
            if (next > ratio) {
                break;
            }
            ratio = next;
            sum += areas[last++];
        }
        left = placeRow(areas, first, last, left, rects);
        first = last;
    }
    return rects;
}

TreeMap::TreeMap(QWidget* parent)
    : QWidget(parent), m_theme(ChartTheme::fromPalette(palette())), m_card(new HoverCard(this)) {
    setMouseTracking(true);
    setFocusPolicy(Qt::StrongFocus);
    setAccessibleName(tr("Map of the memory"));
    m_card->setTheme(m_theme);
}

void TreeMap::setItems(std::vector<TreeMapItem> items) {
    std::vector<std::pair<QString, double>> groups;
    for (const TreeMapItem& item : items) {
        const auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& known) {
            return known.first == item.group;
        });
        group == groups.end() ? void(groups.emplace_back(item.group, item.size))
                              : void(group->second += item.size);
    }
    std::stable_sort(groups.begin(), groups.end(),
                     [](const auto& a, const auto& b) { return a.second > b.second; });
    const auto rank = [&](const QString& name) {
        return std::find_if(groups.begin(), groups.end(),
                            [&](const auto& known) { return known.first == name; }) -
               groups.begin();
    };
    std::stable_sort(items.begin(), items.end(), [&](const TreeMapItem& a, const TreeMapItem& b) {
        return a.group == b.group ? a.size > b.size : rank(a.group) < rank(b.group);
    });
    m_items = std::move(items);
    m_low = std::numeric_limits<double>::max();
    m_high = std::numeric_limits<double>::lowest();
    for (const TreeMapItem& item : m_items) {
        m_low = std::min(m_low, item.value);
        m_high = std::max(m_high, item.value);
    }
    m_current = 0;
    m_card->hide();
    layOut();
}

void TreeMap::setEmptyText(const QString& text) {
    m_emptyText = text;
    update();
}

void TreeMap::layOut() {
    m_rects.clear();
    m_groups.clear();
    std::vector<double> sizes;
    std::vector<std::size_t> starts;
    for (std::size_t i = 0; i < m_items.size(); ++i) {
        if (i == 0 || m_items[i].group != m_items[i - 1].group) {
            sizes.push_back(0);
            starts.push_back(i);
        }
        sizes.back() += m_items[i].size;
    }
    starts.push_back(m_items.size());
    const std::vector<QRectF> places = squarified(sizes, QRectF(rect()).adjusted(4, 4, -4, -4));
    const double head = QFontMetricsF(font()).height() + 2;
    for (std::size_t g = 0; g < sizes.size(); ++g) {
        QRectF inner = places[g].adjusted(0, 0, -kGroupGap, -kGroupGap);
        m_groups.push_back({m_items[starts[g]].group, inner});
        if (inner.height() > 3 * head && inner.width() > 2 * head) {
            inner.setTop(inner.top() + head);
        }
        std::vector<double> parts;
        for (std::size_t i = starts[g]; i < starts[g + 1]; ++i) {
            parts.push_back(m_items[i].size);
        }
        for (const QRectF& place : squarified(parts, inner)) {
            m_rects.push_back(place);
        }
    }
    update();
}

QRectF TreeMap::itemRect(int item) const {
    return item < 0 || item >= count() ? QRectF() : m_rects[static_cast<std::size_t>(item)];
}

QString TreeMap::hoverText() const {
    return m_card->isHidden() ? QString() : m_card->text();
}

void TreeMap::paintEvent(QPaintEvent*) {
    QPainter painter(this);
    painter.fillRect(rect(), m_theme.background);
    if (m_items.empty()) {
        painter.setPen(m_theme.muted);
        painter.drawText(rect().adjusted(16, 16, -16, -16), Qt::AlignCenter | Qt::TextWordWrap,
                         m_emptyText);
        return;
    }
    const QFontMetricsF metrics(font());
    painter.setPen(m_theme.muted);
    for (const Group& group : m_groups) {
        const QRectF head(group.rect.left() + 2, group.rect.top(), group.rect.width() - 4,
                          metrics.height());
        if (group.rect.height() > 3 * metrics.height() && head.width() > 30) {
            painter.drawText(head, Qt::AlignLeft | Qt::AlignVCenter,
                             metrics.elidedText(group.name, Qt::ElideRight, head.width()));
        }
    }
    const double range = m_high > m_low ? m_high - m_low : 1;
    for (std::size_t i = 0; i < m_items.size(); ++i) {
        const QRectF place = m_rects[i].adjusted(0, 0, -1, -1);
        const QColor color = m_theme.scaleColor((m_items[i].value - m_low) / range);
        painter.fillRect(place, color);
        if (place.height() > metrics.height() && place.width() > 28) {
            painter.setPen(color.lightnessF() > 0.5 ? QColor(0x18, 0x1c, 0x22) : Qt::white);
            painter.drawText(
                place.adjusted(4, 0, -2, 0), Qt::AlignLeft | Qt::AlignVCenter,
                metrics.elidedText(m_items[i].label, Qt::ElideRight, place.width() - 6));
        }
    }
    if (hasFocus()) {
        painter.setPen(QPen(m_theme.text, 2));
        painter.drawRect(itemRect(m_current).adjusted(0, 0, -1, -1));
    }
}

int TreeMap::itemAt(const QPointF& at) const {
    const auto found = std::find_if(m_rects.begin(), m_rects.end(),
                                    [&](const QRectF& place) { return place.contains(at); });
    return found == m_rects.end() ? -1 : static_cast<int>(found - m_rects.begin());
}

void TreeMap::setCurrent(int item) {
    m_current = std::clamp(item, 0, count() - 1);
    const QString& tip = m_items[static_cast<std::size_t>(m_current)].tip;
    m_card->showAt(itemRect(m_current).center().toPoint(), tip);
    setAccessibleDescription(tip);
    update();
}

void TreeMap::resizeEvent(QResizeEvent* event) {
    QWidget::resizeEvent(event);
    layOut();
}

void TreeMap::mouseMoveEvent(QMouseEvent* event) {
    const int item = itemAt(event->position());
    item < 0 ? m_card->hide()
             : m_card->showAt(event->pos(), m_items[static_cast<std::size_t>(item)].tip);
}

void TreeMap::mousePressEvent(QMouseEvent* event) {
    const int item = itemAt(event->position());
    if (item >= 0 && event->button() == Qt::LeftButton) {
        m_current = item;
        update();
        emit activated(m_items[static_cast<std::size_t>(item)].id);
    }
}

void TreeMap::leaveEvent(QEvent* event) {
    m_card->hide();
    QWidget::leaveEvent(event);
}

void TreeMap::keyPressEvent(QKeyEvent* event) {
    if (m_items.empty()) {
        return QWidget::keyPressEvent(event);
    }
    switch (event->key()) {
        case Qt::Key_Left:
        case Qt::Key_Up:
            return setCurrent(m_current - 1);
        case Qt::Key_Right:
        case Qt::Key_Down:
            return setCurrent(m_current + 1);
        case Qt::Key_Home:
            return setCurrent(0);
        case Qt::Key_End:
            return setCurrent(count() - 1);
        case Qt::Key_Return:
        case Qt::Key_Enter:
        case Qt::Key_Space:
            emit activated(m_items[static_cast<std::size_t>(m_current)].id);
            return;
        default:
            break;
    }
    QWidget::keyPressEvent(event);
}

void TreeMap::focusInEvent(QFocusEvent* event) {
    QWidget::focusInEvent(event);
    update();
}

void TreeMap::focusOutEvent(QFocusEvent* event) {
    QWidget::focusOutEvent(event);
    m_card->hide();
    update();
}

void TreeMap::changeEvent(QEvent* event) {
    QWidget::changeEvent(event);
    if (event->type() == QEvent::PaletteChange) {
        m_theme = ChartTheme::fromPalette(palette());
        m_card->setTheme(m_theme);
        update();
    }
}

}  // namespace fettle::ui
