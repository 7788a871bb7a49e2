// A text with each token tinted by a value: where a model's predictions moved. Thousands of tokens;
// only what is visible is drawn. Hover or the arrow keys tell about a token. GUI thread only.
#pragma once

#include <QAbstractScrollArea>
#include <functional>
#include <vector>

#include "ui/charts/chart_theme.h"

namespace fettle::ui {

class HoverCard;

struct StripToken {
    QString text;
    double value = 0;  ///< 0 or less: not tinted
    bool scored = true;
};

class TokenStrip : public QAbstractScrollArea {
    Q_OBJECT

public:
    explicit TokenStrip(QWidget* parent = nullptr);

    /// `describe` makes the card's rich text for a token.
    void setTokens(std::vector<StripToken> tokens, std::function<QString(int)> describe);
    void setEmptyText(const QString& text);
    int count() const { return static_cast<int>(m_tokens.size()); }
    int current() const { return m_current; }
    /// Moves to a token and shows its card.
    void setCurrent(int token);
    QString hoverText() const;
    /// In viewport coordinates; null for a token that has no glyphs.
    QRect tokenRect(int token) const;

signals:
    void currentChanged(int token);

protected:
    void paintEvent(QPaintEvent* event) override;
    void resizeEvent(QResizeEvent* event) override;
    bool viewportEvent(QEvent* event) override;
    void keyPressEvent(QKeyEvent* event) override;
    void focusOutEvent(QFocusEvent* event) override;
    void changeEvent(QEvent* event) override;

private:
    struct Place {
        QRect rect;      ///< in the coordinates of the whole text
        QString glyphs;  ///< what is drawn
    };
    void layOut();
    int tokenAt(const QPoint& at) const;
    QColor tintOf(double value) const;
    void showCard(int token);

    std::vector<StripToken> m_tokens;
    std::vector<Place> m_places;
    std::function<QString(int)> m_describe;
    ChartTheme m_theme;
    HoverCard* m_card;
    QString m_emptyText;
    double m_full = 1;  ///< value of the deepest tint
    int m_current = -1;
};

}  // namespace fettle::ui
