#include "ui/charts/bit_map.h"

#include <QEvent>
#include <QKeyEvent>
#include <QMouseEvent>
#include <QPainter>
#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <utility>

#include "ui/charts/hover_card.h"

namespace fettle::ui {
namespace {

constexpr int kEdge = 10;
constexpr int kSwatch = 14;
constexpr double kWidestCell = 56;
constexpr double kTallestCell = 34;

}  // namespace

BitMap::BitMap(QWidget* parent)
    : QWidget(parent), m_theme(ChartTheme::fromPalette(palette())), m_card(new HoverCard(this)) {
    setMouseTracking(true);
    setFocusPolicy(Qt::StrongFocus);
    setAccessibleName(tr("Bits of each weight"));
    setAccessibleDescription(
        tr("Tensors down, layers across. Enter chooses the scheme of a weight by hand."));
    m_card->setTheme(m_theme);
}

void BitMap::setGrid(BitGrid grid) {
    const bool sameShape = grid.rows == m_grid.rows && grid.layers == m_grid.layers;
    m_grid = std::move(grid);
    m_row = std::clamp(m_row, 0, std::max<int>(0, static_cast<int>(m_grid.rows.size()) - 1));
    m_column = std::clamp(m_column, 0, std::max(0, static_cast<int>(m_grid.layers.size()) - 1));
    if (!sameShape) {
        m_card->hide();
        updateGeometry();
    }
    update();
}

void BitMap::setTheme(const ChartTheme& theme) {
    m_theme = theme;
    m_ownTheme = true;
    m_card->setTheme(theme);
    update();
}

QString BitMap::hoverText() const {
    return m_card->isHidden() ? QString() : m_card->text();
}

QColor BitMap::colorOf(double bits) const {
    // Even steps of lightness between the widths that are used: 2, 3, 4, 8 and 16 bits.
    constexpr std::pair<double, double> kPlaces[] = {{2, 0},   {3, 0.3}, {4, 0.5},
                                                     {5, 0.6}, {8, 0.8}, {16, 1}};
    double position = 0;
    for (std::size_t i = 1; i < std::size(kPlaces); ++i) {
        const auto [low, lowPlace] = kPlaces[i - 1];
        const auto [high, highPlace] = kPlaces[i];
        if (bits >= low) {
            position =
                lowPlace + (highPlace - lowPlace) * std::min(1.0, (bits - low) / (high - low));
        }
    }
    return m_theme.scaleColor(position);
}

QColor BitMap::inkOn(const QColor& ground) const {
    const auto linear = [](double channel) {
        return channel <= 0.03928 ? channel / 12.92 : std::pow((channel + 0.055) / 1.055, 2.4);
    };
    const double luminance = 0.2126 * linear(ground.redF()) + 0.7152 * linear(ground.greenF()) +
                             0.0722 * linear(ground.blueF());
    // The one of black and white with the higher contrast.
    return luminance > 0.179 ? QColor(Qt::black) : QColor(Qt::white);
}

BitMap::Geometry BitMap::geometryOf() const {
    const QFontMetrics metrics(font());
    Geometry made;
    int widest = 0;
    for (const QString& row : m_grid.rows) {
        widest = std::max(widest, metrics.horizontalAdvance(row));
    }
    made.left = kEdge + widest + 8;
    made.top = kEdge;
    const double across = std::max(width() - made.left - kEdge, 20);
    const double down = std::max(height() - made.top - 2 * metrics.height() - 18 - kEdge, 20);
    made.width = std::min(across / std::max<double>(1, static_cast<double>(m_grid.layers.size())),
                          kWidestCell);
    made.height =
        std::min(down / std::max<double>(1, static_cast<double>(m_grid.rows.size())), kTallestCell);
    return made;
}

QRect BitMap::cellRect(int row, int column) const {
    const Geometry g = geometryOf();
    const int x0 = static_cast<int>(g.left + g.width * column);
    const int x1 = static_cast<int>(g.left + g.width * (column + 1));
    const int y0 = static_cast<int>(g.top + g.height * row);
    const int y1 = static_cast<int>(g.top + g.height * (row + 1));
    return {x0, y0, std::max(x1 - x0, 1), std::max(y1 - y0, 1)};
}

QPoint BitMap::cellOf(int unit) const {
    for (int row = 0; row < m_grid.rows.size(); ++row) {
        for (int column = 0; column < static_cast<int>(m_grid.layers.size()); ++column) {
            if (m_grid.at(row, column).unit == unit) {
                return {column, row};
            }
        }
    }
    return {-1, -1};
}

void BitMap::paintEvent(QPaintEvent*) {
    QPainter painter(this);
    painter.fillRect(rect(), m_theme.background);
    if (m_grid.empty()) {
        return;
    }
    const QFontMetrics metrics(font());
    const int columns = static_cast<int>(m_grid.layers.size());
    for (int row = 0; row < m_grid.rows.size(); ++row) {
        const QRect first = cellRect(row, 0);
        painter.setPen(m_theme.muted);
        painter.drawText(QRect(kEdge, first.top(), first.left() - kEdge - 6, first.height()),
                         Qt::AlignRight | Qt::AlignVCenter, m_grid.rows[row]);
        for (int column = 0; column < columns; ++column) {
            paintCell(painter, m_grid.at(row, column), cellRect(row, column));
        }
    }
    const int every = std::max(
        1, static_cast<int>(std::ceil((metrics.horizontalAdvance(QString::number(columns)) + 8.0) /
                                      std::max(1, cellRect(0, 0).width()))));
    painter.setPen(m_theme.muted);
    const int bottom = cellRect(static_cast<int>(m_grid.rows.size()) - 1, 0).bottom();
    for (int column = 0; column < columns; ++column) {
        const int layer = m_grid.layers[static_cast<std::size_t>(column)];
        if (column % every == 0 || layer < 0) {
            const QRect cell = cellRect(0, column);
            painter.drawText(
                QRect(cell.left() - 20, bottom + 3, cell.width() + 40, metrics.height()),
                Qt::AlignCenter, layer < 0 ? tr("–") : QString::number(layer));
        }
    }
    if (hasFocus()) {
        painter.setPen(QPen(m_theme.text, 2));
        painter.setBrush(Qt::NoBrush);
        painter.drawRect(cellRect(m_row, m_column).adjusted(0, 0, -2, -2));
    }
    paintLegend(painter);
}

void BitMap::paintCell(QPainter& painter, const BitCell& cell, const QRect& rect) const {
    if (cell.unit < 0) {
        return;
    }
    const QFontMetrics metrics(font());
    const int gap = rect.width() > 6 && rect.height() > 6 ? 1 : 0;
    const QRect area = rect.adjusted(0, 0, -gap, -gap);
    const QColor ground = colorOf(cell.bits);
    painter.fillRect(area, ground);
    painter.setPen(inkOn(ground));
    for (const QString& text : {bitsText(cell.bits), bitsText(std::round(cell.bits * 10) / 10),
                                QString::number(std::floor(cell.bits + 0.06))}) {
        if (metrics.horizontalAdvance(text) + 2 <= area.width() &&
            metrics.ascent() - 2 <= area.height()) {
            painter.drawText(area, Qt::AlignCenter, text);
            break;
        }
    }
    if (cell.pinned) {
        // A frame and a corner: seen at any size and without colour.
        painter.setPen(QPen(inkOn(ground), 2));
        painter.setBrush(Qt::NoBrush);
        painter.drawRect(area.adjusted(2, 2, -3, -3));
        const int side = std::min({8, area.width() / 2, area.height() / 2});
        painter.setPen(Qt::NoPen);
        painter.setBrush(inkOn(ground));
        painter.drawPolygon(QPolygon() << area.topLeft() << area.topLeft() + QPoint(side, 0)
                                       << area.topLeft() + QPoint(0, side));
    }
}

void BitMap::paintLegend(QPainter& painter) const {
    std::map<double, QString> schemes;  // by bits
    bool pinned = false;
    for (const BitCell& cell : m_grid.cells) {
        if (cell.unit >= 0) {
            schemes[std::round(cell.bits * 100) / 100] = cell.scheme;
            pinned = pinned || cell.pinned;
        }
    }
    const QFontMetrics metrics(font());
    const int y = height() - kEdge - metrics.height();
    int x = geometryOf().left;
    for (const auto& [bits, scheme] : schemes) {
        const QString text = tr("%1 bits, %2").arg(bitsText(bits), scheme);
        const int wanted = kSwatch + 6 + metrics.horizontalAdvance(text) + 16;
        if (x + wanted > width()) {
            break;
        }
        painter.fillRect(x, y + (metrics.height() - kSwatch) / 2, kSwatch, kSwatch, colorOf(bits));
        painter.setPen(m_theme.text);
        painter.drawText(x + kSwatch + 6, y + metrics.ascent(), text);
        x += wanted;
    }
    const QString text = tr("framed: pinned");
    if (pinned && x + metrics.horizontalAdvance(text) < width()) {
        painter.setPen(m_theme.muted);
        painter.drawText(x, y + metrics.ascent(), text);
    }
}

QPoint BitMap::cellAt(const QPointF& at) const {
    const Geometry g = geometryOf();
    const int column = static_cast<int>(std::floor((at.x() - g.left) / g.width));
    const int row = static_cast<int>(std::floor((at.y() - g.top) / g.height));
    const bool inside = !m_grid.empty() && column >= 0 && row >= 0 &&
                        column < static_cast<int>(m_grid.layers.size()) && row < m_grid.rows.size();
    return inside ? QPoint(column, row) : QPoint(-1, -1);
}

QString BitMap::describe(const BitCell& cell) const {
    if (cell.unit < 0) {
        return {};
    }
    return QStringLiteral("<b>%1</b><br>%2<br>%3")
        .arg(cell.name.toHtmlEscaped(),
             tr("%1, %2 bits%3")
                 .arg(cell.scheme.toHtmlEscaped(), bitsText(cell.bits),
                      cell.pinned ? tr(", pinned") : QString()),
             cell.detail.toHtmlEscaped());
}

void BitMap::mouseMoveEvent(QMouseEvent* event) {
    const QPoint cell = cellAt(event->position());
    const QString text = cell.x() >= 0 ? describe(m_grid.at(cell.y(), cell.x())) : QString();
    text.isEmpty() ? m_card->hide() : m_card->showAt(event->pos(), text);
}

void BitMap::mousePressEvent(QMouseEvent* event) {
    const QPoint cell = cellAt(event->position());
    if (event->button() == Qt::LeftButton && cell.x() >= 0) {
        m_row = cell.y();
        m_column = cell.x();
        update();
        activate(m_row, m_column);
    }
}

void BitMap::leaveEvent(QEvent* event) {
    m_card->hide();
    QWidget::leaveEvent(event);
}

void BitMap::activate(int row, int column) {
    const BitCell& cell = m_grid.at(row, column);
    if (cell.unit >= 0) {
        m_card->hide();
        emit unitActivated(cell.unit, mapToGlobal(cellRect(row, column).bottomLeft()));
    }
}

void BitMap::setCurrent(int row, int column) {
    m_row = std::clamp(row, 0, static_cast<int>(m_grid.rows.size()) - 1);
    m_column = std::clamp(column, 0, static_cast<int>(m_grid.layers.size()) - 1);
    const QString text = describe(m_grid.at(m_row, m_column));
    text.isEmpty() ? m_card->hide() : m_card->showAt(cellRect(m_row, m_column).center(), text);
    setAccessibleDescription(text);
    update();
}

void BitMap::keyPressEvent(QKeyEvent* event) {
    if (m_grid.empty()) {
        return QWidget::keyPressEvent(event);
    }
    switch (event->key()) {
        case Qt::Key_Left:
            return setCurrent(m_row, m_column - 1);
        case Qt::Key_Right:
            return setCurrent(m_row, m_column + 1);
        case Qt::Key_Up:
            return setCurrent(m_row - 1, m_column);
        case Qt::Key_Down:
            return setCurrent(m_row + 1, m_column);
        case Qt::Key_Home:
            return setCurrent(m_row, 0);
        case Qt::Key_End:
            return setCurrent(m_row, static_cast<int>(m_grid.layers.size()) - 1);
        case Qt::Key_Return:
        case Qt::Key_Enter:
        case Qt::Key_Space:
            return activate(m_row, m_column);
        case Qt::Key_Escape:
            m_card->hide();
            break;
        default:
            break;
    }
    QWidget::keyPressEvent(event);
}

void BitMap::focusInEvent(QFocusEvent* event) {
    QWidget::focusInEvent(event);
    update();
}

void BitMap::focusOutEvent(QFocusEvent* event) {
    QWidget::focusOutEvent(event);
    m_card->hide();
    update();
}

void BitMap::changeEvent(QEvent* event) {
    QWidget::changeEvent(event);
    if (event->type() == QEvent::PaletteChange && !m_ownTheme) {
        m_theme = ChartTheme::fromPalette(palette());
        m_card->setTheme(m_theme);
        update();
    }
}

QSize BitMap::sizeHint() const {
    const QFontMetrics metrics(font());
    const int rows = std::max<int>(static_cast<int>(m_grid.rows.size()), 3);
    return {520, 2 * kEdge + 2 * metrics.height() + 18 + rows * static_cast<int>(kTallestCell)};
}

QSize BitMap::minimumSizeHint() const {
    const QFontMetrics metrics(font());
    const int rows = std::max<int>(static_cast<int>(m_grid.rows.size()), 3);
    return {280, 2 * kEdge + 2 * metrics.height() + 18 + rows * (metrics.height() + 2)};
}

}  // namespace fettle::ui
