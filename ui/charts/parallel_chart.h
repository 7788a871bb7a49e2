// Parallel coordinates: one vertical axis per metric, one line per experiment. Dragging along an
// axis brushes a range, which filters; dragging a title moves its axis, a double click on it turns
// the axis over. A click selects a line, a double click opens it. Keyboard: Left and Right choose
// an axis, Up and Down walk through the lines along it, Enter opens, R turns the axis over,
// Ctrl+Left and Ctrl+Right move it, Delete clears its range. GUI thread only.
#pragma once

#include <QMap>
#include <QSet>
#include <QWidget>
#include <functional>
#include <optional>
#include <vector>

#include "ui/charts/axis_scale.h"
#include "ui/charts/chart_theme.h"
#include "ui/charts/line_raster.h"
#include "ui/models/experiment_table_filter.h"
#include "ui/models/parallel_model.h"

namespace fettle::ui {

class HoverCard;

class ParallelChart : public QWidget {
    Q_OBJECT

public:
    explicit ParallelChart(QWidget* parent = nullptr);

    void setData(ParallelData data);
    const ParallelData& data() const { return m_data; }
    /// Ranges by metric; lines outside of one are drawn as a quiet ground. Does not emit brushed.
    void setRanges(const QMap<QString, MetricRange>& ranges);
    const QMap<QString, MetricRange>& ranges() const { return m_ranges; }
    /// Metrics whose axis stands on its head: by itself an axis has its better end at the top.
    void setReversed(const QSet<QString>& metrics);
    const QSet<QString>& reversed() const { return m_reversed; }
    void setTheme(const ChartTheme& theme);
    /// Rich text of the hover card of an experiment.
    void setHoverSource(std::function<QString(qint64)> source) {
        m_hoverSource = std::move(source);
    }
    /// Shown in the middle while there are no lines.
    void setEmptyText(const QString& text);

    std::vector<qint64> selection() const { return {m_selection.begin(), m_selection.end()}; }
    /// Does not emit selectionChanged.
    void setSelection(const std::vector<qint64>& ids);
    /// Marks a line as if the pointer were on it; -1: none.
    void setHighlighted(qint64 id);

    /// Lines within all ranges: indices of data().lines.
    std::vector<std::size_t> activeLines() const;
    /// Where a line crosses an axis, in widget coordinates; none where it has no value there.
    std::optional<QPointF> crossing(qint64 id, int axis) const;
    /// Middle of an axis' title, in widget coordinates.
    QPointF titlePosition(int axis) const;
    QRectF plot() const { return m_plot; }
    int currentAxis() const { return m_axis; }
    qint64 currentId() const { return m_currentId; }
    QString hoverText() const;
    /// Pieces of lines drawn when the lines were last laid down; the others were thinned out.
    int drawnPieces() const { return m_drawnPieces; }

    /// Renders the chart as it stands; `vector` for SVG.
    void renderTo(QPainter& painter, bool vector);
    QSize sizeHint() const override { return {640, 360}; }

signals:
    void selectionChanged(const std::vector<qint64>& ids);
    void activated(qint64 id);
    void hovered(qint64 id);  ///< -1: none
    /// The user drew, moved or cleared a range; an empty one: cleared.
    void brushed(const QString& metric, const fettle::ui::MetricRange& range);
    void axesMoved(const QStringList& metrics);
    void reversedChanged();

protected:
    void paintEvent(QPaintEvent* event) override;
    void resizeEvent(QResizeEvent* event) override;
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
    enum class Drag { None, Pressed, NewRange, MoveRange, LowEnd, HighEnd, Title };
    enum class Layer { Ground, Lines };

    int axisCount() const { return static_cast<int>(m_data.axes.size()); }
    double axisX(int axis) const;
    /// Larger values are nearer to the top.
    bool upwards(int axis) const;
    double toY(int axis, double value) const;
    double toValue(int axis, double y) const;
    float lineY(std::size_t line, int axis) const {
        return m_y[line * m_data.axes.size() + static_cast<std::size_t>(axis)];
    }
    void relayout();
    void updateActive();
    bool hasInactive() const;
    void invalidate();

    QColor lineColor(const ParallelLine& line) const;
    double lineOpacity() const;
    void updateColors();
    /// `fine`: for a file, however long it takes.
    void fillLayers(qreal ratio, bool fine);
    void fillLayer(LineRaster& raster, const QImage& ground, Layer layer, double opacity);
    bool isDashed(std::size_t line, int axis) const;
    void paintChart(QPainter& painter, bool vector, bool marks);
    void paintVectorLines(QPainter& painter, Layer layer);
    void paintLine(QPainter& painter, std::size_t line, const QPen& pen) const;
    void paintMarkedLines(QPainter& painter, bool hovered);
    void paintAxes(QPainter& painter, bool marks) const;
    void paintRanges(QPainter& painter) const;
    struct LegendEntry;
    std::vector<LegendEntry> legendEntries() const;
    /// Where each entry begins, row by row; the height of all rows with it.
    std::vector<QPointF> placeLegend(const std::vector<LegendEntry>& entries, double& height) const;
    void paintTitle(QPainter& painter, int axis) const;
    void paintLegend(QPainter& painter) const;
    std::optional<QRectF> rangeRect(int axis) const;

    int axisAt(double x, double reach) const;
    int titleAt(const QPointF& at) const;
    int nearestLine(const QPointF& at, double reach) const;
    void setHovered(int line, const QPointF& at);
    void beginDrag(const QPointF& at);
    void dragTo(const QPointF& at);
    void setRangeByPixels(int axis, double y0, double y1);
    void changeRange(int axis, const MetricRange& range);
    void reverse(int axis);
    void moveAxis(int from, int to);
    void walk(bool up);
    void select(const QSet<qint64>& ids);

    ParallelData m_data;
    ChartTheme m_theme;
    std::vector<AxisScale> m_scales;
    QMap<QString, MetricRange> m_ranges;
    QSet<QString> m_reversed;
    QSet<qint64> m_selection;
    std::vector<char> m_active;
    std::vector<float> m_y;  ///< lines x axes, widget coordinates; NaN where there is no value
    QRectF m_plot;
    QRectF m_titles;
    bool m_compact = false;        ///< titles of one line, no legend
    std::vector<QColor> m_colors;  ///< of the lines
    QImage m_blank;
    LineRaster m_ground;
    LineRaster m_lines;
    bool m_blankStale = true;
    bool m_groundStale = true;
    bool m_linesStale = true;
    qreal m_ratio = 0;
    bool m_fine = false;
    int m_drawnPieces = 0;

    std::function<QString(qint64)> m_hoverSource;
    HoverCard* m_card;
    QString m_emptyText;
    bool m_ownTheme = false;
    int m_hovered = -1;
    qint64 m_highlighted = -1;
    qint64 m_currentId = -1;
    int m_axis = 0;
    Drag m_drag = Drag::None;
    int m_dragAxis = -1;
    QPointF m_pressed;
    QPointF m_dragged;
    double m_dragLow = 0;  ///< ends of the range when the drag began, as places on the axis
    double m_dragHigh = 0;
};

}  // namespace fettle::ui
