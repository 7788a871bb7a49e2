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
    if (m_highlighted >= 0 &&
        index.data(ExperimentTableModel::IdRole).toLongLong() == m_highlighted) {
        QColor fill = m_theme.accent;
        fill.setAlphaF(0.10F);
        painter->fillRect(option.rect, fill);
    }
    painter->save();
    painter->setFont(background.font);
    if (index.column() >= ExperimentTableModel::FirstMetric) {
        paintMetric(*painter, option, index);
    } else if (index.column() == ExperimentTableModel::Favourite) {
        paintStar(*painter, option.rect, index.data(ExperimentTableModel::FavouriteRole).toBool());
    } else if (index.column() == ExperimentTableModel::Tags) {
        paintTags(*painter, option, index);
    } else {
        paintText(*painter, option, index);
    }
    painter->restore();
}

void ExploreCellDelegate::paintStar(QPainter& painter, const QRect& cell, bool favourite) const {
    const QColor filled = m_theme.techniqueColor(QStringLiteral("qat"));  // the palette's orange
    painter.setRenderHint(QPainter::Antialiasing);
    painter.translate(QPointF(cell.center()) + QPointF(0.5, 1));
    painter.scale(4.4, 4.4);
    QPen pen(favourite ? filled : m_theme.frame, 1.2, Qt::SolidLine, Qt::RoundCap, Qt::RoundJoin);
    pen.setCosmetic(true);
    painter.setPen(pen);
    painter.setBrush(favourite ? QBrush(filled) : QBrush(Qt::NoBrush));
    painter.drawPath(markerPath(Marker::Star));
}

void ExploreCellDelegate::paintTags(QPainter& painter, const QStyleOptionViewItem& option,
                                    const QModelIndex& index) const {
    const QStringList tags = index.data(ExperimentTableModel::TagsRole).toStringList();
    const QFontMetrics& metrics = option.fontMetrics;
    const QRect cell = option.rect.adjusted(kPad, 0, -kPad, 0);
    const int height = metrics.height() + 2;
    painter.setRenderHint(QPainter::Antialiasing);
    int x = cell.left();
    for (qsizetype i = 0; i < tags.size(); ++i) {
        // The last chips may not fit: how many there are is said instead.
        const QString rest = QStringLiteral("+%1").arg(tags.size() - i);
        const int room =
            cell.right() - x - (i + 1 < tags.size() ? metrics.horizontalAdvance(rest) + 6 : 0);
        if (room < 44) {
            painter.setPen(m_theme.muted);
            painter.drawText(QRect(x, cell.top(), cell.right() - x, cell.height()),
                             Qt::AlignLeft | Qt::AlignVCenter, rest);
            return;
        }
        const QString text = metrics.elidedText(tags[i], Qt::ElideRight, room - 14);
        const QRectF chip(x + 0.5, cell.center().y() - height / 2 + 0.5,
                          metrics.horizontalAdvance(text) + 14, height);
        QColor fill = m_theme.accent;
        fill.setAlphaF(m_theme.dark ? 0.20F : 0.12F);
        painter.setPen(Qt::NoPen);
        painter.setBrush(fill);
        painter.drawRoundedRect(chip, height / 2.0, height / 2.0);
        painter.setPen(m_theme.text);
        painter.drawText(chip, Qt::AlignCenter, text);
        x = static_cast<int>(chip.right()) + 5;
    }
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
