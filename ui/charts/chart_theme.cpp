#include "ui/charts/chart_theme.h"

#include <QChart>
#include <QGraphicsLayout>
#include <QLegend>
#include <QPen>
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace fettle::ui {
namespace {

QPainterPath regular(int corners, double radius, double startDegrees) {
    QPolygonF polygon;
    for (int i = 0; i < corners; ++i) {
        const double angle = (startDegrees + 360.0 * i / corners) * std::numbers::pi / 180;
        polygon << QPointF(radius * std::cos(angle), radius * std::sin(angle));
    }
    QPainterPath path;
    path.addPolygon(polygon);
    path.closeSubpath();
    return path;
}

QPainterPath star(double outer, double inner) {
    QPolygonF polygon;
    for (int i = 0; i < 10; ++i) {
        const double angle = (-90 + 36.0 * i) * std::numbers::pi / 180;
        const double radius = i % 2 == 0 ? outer : inner;
        polygon << QPointF(radius * std::cos(angle), radius * std::sin(angle));
    }
    QPainterPath path;
    path.addPolygon(polygon);
    path.closeSubpath();
    return path;
}

QPainterPath circle() {
    QPainterPath path;
    path.addEllipse(QPointF(0, 0), 1, 1);
    return path;
}

struct TechniqueStyle {
    const char* id;
    QRgb light;
    QRgb dark;
    Marker marker;
};

// Okabe-Ito; on dark ground the blue and the vermilion are lifted until they reach a contrast of
// 3:1 there.
constexpr std::array kTechniques{
    TechniqueStyle{"ptq", 0xff0072b2, 0xff2f8fd8, Marker::Circle},
    TechniqueStyle{"qat", 0xffe69f00, 0xffe69f00, Marker::TriangleUp},
    TechniqueStyle{"qad", 0xffd55e00, 0xfff0712a, Marker::TriangleDown},
    TechniqueStyle{"prune", 0xff009e73, 0xff14b88a, Marker::Square},
    TechniqueStyle{"distill", 0xffcc79a7, 0xffd98bb6, Marker::Diamond},
    TechniqueStyle{"speculative", 0xff56b4e9, 0xff7cc8f2, Marker::Pentagon},
};

}  // namespace

const QPainterPath& markerPath(Marker marker) {
    static const std::array<QPainterPath, 8> paths{
        circle(),           regular(4, 1.25, 45), regular(3, 1.4, -90), regular(3, 1.4, 90),
        regular(4, 1.3, 0), regular(5, 1.2, -90), regular(6, 1.15, 0),  star(1.7, 0.72)};
    return paths[static_cast<std::size_t>(marker)];
}

ChartTheme ChartTheme::light() {
    ChartTheme theme;
    theme.background = QColor(0xffffff);
    theme.plot = QColor(0xffffff);
    theme.text = QColor(0x1c2330);
    theme.muted = QColor(0x5d6778);
    theme.grid = QColor(0xe8ebf0);
    theme.frame = QColor(0xb9c0cc);
    theme.accent = QColor(0x5b3fd6);
    theme.good = QColor(0x0a7a55);
    theme.bad = QColor(0xb33a00);
    theme.cardBackground = QColor(0xffffff);
    theme.cardBorder = QColor(0xcdd3dd);
    return theme;
}

ChartTheme ChartTheme::darkTheme() {
    ChartTheme theme;
    theme.dark = true;
    theme.background = QColor(0x1b1e25);
    theme.plot = QColor(0x1b1e25);
    theme.text = QColor(0xe8ebf2);
    theme.muted = QColor(0x9aa4b5);
    theme.grid = QColor(0x2b303a);
    theme.frame = QColor(0x4a5262);
    theme.accent = QColor(0xa996ff);
    theme.good = QColor(0x3ecf9d);
    theme.bad = QColor(0xff9060);
    theme.cardBackground = QColor(0x262b35);
    theme.cardBorder = QColor(0x434b5a);
    return theme;
}

ChartTheme ChartTheme::fromPalette(const QPalette& palette) {
    const QColor base = palette.color(QPalette::Base);
    ChartTheme theme = base.lightness() < 128 ? darkTheme() : light();
    theme.background = base;
    theme.plot = base;
    theme.text = palette.color(QPalette::Text);
    return theme;
}

QColor ChartTheme::techniqueColor(const QString& technique) const {
    if (technique.isEmpty()) {
        return text;
    }
    for (const auto& style : kTechniques) {
        if (technique == QLatin1String(style.id)) {
            return QColor(dark ? style.dark : style.light);
        }
    }
    return muted;
}

Marker ChartTheme::techniqueMarker(const QString& technique) {
    if (technique.isEmpty()) {
        return Marker::Star;
    }
    for (const auto& style : kTechniques) {
        if (technique == QLatin1String(style.id)) {
            return style.marker;
        }
    }
    return Marker::Hexagon;
}

QColor ChartTheme::scaleColor(double position) const {
    static constexpr std::array<QRgb, 9> cividis{0x00224e, 0x123570, 0x3b496c, 0x575d6d, 0x707173,
                                                 0x8a8678, 0xa59c74, 0xc3b369, 0xe1cc55};
    // The dark end would vanish on dark ground and the light end on white: each theme leaves one
    // out.
    const double from = dark ? 0.28 : 0.0;
    const double to = dark ? 1.0 : 0.9;
    const double at = (from + (to - from) * std::clamp(position, 0.0, 1.0)) * (cividis.size() - 1);
    const auto low = std::min<std::size_t>(static_cast<std::size_t>(at), cividis.size() - 2);
    const double part = at - static_cast<double>(low);
    const QColor a(cividis[low]);
    const QColor b(cividis[low + 1]);
    return QColor::fromRgbF(static_cast<float>(a.redF() + part * (b.redF() - a.redF())),
                            static_cast<float>(a.greenF() + part * (b.greenF() - a.greenF())),
                            static_cast<float>(a.blueF() + part * (b.blueF() - a.blueF())));
}

QColor ChartTheme::seriesColor(int index) const {
    const auto& style =
        kTechniques[static_cast<std::size_t>(std::max(index, 0)) % kTechniques.size()];
    return QColor(dark ? style.dark : style.light);
}

void styleChart(QChart& chart, const ChartTheme& theme) {
    chart.setAnimationOptions(QChart::NoAnimation);
    chart.setDropShadowEnabled(false);
    chart.setBackgroundRoundness(0);
    // The view fills the ground: a chart that was never shown has not sized its own background yet.
    chart.setBackgroundVisible(false);
    chart.setPlotAreaBackgroundBrush(theme.plot);
    chart.setPlotAreaBackgroundVisible(theme.plot != theme.background);
    chart.legend()->hide();
    chart.setMargins({});
    chart.layout()->setContentsMargins(0, 0, 0, 0);
}

}  // namespace fettle::ui
