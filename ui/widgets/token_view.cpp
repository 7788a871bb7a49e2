#include "ui/widgets/token_view.h"

#include <QScrollBar>
#include <QTextCursor>

#include "ui/widgets/theme.h"

namespace fettle::ui {

TokenView::TokenView(QWidget* parent) : QTextEdit(parent) {
    setReadOnly(true);
    setTextInteractionFlags(Qt::TextSelectableByMouse | Qt::TextSelectableByKeyboard);
    setFrameShape(QFrame::NoFrame);
    setTabChangesFocus(true);
    connect(Theme::instance(), &Theme::changed, this, &TokenView::repaintAll);
}

QTextCharFormat TokenView::formatFor(TokenPiece::Origin origin) {
    const ThemeColors& colors = themeColors();
    QTextCharFormat format;
    format.setForeground(colors.text);
    if (origin == TokenPiece::Origin::Accepted) {
        format.setBackground(colors.successSoft);
        format.setUnderlineStyle(QTextCharFormat::SingleUnderline);
        format.setUnderlineColor(colors.success);
    } else if (origin == TokenPiece::Origin::Rejected) {
        format.setForeground(colors.danger);
        format.setFontStrikeOut(true);
    }
    return format;
}

void TokenView::clearTokens() {
    m_shown.clear();
    m_waiting.clear();
    clear();
}

void TokenView::append(const std::vector<TokenPiece>& tokens) {
    if (m_held) {
        m_waiting.insert(m_waiting.end(), tokens.begin(), tokens.end());
        return;
    }
    for (const TokenPiece& token : tokens) {
        m_shown.push_back(token);
        paintToken(token);
    }
    tellRound();
}

void TokenView::tellRound() {
    std::vector<TokenPiece> round;
    for (auto token = m_shown.rbegin();
         token != m_shown.rend() && token->round == m_shown.back().round; ++token) {
        round.insert(round.begin(), *token);
    }
    if (!round.empty()) {
        emit roundShown(round);
    }
}

void TokenView::hold(bool held) {
    m_held = held;
    if (!held) {
        const std::vector<TokenPiece> waiting(m_waiting.begin(), m_waiting.end());
        m_waiting.clear();
        append(waiting);
    }
}

bool TokenView::step() {
    if (m_waiting.empty()) {
        return false;
    }
    const std::int64_t round = m_waiting.front().round;
    while (!m_waiting.empty() && m_waiting.front().round == round) {
        m_shown.push_back(m_waiting.front());
        m_waiting.pop_front();
        paintToken(m_shown.back());
    }
    tellRound();
    return true;
}

void TokenView::showRejected(bool shown) {
    m_rejected = shown;
    repaintAll();
}

void TokenView::showOrigins(bool shown) {
    m_origins = shown;
    repaintAll();
}

QString TokenView::answer() const {
    QString text;
    for (const TokenPiece& token : m_shown) {
        if (token.origin != TokenPiece::Origin::Rejected) {
            text += QString::fromStdString(token.text);
        }
    }
    return text;
}

void TokenView::paintToken(const TokenPiece& token) {
    const bool rejected = token.origin == TokenPiece::Origin::Rejected;
    if (token.text.empty() || (rejected && (!m_rejected || !m_origins))) {
        return;
    }
    const bool atEnd = verticalScrollBar()->value() >= verticalScrollBar()->maximum() - 4;
    QTextCursor cursor(document());
    cursor.movePosition(QTextCursor::End);
    cursor.insertText(QString::fromStdString(token.text),
                      formatFor(m_origins ? token.origin : TokenPiece::Origin::Plain));
    if (atEnd) {
        verticalScrollBar()->setValue(verticalScrollBar()->maximum());
    }
}

void TokenView::repaintAll() {
    clear();
    for (const TokenPiece& token : m_shown) {
        paintToken(token);
    }
}

}  // namespace fettle::ui
