#include "ui/charts/hover_card.h"

#include <QPainter>
#include <algorithm>

namespace fettle::ui {

HoverCard::HoverCard(QWidget* parent) : QLabel(parent) {
    setObjectName(QStringLiteral("hoverCard"));
    setAttribute(Qt::WA_TransparentForMouseEvents);
    setFocusPolicy(Qt::NoFocus);
    setTextFormat(Qt::RichText);
    setMargin(10);
    setTheme(ChartTheme::light());
    hide();
}

void HoverCard::setTheme(const ChartTheme& theme) {
    m_theme = theme;
    QPalette colors = palette();
    colors.setColor(QPalette::WindowText, theme.text);
    setPalette(colors);
}

void HoverCard::showAt(const QPoint& at, const QString& html) {
    setWordWrap(false);
    setText(html);
    if (sizeHint().width() > 460) {
        setWordWrap(true);
        resize(460, heightForWidth(460));
    } else {
        adjustSize();
    }
    const QRect room = parentWidget()->rect().adjusted(4, 4, -4, -4);
    constexpr int gap = 16;
    int x = at.x() + gap;
    if (x + width() > room.right()) {
        x = at.x() - gap - width();
    }
    int y = at.y() + gap;
    if (y + height() > room.bottom()) {
        y = at.y() - gap - height();
    }
    move(std::clamp(x, room.left(), std::max(room.left(), room.right() - width())),
         std::clamp(y, room.top(), std::max(room.top(), room.bottom() - height())));
    show();
    raise();
}

void HoverCard::paintEvent(QPaintEvent* event) {
    QPainter painter(this);
    painter.setRenderHint(QPainter::Antialiasing);
    painter.setPen(QPen(m_theme.cardBorder, 1));
    painter.setBrush(m_theme.cardBackground);
    painter.drawRoundedRect(QRectF(rect()).adjusted(0.5, 0.5, -0.5, -0.5), 6, 6);
    painter.end();
    QLabel::paintEvent(event);
}

}  // namespace fettle::ui
