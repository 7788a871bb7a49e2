#include "ui/widgets/empty_state.h"

#include <QHBoxLayout>
#include <QLabel>
#include <QPainter>
#include <QPushButton>
#include <QVBoxLayout>

#include "ui/widgets/icons.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

/// Paints its icon anew each time, so that it follows the theme and the screen's scale.
class IconLabel : public QWidget {
public:
    IconLabel(const QString& name, QWidget* parent)
        : QWidget(parent), m_icon(themedIcon(name, IconTint::Muted)) {
        setFixedSize(36, 36);
    }

protected:
    void paintEvent(QPaintEvent*) override;

private:
    QIcon m_icon;
};

void IconLabel::paintEvent(QPaintEvent*) {
    QPainter painter(this);
    m_icon.paint(&painter, rect());
}

}  // namespace

EmptyState::EmptyState(const QString& icon, const QString& title, const QString& text,
                       QWidget* parent)
    : QWidget(parent), m_text(makeLabel(text, TextRole::Caption)), m_buttons(new QHBoxLayout) {
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(kGapWide, kGapWide, kGapWide, kGapWide);
    column->setSpacing(kGap);
    column->addStretch(2);
    column->addWidget(new IconLabel(icon, this), 0, Qt::AlignHCenter);
    QLabel* heading = makeLabel(title, TextRole::Heading, this);
    heading->setAlignment(Qt::AlignHCenter);
    heading->setWordWrap(true);
    column->addWidget(heading);
    m_text->setParent(this);
    m_text->setWordWrap(true);
    m_text->setAlignment(Qt::AlignHCenter);
    // A wrapping label in a centred row takes its minimum width unless told how wide its lines may
    // be.
    auto* centred = new QHBoxLayout;
    centred->addStretch(1);
    m_text->setMinimumWidth(200);
    m_text->setMaximumWidth(460);
    centred->addWidget(m_text, 6);
    centred->addStretch(1);
    column->addLayout(centred);
    m_buttons->setSpacing(kGap);
    m_buttons->addStretch();
    m_buttons->addStretch();
    column->addSpacing(4);
    column->addLayout(m_buttons);
    column->addStretch(3);
}

QPushButton* EmptyState::addAction(const QString& text, bool primary) {
    auto* button = new QPushButton(text, this);
    if (primary) {
        setStyleClass(button, "primary");
    }
    m_buttons->insertWidget(m_buttons->count() - 1, button);
    return button;
}

void EmptyState::setText(const QString& text) {
    m_text->setText(text);
}

}  // namespace fettle::ui
