// Draws very many markers in one pass: each look is drawn once as a small image and then copied by
// hand into one layer; points that would land on a marker already there are left out.
#pragma once

#include <QColor>
#include <QHash>
#include <QImage>
#include <QPointF>
#include <vector>

#include "ui/charts/chart_theme.h"
#include "ui/models/tradeoff_model.h"

class QPainter;

namespace fettle::ui {

/// Everything that decides how a marker looks.
struct MarkerLook {
    QColor color;
    Marker marker = Marker::Circle;
    PointKind kind = PointKind::Native;
    double radius = 5;  ///< logical pixels
    bool dimmed = false;
    QColor ground;  ///< what hollow markers are filled with and filled ones outlined by
};

/// One marker, antialiased; also what sprites and legends are made with.
void paintMarker(QPainter& painter, const QPointF& center, const MarkerLook& look);

class PointRaster {
public:
    /// Clears the layer; `size` in logical pixels. Points closer than `thinning` device pixels are
    /// one.
    void begin(QSize size, qreal pixelRatio, int thinning);
    /// Index of a look for add(); equal looks give equal indices until begin() is called with
    /// another ratio.
    int look(const MarkerLook& look);
    /// False when the point was thinned out; `always` draws it in any case.
    bool add(const QPointF& center, int look, bool always = false);
    const QImage& image() const { return m_image; }

private:
    struct Sprite {
        QImage image;
        int radius = 0;  ///< device pixels from the centre to the edge
    };
    void blend(const Sprite& sprite, int left, int top);

    QImage m_image;
    qreal m_ratio = 1;
    int m_cell = 1;
    int m_columns = 0;
    int m_rows = 0;
    std::vector<unsigned char> m_taken;
    std::vector<Sprite> m_sprites;
    QHash<QString, int> m_index;
};

}  // namespace fettle::ui
