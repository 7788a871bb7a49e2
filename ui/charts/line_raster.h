// Draws very many thin lines in one pass, by hand into one layer; a line that would run where one
// of the same look does already is left out. For QPainter, ten thousand lines are seconds.
#pragma once

#include <QColor>
#include <QImage>
#include <vector>

namespace fettle::ui {

class LineRaster {
public:
    /// Begins with a copy of `ground`, an image in Format_ARGB32_Premultiplied without transparent
    /// pixels. `gaps` spaces between axes are thinned apart; ends that share a cell of `thinning`
    /// device pixels count as one; 0: every line is drawn. `width` in device pixels: above 0 lines
    /// have smooth edges, 0: one pixel, quick.
    void begin(const QImage& ground, int gaps, int thinning, double width);
    /// Index of a look for add(), below 64.
    int look(const QColor& color, bool dashed);
    /// A line between two axes in logical pixels, left end first. False when it was thinned out.
    bool add(int gap, double x0, double y0, double x1, double y1, int look);
    const QImage& image() const { return m_image; }

private:
    struct Look {
        QRgb color = 0;  ///< premultiplied
        bool dashed = false;
    };
    /// A line as steps along its longer direction.
    struct Path {
        bool flat = true;  ///< steps go to the right; else down
        int from = 0, to = 0;
        double start = 0;  ///< across, at the middle of the first step
        double slope = 0;  ///< across, per step
        int phase = -1;    ///< of its dashes; -1: none
    };
    Path pathOf(double x0, double y0, double x1, double y1, bool dashed) const;
    void drawQuick(const Path& path, QRgb color);
    void drawSmooth(const Path& path, QRgb color);

    QImage m_image;
    QRgb* m_pixels = nullptr;
    int m_stride = 0;  ///< pixels per row
    qreal m_ratio = 1;
    int m_cell = 1;
    int m_rows = 0;
    double m_width = 0;
    std::vector<quint64> m_taken;  ///< gaps x left cells x right cells, one bit per look
    std::vector<Look> m_looks;
};

}  // namespace fettle::ui
