// Messages that do not stop the user: strips at the top of the window, newest first. Errors stay
// until closed, confirmations go by themselves. GUI thread only.
#pragma once

#include <QWidget>
#include <functional>

class QVBoxLayout;

namespace fettle::ui {

class MessageBar : public QWidget {
    Q_OBJECT

public:
    enum class Kind { Info, Success, Warning, Error };
    static constexpr int kMaxMessages = 3;

    explicit MessageBar(QWidget* parent = nullptr);

    /// `text` names the file or setting and the cause. An equal message that is still shown is not
    /// shown twice.
    void show(Kind kind, const QString& title, const QString& text, const QString& actionText = {},
              std::function<void()> action = {});
    void clear();
    int count() const;
    /// Title and text of the newest message, for tests and for the accessibility announcement.
    QString newest() const;

private:
    QVBoxLayout* m_layout;
};

}  // namespace fettle::ui
