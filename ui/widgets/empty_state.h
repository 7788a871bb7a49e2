// What a page shows while it has nothing to show: an icon, one line, and what to do next. GUI
// thread only.
#pragma once

#include <QWidget>

class QHBoxLayout;
class QLabel;
class QPushButton;

namespace fettle::ui {

class EmptyState : public QWidget {
    Q_OBJECT

public:
    EmptyState(const QString& icon, const QString& title, const QString& text,
               QWidget* parent = nullptr);

    QPushButton* addAction(const QString& text, bool primary = false);
    void setText(const QString& text);

private:
    QLabel* m_text;
    QHBoxLayout* m_buttons;
};

}  // namespace fettle::ui
