#include "ui/charts/layer_heat_map.h"

#include <QEvent>
#include <QKeyEvent>
#include <QMouseEvent>
#include <QPainter>
#include <algorithm>
#include <cmath>

#include "ui/charts/hover_card.h"

namespace fettle::ui {
namespace {

constexpr int kPad = 10;
constexpr int kLegendWidth = 12;
constexpr double kMostCell = 44;  // wider cells would not say more

}  // namespace

LayerHeatMap::LayerHeatMap(QWidget* parent)
    : QWidget(parent), m_theme(ChartTheme::fromPalette(palette())), m_card(new HoverCard(this)) {
    setMouseTracking(true);
    setFocusPolicy(Qt::StrongFocus);
    setAccessibleName(tr("Heat map of the layers"));
    m_card->setTheme(m_theme);
}

void LayerHeatMap::setTitle(const QString& title) {
    m_title = title;
    setAccessibleName(tr("Heat map of the layers of %1").arg(title));
    update();
}

void LayerHeatMap::setGrid(LayerGrid grid) {
    m_grid = std::move(grid);
    m_low = m_grid.low;
    m_high = m_grid.high;
    m_row = std::clamp(m_row, 0, std::max<int>(0, static_cast<int>(m_grid.rows.size()) - 1));
    m_column = std::clamp(m_column, 0, std::max(0, static_cast<int>(m_grid.layers.size()) - 1));
    m_card->hide();
    updateGeometry();
    update();
}

void LayerHeatMap::setRange(double low, double high) {
    m_low = low;
    m_high = high;
    update();
}

void LayerHeatMap::setTheme(const ChartTheme& theme) {
    m_theme = theme;
    m_ownTheme = true;
    m_card->setTheme(theme);
    update();
}

QString LayerHeatMap::hoverText() const {
    return m_card->isHidden() ? QString() : m_card->text();
}

LayerHeatMap::Geometry LayerHeatMap::geometryOf() const {
    const QFontMetrics metrics(font());
    Geometry made;
    int widest = 0;
    for (const QString& row : m_grid.rows) {
        widest = std::max(widest, metrics.horizontalAdvance(row));
    }
    made.left = kPad + widest + 8;
    made.top = kPad + (m_title.isEmpty() ? 0 : metrics.height() + 6);
    const int legend = kLegendWidth + 14 + metrics.horizontalAdvance(QStringLiteral("0.00000 MiB"));
    const double across = std::max(width() - made.left - legend - kPad, 20);
    const double down = std::max(height() - made.top - metrics.height() - 8 - kPad, 20);
    made.width = std::min(across / std::max<double>(1, static_cast<double>(m_grid.layers.size())),
                          kMostCell);
    made.height = std::min(down / std::max<double>(1, static_cast<double>(m_grid.rows.size())),
                           kMostCell * 0.7);
    return made;
}

QRect LayerHeatMap::cellRect(int row, int column) const {
    const Geometry g = geometryOf();
    const int x0 = static_cast<int>(g.left + g.width * column);
    const int x1 = static_cast<int>(g.left + g.width * (column + 1));
    const int y0 = static_cast<int>(g.top + g.height * row);
    const int y1 = static_cast<int>(g.top + g.height * (row + 1));
    return {x0, y0, std::max(x1 - x0, 1), std::max(y1 - y0, 1)};
}

bool LayerHeatMap::logarithmic() const {
    return m_low > 0 && m_high / m_low > 100;
}

double LayerHeatMap::positionOf(double value) const {
    if (!(m_high > m_low)) {
        return 0.5;
    }
    return logarithmic() ? std::log(value / m_low) / std::log(m_high / m_low)
                         : (value - m_low) / (m_high - m_low);
}

QColor LayerHeatMap::colorOf(double value) const {
    const double position = std::clamp(positionOf(value), 0.0, 1.0);
    return m_theme.scaleColor(position);
}

void LayerHeatMap::paintEvent(QPaintEvent*) {
    QPainter painter(this);
    painter.fillRect(rect(), m_theme.background);
    const QFontMetrics metrics(font());
    if (m_grid.empty()) {
        painter.setPen(m_theme.muted);
        painter.drawText(rect().adjusted(16, 8, -16, -8), Qt::AlignCenter | Qt::TextWordWrap,
                         (m_title.isEmpty() ? QString() : m_title + QLatin1Char('\n')) +
                             tr("No values per layer. Techniques that change weights leave them."));
        return;
    }
    painter.setPen(m_theme.text);
    painter.drawText(QPoint(kPad, kPad + metrics.ascent()),
                     metrics.elidedText(m_title, Qt::ElideRight, width() - 2 * kPad));
    const int columns = static_cast<int>(m_grid.layers.size());
    for (int row = 0; row < m_grid.rows.size(); ++row) {
        const QRect first = cellRect(row, 0);
        if (first.height() >= metrics.ascent() - 2) {
            painter.setPen(m_theme.muted);
            painter.drawText(QRect(kPad, first.top(), first.left() - kPad - 6, first.height()),
                             Qt::AlignRight | Qt::AlignVCenter, m_grid.rows[row]);
        }
        for (int column = 0; column < columns; ++column) {
            const double value = m_grid.values[m_grid.at(row, column)];
            const QRect cell = cellRect(row, column);
            const int gap = cell.width() > 6 && cell.height() > 6 ? 1 : 0;
            if (std::isfinite(value)) {
                painter.fillRect(cell.adjusted(0, 0, -gap, -gap), colorOf(value));
            }
        }
    }
    const QString widest = QString::number(columns);
    const int every =
        std::max(1, static_cast<int>(std::ceil((metrics.horizontalAdvance(widest) + 8) /
                                               std::max(1, cellRect(0, 0).width()))));
    painter.setPen(m_theme.muted);
    const int bottom = cellRect(static_cast<int>(m_grid.rows.size()) - 1, 0).bottom();
    for (int column = 0; column < columns; ++column) {
        const bool outside = m_grid.layers[static_cast<std::size_t>(column)] < 0;
        if (column % every == 0 || outside) {
            const QRect cell = cellRect(0, column);
            painter.drawText(
                QRect(cell.left() - 20, bottom + 3, cell.width() + 40, metrics.height()),
                Qt::AlignCenter,
                outside ? tr("–")
                        : QString::number(m_grid.layers[static_cast<std::size_t>(column)]));
        }
    }
    if (hasFocus()) {
        painter.setPen(QPen(m_theme.text, 2));
        painter.drawRect(cellRect(m_row, m_column).adjusted(0, 0, -1, -1));
    }
    paintLegend(painter);
}

void LayerHeatMap::paintLegend(QPainter& painter) const {
    const QFontMetrics metrics(font());
    const QRect last = cellRect(static_cast<int>(m_grid.rows.size()) - 1,
                                static_cast<int>(m_grid.layers.size()) - 1);
    const QRect first = cellRect(0, 0);
    const QRect bar(last.right() + 12, first.top(), kLegendWidth,
                    std::max(last.bottom() - first.top(), 2 * metrics.height()));
    for (int y = 0; y < bar.height(); ++y) {
        painter.fillRect(
            bar.left(), bar.bottom() - y, bar.width(), 1,
            m_theme.scaleColor(static_cast<double>(y) / std::max(bar.height() - 1, 1)));
    }
    painter.setPen(m_theme.muted);
    const int x = bar.right() + 5;
    painter.drawText(x, bar.top() + metrics.ascent(), layerMetricText(m_grid.metric, m_high));
    painter.drawText(x, bar.bottom(), layerMetricText(m_grid.metric, m_low));
    if (logarithmic() && bar.height() > 4 * metrics.height()) {
        painter.drawText(x, bar.center().y() + metrics.ascent() / 2,
                         layerMetricText(m_grid.metric, std::sqrt(m_low * m_high)));
    }
}

QPoint LayerHeatMap::cellAt(const QPointF& at) const {
    const Geometry g = geometryOf();
    const int column = static_cast<int>(std::floor((at.x() - g.left) / g.width));
    const int row = static_cast<int>(std::floor((at.y() - g.top) / g.height));
    const bool inside = !m_grid.empty() && column >= 0 && row >= 0 &&
                        column < static_cast<int>(m_grid.layers.size()) && row < m_grid.rows.size();
    return inside ? QPoint(column, row) : QPoint(-1, -1);
}

QString LayerHeatMap::describe(int row, int column) const {
    const std::size_t at = m_grid.at(row, column);
    if (m_grid.tensors[at].isEmpty()) {
        return {};
    }
    return QStringLiteral("<b>%1</b><br>%2: %3")
        .arg(m_grid.tensors[at].toHtmlEscaped(), layerMetricTitle(m_grid.metric).toHtmlEscaped(),
             layerMetricText(m_grid.metric, m_grid.values[at]));
}

void LayerHeatMap::mouseMoveEvent(QMouseEvent* event) {
    const QPoint cell = cellAt(event->position());
    const QString text = cell.x() >= 0 ? describe(cell.y(), cell.x()) : QString();
    text.isEmpty() ? m_card->hide() : m_card->showAt(event->pos(), text);
}

void LayerHeatMap::mousePressEvent(QMouseEvent* event) {
    const QPoint cell = cellAt(event->position());
    if (event->button() == Qt::LeftButton && cell.x() >= 0) {
        m_row = cell.y();
        m_column = cell.x();
        update();
        activate(m_row, m_column);
    }
}

void LayerHeatMap::leaveEvent(QEvent* event) {
    m_card->hide();
    QWidget::leaveEvent(event);
}

void LayerHeatMap::activate(int row, int column) {
    const QString& tensor = m_grid.tensors[m_grid.at(row, column)];
    if (!tensor.isEmpty()) {
        emit tensorActivated(tensor);
    }
}

void LayerHeatMap::setCurrent(int row, int column) {
    m_row = std::clamp(row, 0, static_cast<int>(m_grid.rows.size()) - 1);
    m_column = std::clamp(column, 0, static_cast<int>(m_grid.layers.size()) - 1);
    const QString text = describe(m_row, m_column);
    text.isEmpty() ? m_card->hide() : m_card->showAt(cellRect(m_row, m_column).center(), text);
    setAccessibleDescription(text);
    emit currentChanged(m_row, m_column);
    update();
}

void LayerHeatMap::keyPressEvent(QKeyEvent* event) {
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

void LayerHeatMap::focusInEvent(QFocusEvent* event) {
    QWidget::focusInEvent(event);
    update();
}

void LayerHeatMap::focusOutEvent(QFocusEvent* event) {
    QWidget::focusOutEvent(event);
    m_card->hide();
    update();
}

void LayerHeatMap::changeEvent(QEvent* event) {
    QWidget::changeEvent(event);
    if (event->type() == QEvent::PaletteChange && !m_ownTheme) {
        m_theme = ChartTheme::fromPalette(palette());
        m_card->setTheme(m_theme);
        update();
    }
}

QSize LayerHeatMap::sizeHint() const {
    const QFontMetrics metrics(font());
    const int rows = std::max<int>(static_cast<int>(m_grid.rows.size()), 3);
    return {420, kPad * 2 + 2 * metrics.height() + 14 + rows * (metrics.height() + 4)};
}

QSize LayerHeatMap::minimumSizeHint() const {
    const QFontMetrics metrics(font());
    const int rows = std::max<int>(static_cast<int>(m_grid.rows.size()), 3);
    return {260, kPad * 2 + 2 * metrics.height() + 14 + rows * metrics.height()};
}

}  // namespace fettle::ui
