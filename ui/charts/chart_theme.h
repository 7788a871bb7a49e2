// Colours and marker shapes of every chart, for light and dark windows. Techniques take the
// Okabe-Ito palette, which stays apart under the common kinds of colour blindness, and a shape
// each, so that no meaning rests on colour alone.
#pragma once

#include <QColor>
#include <QPainterPath>
#include <QPalette>
#include <QString>

class QChart;

namespace fettle::ui {

enum class Marker { Circle, Square, TriangleUp, TriangleDown, Diamond, Pentagon, Hexagon, Star };

/// A shape of unit radius around the origin; areas are balanced so that no shape looks heavier than
/// another.
const QPainterPath& markerPath(Marker marker);

struct ChartTheme {
    bool dark = false;
    QColor background;  ///< around the plot
    QColor plot;        ///< inside the axes
    QColor text;
    QColor muted;  ///< axis labels, hints
    QColor grid;
    QColor frame;
    QColor accent;  ///< selection, Pareto front
    QColor good;
    QColor bad;
    QColor cardBackground;
    QColor cardBorder;

    static ChartTheme light();
    static ChartTheme darkTheme();
    /// Light or dark after the palette's window colour; backgrounds follow the palette.
    static ChartTheme fromPalette(const QPalette& palette);

    /// Colour and shape of a technique id ("ptq", "qat", ...); "" is the baseline.
    QColor techniqueColor(const QString& technique) const;
    static Marker techniqueMarker(const QString& technique);
    /// Place on the colour scale of a third metric, 0..1 (cividis: even for colour-blind eyes,
    /// monotone in grey).
    QColor scaleColor(double position) const;
    /// The n-th line of a chart with several.
    QColor seriesColor(int index) const;
};

/// Plain background, no drop shadow, no animation, no own legend.
void styleChart(QChart& chart, const ChartTheme& theme);

}  // namespace fettle::ui
