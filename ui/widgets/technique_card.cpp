#include "ui/widgets/technique_card.h"

#include <QApplication>
#include <QDrag>
#include <QHBoxLayout>
#include <QLabel>
#include <QMimeData>
#include <QMouseEvent>
#include <QToolButton>
#include <QVBoxLayout>
#include <algorithm>

#include "ui/bridge/engine_text.h"
#include "ui/widgets/icons.h"
#include "ui/widgets/parameter_form.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {

TechniqueCard::TechniqueCard(const TechniqueDescriptor* technique, const QString& title,
                             QWidget* parent)
    : QFrame(parent),
      m_grip(new QLabel(this)),
      m_number(makeLabel({}, TextRole::Caption, this)),
      m_problems(makeLabel({}, TextRole::Body, this)) {
    setStyleClass(this, "card");
    setAccessibleName(title);
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(10, 8, 10, 10);
    column->setSpacing(kGap);

    auto* head = new QHBoxLayout;
    head->setSpacing(2);
    m_grip->setPixmap(themedIcon(QStringLiteral("grip"), IconTint::Muted)
                          .pixmap(QSize(18, 18), devicePixelRatio()));
    m_grip->setCursor(Qt::OpenHandCursor);
    m_grip->setToolTip(tr("Drag to reorder (Alt+Up, Alt+Down)"));
    m_grip->installEventFilter(this);
    head->addWidget(m_grip);
    head->addWidget(m_number);
    head->addSpacing(4);
    QLabel* heading = makeLabel(title, TextRole::Heading, this);
    heading->setToolTip(technique ? engineText(technique->help) : QString());
    head->addWidget(heading);
    head->addStretch();
    m_up = addButton("arrow-up", tr("Move this step up"), "moveUp");
    m_down = addButton("arrow-down", tr("Move this step down"), "moveDown");
    m_up->setShortcut(QKeySequence(Qt::ALT | Qt::Key_Up));
    m_down->setShortcut(QKeySequence(Qt::ALT | Qt::Key_Down));
    auto* duplicate = addButton("duplicate", tr("Duplicate this step"), "duplicate");
    auto* remove = addButton("trash", tr("Remove this step"), "remove");
    m_fold = addButton("chevron-up", tr("Fold this step"), "fold");
    for (QToolButton* button : {m_up, m_down, duplicate, remove, m_fold}) {
        head->addWidget(button);
    }
    column->addLayout(head);

    m_body = new QWidget(this);
    auto* body = new QVBoxLayout(m_body);
    body->setContentsMargins(22, 0, 0, 0);
    body->setSpacing(kGap);
    if (technique) {
        QLabel* help = makeLabel(engineText(technique->help), TextRole::Caption, m_body);
        help->setWordWrap(true);
        body->addWidget(help);
        m_form = new ParameterForm(*technique, m_body);
        body->addWidget(m_form);
        connect(m_form, &ParameterForm::edited, this, &TechniqueCard::edited);
        connect(m_form, &ParameterForm::resetRequested, this, &TechniqueCard::resetRequested);
        connect(m_form, &ParameterForm::sweepRequested, this, &TechniqueCard::sweepRequested);
    }
    column->addWidget(m_body);
    m_problems->setWordWrap(true);
    setStyleClass(m_problems, "danger");
    m_problems->hide();
    column->addWidget(m_problems);

    connect(m_up, &QToolButton::clicked, this, [this] { emit moveRequested(m_row - 1); });
    connect(m_down, &QToolButton::clicked, this, [this] { emit moveRequested(m_row + 1); });
    connect(duplicate, &QToolButton::clicked, this, &TechniqueCard::duplicateRequested);
    connect(remove, &QToolButton::clicked, this, &TechniqueCard::removeRequested);
    connect(m_fold, &QToolButton::clicked, this, [this] { setCollapsed(m_body->isVisible()); });
}

QToolButton* TechniqueCard::addButton(const char* icon, const QString& tip, const char* name) {
    auto* button = new QToolButton(this);
    button->setIcon(themedIcon(QLatin1String(icon), IconTint::Muted));
    button->setToolTip(tip);
    button->setAccessibleName(tip);
    button->setObjectName(QLatin1String(name));
    return button;
}

void TechniqueCard::setPosition(int row, int count) {
    m_row = row;
    m_number->setText(QString::number(row + 1));
    m_up->setEnabled(row > 0);
    m_down->setEnabled(row + 1 < count);
}

void TechniqueCard::setValues(const nlohmann::json& params) {
    if (m_form) {
        m_form->setValues(params);
    }
}

void TechniqueCard::setProblems(const QStringList& problems) {
    m_problems->setText(problems.join(QLatin1Char('\n')));
    m_problems->setVisible(!problems.isEmpty());
}

void TechniqueCard::setCollapsed(bool collapsed) {
    m_body->setVisible(!collapsed);
    m_fold->setIcon(
        themedIcon(collapsed ? QStringLiteral("chevron-down") : QStringLiteral("chevron-up"),
                   IconTint::Muted));
    m_fold->setToolTip(collapsed ? tr("Unfold this step") : tr("Fold this step"));
    m_fold->setAccessibleName(m_fold->toolTip());
}

bool TechniqueCard::eventFilter(QObject* watched, QEvent* event) {
    if (watched == m_grip && event->type() == QEvent::MouseButtonPress) {
        m_pressed = static_cast<QMouseEvent*>(event)->position().toPoint();
        return true;
    }
    if (watched == m_grip && event->type() == QEvent::MouseMove) {
        const QPoint now = static_cast<QMouseEvent*>(event)->position().toPoint();
        if ((now - m_pressed).manhattanLength() >= QApplication::startDragDistance()) {
            startDrag();
        }
        return true;
    }
    return QFrame::eventFilter(watched, event);
}

void TechniqueCard::startDrag() {
    auto* drag = new QDrag(this);
    auto* mime = new QMimeData;
    mime->setData(QLatin1String(kMimeType), QByteArray::number(m_row));
    drag->setMimeData(mime);
    const QPixmap picture = grab(QRect(0, 0, width(), std::min(height(), 44)));
    drag->setPixmap(picture);
    drag->setHotSpot(QPoint(12, 20));
    drag->exec(Qt::MoveAction);
}

}  // namespace fettle::ui
