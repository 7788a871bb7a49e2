// A combo box over the entries of one kind of the library, with a button to bring in a file that is
// not in it yet. GUI thread only.
#pragma once

#include <QWidget>
#include <vector>

#include "ui/bridge/experiment_service.h"

class QComboBox;

namespace fettle::ui {

class LibraryChoice : public QWidget {
    Q_OBJECT

public:
    /// `emptyText` names the choice of no file; empty: there is no such choice.
    LibraryChoice(LibraryItem::Kind kind, const QString& title, const QString& emptyText,
                  QWidget* parent = nullptr);

    /// Fills the list; the current path stays chosen while it is there.
    void setItems(const std::vector<LibraryItem>& items);
    void setEmptyText(const QString& text);
    QString path() const;
    QString name() const;
    bool isBundled() const;
    /// Chooses a path; one that is not in the library gets an entry of its own.
    void setPath(const QString& path);
    QComboBox* comboBox() const { return m_box; }

signals:
    void pathChanged(const QString& path);
    /// The user chose a file outside the library.
    void fileChosen(const QString& path);

private:
    void browse();

    LibraryItem::Kind m_kind;
    QComboBox* m_box;
    QString m_emptyText;
};

}  // namespace fettle::ui
