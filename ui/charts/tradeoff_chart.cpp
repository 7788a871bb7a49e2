#include "ui/charts/tradeoff_chart.h"

#include <QCategoryAxis>
#include <QChart>
#include <QEvent>
#include <QGraphicsItem>
#include <QLabel>
#include <QPainter>
#include <QRubberBand>
#include <QScatterSeries>
#include <algorithm>
#include <cmath>
#include <limits>

#include "ui/charts/hover_card.h"

namespace fettle::ui {

/// What lies over the axes' grid: everything that TradeoffPainter paints.
class TradeoffChart::Layer : public QGraphicsItem {
public:
    explicit Layer(TradeoffChart& chart) : QGraphicsItem(chart.chart()), m_chart(chart) {
        setAcceptedMouseButtons(Qt::NoButton);
        setZValue(50);
    }
    QRectF boundingRect() const override { return m_chart.m_view.area; }
    void refreshGeometry() { prepareGeometryChange(); }
    void paint(QPainter* painter, const QStyleOptionGraphicsItem*, QWidget*) override {
        m_chart.m_painter.paint(*painter, m_vector);
        if (m_chart.m_drawMarks) {
            m_chart.m_painter.paintMarks(*painter, m_chart.hasFocus() ? m_chart.m_current : -1,
                                         m_chart.m_hovered >= 0
                                             ? m_chart.m_hovered
                                             : m_chart.indexOf(m_chart.m_highlighted));
        }
    }
    bool m_vector = false;

private:
    TradeoffChart& m_chart;
};

TradeoffChart::TradeoffChart(QWidget* parent)
    : QChartView(new QChart, parent), m_xAxis(new QCategoryAxis), m_yAxis(new QCategoryAxis) {
    setAccessibleName(tr("Trade-off chart"));
    setAccessibleDescription(
        tr("Experiments as points in two metrics. Arrow keys move through the points, Enter opens "
           "one."));
    setFrameShape(QFrame::NoFrame);
    setFocusPolicy(Qt::StrongFocus);
    setMouseTracking(true);
    viewport()->setMouseTracking(true);
    setViewportUpdateMode(QGraphicsView::FullViewportUpdate);
    setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    setVerticalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    setMinimumSize(260, 200);

    // The series is empty: it ties the axes to the chart, the points are the layer's.
    auto* anchor = new QScatterSeries;
    chart()->addSeries(anchor);
    for (QCategoryAxis* axis : {m_xAxis, m_yAxis}) {
        axis->setLabelsPosition(QCategoryAxis::AxisLabelsPositionOnValue);
        axis->setTruncateLabels(false);
        chart()->addAxis(axis, axis == m_xAxis ? Qt::AlignBottom : Qt::AlignLeft);
        anchor->attachAxis(axis);
    }
    m_layer = new Layer(*this);
    m_card = new HoverCard(this);
    m_empty = new QLabel(this);
    m_empty->setObjectName(QStringLiteral("chartEmptyText"));
    m_empty->setAlignment(Qt::AlignCenter);
    m_empty->setWordWrap(true);
    m_empty->setTextFormat(Qt::RichText);
    m_empty->setAttribute(Qt::WA_TransparentForMouseEvents);
    m_empty->hide();
    m_band = new QRubberBand(QRubberBand::Rectangle, viewport());
    setTheme(ChartTheme::fromPalette(palette()));
    m_ownTheme = false;
    fitScales();
}

TradeoffChart::~TradeoffChart() {
    delete m_layer;  // before the painter it reads
}

void TradeoffChart::setTheme(const ChartTheme& theme) {
    m_ownTheme = true;
    m_painter.setTheme(theme);
    m_card->setTheme(theme);
    styleChart(*chart(), theme);
    setBackgroundBrush(theme.background);
    for (QCategoryAxis* axis : {m_xAxis, m_yAxis}) {
        axis->setLabelsColor(theme.muted);
        axis->setGridLinePen(QPen(theme.grid, 1));
        axis->setLinePen(QPen(theme.frame, 1));
    }
    QPalette colors = m_empty->palette();
    colors.setColor(QPalette::WindowText, theme.muted);
    m_empty->setPalette(colors);
    m_layer->update();
}

void TradeoffChart::setEmptyText(const QString& text) {
    m_empty->setText(text);
    m_empty->setVisible(m_painter.data().points.empty() && !text.isEmpty());
}

void TradeoffChart::setData(TradeoffData data) {
    const TradeoffQuery& before = m_painter.data().query;
    const bool sameAxes = before.x == data.query.x && before.y == data.query.y &&
                          !m_painter.data().points.empty() &&
                          m_painter.data().xProtocol == data.xProtocol &&
                          m_painter.data().yProtocol == data.yProtocol;
    const qint64 current = currentId();
    m_card->hide();
    m_hovered = -1;
    m_current = -1;
    m_painter.setData(std::move(data));
    const auto& points = m_painter.data().points;
    for (std::size_t i = 0; current >= 0 && i < points.size(); ++i) {
        if (points[i].id == current) {
            m_current = static_cast<int>(i);
        }
    }
    m_empty->setVisible(points.empty() && !m_empty->text().isEmpty());
    const bool keep = sameAxes && m_zoomed;
    if (keep) {
        const double corners[] = {
            m_view.xScale.fromAxis(m_view.x0), m_view.xScale.fromAxis(m_view.x1),
            m_view.yScale.fromAxis(m_view.y0), m_view.yScale.fromAxis(m_view.y1)};
        fitScales();
        m_view.x0 = m_view.xScale.toAxis(corners[0]);
        m_view.x1 = m_view.xScale.toAxis(corners[1]);
        m_view.y0 = m_view.yScale.toAxis(corners[2]);
        m_view.y1 = m_view.yScale.toAxis(corners[3]);
        m_zoomed = true;
        relayout();
    } else {
        fitScales();
    }
}

void TradeoffChart::setLogarithmic(bool x, bool y) {
    if (x != m_logX || y != m_logY) {
        m_logX = x;
        m_logY = y;
        fitScales();
    }
}

void TradeoffChart::fitScales() {
    double largestX = 0;
    double largestY = 0;
    for (const TradeoffPoint& point : m_painter.data().points) {
        largestX = std::max(largestX, std::abs(point.x));
        largestY = std::max(largestY, std::abs(point.y));
    }
    m_view.xScale = AxisScale(m_painter.data().query.x, m_logX, largestX);
    m_view.yScale = AxisScale(m_painter.data().query.y, m_logY, largestY);
    resetView();
}

void TradeoffChart::resetView() {
    fitRange(true);
    fitRange(false);
    const bool changed = m_zoomed;
    m_zoomed = false;
    relayout();
    if (changed) {
        emit viewChanged(false);
    }
}

void TradeoffChart::fitRange(bool x) {
    const AxisScale& scale = x ? m_view.xScale : m_view.yScale;
    double low = std::numeric_limits<double>::max();
    double high = std::numeric_limits<double>::lowest();
    const bool intervals = m_painter.data().points.size() <= 300;
    for (const TradeoffPoint& point : m_painter.data().points) {
        const double values[] = {x ? point.x : point.y, x ? point.xLow : point.yLow,
                                 x ? point.xHigh : point.yHigh};
        for (int i = 0; i < (intervals ? 3 : 1); ++i) {
            const double at = scale.toAxis(values[i]);
            if (std::isfinite(at)) {
                low = std::min(low, at);
                high = std::max(high, at);
            }
        }
    }
    if (low > high) {
        low = 0;
        high = 1;
    }
    double margin = (high - low) * 0.07;
    if (margin <= 0) {
        margin = scale.logarithmic() ? 0.1 : std::max(std::abs(low) * 0.1, 1e-9);
    }
    (x ? m_view.x0 : m_view.y0) = (x ? m_fitX : m_fitY)[0] = low - margin;
    (x ? m_view.x1 : m_view.y1) = (x ? m_fitX : m_fitY)[1] = high + margin;
}

void TradeoffChart::keepNear(double& low, double& high, double fitLow, double fitHigh) {
    const double fit = fitHigh - fitLow;
    const double span = std::clamp(high - low, fit * 1e-5, fit * 12);
    const double reach = fit / 2 + span / 2;
    const double middle = std::clamp((low + high) / 2, (fitLow + fitHigh) / 2 - reach,
                                     (fitLow + fitHigh) / 2 + reach);
    low = middle - span / 2;
    high = middle + span / 2;
}

void TradeoffChart::relayout() {
    const QSizeF size = viewport()->size();
    const QFontMetricsF metrics(font());
    m_view.area = QRectF(QPointF(0, 0), size);
    const double line = metrics.height();
    double labelWidth = 0;
    for (const AxisTick& tick : m_view.yScale.ticks(m_view.y0, m_view.y1, 6)) {
        labelWidth = std::max(labelWidth, metrics.horizontalAdvance(tick.label));
    }
    // Rounded up to steps, so that the plot does not shiver while labels grow and shrink during a
    // pan.
    const double left = line + 20 + std::ceil(labelWidth / 16) * 16 + 8;
    const double right = 22;
    const double top = m_painter.legendHeight(std::max(size.width() - left - right, 100.0)) + 4;
    const double bottom = 2 * line + 26;
    m_view.plot = QRectF(left, top, std::max(size.width() - left - right, 40.0),
                         std::max(size.height() - top - bottom, 40.0));
    m_layer->refreshGeometry();
    chart()->resize(size);
    chart()->setPlotArea(m_view.plot);
    m_empty->setGeometry(m_view.plot.toRect().adjusted(20, 20, -20, -20));
    applyView();
}

void TradeoffChart::applyView() {
    m_painter.setView(m_view);
    updateAxis(m_xAxis, m_view.xScale, m_view.x0, m_view.x1,
               static_cast<int>(m_view.plot.width() / 95));
    updateAxis(m_yAxis, m_view.yScale, m_view.y0, m_view.y1,
               static_cast<int>(m_view.plot.height() / 42));
    m_layer->update();
    viewport()->update();
}

void TradeoffChart::updateAxis(QCategoryAxis* axis, const AxisScale& scale, double low, double high,
                               int wanted) {
    const std::vector<AxisTick> ticks = m_painter.data().points.empty()
                                            ? std::vector<AxisTick>()
                                            : scale.ticks(low, high, std::clamp(wanted, 2, 12));
    // A category axis tells of every label it takes; told once, with the range, is enough.
    axis->blockSignals(true);
    for (const QString& label : axis->categoriesLabels()) {
        axis->remove(label);
    }
    axis->setStartValue(low - (high - low));
    for (const AxisTick& tick : ticks) {
        axis->append(tick.label, tick.position);
    }
    axis->setRange(low, high);
    axis->blockSignals(false);
    emit axis->categoriesChanged();
    emit axis->rangeChanged(low, high);
}

int TradeoffChart::indexOf(qint64 id) const {
    const auto& points = m_painter.data().points;
    const auto found = std::find_if(points.begin(), points.end(),
                                    [id](const TradeoffPoint& point) { return point.id == id; });
    return found == points.end() ? -1 : static_cast<int>(found - points.begin());
}

void TradeoffChart::setHighlighted(qint64 id) {
    if (id != m_highlighted) {
        m_highlighted = id;
        viewport()->update();
    }
}

std::vector<qint64> TradeoffChart::selection() const {
    return {m_painter.selection().begin(), m_painter.selection().end()};
}

void TradeoffChart::setSelection(const std::vector<qint64>& ids) {
    m_painter.setSelection({ids.begin(), ids.end()});
    if (ids.size() == 1) {
        const auto& points = m_painter.data().points;
        for (std::size_t i = 0; i < points.size(); ++i) {
            if (points[i].id == ids.front()) {
                m_current = static_cast<int>(i);
            }
        }
    }
    m_layer->update();
}

void TradeoffChart::select(const QSet<qint64>& ids) {
    if (ids == m_painter.selection()) {
        return;
    }
    m_painter.setSelection(ids);
    m_layer->update();
    emit selectionChanged(selection());
}

std::optional<QPointF> TradeoffChart::pointPosition(qint64 id) const {
    const auto& points = m_painter.data().points;
    for (std::size_t i = 0; i < points.size(); ++i) {
        if (points[i].id == id && m_view.plot.contains(m_painter.position(i))) {
            return m_painter.position(i);
        }
    }
    return std::nullopt;
}

QString TradeoffChart::hoverText() const {
    return m_card->isHidden() ? QString() : m_card->text();
}

qint64 TradeoffChart::currentId() const {
    const auto& points = m_painter.data().points;
    return m_current >= 0 && m_current < static_cast<int>(points.size())
               ? points[static_cast<std::size_t>(m_current)].id
               : -1;
}

void TradeoffChart::renderTo(QPainter& painter, bool vector) {
    m_layer->m_vector = vector;
    m_drawMarks = false;
    const QRectF whole(QPointF(0, 0), QSizeF(viewport()->size()));
    painter.fillRect(whole, m_painter.theme().background);
    scene()->render(&painter, whole, whole);
    m_drawMarks = true;
    m_layer->m_vector = false;
}

}  // namespace fettle::ui
