#include "ui/widgets/command_palette.h"

#include <QApplication>
#include <QKeyEvent>
#include <QLabel>
#include <QLineEdit>
#include <QListView>
#include <QPainter>
#include <QPointer>
#include <QSettings>
#include <QStyledItemDelegate>
#include <QTextLayout>
#include <QVBoxLayout>
#include <algorithm>

#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

constexpr int kRemembered = 8;
constexpr int kPageRows = 8;
constexpr int kPaletteWidth = 640;
constexpr int kPaletteHeight = 430;

/// Title with the typed letters bold, detail, and at the right the shortcut or the kind.
class EntryDelegate : public QStyledItemDelegate {
public:
    using QStyledItemDelegate::QStyledItemDelegate;

    QSize sizeHint(const QStyleOptionViewItem& option, const QModelIndex&) const override {
        return {200, option.fontMetrics.height() + 14};
    }

    void paint(QPainter* painter, const QStyleOptionViewItem& option,
               const QModelIndex& index) const override {
        const ThemeColors& colors = themeColors();
        painter->save();
        painter->setRenderHint(QPainter::Antialiasing);
        if (option.state & QStyle::State_Selected) {
            painter->setPen(Qt::NoPen);
            painter->setBrush(colors.accentSoft);
            painter->drawRoundedRect(option.rect.adjusted(2, 1, -2, -1), 6, 6);
        }
        QRect room = option.rect.adjusted(12, 0, -12, 0);
        const QFontMetrics& metrics = option.fontMetrics;
        const bool enabled = index.data(PaletteModel::EnabledRole).toBool();
        const QString kind = index.data(PaletteModel::KindRole).toString();
        painter->setPen(colors.muted);
        painter->drawText(room, Qt::AlignRight | Qt::AlignVCenter, kind);
        room.setRight(room.right() - std::max(metrics.horizontalAdvance(kind), 74) - 12);
        if (const QString keys = index.data(PaletteModel::KeysRole).toString(); !keys.isEmpty()) {
            const QRect key(room.right() - metrics.horizontalAdvance(keys) - 12,
                            room.center().y() - metrics.height() / 2 - 2,
                            metrics.horizontalAdvance(keys) + 12, metrics.height() + 4);
            painter->setPen(colors.outline);
            painter->setBrush(colors.window);
            painter->drawRoundedRect(QRectF(key).adjusted(0.5, 0.5, -0.5, -0.5), 4, 4);
            painter->setPen(colors.text);
            painter->drawText(key, Qt::AlignCenter, keys);
            room.setRight(key.left() - 10);
        }
        const int end = paintTitle(*painter, option, index, room, enabled);
        const QRect rest(end + 12, room.top(), room.right() - end - 12, room.height());
        painter->setPen(colors.muted);
        painter->drawText(rest, Qt::AlignLeft | Qt::AlignVCenter,
                          metrics.elidedText(index.data(PaletteModel::DetailRole).toString(),
                                             Qt::ElideMiddle, std::max(rest.width(), 0)));
        painter->restore();
    }

private:
    /// Returns where the title ends.
    static int paintTitle(QPainter& painter, const QStyleOptionViewItem& option,
                          const QModelIndex& index, const QRect& room, bool enabled) {
        const ThemeColors& colors = themeColors();
        const QString title = index.data(PaletteModel::TitleRole).toString();
        QList<QTextLayout::FormatRange> bold;
        for (const QVariant& at : index.data(PaletteModel::PositionsRole).toList()) {
            QTextLayout::FormatRange range;
            range.start = at.toInt();
            range.length = 1;
            range.format.setFontWeight(QFont::Bold);
            if (enabled) {
                range.format.setForeground(colors.accent);
            }
            bold << range;
        }
        QTextLayout layout(title, option.font);
        QTextOption plain(Qt::AlignLeft);
        plain.setWrapMode(QTextOption::NoWrap);
        layout.setTextOption(plain);
        layout.setFormats(bold);
        layout.beginLayout();
        QTextLine line = layout.createLine();
        layout.endLayout();
        if (!line.isValid()) {
            return room.left();
        }
        painter.save();
        painter.setClipRect(room);
        painter.setPen(enabled ? colors.text : colors.outline);
        layout.draw(&painter, QPointF(room.left(), room.center().y() - line.height() / 2 + 0.5));
        painter.restore();
        return std::min(room.right(), room.left() + static_cast<int>(line.naturalTextWidth()));
    }
};

}  // namespace

CommandPalette::CommandPalette(QWidget* window)
    : QFrame(window),
      m_model(new PaletteModel(this)),
      m_field(new QLineEdit(this)),
      m_list(new QListView(this)),
      m_none(makeLabel(tr("Nothing fits."), TextRole::Caption, this)) {
    setObjectName(QStringLiteral("commandPalette"));
    setStyleClass(this, "palette");
    setAutoFillBackground(true);
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(10, 10, 10, 10);
    column->setSpacing(8);
    m_field->setPlaceholderText(
        tr("What do you want to do? Actions, pages, techniques, models, experiments, files"));
    m_field->setAccessibleName(tr("Find a command"));
    m_field->installEventFilter(this);
    column->addWidget(m_field);
    m_list->setAccessibleName(tr("Commands"));
    m_list->setModel(m_model);
    m_list->setItemDelegate(new EntryDelegate(m_list));
    m_list->setUniformItemSizes(true);
    m_list->setFocusPolicy(Qt::NoFocus);
    m_list->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    m_list->setEditTriggers(QAbstractItemView::NoEditTriggers);
    setStyleClass(m_list, "bare");
    column->addWidget(m_list, 1);
    m_none->setAlignment(Qt::AlignCenter);
    column->addWidget(m_none, 1);
    connect(m_field, &QLineEdit::textChanged, this, &CommandPalette::find);
    connect(m_list, &QListView::clicked, this, &CommandPalette::run);
    window->installEventFilter(this);
    hide();
}

void CommandPalette::open(std::vector<PaletteEntry> entries) {
    m_before = QApplication::focusWidget();
    m_model->setEntries(std::move(entries),
                        QSettings().value(QStringLiteral("palette/recent")).toStringList());
    m_field->clear();
    find({});
    place();
    show();
    raise();
    m_field->setFocus(Qt::ShortcutFocusReason);
}

void CommandPalette::place() {
    const QSize room = parentWidget()->size();
    const int width = std::min(kPaletteWidth, room.width() - 40);
    const int height = std::min(kPaletteHeight, room.height() - 80);
    setGeometry((room.width() - width) / 2, std::min(64, room.height() / 10), width, height);
}

void CommandPalette::find(const QString& pattern) {
    m_model->setPattern(pattern);
    const bool any = m_model->rowCount() > 0;
    m_list->setVisible(any);
    m_none->setVisible(!any);
    if (any) {
        m_list->setCurrentIndex(m_model->index(0));
        m_list->scrollToTop();
    }
}

void CommandPalette::move(int rows) {
    const int count = m_model->rowCount();
    if (count > 0) {
        const int row = std::clamp(m_list->currentIndex().row() + rows, 0, count - 1);
        m_list->setCurrentIndex(m_model->index(row));
        m_list->scrollTo(m_model->index(row));
    }
}

void CommandPalette::run() {
    const PaletteEntry* entry = m_model->entry(m_list->currentIndex().row());
    if (!entry || !entry->enabled || !entry->run) {
        return;
    }
    QSettings settings;
    QStringList recent = settings.value(QStringLiteral("palette/recent")).toStringList();
    recent.removeAll(entry->id());
    recent.prepend(entry->id());
    settings.setValue(QStringLiteral("palette/recent"), recent.mid(0, kRemembered));
    // Closed first: what runs may open a dialog, or the palette once more.
    const std::function<void()> work = entry->run;
    dismiss();
    work();
}

void CommandPalette::dismiss() {
    const QPointer<QWidget> before = m_before;
    m_before = nullptr;
    hide();
    if (before) {
        before->setFocus(Qt::OtherFocusReason);
    }
}

bool CommandPalette::eventFilter(QObject* watched, QEvent* event) {
    if (watched == parentWidget() && event->type() == QEvent::Resize && isVisible()) {
        place();
    }
    if (watched != m_field) {
        return QFrame::eventFilter(watched, event);
    }
    if (event->type() == QEvent::FocusOut && isVisible()) {
        const auto reason = static_cast<QFocusEvent*>(event)->reason();
        if (reason != Qt::PopupFocusReason && reason != Qt::ActiveWindowFocusReason &&
            reason != Qt::OtherFocusReason) {
            m_before = nullptr;  // the focus has gone where the user wanted it
            hide();
        }
        return false;
    }
    if (event->type() != QEvent::KeyPress) {
        return false;
    }
    switch (static_cast<QKeyEvent*>(event)->key()) {
        case Qt::Key_Up:
            move(-1);
            return true;
        case Qt::Key_Down:
            move(1);
            return true;
        case Qt::Key_PageUp:
            move(-kPageRows);
            return true;
        case Qt::Key_PageDown:
            move(kPageRows);
            return true;
        case Qt::Key_Return:
        case Qt::Key_Enter:
            run();
            return true;
        case Qt::Key_Escape:
            dismiss();
            return true;
        case Qt::Key_Tab:
        case Qt::Key_Backtab:
            return true;  // there is nowhere else to go
        default:
            return false;
    }
}

}  // namespace fettle::ui
