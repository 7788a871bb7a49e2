// An answer token by token: drafted and accepted tokens underlined on a tint, rejected drafts
// struck through, the model's own plain. Can hold back what comes and show it round by round. GUI
// thread only.
#pragma once

#include <QTextEdit>
#include <deque>
#include <vector>

#include "engine/experiment/run_values.h"

namespace fettle::ui {

class TokenView : public QTextEdit {
    Q_OBJECT

public:
    explicit TokenView(QWidget* parent = nullptr);

    void clearTokens();
    /// Shows the tokens, or keeps them for later while held.
    void append(const std::vector<TokenPiece>& tokens);
    /// Held: what comes waits until step() or hold(false).
    void hold(bool held);
    /// Shows the tokens of one more pass of the model. False when none waits.
    bool step();
    bool hasWaiting() const { return !m_waiting.empty(); }
    /// Rejected drafts are shown too.
    void showRejected(bool shown);
    /// Marks by origin; off: all tokens look alike.
    void showOrigins(bool shown);
    /// The answer so far, rejected drafts left out.
    QString answer() const;

    /// How tokens of an origin look, for the legend as well.
    static QTextCharFormat formatFor(TokenPiece::Origin origin);

signals:
    /// A pass of the model was shown, with what it rejected.
    void roundShown(const std::vector<fettle::TokenPiece>& tokens);

private:
    void paintToken(const TokenPiece& token);
    void repaintAll();
    void tellRound();

    std::vector<TokenPiece> m_shown;
    std::deque<TokenPiece> m_waiting;
    bool m_held = false;
    bool m_rejected = true;
    bool m_origins = true;
};

}  // namespace fettle::ui
