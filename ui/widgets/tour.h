// A few hints over the window, one at a time, each beside the part it speaks of. Enter goes on,
// Escape leaves. GUI thread only.
#pragma once

#include <QWidget>
#include <functional>
#include <vector>

class QLabel;
class QPushButton;

namespace fettle::ui {

struct TourHint {
    QString title;
    QString text;
    std::function<QRect()> place;  ///< in coordinates of the window; an empty one: its middle
};

class Tour : public QWidget {
    Q_OBJECT

public:
    static constexpr std::size_t kMostHints = 5;

    /// Lies over `window` until it ends, then deletes itself. At most kMostHints are shown.
    Tour(QWidget* window, std::vector<TourHint> hints);

    int current() const { return m_current; }
    int count() const { return static_cast<int>(m_hints.size()); }
    QPushButton* next() const { return m_next; }
    QPushButton* skip() const { return m_skip; }

signals:
    void ended();

protected:
    void paintEvent(QPaintEvent* event) override;
    void keyPressEvent(QKeyEvent* event) override;
    void mousePressEvent(QMouseEvent* event) override;
    bool eventFilter(QObject* watched, QEvent* event) override;

private:
    void goTo(int hint);
    void place();
    void end();

    std::vector<TourHint> m_hints;
    int m_current = 0;
    QWidget* m_bubble;
    QLabel* m_count;
    QLabel* m_title;
    QLabel* m_text;
    QPushButton* m_skip;
    QPushButton* m_back;
    QPushButton* m_next;
    QRect m_target;
};

}  // namespace fettle::ui
