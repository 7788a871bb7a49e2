#include "ui/widgets/theme.h"

#include <QApplication>
#include <QEvent>
#include <QFile>
#include <QFont>
#include <QHash>
#include <QLabel>
#include <QPalette>
#include <QStyle>
#include <QStyleFactory>
#include <QStyleHints>
#include <QWidget>
#include <utility>

namespace fettle::ui {

const ThemeColors& lightColors() {
    static const ThemeColors colors{
        .dark = false,
        .window = QColor(0xf3f5f7),
        .surface = QColor(0xffffff),
        .raised = QColor(0xeaeef2),
        .border = QColor(0xdce1e7),
        .outline = QColor(0x7a8798),
        .text = QColor(0x18212c),
        .muted = QColor(0x55606f),
        .accent = QColor(0x0b6e69),
        .accentHover = QColor(0x095a56),
        .onAccent = QColor(0xffffff),
        .accentSoft = QColor(0xd8eeec),
        .success = QColor(0x0a6b3d),
        .warning = QColor(0x8a4b00),
        .danger = QColor(0xb3261e),
        .successSoft = QColor(0xdff3e7),
        .warningSoft = QColor(0xfdf0d7),
        .dangerSoft = QColor(0xfce4e2),
        .series = {QColor(0x0b7a75), QColor(0xc2570c), QColor(0x3b5bdb), QColor(0xb0307a),
                   QColor(0x6b7d0e), QColor(0x7048c4), QColor(0x8a5a2b), QColor(0x4a5563)},
    };
    return colors;
}

const ThemeColors& darkColors() {
    static const ThemeColors colors{
        .dark = true,
        .window = QColor(0x12161b),
        .surface = QColor(0x1a2027),
        .raised = QColor(0x252d36),
        .border = QColor(0x2f3944),
        .outline = QColor(0x6d7b8b),
        .text = QColor(0xe7ecf1),
        .muted = QColor(0xa3afbd),
        .accent = QColor(0x4cc9bf),
        .accentHover = QColor(0x78dcd4),
        .onAccent = QColor(0x06201e),
        .accentSoft = QColor(0x173c3b),
        .success = QColor(0x6fd39b),
        .warning = QColor(0xf0b866),
        .danger = QColor(0xff8f86),
        .successSoft = QColor(0x17321f),
        .warningSoft = QColor(0x3a2b12),
        .dangerSoft = QColor(0x41201d),
        .series = {QColor(0x4cc9bf), QColor(0xf3994f), QColor(0x8ea6ff), QColor(0xec83bd),
                   QColor(0xc0d357), QColor(0xb79cf5), QColor(0xd2a679), QColor(0xaab6c4)},
    };
    return colors;
}

const ThemeColors& themeColors() {
    return Theme::instance()->colors();
}

Theme* Theme::instance() {
    static Theme* theme = nullptr;
    if (!theme) {
        theme = new Theme(qApp);
        connect(theme, &QObject::destroyed, theme, [] { theme = nullptr; });
    }
    return theme;
}

Theme::Theme(QObject* parent) : QObject(parent) {
    m_dark = systemIsDark();
}

bool Theme::systemIsDark() const {
#if QT_VERSION >= QT_VERSION_CHECK(6, 5, 0)
    return QGuiApplication::styleHints()->colorScheme() == Qt::ColorScheme::Dark;
#else
    // Qt before 6.5 knows no colour scheme; the platform's own palette tells it.
    const QPalette ours = QApplication::palette();
    QApplication::setPalette(QPalette());
    const QPalette platform = QApplication::palette();
    const bool dark = platform.color(QPalette::Window).lightness() <
                      platform.color(QPalette::WindowText).lightness();
    if (m_applied) {
        QApplication::setPalette(ours);
    }
    return dark;
#endif
}

void Theme::setMode(Mode mode) {
    m_mode = mode;
    if (m_applied) {
        apply();
    }
}

static QPalette paletteOf(const ThemeColors& c) {
    QPalette palette;
    palette.setColor(QPalette::Window, c.window);
    palette.setColor(QPalette::WindowText, c.text);
    palette.setColor(QPalette::Base, c.surface);
    palette.setColor(QPalette::AlternateBase, c.window);
    palette.setColor(QPalette::Text, c.text);
    palette.setColor(QPalette::PlaceholderText, c.muted);
    palette.setColor(QPalette::Button, c.surface);
    palette.setColor(QPalette::ButtonText, c.text);
    palette.setColor(QPalette::BrightText, c.danger);
    palette.setColor(QPalette::ToolTipBase, c.raised);
    palette.setColor(QPalette::ToolTipText, c.text);
    palette.setColor(QPalette::Highlight, c.accent);
    palette.setColor(QPalette::HighlightedText, c.onAccent);
    palette.setColor(QPalette::Link, c.accent);
    palette.setColor(QPalette::LinkVisited, c.accent);
    palette.setColor(QPalette::Light, c.surface);
    palette.setColor(QPalette::Midlight, c.raised);
    palette.setColor(QPalette::Mid, c.border);
    palette.setColor(QPalette::Dark, c.outline);
    palette.setColor(QPalette::Shadow, c.dark ? QColor(Qt::black) : c.outline);
    for (const auto role : {QPalette::WindowText, QPalette::Text, QPalette::ButtonText}) {
        palette.setColor(QPalette::Disabled, role, c.outline);
    }
    palette.setColor(QPalette::Disabled, QPalette::Highlight, c.raised);
    palette.setColor(QPalette::Disabled, QPalette::HighlightedText, c.muted);
    return palette;
}

// The stylesheet names colours as @role; longer names are replaced before the shorter ones they
// begin with.
static QString styleSheetOf(const ThemeColors& c) {
    QFile file(QStringLiteral(":/themes/fettle.qss"));
    if (!file.open(QIODevice::ReadOnly)) {
        return {};
    }
    QString text = QString::fromUtf8(file.readAll());
    const std::pair<const char*, QColor> roles[] = {
        {"@accentHover", c.accentHover},
        {"@accentSoft", c.accentSoft},
        {"@accent", c.accent},
        {"@onAccent", c.onAccent},
        {"@successSoft", c.successSoft},
        {"@success", c.success},
        {"@warningSoft", c.warningSoft},
        {"@warning", c.warning},
        {"@dangerSoft", c.dangerSoft},
        {"@danger", c.danger},
        {"@window", c.window},
        {"@surface", c.surface},
        {"@raised", c.raised},
        {"@border", c.border},
        {"@outline", c.outline},
        {"@text", c.text},
        {"@muted", c.muted},
    };
    for (const auto& [role, color] : roles) {
        text.replace(QLatin1String(role), color.name());
    }
    text.replace(QLatin1String("@variant"), QLatin1String(c.dark ? "dark" : "light"));
    return text;
}

void Theme::apply() {
    if (m_applying) {
        return;
    }
    m_applying = true;
    const bool first = !m_applied;
    m_dark = m_mode == Mode::System ? systemIsDark() : m_mode == Mode::Dark;
    if (first) {
        QApplication::setStyle(QStyleFactory::create(QStringLiteral("Fusion")));
        qApp->installEventFilter(this);
#if QT_VERSION >= QT_VERSION_CHECK(6, 5, 0)
        connect(QGuiApplication::styleHints(), &QStyleHints::colorSchemeChanged, this,
                [this] { apply(); });
#endif
    }
    m_applied = true;
    QApplication::setPalette(paletteOf(colors()));
    qApp->setStyleSheet(styleSheetOf(colors()));
    m_applying = false;
    emit changed();
}

bool Theme::eventFilter(QObject* watched, QEvent* event) {
    if (event->type() == QEvent::ThemeChange && m_mode == Mode::System && !m_applying &&
        systemIsDark() != m_dark) {
        apply();
    }
    return QObject::eventFilter(watched, event);
}

QString Theme::toString(Mode mode) {
    switch (mode) {
        case Mode::Light:
            return QStringLiteral("light");
        case Mode::Dark:
            return QStringLiteral("dark");
        case Mode::System:
            break;
    }
    return QStringLiteral("system");
}

Theme::Mode Theme::modeFromString(const QString& text) {
    if (text == QLatin1String("light")) {
        return Mode::Light;
    }
    return text == QLatin1String("dark") ? Mode::Dark : Mode::System;
}

void setTextRole(QLabel* label, TextRole role) {
    QFont font = QApplication::font();
    const qreal size = font.pointSizeF();
    switch (role) {
        case TextRole::Title:
            font.setPointSizeF(size * 1.45);
            font.setWeight(QFont::DemiBold);
            break;
        case TextRole::Heading:
            font.setPointSizeF(size * 1.1);
            font.setWeight(QFont::DemiBold);
            break;
        case TextRole::Body:
            break;
        case TextRole::Caption:
            font.setPointSizeF(size * 0.92);
            setStyleClass(label, "caption");
            break;
    }
    label->setFont(font);
}

namespace {

/// Remembers how high its words are at a width. Nested layouts ask that of every wrapped label a
/// dozen times over, and each answer shapes the whole text again: with a form of ten notes the most
/// of what a page costs to lay out.
class WrappedLabel : public QLabel {
public:
    using QLabel::QLabel;

    int heightForWidth(int width) const override {
        if (m_text != text() || m_font != font()) {
            m_text = text();
            m_font = font();
            m_heights.clear();
        }
        const auto known = m_heights.constFind(width);
        if (known != m_heights.constEnd()) {
            return *known;
        }
        if (m_heights.size() >= kWidthsKept) {
            m_heights.clear();  // a window being resized
        }
        const int height = QLabel::heightForWidth(width);
        m_heights.insert(width, height);
        return height;
    }

protected:
    bool event(QEvent* event) override {
        switch (event->type()) {
            case QEvent::Polish:
            case QEvent::StyleChange:
            case QEvent::FontChange:
            case QEvent::ContentsRectChange:
            case QEvent::DynamicPropertyChange:
                m_heights.clear();
                break;
            default:
                break;
        }
        return QLabel::event(event);
    }

private:
    static constexpr qsizetype kWidthsKept = 16;

    mutable QString m_text;
    mutable QFont m_font;
    mutable QHash<int, int> m_heights;
};

}  // namespace

QLabel* makeLabel(const QString& text, TextRole role, QWidget* parent) {
    auto* label = new WrappedLabel(text, parent);
    label->setTextFormat(Qt::PlainText);
    setTextRole(label, role);
    return label;
}

void setStyleClass(QWidget* widget, const char* name) {
    widget->setProperty("styleClass", QLatin1String(name));
    if (widget->testAttribute(Qt::WA_WState_Polished)) {
        widget->style()->unpolish(widget);
        widget->style()->polish(widget);
    }
}

}  // namespace fettle::ui
