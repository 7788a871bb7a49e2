#include "ui/widgets/library_choice.h"

#include <QComboBox>
#include <QFileDialog>
#include <QFileInfo>
#include <QHBoxLayout>
#include <QSignalBlocker>
#include <QToolButton>

#include "ui/widgets/icons.h"

namespace fettle::ui {

constexpr int kBundledRole = Qt::UserRole + 1;

LibraryChoice::LibraryChoice(LibraryItem::Kind kind, const QString& title, const QString& emptyText,
                             QWidget* parent)
    : QWidget(parent), m_kind(kind), m_box(new QComboBox(this)), m_emptyText(emptyText) {
    auto* row = new QHBoxLayout(this);
    row->setContentsMargins(0, 0, 0, 0);
    row->setSpacing(4);
    m_box->setAccessibleName(title);
    m_box->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
    m_box->setMinimumContentsLength(10);
    m_box->setFocusPolicy(Qt::StrongFocus);
    auto* open = new QToolButton(this);
    open->setIcon(themedIcon(QStringLiteral("folder")));
    open->setToolTip(tr("Choose a file for \"%1\"…").arg(title));
    open->setAccessibleName(open->toolTip());
    row->addWidget(m_box, 1);
    row->addWidget(open);
    setFocusProxy(m_box);
    if (!m_emptyText.isEmpty()) {
        m_box->addItem(m_emptyText, QString());
    }
    connect(m_box, &QComboBox::currentIndexChanged, this, [this] {
        m_box->setToolTip(path());
        emit pathChanged(path());
    });
    connect(open, &QToolButton::clicked, this, &LibraryChoice::browse);
}

void LibraryChoice::setItems(const std::vector<LibraryItem>& items) {
    const QString before = path();
    const bool hadChoice = m_box->currentIndex() >= 0;
    {
        const QSignalBlocker block(m_box);
        m_box->clear();
        if (!m_emptyText.isEmpty()) {
            m_box->addItem(m_emptyText, QString());
        }
        for (const LibraryItem& item : items) {
            if (item.kind == m_kind && !item.missing) {
                m_box->addItem(item.name, item.path);
                m_box->setItemData(m_box->count() - 1, item.bundled, kBundledRole);
                m_box->setItemData(m_box->count() - 1, item.path, Qt::ToolTipRole);
            }
        }
        const int again = m_box->findData(before);
        m_box->setCurrentIndex(again >= 0 ? again : m_box->count() > 0 ? 0 : -1);
    }
    if (hadChoice && !before.isEmpty() && path() != before) {
        setPath(before);
    }
    if (path() != before) {
        emit pathChanged(path());
    }
}

void LibraryChoice::setEmptyText(const QString& text) {
    if (!m_emptyText.isEmpty() && m_box->count() > 0) {
        m_box->setItemText(0, text);
    }
    m_emptyText = text;
}

QString LibraryChoice::path() const {
    return m_box->currentData().toString();
}
QString LibraryChoice::name() const {
    return m_box->currentText();
}
bool LibraryChoice::isBundled() const {
    return m_box->currentData(kBundledRole).toBool();
}

void LibraryChoice::setPath(const QString& path) {
    int index = m_box->findData(path);
    if (index < 0) {
        m_box->addItem(QFileInfo(path).fileName(), path);
        index = m_box->count() - 1;
    }
    m_box->setCurrentIndex(index);
}

void LibraryChoice::browse() {
    QString chosen;
    if (m_kind == LibraryItem::Kind::Model) {
        chosen = QFileDialog::getOpenFileName(this, tr("Choose a model file"), {},
                                              tr("Models (*.gguf config.json);;All files (*)"));
        if (QFileInfo(chosen).fileName() == QLatin1String("config.json")) {
            chosen = QFileInfo(chosen).path();
        }
    } else if (m_kind == LibraryItem::Kind::Tasks) {
        chosen = QFileDialog::getOpenFileName(this, tr("Choose a task set"), {},
                                              tr("Task sets (*.jsonl);;All files (*)"));
    } else {
        chosen = QFileDialog::getOpenFileName(this, tr("Choose a text"), {},
                                              tr("Texts (*.txt *.md);;All files (*)"));
    }
    if (!chosen.isEmpty()) {
        emit fileChosen(chosen);
        setPath(chosen);
    }
}

}  // namespace fettle::ui
