#include "ui/charts/token_strip.h"

#include <QHelpEvent>
#include <QKeyEvent>
#include <QMouseEvent>
#include <QPainter>
#include <QScrollBar>
#include <algorithm>
#include <cmath>

#include "ui/charts/hover_card.h"

namespace fettle::ui {
namespace {

constexpr int kStripPad = 10;

}  // namespace

TokenStrip::TokenStrip(QWidget* parent)
    : QAbstractScrollArea(parent),
      m_theme(ChartTheme::fromPalette(palette())),
      m_card(new HoverCard(viewport())) {
    setFocusPolicy(Qt::StrongFocus);
    setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    setAccessibleName(tr("Text with its tokens tinted"));
    viewport()->setMouseTracking(true);
    m_card->setTheme(m_theme);
}

void TokenStrip::setTokens(std::vector<StripToken> tokens, std::function<QString(int)> describe) {
    m_tokens = std::move(tokens);
    m_describe = std::move(describe);
    m_current = -1;
    m_card->hide();
    // One outlier must not pale all others: the deepest tint is the 99th percentile.
    std::vector<double> values;
    for (const StripToken& token : m_tokens) {
        if (token.scored && token.value > 0) {
            values.push_back(token.value);
        }
    }
    std::sort(values.begin(), values.end());
    m_full = values.empty() ? 1 : values[(values.size() - 1) * 99 / 100];
    verticalScrollBar()->setValue(0);
    layOut();
}

void TokenStrip::setEmptyText(const QString& text) {
    m_emptyText = text;
    viewport()->update();
}

QString TokenStrip::hoverText() const {
    return m_card->isHidden() ? QString() : m_card->text();
}

void TokenStrip::layOut() {
    const QFontMetrics metrics(font());
    const int line = metrics.height() + 8;
    const int right = std::max(viewport()->width() - kStripPad, 60);
    int x = kStripPad;
    int y = kStripPad;
    m_places.clear();
    m_places.reserve(m_tokens.size());
    for (const StripToken& token : m_tokens) {
        QString glyphs = token.text;
        const qsizetype lines = glyphs.count(QLatin1Char('\n'));
        glyphs.replace(QLatin1Char('\n'), QStringLiteral("⏎"))
            .replace(QLatin1Char('\t'), QStringLiteral("    "));
        const int width = metrics.horizontalAdvance(glyphs);
        if (x + width > right && x > kStripPad) {
            x = kStripPad;
            y += line;
        }
        m_places.push_back({QRect(x, y, width, line - 4), glyphs});
        x += width;
        if (lines > 0) {
            x = kStripPad;
            y += line * static_cast<int>(std::min<qsizetype>(lines, 2));
        }
    }
    const int bottom = m_places.empty() ? 0 : m_places.back().rect.bottom() + kStripPad;
    verticalScrollBar()->setPageStep(viewport()->height());
    verticalScrollBar()->setSingleStep(line);
    verticalScrollBar()->setRange(0, std::max(0, bottom - viewport()->height()));
    viewport()->update();
}

QColor TokenStrip::tintOf(double value) const {
    // Square root: small divergences stay visible beside large ones.
    const double depth = 0.85 * std::sqrt(std::clamp(value / m_full, 0.0, 1.0));
    const auto mix = [&](int from, int to) {
        return static_cast<int>(std::lround(from + (to - from) * depth));
    };
    const QColor& plain = m_theme.background;
    const QColor& deep = m_theme.bad;
    return {mix(plain.red(), deep.red()), mix(plain.green(), deep.green()),
            mix(plain.blue(), deep.blue())};
}

void TokenStrip::paintEvent(QPaintEvent*) {
    QPainter painter(viewport());
    painter.fillRect(viewport()->rect(), m_theme.background);
    if (m_tokens.empty()) {
        painter.setPen(m_theme.muted);
        painter.drawText(viewport()->rect().adjusted(16, 16, -16, -16),
                         Qt::AlignCenter | Qt::TextWordWrap, m_emptyText);
        return;
    }
    const int top = verticalScrollBar()->value();
    const QFontMetrics metrics(font());
    auto place = std::lower_bound(m_places.begin(), m_places.end(), top,
                                  [](const Place& p, int y) { return p.rect.bottom() < y; });
    for (; place != m_places.end() && place->rect.top() <= top + viewport()->height(); ++place) {
        const std::size_t i = static_cast<std::size_t>(place - m_places.begin());
        const QRect rect = place->rect.translated(0, -top);
        const bool tinted = m_tokens[i].scored && m_tokens[i].value > 0;
        const QColor tint = tinted ? tintOf(m_tokens[i].value) : m_theme.background;
        if (tinted) {
            painter.fillRect(rect.adjusted(0, 0, -1, 0), tint);
        }
        const bool darkTint = tint.lightnessF() < 0.5;
        painter.setPen(!m_tokens[i].scored ? m_theme.muted
                       : darkTint          ? QColor(Qt::white)
                                           : QColor(0x18, 0x1c, 0x22));
        if (m_theme.dark && !tinted && m_tokens[i].scored) {
            painter.setPen(m_theme.text);
        }
        painter.drawText(rect.left(), rect.top() + (rect.height() + metrics.ascent()) / 2 - 1,
                         place->glyphs);
        if (static_cast<int>(i) == m_current) {
            painter.setPen(QPen(m_theme.accent, 2));
            painter.drawRect(rect.adjusted(0, 0, -1, 0));
        }
    }
}

void TokenStrip::resizeEvent(QResizeEvent* event) {
    QAbstractScrollArea::resizeEvent(event);
    layOut();
}

QRect TokenStrip::tokenRect(int token) const {
    return token < 0 || token >= count()
               ? QRect()
               : m_places[static_cast<std::size_t>(token)].rect.translated(
                     0, -verticalScrollBar()->value());
}

int TokenStrip::tokenAt(const QPoint& at) const {
    const QPoint inText = at + QPoint(0, verticalScrollBar()->value());
    auto place = std::lower_bound(m_places.begin(), m_places.end(), inText.y(),
                                  [](const Place& p, int y) { return p.rect.bottom() < y; });
    for (; place != m_places.end() && place->rect.top() <= inText.y(); ++place) {
        if (place->rect.contains(inText)) {
            return static_cast<int>(place - m_places.begin());
        }
    }
    return -1;
}

void TokenStrip::showCard(int token) {
    const QString text = token >= 0 && m_describe ? m_describe(token) : QString();
    if (text.isEmpty()) {
        m_card->hide();
        return;
    }
    m_card->showAt(tokenRect(token).center(), text);
    setAccessibleDescription(text);
}

bool TokenStrip::viewportEvent(QEvent* event) {
    switch (event->type()) {
        case QEvent::MouseMove:
            showCard(tokenAt(static_cast<QMouseEvent*>(event)->pos()));
            break;
        case QEvent::MouseButtonPress: {
            const int token = tokenAt(static_cast<QMouseEvent*>(event)->pos());
            if (token >= 0) {
                setCurrent(token);
            }
            break;
        }
        case QEvent::Leave:
            m_card->hide();
            break;
        default:
            break;
    }
    return QAbstractScrollArea::viewportEvent(event);
}

void TokenStrip::setCurrent(int token) {
    if (m_tokens.empty()) {
        return;
    }
    m_current = std::clamp(token, 0, count() - 1);
    const QRect rect = m_places[static_cast<std::size_t>(m_current)].rect;
    QScrollBar* bar = verticalScrollBar();
    if (rect.top() < bar->value() || rect.bottom() > bar->value() + viewport()->height()) {
        bar->setValue(rect.center().y() - viewport()->height() / 2);
    }
    showCard(m_current);
    emit currentChanged(m_current);
    viewport()->update();
}

void TokenStrip::keyPressEvent(QKeyEvent* event) {
    const auto nextLine = [this](int step) {
        // The token below or above that is nearest to the middle of this one.
        const QRect here = tokenRect(std::max(m_current, 0));
        const int y = here.center().y() + step * (QFontMetrics(font()).height() + 8);
        for (int x = here.center().x(); x >= 0; x -= 4) {
            if (const int token = tokenAt({x, y}); token >= 0) {
                return token;
            }
        }
        return m_current;
    };
    switch (event->key()) {
        case Qt::Key_Left:
            return setCurrent(m_current - 1);
        case Qt::Key_Right:
            return setCurrent(m_current + 1);
        case Qt::Key_Up:
            return setCurrent(nextLine(-1));
        case Qt::Key_Down:
            return setCurrent(nextLine(1));
        case Qt::Key_Home:
            return setCurrent(0);
        case Qt::Key_End:
            return setCurrent(count() - 1);
        case Qt::Key_Escape:
            m_card->hide();
            break;
        default:
            break;
    }
    QAbstractScrollArea::keyPressEvent(event);
}

void TokenStrip::focusOutEvent(QFocusEvent* event) {
    m_card->hide();
    QAbstractScrollArea::focusOutEvent(event);
}

void TokenStrip::changeEvent(QEvent* event) {
    QAbstractScrollArea::changeEvent(event);
    if (event->type() == QEvent::PaletteChange) {
        m_theme = ChartTheme::fromPalette(palette());
        m_card->setTheme(m_theme);
        viewport()->update();
    } else if (event->type() == QEvent::FontChange) {
        layOut();
    }
}

}  // namespace fettle::ui
