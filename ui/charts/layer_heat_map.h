// One metric of every tensor as colour: tensors down, layers across. Hover or the arrow keys tell
// the value, Enter and a click choose the tensor. GUI thread only.
#pragma once

#include <QWidget>

#include "ui/charts/chart_theme.h"
#include "ui/models/layer_grid.h"

namespace fettle::ui {

class HoverCard;

class LayerHeatMap : public QWidget {
    Q_OBJECT

public:
    explicit LayerHeatMap(QWidget* parent = nullptr);

    void setTitle(const QString& title);
    void setGrid(LayerGrid grid);
    /// Ends of the colour scale, so that maps side by side share one.
    void setRange(double low, double high);
    void setTheme(const ChartTheme& theme);
    const LayerGrid& grid() const { return m_grid; }
    /// Cell under the pointer or the keyboard, as text; empty: none.
    QString hoverText() const;
    QRect cellRect(int row, int column) const;
    QSize sizeHint() const override;
    QSize minimumSizeHint() const override;

signals:
    void tensorActivated(const QString& tensor);
    void currentChanged(int row, int column);

protected:
    void paintEvent(QPaintEvent* event) override;
    void mouseMoveEvent(QMouseEvent* event) override;
    void mousePressEvent(QMouseEvent* event) override;
    void leaveEvent(QEvent* event) override;
    void keyPressEvent(QKeyEvent* event) override;
    void focusInEvent(QFocusEvent* event) override;
    void focusOutEvent(QFocusEvent* event) override;
    void changeEvent(QEvent* event) override;

private:
    struct Geometry {
        int left = 0;
        int top = 0;
        double width = 0;  ///< of a cell
        double height = 0;
    };
    Geometry geometryOf() const;
    bool logarithmic() const;
    double positionOf(double value) const;
    QColor colorOf(double value) const;
    QPoint cellAt(const QPointF& at) const;  ///< (column, row); -1 outside
    QString describe(int row, int column) const;
    void setCurrent(int row, int column);
    void activate(int row, int column);
    void paintLegend(QPainter& painter) const;

    LayerGrid m_grid;
    QString m_title;
    ChartTheme m_theme;
    HoverCard* m_card;
    double m_low = 0;
    double m_high = 0;
    int m_row = 0;
    int m_column = 0;
    bool m_ownTheme = false;
};

}  // namespace fettle::ui
