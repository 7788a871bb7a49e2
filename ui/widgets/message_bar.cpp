#include "ui/widgets/message_bar.h"

#include <QAccessible>
#include <QFrame>
#include <QHBoxLayout>
#include <QLabel>
#include <QPushButton>
#include <QTimer>
#include <QToolButton>
#include <QVBoxLayout>
#include <utility>

#include "ui/widgets/icons.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

struct KindLook {
    const char* styleClass;
    const char* icon;
    IconTint tint;
};

KindLook lookOf(MessageBar::Kind kind) {
    switch (kind) {
        case MessageBar::Kind::Success:
            return {"message-success", "success", IconTint::Success};
        case MessageBar::Kind::Warning:
            return {"message-warning", "warning", IconTint::Warning};
        case MessageBar::Kind::Error:
            return {"message-error", "error", IconTint::Danger};
        case MessageBar::Kind::Info:
            break;
    }
    return {"message-info", "info", IconTint::Accent};
}

constexpr int kConfirmationMs = 7000;

}  // namespace

MessageBar::MessageBar(QWidget* parent) : QWidget(parent), m_layout(new QVBoxLayout(this)) {
    m_layout->setContentsMargins(kGapWide, kGap, kGapWide, 0);
    m_layout->setSpacing(kGap);
    setAccessibleName(tr("Messages"));
    hide();
}

int MessageBar::count() const {
    return m_layout->count();
}

QString MessageBar::newest() const {
    return count() > 0 ? m_layout->itemAt(0)->widget()->accessibleName() : QString();
}

void MessageBar::clear() {
    while (QLayoutItem* item = m_layout->takeAt(0)) {
        item->widget()->deleteLater();
        delete item;
    }
    hide();
}

void MessageBar::show(Kind kind, const QString& title, const QString& text,
                      const QString& actionText, std::function<void()> action) {
    const QString spoken = QStringLiteral("%1: %2").arg(title, text);
    if (newest() == spoken) {
        return;
    }
    const KindLook look = lookOf(kind);
    auto* strip = new QFrame(this);
    setStyleClass(strip, look.styleClass);
    strip->setAccessibleName(spoken);
    auto* row = new QHBoxLayout(strip);
    row->setContentsMargins(12, 5, 8, 5);
    row->setSpacing(10);

    auto* icon = new QLabel(strip);
    icon->setPixmap(
        themedIcon(QLatin1String(look.icon), look.tint).pixmap(QSize(18, 18), devicePixelRatio()));
    auto* label = new QLabel(strip);
    label->setTextFormat(Qt::RichText);
    label->setText(
        QStringLiteral("<b>%1</b>&nbsp; %2").arg(title.toHtmlEscaped(), text.toHtmlEscaped()));
    label->setWordWrap(true);
    label->setTextInteractionFlags(Qt::TextSelectableByMouse);
    row->addWidget(icon);
    row->addWidget(label, 1);

    const auto dismiss = [this, strip] {
        m_layout->removeWidget(strip);
        strip->deleteLater();
        setVisible(m_layout->count() > 0);
    };
    if (action) {
        auto* button = new QPushButton(actionText, strip);
        connect(button, &QPushButton::clicked, strip, [dismiss, action = std::move(action)] {
            dismiss();
            action();
        });
        row->addWidget(button);
    }
    auto* close = new QToolButton(strip);
    close->setIcon(themedIcon(QStringLiteral("close")));
    close->setToolTip(tr("Close this message"));
    close->setAccessibleName(close->toolTip());
    connect(close, &QToolButton::clicked, strip, dismiss);
    row->addWidget(close);

    m_layout->insertWidget(0, strip);
    while (m_layout->count() > kMaxMessages) {
        QLayoutItem* oldest = m_layout->takeAt(m_layout->count() - 1);
        oldest->widget()->deleteLater();
        delete oldest;
    }
    if (kind == Kind::Success || kind == Kind::Info) {
        QTimer::singleShot(kConfirmationMs, strip, dismiss);
    }
    setVisible(true);
    QAccessibleEvent announcement(strip, QAccessible::Alert);
    QAccessible::updateAccessibility(&announcement);
}

}  // namespace fettle::ui
