#include "ui/widgets/tour.h"

#include <QEvent>
#include <QFrame>
#include <QHBoxLayout>
#include <QKeyEvent>
#include <QLabel>
#include <QPainter>
#include <QPainterPath>
#include <QPushButton>
#include <QVBoxLayout>
#include <algorithm>

#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {
constexpr int kBubbleWidth = 340;
constexpr int kBubbleGap = 14;
}  // namespace

Tour::Tour(QWidget* window, std::vector<TourHint> hints)
    : QWidget(window),
      m_hints(std::move(hints)),
      m_bubble(new QFrame(this)),
      m_count(makeLabel({}, TextRole::Caption, m_bubble)),
      m_title(makeLabel({}, TextRole::Heading, m_bubble)),
      m_text(makeLabel({}, TextRole::Body, m_bubble)),
      m_skip(new QPushButton(tr("&Skip"), m_bubble)),
      m_back(new QPushButton(tr("&Back"), m_bubble)),
      m_next(new QPushButton(m_bubble)) {
    setObjectName(QStringLiteral("tour"));
    setAccessibleName(tr("Tour of the window"));
    if (m_hints.size() > kMostHints) {
        m_hints.resize(kMostHints);
    }
    setStyleClass(m_bubble, "card");
    m_bubble->setFixedWidth(kBubbleWidth);
    auto* column = new QVBoxLayout(m_bubble);
    column->setContentsMargins(16, 12, 16, 12);
    column->setSpacing(6);
    column->addWidget(m_count);
    m_title->setWordWrap(true);
    column->addWidget(m_title);
    m_text->setWordWrap(true);
    column->addWidget(m_text);
    auto* row = new QHBoxLayout;
    row->addWidget(m_skip);
    row->addStretch();
    row->addWidget(m_back);
    row->addWidget(m_next);
    column->addSpacing(4);
    column->addLayout(row);
    setStyleClass(m_next, "primary");
    m_next->setObjectName(QStringLiteral("tourNext"));
    m_skip->setObjectName(QStringLiteral("tourSkip"));
    connect(m_skip, &QPushButton::clicked, this, &Tour::end);
    connect(m_back, &QPushButton::clicked, this, [this] { goTo(m_current - 1); });
    connect(m_next, &QPushButton::clicked, this, [this] { goTo(m_current + 1); });
    window->installEventFilter(this);
    setGeometry(window->rect());
    show();
    raise();
    goTo(0);
}

void Tour::goTo(int hint) {
    if (hint >= count()) {
        end();
        return;
    }
    m_current = std::max(hint, 0);
    const TourHint& shown = m_hints[static_cast<std::size_t>(m_current)];
    m_count->setText(tr("%1 of %2").arg(m_current + 1).arg(count()));
    m_title->setText(shown.title);
    m_text->setText(shown.text);
    m_back->setVisible(m_current > 0);
    m_next->setText(m_current + 1 < count() ? tr("&Next") : tr("&Done"));
    m_skip->setVisible(m_current + 1 < count());
    place();
    m_next->setFocus(Qt::OtherFocusReason);
}

void Tour::place() {
    if (m_hints.empty()) {
        return;
    }
    setGeometry(parentWidget()->rect());
    const TourHint& shown = m_hints[static_cast<std::size_t>(m_current)];
    m_target = (shown.place ? shown.place() : QRect()) & rect();
    m_bubble->layout()->activate();
    m_bubble->resize(kBubbleWidth, m_bubble->layout()->totalHeightForWidth(kBubbleWidth));
    const QSize size = m_bubble->size();
    QPoint at = rect().center() - QPoint(size.width() / 2, size.height() / 2);
    if (!m_target.isEmpty()) {
        // Beside the part where there is room: right, left, below, above; else over it.
        const int middleY = m_target.center().y() - size.height() / 2;
        const int middleX = m_target.center().x() - size.width() / 2;
        if (m_target.right() + kBubbleGap + size.width() < width()) {
            at = {m_target.right() + kBubbleGap, middleY};
        } else if (m_target.left() - kBubbleGap - size.width() > 0) {
            at = {m_target.left() - kBubbleGap - size.width(), middleY};
        } else if (m_target.bottom() + kBubbleGap + size.height() < height()) {
            at = {middleX, m_target.bottom() + kBubbleGap};
        } else if (m_target.top() - kBubbleGap - size.height() > 0) {
            at = {middleX, m_target.top() - kBubbleGap - size.height()};
        } else {
            at = {middleX, middleY};
        }
    }
    const QRect room = rect().adjusted(8, 8, -8, -8);
    m_bubble->move(
        std::clamp(at.x(), room.left(), std::max(room.left(), room.right() - size.width())),
        std::clamp(at.y(), room.top(), std::max(room.top(), room.bottom() - size.height())));
    update();
}

void Tour::end() {
    hide();
    emit ended();
    deleteLater();
}

void Tour::paintEvent(QPaintEvent*) {
    QPainter painter(this);
    painter.setRenderHint(QPainter::Antialiasing);
    QPainterPath shade;
    shade.addRect(rect());
    if (!m_target.isEmpty()) {
        QPainterPath hole;
        hole.addRoundedRect(QRectF(m_target).adjusted(-3, -3, 3, 3), 8, 8);
        shade -= hole;
        painter.setPen(QPen(themeColors().accent, 2));
        painter.drawPath(hole);
    }
    painter.fillPath(shade, QColor(0, 0, 0, themeColors().dark ? 150 : 90));
}

void Tour::keyPressEvent(QKeyEvent* event) {
    switch (event->key()) {
        case Qt::Key_Escape:
            end();
            break;
        case Qt::Key_Right:
        case Qt::Key_Return:
        case Qt::Key_Enter:
            goTo(m_current + 1);
            break;
        case Qt::Key_Left:
            goTo(m_current - 1);
            break;
        default:
            QWidget::keyPressEvent(event);
            return;
    }
    event->accept();
}

void Tour::mousePressEvent(QMouseEvent* event) {
    event->accept();  // what lies below is not meant
}

bool Tour::eventFilter(QObject* watched, QEvent* event) {
    if (watched == parentWidget() && event->type() == QEvent::Resize && isVisible()) {
        place();
    }
    return QWidget::eventFilter(watched, event);
}

}  // namespace fettle::ui
