// One line of text that ends in "…" where there is no room for all of it; the rest is in its
// tooltip. GUI thread only.
#pragma once

#include <QFrame>
#include <QString>

namespace fettle::ui {

class ElidedLabel : public QFrame {
    Q_OBJECT

public:
    explicit ElidedLabel(const QString& text, QWidget* parent = nullptr);

    void setText(const QString& text);
    QString text() const { return m_text; }
    QSize sizeHint() const override;
    QSize minimumSizeHint() const override;

protected:
    void paintEvent(QPaintEvent* event) override;

private:
    QString m_text;
};

}  // namespace fettle::ui
