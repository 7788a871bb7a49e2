// Colours and sizes of the window, light and dark: one accent, flat surfaces. Every widget and
// chart asks here, so that a switch of the theme reaches all of them. GUI thread only.
#pragma once

#include <QColor>
#include <QObject>
#include <QString>
#include <vector>

class QLabel;
class QWidget;

namespace fettle::ui {

struct ThemeColors {
    bool dark = false;
    QColor window;   ///< behind everything
    QColor surface;  ///< cards, inputs, tables
    QColor raised;   ///< hovered rows, headers, quiet buttons
    QColor border;   ///< hairlines; decoration only
    QColor outline;  ///< edges of controls, at least 3:1 against `surface`
    QColor text;
    QColor muted;   ///< secondary text, at least 4.5:1
    QColor accent;  ///< the one accent: primary action, selection, focus
    QColor accentHover;
    QColor onAccent;    ///< text on `accent`
    QColor accentSoft;  ///< tinted background of selected rows
    QColor success;
    QColor warning;
    QColor danger;
    QColor successSoft;
    QColor warningSoft;
    QColor dangerSoft;
    std::vector<QColor> series;  ///< for charts, distinct also for colour-blind eyes
};

const ThemeColors& lightColors();
const ThemeColors& darkColors();

class Theme : public QObject {
    Q_OBJECT

public:
    enum class Mode { System, Light, Dark };

    /// The application's theme; made on first use, needs a QApplication.
    static Theme* instance();

    Mode mode() const { return m_mode; }
    void setMode(Mode mode);
    const ThemeColors& colors() const { return m_dark ? darkColors() : lightColors(); }
    bool isDark() const { return m_dark; }
    /// Sets style, palette and stylesheet of the application; called once at the start.
    void apply();

    static QString toString(Mode mode);
    static Mode modeFromString(const QString& text);

signals:
    void changed();

protected:
    bool eventFilter(QObject* watched, QEvent* event) override;

private:
    explicit Theme(QObject* parent);
    bool systemIsDark() const;

    Mode m_mode = Mode::System;
    bool m_dark = false;
    bool m_applied = false;
    bool m_applying = false;
};

/// Shorthand for Theme::instance()->colors().
const ThemeColors& themeColors();

// Typographic roles. Sizes are relative to the system font, which stays the user's choice.
enum class TextRole { Title, Heading, Body, Caption };
void setTextRole(QLabel* label, TextRole role);
QLabel* makeLabel(const QString& text, TextRole role, QWidget* parent = nullptr);

/// Marks a widget for the stylesheet, e.g. setStyleClass(button, "primary").
void setStyleClass(QWidget* widget, const char* name);

inline constexpr int kGap = 8;       ///< between related controls
inline constexpr int kGapWide = 16;  ///< between groups, and the margin of pages

}  // namespace fettle::ui
