#include "ui/pages/explore_cell_delegate.h"

#include <QApplication>
#include <QPainter>

#include "ui/charts/point_raster.h"
#include "ui/models/experiment_table_model.h"

namespace fettle::ui {
namespace {

constexpr int kPad = 8;

QColor statusColor(ExperimentStatus status, const ChartTheme& theme) {
    switch (status) {
        case ExperimentStatus::Finished:
            return theme.good;
        case ExperimentStatus::Failed:
            return theme.bad;
        case ExperimentStatus::Running:
            return theme.accent;
        default:
            return theme.muted;
    }
}

}  // namespace

int ExploreCellDelegate::deltaWidth(const QFontMetrics& metrics) {
    return metrics.horizontalAdvance(QStringLiteral("+88.8%")) + kPad;
}

QSize ExploreCellDelegate::sizeHint(const QStyleOptionViewItem& option,
                                    const QModelIndex& index) const {
    QSize size = QStyledItemDelegate::sizeHint(option, index);
    size.rwidth() += index.column() >= ExperimentTableModel::FirstMetric
                         ? deltaWidth(option.fontMetrics) + 2 * kPad
                         : 20 + 2 * kPad;
    return size;
}

void ExploreCellDelegate::paint(QPainter* painter, const QStyleOptionViewItem& option,
                                const QModelIndex& index) const {
    QStyleOptionViewItem background = option;
    initStyleOption(&background, index);
    background.text.clear();
    background.icon = {};
    const QWidget* widget = option.widget;
    (widget ? widget->style() : QApplication::style())
        ->drawControl(QStyle::CE_ItemViewItem, &background, painter, widget);
    painter->save();
    painter->setFont(background.font);
    index.column() >= ExperimentTableModel::FirstMetric ? paintMetric(*painter, option, index)
                                                        : paintText(*painter, option, index);
    painter->restore();
}

void ExploreCellDelegate::paintMetric(QPainter& painter, const QStyleOptionViewItem& option,
                                      const QModelIndex& index) const {
    const QRect cell = option.rect.adjusted(kPad, 0, -kPad, 0);
    const int delta = deltaWidth(option.fontMetrics);
    const QString value = index.data(Qt::DisplayRole).toString();
    const auto kind =
        static_cast<PointKind>(index.data(ExperimentTableModel::QualifierRole).toInt());
    if (value.isEmpty()) {
        painter.setPen(m_theme.muted);
        painter.drawText(cell.adjusted(0, 0, -delta, 0), Qt::AlignRight | Qt::AlignVCenter,
                         QStringLiteral("–"));
        return;
    }
    painter.setPen(kind == PointKind::Native ? m_theme.text : m_theme.muted);
    const QString mark = kind == PointKind::Dequantized ? QStringLiteral("* ")
                         : kind == PointKind::Estimated ? QStringLiteral("~ ")
                                                        : QString();
    const QRect number = cell.adjusted(0, 0, -delta, 0);
    painter.drawText(number, Qt::AlignRight | Qt::AlignVCenter,
                     option.fontMetrics.elidedText(mark + value, Qt::ElideRight, number.width()));
    const int goodness = index.data(ExperimentTableModel::GoodnessRole).toInt();
    painter.setPen(goodness > 0 ? m_theme.good : goodness < 0 ? m_theme.bad : m_theme.muted);
    painter.drawText(cell, Qt::AlignRight | Qt::AlignVCenter,
                     index.data(ExperimentTableModel::DeltaRole).toString());
}

void ExploreCellDelegate::paintText(QPainter& painter, const QStyleOptionViewItem& option,
                                    const QModelIndex& index) const {
    QRect cell = option.rect.adjusted(kPad, 0, -kPad, 0);
    const QPointF mark(cell.left() + 6, cell.center().y() + 0.5);
    if (index.column() == ExperimentTableModel::Technique) {
        const QString technique = index.data(ExperimentTableModel::TechniqueRole).toString();
        MarkerLook look;
        look.color = m_theme.techniqueColor(technique);
        look.marker = ChartTheme::techniqueMarker(technique);
        look.ground = m_theme.plot;
        look.radius = 4.6;
        paintMarker(painter, mark, look);
        cell.adjust(19, 0, 0, 0);
    } else if (index.column() == ExperimentTableModel::Status) {
        const auto status =
            static_cast<ExperimentStatus>(index.data(ExperimentTableModel::StatusRole).toInt());
        painter.setRenderHint(QPainter::Antialiasing);
        painter.setPen(QPen(statusColor(status, m_theme), 1.6));
        painter.setBrush(status == ExperimentStatus::Finished || status == ExperimentStatus::Failed
                             ? QBrush(statusColor(status, m_theme))
                             : QBrush(Qt::NoBrush));
        painter.drawEllipse(mark, 3.4, 3.4);
        cell.adjust(17, 0, 0, 0);
    }
    const auto status =
        static_cast<ExperimentStatus>(index.data(ExperimentTableModel::StatusRole).toInt());
    painter.setPen(status == ExperimentStatus::Finished ? m_theme.text : m_theme.muted);
    painter.drawText(cell, Qt::AlignLeft | Qt::AlignVCenter,
                     option.fontMetrics.elidedText(index.data(Qt::DisplayRole).toString(),
                                                   Qt::ElideRight, cell.width()));
}

}  // namespace fettle::ui
