// Which scheme each weight of a model gets: tensors down, layers across, colour and number by bits.
// Hover or the arrow keys tell scheme and predicted loss; a click or Enter asks for a choice. GUI
// thread only.
#pragma once

#include <QWidget>

#include "ui/charts/chart_theme.h"
#include "ui/models/bit_grid.h"

namespace fettle::ui {

class HoverCard;

class BitMap : public QWidget {
    Q_OBJECT

public:
    explicit BitMap(QWidget* parent = nullptr);

    void setGrid(BitGrid grid);
    const BitGrid& grid() const { return m_grid; }
    void setTheme(const ChartTheme& theme);
    QRect cellRect(int row, int column) const;
    /// Cell of a unit as (column, row); (-1, -1) where there is none.
    QPoint cellOf(int unit) const;
    QString hoverText() const;
    /// Ground of a cell and the ink that reads on it.
    QColor colorOf(double bits) const;
    QColor inkOn(const QColor& ground) const;
    QSize sizeHint() const override;
    QSize minimumSizeHint() const override;

signals:
    /// `at` is where a menu for the unit belongs, in global coordinates.
    void unitActivated(int unit, const QPoint& at);

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
    QPoint cellAt(const QPointF& at) const;
    QString describe(const BitCell& cell) const;
    void setCurrent(int row, int column);
    void activate(int row, int column);
    void paintCell(QPainter& painter, const BitCell& cell, const QRect& rect) const;
    void paintLegend(QPainter& painter) const;

    BitGrid m_grid;
    ChartTheme m_theme;
    HoverCard* m_card;
    int m_row = 0;
    int m_column = 0;
    bool m_ownTheme = false;
};

}  // namespace fettle::ui
