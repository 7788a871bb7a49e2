#include "ui/pages/explore_annotations.h"

#include <QAbstractItemView>
#include <QCompleter>
#include <QKeyEvent>
#include <QLabel>
#include <QLineEdit>
#include <QPlainTextEdit>
#include <QStringListModel>
#include <QToolButton>
#include <QVBoxLayout>
#include <algorithm>
#include <map>

#include "ui/widgets/flow_layout.h"
#include "ui/widgets/icons.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {
constexpr int kChipWidth = 190;  ///< of a tag's words, in pixels
}  // namespace

ExploreAnnotations::ExploreAnnotations(QWidget* parent)
    : QWidget(parent),
      m_chips(new FlowLayout),
      m_tagEdit(new QLineEdit(this)),
      m_known(new QStringListModel(this)),
      m_noteCaption(makeLabel(tr("Note"), TextRole::Caption, this)),
      m_note(new QPlainTextEdit(this)) {
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(0, 0, 0, 0);
    column->setSpacing(4);
    column->addLayout(m_chips);
    m_tagEdit->setObjectName(QStringLiteral("tagEdit"));
    m_tagEdit->setAccessibleName(tr("Add a tag"));
    m_tagEdit->setPlaceholderText(tr("Add tag…"));
    m_tagEdit->setMaxLength(200);
    m_tagEdit->setFixedWidth(fontMetrics().horizontalAdvance(u'n') * 15 + 16);
    m_tagEdit->installEventFilter(this);
    auto* completer = new QCompleter(m_known, this);
    completer->setCaseSensitivity(Qt::CaseInsensitive);
    m_tagEdit->setCompleter(completer);
    m_chips->addWidget(m_tagEdit);
    m_note->setObjectName(QStringLiteral("noteEdit"));
    m_note->setAccessibleName(tr("Note"));
    m_note->setPlaceholderText(tr("What you want to remember about it"));
    m_note->setTabChangesFocus(true);
    m_note->setFixedHeight(fontMetrics().lineSpacing() * 3 + 14);
    m_note->installEventFilter(this);
    m_noteCaption->setBuddy(m_note);
    column->addWidget(m_noteCaption);
    column->addWidget(m_note);
    connect(m_tagEdit, &QLineEdit::returnPressed, this, &ExploreAnnotations::enterTags);
}

void ExploreAnnotations::setSelection(const std::vector<const ExperimentRecord*>& records) {
    std::vector<qint64> ids;
    for (const ExperimentRecord* record : records) {
        ids.push_back(record->id);
    }
    const bool same = ids == m_ids;
    if (!same) {
        commitNote();
        m_tagEdit->clear();
    }
    const bool written = same && m_note->toPlainText() != m_storedNote && m_note->hasFocus();
    m_ids = ids;
    showTags(records);
    const bool one = records.size() == 1;
    m_note->setVisible(one);
    m_noteCaption->setVisible(one);
    m_storedNote = one ? QString::fromStdString(records.front()->annotations.note) : QString();
    if (!written && m_note->toPlainText() != m_storedNote) {
        m_note->setPlainText(m_storedNote);
    }
}

void ExploreAnnotations::showTags(const std::vector<const ExperimentRecord*>& records) {
    std::map<QString, std::size_t> counts;
    for (const ExperimentRecord* record : records) {
        for (const std::string& tag : record->annotations.tags) {
            ++counts[QString::fromStdString(tag)];
        }
    }
    QStringList shown;
    for (const auto& [tag, count] : counts) {
        shown << (count == records.size()
                      ? tag
                      : tr("%1 (%2 of %3)").arg(tag).arg(count).arg(records.size()));
    }
    if (shown == m_shownTags) {
        return;
    }
    m_shownTags = shown;
    while (m_chips->count() > 0) {
        QLayoutItem* item = m_chips->takeAt(0);
        if (item->widget() != m_tagEdit) {
            item->widget()->deleteLater();
            item->widget()->hide();
        }
        delete item;
    }
    std::size_t at = 0;
    for (const auto& entry : counts) {
        auto* chip = new QToolButton(this);
        chip->setObjectName(QStringLiteral("tagChip"));
        chip->setToolButtonStyle(Qt::ToolButtonTextBesideIcon);
        chip->setLayoutDirection(Qt::RightToLeft);  // the cross stands behind the word
        chip->setIcon(themedIcon(QStringLiteral("close"), IconTint::Muted));
        chip->setIconSize({11, 11});
        // One long tag must not make the panel wider than it is.
        chip->setText(
            fontMetrics()
                .elidedText(shown[static_cast<qsizetype>(at++)], Qt::ElideMiddle, kChipWidth)
                .replace(QLatin1Char('&'), QStringLiteral("&&")));
        chip->setAccessibleName(tr("Remove tag %1").arg(entry.first));
        chip->setToolTip(tr("Remove tag “%1”").arg(entry.first));
        chip->setFocusPolicy(Qt::StrongFocus);
        chip->setEnabled(!m_readOnly);
        setStyleClass(chip, "chip");
        connect(chip, &QToolButton::clicked, this,
                [this, tag = entry.first] { emit tagRemoved(tag); });
        m_chips->addWidget(chip);
        chip->show();
    }
    m_chips->addWidget(m_tagEdit);
    setTabOrder(m_tagEdit, m_note);
    updateGeometry();
}

void ExploreAnnotations::setReadOnly(bool readOnly) {
    m_readOnly = readOnly;
    m_tagEdit->setVisible(!readOnly);
    m_note->setReadOnly(readOnly);
    for (QToolButton* chip : findChildren<QToolButton*>(QStringLiteral("tagChip"))) {
        chip->setEnabled(!readOnly);
    }
}

void ExploreAnnotations::setKnownTags(const QStringList& tags) {
    if (tags != m_known->stringList()) {
        m_known->setStringList(tags);
    }
}

void ExploreAnnotations::startTag() {
    if (!m_readOnly && isVisible()) {
        m_tagEdit->setFocus(Qt::ShortcutFocusReason);
        m_tagEdit->selectAll();
    }
}

void ExploreAnnotations::startNote() {
    if (!m_readOnly && m_note->isVisible()) {
        m_note->setFocus(Qt::ShortcutFocusReason);
        m_note->moveCursor(QTextCursor::End);
    }
}

void ExploreAnnotations::enterTags() {
    const QStringList words = m_tagEdit->text().split(QLatin1Char(','));
    m_tagEdit->clear();
    for (const QString& word : words) {
        if (const std::string tag = normalTag(word.toStdString()); !tag.empty()) {
            emit tagAdded(QString::fromStdString(tag));
        }
    }
}

void ExploreAnnotations::commitNote() {
    const QString written = m_note->toPlainText();
    if (m_ids.size() == 1 && !m_readOnly && written != m_storedNote) {
        m_storedNote = written;
        emit noteChanged(m_ids.front(), written);
    }
}

void ExploreAnnotations::hideEvent(QHideEvent* event) {
    commitNote();
    QWidget::hideEvent(event);
}

bool ExploreAnnotations::eventFilter(QObject* watched, QEvent* event) {
    if (watched == m_note && event->type() == QEvent::FocusOut) {
        commitNote();
    }
    if (event->type() == QEvent::KeyPress) {
        const auto* key = static_cast<QKeyEvent*>(event);
        const bool enter = key->key() == Qt::Key_Return || key->key() == Qt::Key_Enter;
        if (watched == m_note && enter && key->modifiers() & Qt::ControlModifier) {
            commitNote();
            return true;
        }
        if (watched == m_note && key->key() == Qt::Key_Escape) {
            m_note->setPlainText(m_storedNote);
            return true;
        }
        if (watched == m_tagEdit && key->key() == Qt::Key_Escape && !m_tagEdit->text().isEmpty()) {
            m_tagEdit->clear();
            return true;
        }
    }
    return QWidget::eventFilter(watched, event);
}

}  // namespace fettle::ui
