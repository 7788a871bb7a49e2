// A field over the window in which a few letters find everything it can do. Keyboard only is
// enough: Up and Down choose, Enter does it, Escape closes. GUI thread only.
#pragma once

#include <QFrame>
#include <QPointer>
#include <vector>

#include "ui/models/palette_model.h"

class QLabel;
class QLineEdit;
class QListView;

namespace fettle::ui {

class CommandPalette : public QFrame {
    Q_OBJECT

public:
    /// Lies over `window`, which it watches for its size.
    explicit CommandPalette(QWidget* window);

    void open(std::vector<PaletteEntry> entries);
    QLineEdit* field() const { return m_field; }
    QListView* list() const { return m_list; }
    const PaletteModel* model() const { return m_model; }

protected:
    bool eventFilter(QObject* watched, QEvent* event) override;

private:
    void place();
    void find(const QString& pattern);
    void move(int rows);
    void run();
    void dismiss();

    PaletteModel* m_model;
    QLineEdit* m_field;
    QListView* m_list;
    QLabel* m_none;
    QPointer<QWidget> m_before;  ///< had the focus
};

}  // namespace fettle::ui
