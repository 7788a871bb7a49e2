// Sizes as areas, in two levels: the blocks of a model and the tensors in them (squarified, Bruls,
// Huizing and van Wijk 2000). Hover or the arrow keys tell about a part, Enter and a click choose
// it. GUI thread only.
#pragma once

#include <QWidget>
#include <vector>

#include "ui/charts/chart_theme.h"

namespace fettle::ui {

class HoverCard;

struct TreeMapItem {
    QString id;
    QString label;  ///< short, drawn where it fits
    QString group;  ///< items of one group lie together
    QString tip;    ///< rich text of the card
    double size = 0;
    double value = 0;  ///< on the colour scale
};

class TreeMap : public QWidget {
    Q_OBJECT

public:
    explicit TreeMap(QWidget* parent = nullptr);

    void setItems(std::vector<TreeMapItem> items);
    void setEmptyText(const QString& text);
    int count() const { return static_cast<int>(m_items.size()); }
    QRectF itemRect(int item) const;
    QString hoverText() const;
    QSize sizeHint() const override { return {480, 320}; }
    QSize minimumSizeHint() const override { return {220, 160}; }

signals:
    void activated(const QString& id);

protected:
    void paintEvent(QPaintEvent* event) override;
    void resizeEvent(QResizeEvent* event) override;
    void mouseMoveEvent(QMouseEvent* event) override;
    void mousePressEvent(QMouseEvent* event) override;
    void leaveEvent(QEvent* event) override;
    void keyPressEvent(QKeyEvent* event) override;
    void focusInEvent(QFocusEvent* event) override;
    void focusOutEvent(QFocusEvent* event) override;
    void changeEvent(QEvent* event) override;

private:
    struct Group {
        QString name;
        QRectF rect;
    };
    void layOut();
    int itemAt(const QPointF& at) const;
    void setCurrent(int item);

    std::vector<TreeMapItem> m_items;  ///< largest groups first, in them the largest items
    std::vector<QRectF> m_rects;
    std::vector<Group> m_groups;
    ChartTheme m_theme;
    HoverCard* m_card;
    QString m_emptyText;
    double m_low = 0;
    double m_high = 0;
    int m_current = 0;
};

/// Places of parts with these sizes (largest first) inside `area`.
std::vector<QRectF> squarified(const std::vector<double>& sizes, const QRectF& area);

}  // namespace fettle::ui
