#include "ui/charts/model_graph.h"

#include <QHelpEvent>
#include <QKeyEvent>
#include <QMouseEvent>
#include <QPainter>
#include <QPainterPath>
#include <QScrollBar>
#include <algorithm>
#include <cmath>

#include "ui/charts/hover_card.h"
#include "ui/models/layer_grid.h"

namespace fettle::ui {
namespace {

constexpr int kGraphPad = 14;
constexpr int kGraphGap = 14;          // room for an edge between two rows
constexpr int kGraphLegendWidth = 12;  // of the colour bar
constexpr int kBypass = 22;            // how far the residual stream runs outside
constexpr int kWidest = 560;

}  // namespace

ModelGraph::ModelGraph(QWidget* parent)
    : QAbstractScrollArea(parent),
      m_theme(ChartTheme::fromPalette(palette())),
      m_card(new HoverCard(viewport())) {
    setFocusPolicy(Qt::StrongFocus);
    setFrameShape(QFrame::NoFrame);
    setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    setAccessibleName(tr("Graph of the model"));
    viewport()->setMouseTracking(true);
    m_card->setTheme(m_theme);
}

void ModelGraph::setReport(const ModelReport& report) {
    m_report = report;
    m_open.clear();
    m_current = 0;
    verticalScrollBar()->setValue(0);
    rebuild();
}

void ModelGraph::setMetric(std::vector<LayerMetric> metrics, const QString& metric) {
    m_metrics = std::move(metrics);
    m_metric = metric;
    setGraphMetric(m_graph, m_report, m_metrics, m_metric);
    m_card->hide();
    viewport()->update();
}

void ModelGraph::setMarks(QHash<QString, QString> marks) {
    m_marks = std::move(marks);
    viewport()->update();
}

void ModelGraph::setOpen(int layer, bool open) {
    if (open == isOpen(layer)) {
        return;
    }
    open ? void(m_open.insert(layer)) : void(m_open.erase(layer));
    rebuild();
    for (std::size_t node = 0; node < m_graph.nodes.size(); ++node) {
        if (m_graph.nodes[node].foldable && m_graph.nodes[node].layer == layer) {
            m_current = static_cast<int>(node);
        }
    }
}

void ModelGraph::rebuild() {
    m_graph = blockGraph(m_report, m_open);
    setGraphMetric(m_graph, m_report, m_metrics, m_metric);
    m_current = std::clamp(m_current, 0, std::max(0, static_cast<int>(m_graph.nodes.size()) - 1));
    m_card->hide();
    layOut();
}

void ModelGraph::layOut() {
    const QFontMetrics metrics(font());
    const int high = 2 * metrics.height() + 10;
    const int joinHigh = metrics.height() + 4;
    const int legend =
        kGraphLegendWidth + 24 + metrics.horizontalAdvance(QStringLiteral("0.00000 MiB"));
    const int room = std::max(viewport()->width() - 2 * kGraphPad - kBypass - legend, 160);
    const int width = std::min(room, kWidest);
    const int left = kGraphPad + kBypass;
    std::vector<int> tops(static_cast<std::size_t>(m_graph.rows) + 1, kGraphPad);
    std::vector<int> heights(static_cast<std::size_t>(m_graph.rows), high);
    for (const BlockNode& node : m_graph.nodes) {
        if (node.kind == BlockNode::Kind::Join || node.tensors.empty()) {
            heights[static_cast<std::size_t>(node.row)] = joinHigh;
        }
    }
    for (std::size_t row = 0; row < heights.size(); ++row) {
        tops[row + 1] = tops[row] + heights[row] + kGraphGap;
    }
    m_rects.clear();
    for (const BlockNode& node : m_graph.nodes) {
        const auto row = static_cast<std::size_t>(node.row);
        // Operations are set in from the block that they make up.
        const bool inside = node.layer >= 0 && !node.foldable;
        const int from = left + (inside ? 18 : 0);
        const int span = width - (inside ? 36 : 0);
        if (node.kind == BlockNode::Kind::Join) {
            m_rects.emplace_back(from + span / 2 - joinHigh / 2, tops[row], joinHigh, joinHigh);
            continue;
        }
        const int each = (span - (node.columns - 1) * kGraphGap) / node.columns;
        m_rects.emplace_back(from + node.column * (each + kGraphGap), tops[row], each,
                             heights[row]);
    }
    const int bottom = tops.back();
    verticalScrollBar()->setPageStep(viewport()->height());
    verticalScrollBar()->setSingleStep(metrics.height() * 2);
    verticalScrollBar()->setRange(0, std::max(0, bottom - viewport()->height()));
    viewport()->update();
}

QRect ModelGraph::nodeRect(std::size_t node) const {
    return node < m_rects.size() ? m_rects[node].translated(0, -verticalScrollBar()->value())
                                 : QRect();
}

QRect ModelGraph::foldRect(std::size_t node) const {
    if (node >= m_rects.size() || !m_graph.nodes[node].foldable) {
        return {};
    }
    const QRect rect = nodeRect(node);
    return {rect.left(), rect.top(), rect.height(), rect.height()};
}

QString ModelGraph::hoverText() const {
    return m_card->isHidden() ? QString() : m_card->text();
}

QStringList ModelGraph::marksOf(std::size_t node) const {
    QStringList marks;
    for (const QString& weight : m_graph.weights(m_report, node)) {
        const QString mark = m_marks.value(weight);
        if (!mark.isEmpty() && !marks.contains(mark)) {
            marks << mark;
        }
    }
    return marks;
}

double ModelGraph::placeOf(double value) const {
    if (!(m_graph.high > m_graph.low)) {
        return 0.5;
    }
    if (m_graph.low > 0 && m_graph.high / m_graph.low > 100) {
        return std::log(value / m_graph.low) / std::log(m_graph.high / m_graph.low);
    }
    return (value - m_graph.low) / (m_graph.high - m_graph.low);
}

void ModelGraph::paintEvent(QPaintEvent*) {
    QPainter painter(viewport());
    painter.fillRect(viewport()->rect(), m_theme.background);
    if (m_graph.nodes.empty()) {
        painter.setPen(m_theme.muted);
        painter.drawText(viewport()->rect(), Qt::AlignCenter, tr("The model has no tensors."));
        return;
    }
    painter.setRenderHint(QPainter::Antialiasing);
    paintEdges(painter);
    const QRect seen = viewport()->rect();
    for (std::size_t node = 0; node < m_rects.size(); ++node) {
        if (nodeRect(node).intersects(seen)) {
            paintNode(painter, node);
        }
    }
    paintLegend(painter);
}

void ModelGraph::paintEdges(QPainter& painter) const {
    const QRect seen = viewport()->rect();
    QColor ink = m_theme.muted;
    ink.setAlphaF(0.7F);
    painter.setBrush(Qt::NoBrush);
    for (const BlockEdge& edge : m_graph.edges) {
        const QRect from = nodeRect(edge.from);
        const QRect to = nodeRect(edge.to);
        if (to.bottom() < seen.top() || from.top() > seen.bottom()) {
            continue;
        }
        painter.setPen(QPen(ink, 1.4, edge.bypass ? Qt::DashLine : Qt::SolidLine));
        const QPointF end(to.center().x() + 0.5, to.top());
        if (edge.bypass) {
            const double x = kGraphPad + kBypass / 2.0;
            QPainterPath path(QPointF(from.left(), from.center().y()));
            path.lineTo(x, from.center().y());
            path.lineTo(x, to.center().y());
            path.lineTo(to.left(), to.center().y());
            painter.drawPath(path);
            continue;
        }
        const QPointF start(from.center().x() + 0.5, from.bottom() + 1);
        const double middle = end.y() - kGraphGap / 2.0;
        QPainterPath path(start);
        path.lineTo(start.x(), middle);
        path.lineTo(end.x(), middle);
        path.lineTo(end);
        painter.drawPath(path);
    }
}

void ModelGraph::paintNode(QPainter& painter, std::size_t at) const {
    const BlockNode& node = m_graph.nodes[at];
    const QRect rect = nodeRect(at);
    const bool valued = std::isfinite(node.value) && !node.tensors.empty();
    const QColor ground =
        valued ? m_theme.scaleColor(std::clamp(placeOf(node.value), 0.0, 1.0)) : m_theme.plot;
    const bool current = hasFocus() && static_cast<int>(at) == m_current;
    painter.setPen(current ? QPen(m_theme.accent, 3) : QPen(m_theme.frame, 1));
    painter.setBrush(ground);
    const double round = node.kind == BlockNode::Kind::Join ? rect.height() / 2.0 : 5;
    painter.drawRoundedRect(QRectF(rect).adjusted(0.5, 0.5, -0.5, -0.5), round, round);
    const QColor ink = !valued                     ? m_theme.text
                       : ground.lightnessF() > 0.5 ? QColor(0x18, 0x1c, 0x22)
                                                   : QColor(Qt::white);
    painter.setPen(ink);
    const QFontMetrics metrics(font());
    if (node.tensors.empty()) {
        painter.drawText(rect, Qt::AlignCenter, node.title);
        return;
    }
    QRect text = rect.adjusted(10, 3, -10, -3);
    if (node.foldable) {
        const QRectF fold = foldRect(at);
        const double size = metrics.height() * 0.28;
        const QPointF c = fold.center();
        QPolygonF arrow = isOpen(node.layer) ? QPolygonF{{c.x() - size, c.y() - size * 0.6},
                                                         {c.x() + size, c.y() - size * 0.6},
                                                         {c.x(), c.y() + size * 0.8}}
                                             : QPolygonF{{c.x() - size * 0.6, c.y() - size},
                                                         {c.x() - size * 0.6, c.y() + size},
                                                         {c.x() + size * 0.8, c.y()}};
        painter.setBrush(ink);
        painter.setPen(Qt::NoPen);
        painter.drawPolygon(arrow);
        painter.setPen(ink);
        text.setLeft(static_cast<int>(fold.right()) - 6);
    }
    const QString mark = marksOf(at).join(QStringLiteral(", "));
    const QString value = valued ? layerMetricText(m_metric, node.value) : QString();
    const int half = text.height() / 2;
    const QRect upper(text.left(), text.top(), text.width(), half);
    const QRect lower(text.left(), text.top() + half, text.width(), half);
    const auto pair = [&](const QRect& line, const QString& left, const QString& right) {
        const int taken =
            right.isEmpty() ? 0 : std::min(metrics.horizontalAdvance(right) + 10, line.width() / 2);
        painter.drawText(line, Qt::AlignVCenter | Qt::AlignLeft,
                         metrics.elidedText(left, Qt::ElideMiddle, line.width() - taken));
        painter.drawText(line, Qt::AlignVCenter | Qt::AlignRight,
                         metrics.elidedText(right, Qt::ElideRight, taken));
    };
    pair(upper, node.title, value);
    pair(lower, node.detail, mark.isEmpty() ? QString() : QStringLiteral("⚑ ") + mark);
}

void ModelGraph::paintLegend(QPainter& painter) const {
    if (m_metric.isEmpty() || !(m_graph.high > m_graph.low)) {
        return;
    }
    const QFontMetrics metrics(font());
    const int labels = metrics.horizontalAdvance(QStringLiteral("0.00000 MiB"));
    const QRect bar(viewport()->width() - kGraphPad - labels - kGraphLegendWidth - 5,
                    kGraphPad + metrics.height() / 2, kGraphLegendWidth,
                    std::min(160, std::max(40, viewport()->height() - 60)));
    painter.setRenderHint(QPainter::Antialiasing, false);
    for (int y = 0; y < bar.height(); ++y) {
        painter.fillRect(bar.left(), bar.bottom() - y, bar.width(), 1,
                         m_theme.scaleColor(static_cast<double>(y) / (bar.height() - 1)));
    }
    painter.setPen(m_theme.muted);
    const int x = bar.right() + 6;
    painter.drawText(x, bar.top() + metrics.ascent() / 2 + 1,
                     layerMetricText(m_metric, m_graph.high));
    painter.drawText(x, bar.bottom() + metrics.ascent() / 2,
                     layerMetricText(m_metric, m_graph.low));
}

int ModelGraph::nodeAt(const QPoint& at) const {
    for (std::size_t node = 0; node < m_rects.size(); ++node) {
        if (nodeRect(node).contains(at)) {
            return static_cast<int>(node);
        }
    }
    return -1;
}

QString ModelGraph::describe(std::size_t at) const {
    const BlockNode& node = m_graph.nodes[at];
    if (node.tensors.empty()) {
        return node.kind == BlockNode::Kind::Join
                   ? tr("Adds what went past to what was computed")
                   : tr("<b>%1</b><br>computed, no weights").arg(node.title.toHtmlEscaped());
    }
    QString html = QStringLiteral("<b>%1</b><br>%2")
                       .arg(node.title.toHtmlEscaped(), node.detail.toHtmlEscaped());
    if (node.tensors.size() > 1) {
        html += QStringLiteral("<br>") + tr("%1 tensors").arg(node.tensors.size());
    } else {
        html += QStringLiteral("<br>%1").arg(
            QString::fromStdString(m_report.tensors[node.tensors.front()].name).toHtmlEscaped());
    }
    if (std::isfinite(node.value)) {
        html += QStringLiteral("<br>%1: <b>%2</b>")
                    .arg(layerMetricTitle(m_metric).toHtmlEscaped(),
                         layerMetricText(m_metric, node.value));
        if (!node.valueOf.isEmpty()) {
            html += QStringLiteral("<br>") +
                    tr("its worst weight: %1").arg(node.valueOf.toHtmlEscaped());
        }
    }
    const QStringList marks = marksOf(at);
    if (!marks.isEmpty()) {
        html += QStringLiteral("<br>") +
                tr("In the recipe: %1").arg(marks.join(QStringLiteral(", ")).toHtmlEscaped());
    }
    return html;
}

void ModelGraph::setCurrent(int node) {
    if (m_graph.nodes.empty()) {
        return;
    }
    m_current = std::clamp(node, 0, static_cast<int>(m_graph.nodes.size()) - 1);
    const auto at = static_cast<std::size_t>(m_current);
    const QRect& place = m_rects[at];
    QScrollBar* bar = verticalScrollBar();
    if (place.top() - kGraphPad < bar->value()) {
        bar->setValue(place.top() - kGraphPad);
    } else if (place.bottom() + kGraphPad > bar->value() + viewport()->height()) {
        bar->setValue(place.bottom() + kGraphPad - viewport()->height());
    }
    const QString text = describe(at);
    m_card->showAt(nodeRect(at).center(), text);
    setAccessibleDescription(text);
    viewport()->update();
}

void ModelGraph::press(const QPoint& at) {
    const int node = nodeAt(at);
    if (node < 0) {
        return;
    }
    m_current = node;
    const auto index = static_cast<std::size_t>(node);
    viewport()->update();
    if (foldRect(index).contains(at)) {
        setOpen(m_graph.nodes[index].layer, !isOpen(m_graph.nodes[index].layer));
    } else if (!m_graph.nodes[index].tensors.empty()) {
        m_card->hide();
        emit nodeActivated(index, viewport()->mapToGlobal(at));
    }
}

bool ModelGraph::viewportEvent(QEvent* event) {
    switch (event->type()) {
        case QEvent::MouseMove: {
            const QPoint at = static_cast<QMouseEvent*>(event)->pos();
            const int node = nodeAt(at);
            node < 0 ? m_card->hide()
                     : m_card->showAt(at, describe(static_cast<std::size_t>(node)));
            break;
        }
        case QEvent::MouseButtonPress:
            if (static_cast<QMouseEvent*>(event)->button() == Qt::LeftButton) {
                press(static_cast<QMouseEvent*>(event)->pos());
                return true;
            }
            break;
        case QEvent::Leave:
        case QEvent::Wheel:
            m_card->hide();
            break;
        default:
            break;
    }
    return QAbstractScrollArea::viewportEvent(event);
}

void ModelGraph::keyPressEvent(QKeyEvent* event) {
    if (m_graph.nodes.empty()) {
        return QAbstractScrollArea::keyPressEvent(event);
    }
    const auto at = static_cast<std::size_t>(m_current);
    const BlockNode& node = m_graph.nodes[at];
    switch (event->key()) {
        case Qt::Key_Up:
            return setCurrent(m_current - 1);
        case Qt::Key_Down:
            return setCurrent(m_current + 1);
        case Qt::Key_Home:
            return setCurrent(0);
        case Qt::Key_End:
            return setCurrent(static_cast<int>(m_graph.nodes.size()) - 1);
        case Qt::Key_Right:
            if (node.foldable) {
                setOpen(node.layer, true);
                setCurrent(m_current);
            }
            return;
        case Qt::Key_Left:
            if (node.layer >= 0 && isOpen(node.layer)) {
                setOpen(node.layer, false);
                setCurrent(m_current);
            }
            return;
        case Qt::Key_Return:
        case Qt::Key_Enter:
        case Qt::Key_Space:
            if (!node.tensors.empty()) {
                m_card->hide();
                emit nodeActivated(at, viewport()->mapToGlobal(nodeRect(at).center()));
            }
            return;
        case Qt::Key_Escape:
            m_card->hide();
            break;
        default:
            break;
    }
    QAbstractScrollArea::keyPressEvent(event);
}

void ModelGraph::resizeEvent(QResizeEvent* event) {
    QAbstractScrollArea::resizeEvent(event);
    layOut();
}

void ModelGraph::focusInEvent(QFocusEvent* event) {
    QAbstractScrollArea::focusInEvent(event);
    viewport()->update();
}

void ModelGraph::focusOutEvent(QFocusEvent* event) {
    QAbstractScrollArea::focusOutEvent(event);
    m_card->hide();
    viewport()->update();
}

void ModelGraph::changeEvent(QEvent* event) {
    QAbstractScrollArea::changeEvent(event);
    if (event->type() == QEvent::PaletteChange) {
        m_theme = ChartTheme::fromPalette(palette());
        m_card->setTheme(m_theme);
        viewport()->update();
    } else if (event->type() == QEvent::FontChange) {
        layOut();
    }
}

}  // namespace fettle::ui
