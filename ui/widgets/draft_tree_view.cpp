#include "ui/widgets/draft_tree_view.h"

#include <QHelpEvent>
#include <QPainter>
#include <QPainterPath>
#include <QToolTip>
#include <algorithm>

#include "ui/widgets/theme.h"
#include "ui/widgets/token_view.h"

namespace fettle::ui {
namespace {

constexpr double kPad = 5;
constexpr double kGapBetween = 14;
constexpr double kMostWidth = 96;

}  // namespace

DraftTreeView::DraftTreeView(QWidget* parent) : QWidget(parent) {
    setAccessibleName(tr("Guesses of the last pass"));
    setSizePolicy(QSizePolicy::Preferred, QSizePolicy::Fixed);
    connect(Theme::instance(), &Theme::changed, this, qOverload<>(&QWidget::update));
}

QSize DraftTreeView::sizeHint() const {
    return {280, std::max(96, fontMetrics().lineSpacing() * 7)};
}

void DraftTreeView::setRound(const std::vector<TokenPiece>& tokens) {
    m_nodes.clear();
    for (const TokenPiece& token : tokens) {
        m_nodes.push_back({token, -1, 0, 0, {}});
    }
    QStringList said;
    for (Node& node : m_nodes) {
        for (std::size_t i = 0; i < m_nodes.size() && node.token.parent >= 0; ++i) {
            if (m_nodes[i].token.node == node.token.parent) {
                node.parent = static_cast<int>(i);
            }
        }
        said << tr("%1 %2").arg(label(node.token),
                                node.token.origin == TokenPiece::Origin::Accepted   ? tr("accepted")
                                : node.token.origin == TokenPiece::Origin::Rejected ? tr("rejected")
                                                                                    : tr("own"));
    }
    setAccessibleDescription(said.join(QStringLiteral(", ")));
    // Drafted tokens name earlier ones of their draft, but accepted ones come first here: depths
    // are found by walking up.
    m_depth = 0;
    for (Node& node : m_nodes) {
        for (int up = node.parent; up >= 0; up = m_nodes[static_cast<std::size_t>(up)].parent) {
            ++node.depth;
        }
        m_depth = std::max(m_depth, node.depth);
    }
    double next = 0;
    for (std::size_t i = 0; i < m_nodes.size(); ++i) {
        if (m_nodes[i].parent < 0) {
            next = placeRows(static_cast<int>(i), next);
        }
    }
    m_rows = std::max(1.0, next);
    layOut();
    update();
}

/// Gives the branch below `node` its rows from `next` on; returns the next free one.
double DraftTreeView::placeRows(int node, double next) {
    const double first = next;
    bool leaf = true;
    for (std::size_t i = 0; i < m_nodes.size(); ++i) {
        if (m_nodes[i].parent == node) {
            next = placeRows(static_cast<int>(i), next);
            leaf = false;
        }
    }
    if (leaf) {
        next += 1;
    }
    m_nodes[static_cast<std::size_t>(node)].row = (first + next - 1) / 2;
    return next;
}

QString DraftTreeView::label(const TokenPiece& token) const {
    QString text = QString::fromStdString(token.text);
    text.replace(QLatin1Char('\n'), QStringLiteral("⏎"));
    text.replace(QLatin1Char(' '), QStringLiteral("·"));
    return text.isEmpty() ? QStringLiteral("…") : text;
}

void DraftTreeView::layOut() {
    const double step = (width() - 2.0) / (m_depth + 1);
    const double wide = std::clamp(step - kGapBetween, 20.0, kMostWidth);
    const double high =
        std::min(fontMetrics().height() + 2 * kPad - 4.0, (height() - 4.0) / m_rows - 2);
    for (Node& node : m_nodes) {
        node.place = QRectF(1 + node.depth * std::min(step, kMostWidth + kGapBetween),
                            2 + (height() - 4) * (node.row + 0.5) / m_rows - high / 2, wide, high);
    }
}

QRectF DraftTreeView::placeOf(int token) const {
    return token >= 0 && token < nodeCount() ? m_nodes[static_cast<std::size_t>(token)].place
                                             : QRectF();
}

void DraftTreeView::resizeEvent(QResizeEvent* event) {
    layOut();
    QWidget::resizeEvent(event);
}

bool DraftTreeView::event(QEvent* event) {
    if (event->type() != QEvent::ToolTip) {
        return QWidget::event(event);
    }
    const auto* help = static_cast<QHelpEvent*>(event);
    for (const Node& node : m_nodes) {
        if (node.place.contains(help->pos())) {
            QToolTip::showText(help->globalPos(),
                               node.token.node < 0
                                   ? tr("%1: the model's own").arg(label(node.token))
                                   : tr("%1: guessed at %2%")
                                         .arg(label(node.token))
                                         .arg(100 * node.token.confidence, 0, 'f', 0),
                               this);
            return true;
        }
    }
    QToolTip::hideText();
    return true;
}

void DraftTreeView::paintEvent(QPaintEvent*) {
    QPainter painter(this);
    painter.setRenderHint(QPainter::Antialiasing);
    const ThemeColors& colors = themeColors();
    if (m_nodes.empty()) {
        painter.setPen(colors.muted);
        painter.drawText(rect(), Qt::AlignCenter, tr("The guesses of a pass are drawn here"));
        return;
    }
    for (const Node& node : m_nodes) {
        if (node.parent < 0) {
            continue;
        }
        const QRectF& from = m_nodes[static_cast<std::size_t>(node.parent)].place;
        const QPointF start(from.right(), from.center().y()),
            end(node.place.left(), node.place.center().y());
        QPainterPath path(start);
        const double bend = (end.x() - start.x()) / 2;
        path.cubicTo(start + QPointF(bend, 0), end - QPointF(bend, 0), end);
        const bool kept = node.token.origin != TokenPiece::Origin::Rejected;
        painter.setPen(QPen(kept ? colors.success : colors.outline, kept ? 1.6 : 1));
        painter.setBrush(Qt::NoBrush);
        painter.drawPath(path);
    }
    for (const Node& node : m_nodes) {
        const QTextCharFormat format = TokenView::formatFor(node.token.origin);
        const bool accepted = node.token.origin == TokenPiece::Origin::Accepted;
        const bool rejected = node.token.origin == TokenPiece::Origin::Rejected;
        painter.setPen(QPen(accepted ? colors.success : colors.outline, 1));
        painter.setBrush(accepted ? colors.successSoft : colors.surface);
        painter.drawRoundedRect(node.place, 4, 4);
        QFont drawn = font();
        drawn.setStrikeOut(rejected);
        painter.setFont(drawn);
        painter.setPen(format.foreground().color());
        const QRectF inner = node.place.adjusted(3, 0, -3, 0);
        painter.drawText(
            inner, Qt::AlignCenter,
            QFontMetricsF(drawn).elidedText(label(node.token), Qt::ElideRight, inner.width()));
    }
}

}  // namespace fettle::ui
