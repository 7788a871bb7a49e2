#include "ui/widgets/item_delegates.h"

#include <QApplication>
#include <QPainter>
#include <algorithm>

#include "ui/models/library_model.h"
#include "ui/models/run_queue_model.h"
#include "ui/widgets/icons.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

/// Background, selection and focus as the style draws them, without text.
void drawRow(QPainter* painter, QStyleOptionViewItem option) {
    option.text.clear();
    option.icon = {};
    option.features &= ~QStyleOptionViewItem::HasDecoration;
    const QWidget* widget = option.widget;
    (widget ? widget->style() : QApplication::style())
        ->drawControl(QStyle::CE_ItemViewItem, &option, painter, widget);
}

QFont smallFont(const QFont& base) {
    QFont font = base;
    font.setPointSizeF(base.pointSizeF() * 0.9);
    return font;
}

QString kindIcon(int kind) {
    switch (static_cast<LibraryItem::Kind>(kind)) {
        case LibraryItem::Kind::Text:
            return QStringLiteral("text");
        case LibraryItem::Kind::Tasks:
            return QStringLiteral("tasks");
        case LibraryItem::Kind::Model:
            break;
    }
    return QStringLiteral("model");
}

QColor stateColor(RunEntry::State state) {
    const ThemeColors& c = themeColors();
    switch (state) {
        case RunEntry::State::Running:
            return c.accent;
        case RunEntry::State::Finished:
            return c.success;
        case RunEntry::State::Failed:
            return c.danger;
        case RunEntry::State::Paused:
        case RunEntry::State::Interrupted:
            return c.warning;
        default:
            return c.outline;
    }
}

}  // namespace

QSize LibraryDelegate::sizeHint(const QStyleOptionViewItem& option,
                                const QModelIndex& index) const {
    const int line = option.fontMetrics.height();
    if (index.data(LibraryModel::SectionRole).toBool()) {
        return {80, line + 12};
    }
    return {120, line + QFontMetrics(smallFont(option.font)).height() + 12};
}

void LibraryDelegate::paint(QPainter* painter, const QStyleOptionViewItem& given,
                            const QModelIndex& index) const {
    QStyleOptionViewItem option = given;
    initStyleOption(&option, index);
    const ThemeColors& c = themeColors();
    painter->save();
    if (index.data(LibraryModel::SectionRole).toBool()) {
        QFont font = smallFont(option.font);
        font.setWeight(QFont::DemiBold);
        painter->setFont(font);
        painter->setPen(c.muted);
        painter->drawText(option.rect.adjusted(4, 4, -4, 0), Qt::AlignVCenter | Qt::AlignLeft,
                          index.data().toString().toUpper());
        painter->restore();
        return;
    }
    drawRow(painter, option);
    const QRect rect = option.rect.adjusted(4, 5, -8, -5);
    const bool missing = index.data(LibraryModel::MissingRole).toBool();
    const QRect icon(rect.left(), rect.center().y() - 9, 18, 18);
    themedIcon(kindIcon(index.data(LibraryModel::KindRole).toInt()),
               missing ? IconTint::Danger : IconTint::Accent)
        .paint(painter, icon);
    const QRect text = rect.adjusted(26, 0, 0, 0);
    painter->setFont(option.font);
    painter->setPen(missing ? c.muted : c.text);
    const QString name =
        option.fontMetrics.elidedText(index.data().toString(), Qt::ElideMiddle, text.width());
    painter->drawText(text, Qt::AlignTop | Qt::AlignLeft, name);
    const QFont font = smallFont(option.font);
    painter->setFont(font);
    painter->setPen(missing ? c.danger : c.muted);
    const QString detail = index.data(LibraryModel::DetailRole).toString();
    painter->drawText(text, Qt::AlignBottom | Qt::AlignLeft,
                      QFontMetrics(font).elidedText(detail, Qt::ElideRight, text.width()));
    painter->restore();
}

void StateDelegate::paint(QPainter* painter, const QStyleOptionViewItem& given,
                          const QModelIndex& index) const {
    QStyleOptionViewItem option = given;
    initStyleOption(&option, index);
    const auto state = static_cast<RunEntry::State>(index.data(RunQueueModel::StateRole).toInt());
    drawRow(painter, option);
    painter->save();
    painter->setRenderHint(QPainter::Antialiasing);
    const QRect rect = option.rect.adjusted(8, 0, -4, 0);
    painter->setPen(Qt::NoPen);
    painter->setBrush(stateColor(state));
    painter->drawEllipse(QPointF(rect.left() + 4, rect.center().y() + 0.5), 4, 4);
    painter->setPen(themeColors().text);
    painter->drawText(rect.adjusted(16, 0, 0, 0), Qt::AlignVCenter | Qt::AlignLeft,
                      index.data().toString());
    painter->restore();
}

void ProgressDelegate::paint(QPainter* painter, const QStyleOptionViewItem& given,
                             const QModelIndex& index) const {
    QStyleOptionViewItem option = given;
    initStyleOption(&option, index);
    const auto state = static_cast<RunEntry::State>(index.data(RunQueueModel::StateRole).toInt());
    const double fraction = index.data(RunQueueModel::FractionRole).toDouble();
    const bool active = state == RunEntry::State::Running || state == RunEntry::State::Paused;
    const ThemeColors& c = themeColors();
    drawRow(painter, option);
    painter->save();
    painter->setRenderHint(QPainter::Antialiasing);
    QRect rect = option.rect.adjusted(8, 0, -8, 0);
    if (active && fraction >= 0) {
        // A narrow column has room for bar and percentage only.
        constexpr int kPercentWidth = 44;
        const int barWidth = std::clamp(rect.width() - kPercentWidth, 24, 110);
        const QRectF bar(rect.left(), rect.center().y() - 3, barWidth, 7);
        painter->setPen(Qt::NoPen);
        painter->setBrush(c.dark ? c.border : c.border.darker(108));
        painter->drawRoundedRect(bar, 3.5, 3.5);
        painter->setBrush(state == RunEntry::State::Paused ? c.warning : c.accent);
        painter->drawRoundedRect(
            QRectF(bar.topLeft(), QSizeF(std::max(7.0, bar.width() * fraction), bar.height())), 3.5,
            3.5);
        painter->setPen(c.text);
        painter->drawText(QRect(rect.left() + barWidth, rect.top(), kPercentWidth, rect.height()),
                          Qt::AlignVCenter | Qt::AlignRight,
                          QStringLiteral("%1 %").arg(static_cast<int>(fraction * 100)));
        rect.setLeft(rect.left() + barWidth + kPercentWidth + 12);
    }
    painter->setPen(state == RunEntry::State::Failed ? c.danger : c.muted);
    if (rect.width() > 40) {
        painter->drawText(
            rect, Qt::AlignVCenter | Qt::AlignLeft,
            option.fontMetrics.elidedText(index.data().toString(), Qt::ElideRight, rect.width()));
    }
    painter->restore();
}

}  // namespace fettle::ui
