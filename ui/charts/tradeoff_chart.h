// Interactive scatter of experiments in two metrics. Wheel zooms around the cursor (over an axis:
// that axis only), dragging pans, Shift+drag or the select mode brushes, a click selects, a double
// click opens an experiment or, on empty ground, resets the view; arrow keys move through the
// points, Enter opens. GUI thread only.
#pragma once

#include <QChartView>
#include <QSet>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "ui/charts/tradeoff_painter.h"

class QCategoryAxis;
class QLabel;
class QRubberBand;

namespace fettle::ui {

class HoverCard;

class TradeoffChart : public QChartView {
    Q_OBJECT

public:
    enum class DragMode { Pan, Select };

    explicit TradeoffChart(QWidget* parent = nullptr);
    ~TradeoffChart() override;

    /// Keeps zoom and pan while the axes stay the same metrics; otherwise shows everything.
    void setData(TradeoffData data);
    const TradeoffData& data() const { return m_painter.data(); }
    void setLogarithmic(bool x, bool y);
    bool logarithmicX() const { return m_logX; }
    bool logarithmicY() const { return m_logY; }
    /// Rich text of the hover card of an experiment.
    void setHoverSource(std::function<QString(qint64)> source) {
        m_hoverSource = std::move(source);
    }
    void setDragMode(DragMode mode) { m_dragMode = mode; }
    void setTheme(const ChartTheme& theme);
    /// Shown in the middle while there are no points.
    void setEmptyText(const QString& text);

    std::vector<qint64> selection() const;
    /// Does not emit selectionChanged.
    void setSelection(const std::vector<qint64>& ids);
    /// Marks a point as if the pointer were on it; -1: none.
    void setHighlighted(qint64 id);
    void resetView();
    bool isZoomed() const { return m_zoomed; }
    /// By `factor` (above 1: closer) around a place in viewport coordinates.
    void zoom(double factor, const QPointF& around, bool x = true, bool y = true);
    void pan(const QPointF& pixels);

    /// Where a point is drawn, in viewport coordinates; none while it is out of sight.
    std::optional<QPointF> pointPosition(qint64 id) const;
    /// Text of the hover card while it is shown, else empty.
    QString hoverText() const;
    /// The point that the keyboard stands on; -1: none.
    qint64 currentId() const;
    /// Markers drawn in the last frame.
    int drawnPoints() const { return m_painter.drawn(); }
    /// Points that a logarithmic axis cannot hold.
    int offScale() const { return m_painter.offScale(); }
    const TradeoffView& view() const { return m_painter.view(); }
    /// Renders the chart as it stands; `vector` for SVG.
    void renderTo(QPainter& painter, bool vector);

signals:
    void selectionChanged(const std::vector<qint64>& ids);
    void activated(qint64 id);
    void hovered(qint64 id);  ///< -1: none
    void viewChanged(bool zoomed);

protected:
    void resizeEvent(QResizeEvent* event) override;
    void wheelEvent(QWheelEvent* event) override;
    void mousePressEvent(QMouseEvent* event) override;
    void mouseMoveEvent(QMouseEvent* event) override;
    void mouseReleaseEvent(QMouseEvent* event) override;
    void mouseDoubleClickEvent(QMouseEvent* event) override;
    void leaveEvent(QEvent* event) override;
    void keyPressEvent(QKeyEvent* event) override;
    void focusInEvent(QFocusEvent* event) override;
    void focusOutEvent(QFocusEvent* event) override;
    void changeEvent(QEvent* event) override;

private:
    class Layer;

    void fitScales();
    void fitRange(bool x);
    /// Keeps the visible range near the points: neither so close that doubles run out of digits nor
    /// lost in nowhere.
    static void keepNear(double& low, double& high, double fitLow, double fitHigh);
    void relayout();
    void applyView();
    void updateAxis(QCategoryAxis* axis, const AxisScale& scale, double low, double high,
                    int wanted);
    int nearest(const QPointF& at, double reach) const;
    int indexOf(qint64 id) const;
    void setHovered(int point, const QPointF& at);
    void moveCurrent(bool horizontal, bool forward);
    void showCurrent();
    void select(const QSet<qint64>& ids);
    void brush(const QRectF& area, Qt::KeyboardModifiers modifiers);

    TradeoffPainter m_painter;
    TradeoffView m_view;
    std::function<QString(qint64)> m_hoverSource;
    QCategoryAxis* m_xAxis;
    QCategoryAxis* m_yAxis;
    Layer* m_layer;
    HoverCard* m_card;
    QLabel* m_empty;
    QRubberBand* m_band;
    DragMode m_dragMode = DragMode::Pan;
    double m_fitX[2] = {0, 1};  ///< the range that shows all points
    double m_fitY[2] = {0, 1};
    bool m_logX = false;
    bool m_logY = false;
    bool m_zoomed = false;
    bool m_ownTheme = false;
    int m_hovered = -1;
    qint64 m_highlighted = -1;
    int m_current = -1;
    enum class Drag { None, Pressed, Panning, Brushing } m_drag = Drag::None;
    QPoint m_pressed;
    QPoint m_last;
    bool m_drawMarks = true;
};

}  // namespace fettle::ui
