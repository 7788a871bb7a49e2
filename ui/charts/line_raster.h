// Draws very many thin lines in one pass, by hand into one layer; a line that would run where one
// of the same look does already is left out. For QPainter, ten thousand lines are seconds.
#pragma once

#include <QColor>
#include <QImage>
#include <vector>

namespace fettle::ui {

class LineRaster {
public:
    /// Clears the layer; `size` in logical pixels. `gaps` spaces between axes are thinned apart;
    /// ends that share a cell of `thinning` device pixels count as one.
    void begin(QSize size, qreal pixelRatio, int gaps, int thinning);
    /// Index of a look for add(), below 32.
    int look(const QColor& color, bool dashed);
    /// A line between two axes in logical pixels, left end first. False when it was thinned out.
    bool add(int gap, double x0, double y0, double x1, double y1, int look);
    const QImage& image() const { return m_image; }

private:
    struct Look {
        QRgb color = 0;  ///< premultiplied
        bool dashed = false;
    };
    void draw(double x0, double y0, double x1, double y1, const Look& look);

    QImage m_image;
    QRgb* m_pixels = nullptr;
    int m_stride = 0;  ///< pixels per row
    qreal m_ratio = 1;
    int m_cell = 1;
    int m_rows = 0;
    std::vector<quint32> m_taken;  ///< gaps x left cells x right cells, one bit per look
    std::vector<Look> m_looks;
};

}  // namespace fettle::ui
