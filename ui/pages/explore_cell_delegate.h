// Cells of the experiment table: a star, tags as chips, the chart's marker before a technique, a
// dot before a status, and beside each number its delta against the baseline in a second, quieter
// column. GUI thread only.
#pragma once

#include <QStyledItemDelegate>

#include "ui/charts/chart_theme.h"

namespace fettle::ui {

class ExploreCellDelegate : public QStyledItemDelegate {
    Q_OBJECT

public:
    using QStyledItemDelegate::QStyledItemDelegate;
    void setTheme(const ChartTheme& theme) { m_theme = theme; }
    /// The experiment that is under the pointer, here or in a chart; -1: none.
    void setHighlighted(qint64 id) { m_highlighted = id; }
    qint64 highlighted() const { return m_highlighted; }
    void paint(QPainter* painter, const QStyleOptionViewItem& option,
               const QModelIndex& index) const override;
    QSize sizeHint(const QStyleOptionViewItem& option, const QModelIndex& index) const override;
    /// Width that deltas take at the right of a metric cell.
    static int deltaWidth(const QFontMetrics& metrics);

private:
    void paintMetric(QPainter& painter, const QStyleOptionViewItem& option,
                     const QModelIndex& index) const;
    void paintStar(QPainter& painter, const QRect& cell, bool favourite) const;
    void paintTags(QPainter& painter, const QStyleOptionViewItem& option,
                   const QModelIndex& index) const;
    void paintText(QPainter& painter, const QStyleOptionViewItem& option,
                   const QModelIndex& index) const;

    ChartTheme m_theme;
    qint64 m_highlighted = -1;
};

}  // namespace fettle::ui
