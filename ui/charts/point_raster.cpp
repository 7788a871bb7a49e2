#include "ui/charts/point_raster.h"

#include <QPainter>
#include <algorithm>
#include <cmath>

namespace fettle::ui {
namespace {

void paintHatching(QPainter& painter, const QPainterPath& path, double radius) {
    painter.save();
    painter.setClipPath(path, Qt::IntersectClip);
    const QRectF box = path.boundingRect();
    const double step = std::max(radius * 0.62, 2.2);
    for (double x = box.left() - box.height(); x < box.right(); x += step) {
        painter.drawLine(QPointF(x, box.bottom()), QPointF(x + box.height(), box.top()));
    }
    painter.restore();
}

}  // namespace

void paintMarker(QPainter& painter, const QPointF& center, const MarkerLook& look) {
    QColor color = look.color;
    color.setAlphaF(look.dimmed ? 0.28F : 1.0F);
    painter.save();
    painter.setRenderHint(QPainter::Antialiasing);
    QTransform place = QTransform::fromTranslate(center.x(), center.y());
    place.scale(look.radius, look.radius);
    const QPainterPath path = place.map(markerPath(look.marker));
    const double line = std::clamp(look.radius * 0.3, 1.0, 1.9);
    if (look.kind == PointKind::Native) {
        // An edge in the ground's colour keeps touching markers apart.
        QColor edge = look.ground;
        edge.setAlphaF(look.dimmed ? 0.3F : 0.9F);
        painter.setPen(QPen(edge, look.radius < 3.2 ? 0.5 : 1.0));
        painter.setBrush(color);
        painter.drawPath(path);
    } else {
        QColor ground = look.ground;
        ground.setAlphaF(look.dimmed ? 0.2F : 0.8F);
        painter.setPen(QPen(color, line));
        painter.setBrush(ground);
        painter.drawPath(path);
        if (look.kind == PointKind::Estimated) {
            painter.setPen(QPen(color, 1.0));
            paintHatching(painter, path, look.radius);
        }
    }
    painter.restore();
}

void PointRaster::begin(QSize size, qreal pixelRatio, int thinning) {
    if (pixelRatio != m_ratio) {
        m_sprites.clear();
        m_index.clear();
        m_ratio = pixelRatio;
    }
    if (m_sprites.size() > 4096) {
        m_sprites.clear();
        m_index.clear();
    }
    const QSize pixels = (QSizeF(size) * pixelRatio).toSize().expandedTo(QSize(1, 1));
    if (m_image.size() != pixels) {
        m_image = QImage(pixels, QImage::Format_ARGB32_Premultiplied);
    }
    m_image.setDevicePixelRatio(pixelRatio);
    m_image.fill(Qt::transparent);
    m_cell = std::max(thinning, 1);
    m_columns = pixels.width() / m_cell + 1;
    m_rows = pixels.height() / m_cell + 1;
    m_taken.assign(static_cast<std::size_t>(m_columns) * static_cast<std::size_t>(m_rows), 0);
}

int PointRaster::look(const MarkerLook& look) {
    const QString key = QStringLiteral("%1 %2 %3 %4 %5 %6")
                            .arg(look.color.rgba())
                            .arg(static_cast<int>(look.marker))
                            .arg(static_cast<int>(look.kind))
                            .arg(look.radius)
                            .arg(look.dimmed)
                            .arg(look.ground.rgba());
    if (const auto found = m_index.constFind(key); found != m_index.constEnd()) {
        return *found;
    }
    Sprite sprite;
    sprite.radius = static_cast<int>(std::ceil((look.radius * 1.8 + 1.5) * m_ratio));
    const int side = 2 * sprite.radius + 1;
    QImage image(side, side, QImage::Format_ARGB32_Premultiplied);
    image.fill(Qt::transparent);
    QPainter painter(&image);
    painter.scale(m_ratio, m_ratio);
    const double middle = (sprite.radius + 0.5) / m_ratio;
    paintMarker(painter, {middle, middle}, look);
    painter.end();
    // Trim to what was drawn: most of the margin is empty, and blending pays per pixel.
    int margin = sprite.radius;
    for (int y = 0; y < side; ++y) {
        const auto* line = reinterpret_cast<const QRgb*>(image.constScanLine(y));
        for (int x = 0; x < side; ++x) {
            if (qAlpha(line[x]) != 0) {
                margin = std::min({margin, x, y, side - 1 - x, side - 1 - y});
            }
        }
    }
    sprite.image = image.copy(margin, margin, side - 2 * margin, side - 2 * margin);
    sprite.radius -= margin;
    m_sprites.push_back(std::move(sprite));
    const int index = static_cast<int>(m_sprites.size()) - 1;
    m_index.insert(key, index);
    return index;
}

bool PointRaster::add(const QPointF& center, int look, bool always) {
    const double x = center.x() * m_ratio;
    const double y = center.y() * m_ratio;
    if (!(x > -100 && y > -100 && x < m_image.width() + 100 && y < m_image.height() + 100)) {
        return false;
    }
    const int column = static_cast<int>(x) / m_cell;
    const int row = static_cast<int>(y) / m_cell;
    if (x >= 0 && y >= 0 && column < m_columns && row < m_rows) {
        auto& taken = m_taken[static_cast<std::size_t>(row) * static_cast<std::size_t>(m_columns) +
                              static_cast<std::size_t>(column)];
        // The mark holds the look, so that another technique on the same spot still shows.
        const auto mark = static_cast<unsigned char>(look % 255 + 1);
        if (taken == mark && !always) {
            return false;
        }
        taken = mark;
    }
    const Sprite& sprite = m_sprites[static_cast<std::size_t>(look)];
    blend(sprite, static_cast<int>(std::floor(x)) - sprite.radius,
          static_cast<int>(std::floor(y)) - sprite.radius);
    return true;
}

void PointRaster::blend(const Sprite& sprite, int left, int top) {
    const int x0 = std::max(0, -left);
    const int x1 = std::min(sprite.image.width(), m_image.width() - left);
    const int y0 = std::max(0, -top);
    const int y1 = std::min(sprite.image.height(), m_image.height() - top);
    for (int y = y0; y < y1; ++y) {
        const auto* source = reinterpret_cast<const QRgb*>(sprite.image.constScanLine(y));
        auto* target = reinterpret_cast<QRgb*>(m_image.scanLine(top + y)) + left;
        for (int x = x0; x < x1; ++x) {
            const QRgb s = source[x];
            const unsigned alpha = s >> 24;
            if (alpha == 255) {
                target[x] = s;
            } else if (alpha != 0) {
                // Source over, two channels at a time: d = s + d * (255 - a) / 255.
                const unsigned keep = 255 - alpha;
                const QRgb d = target[x];
                unsigned even = (d & 0x00ff00ff) * keep + 0x00800080;
                unsigned odd = ((d >> 8) & 0x00ff00ff) * keep + 0x00800080;
                even = ((even + ((even >> 8) & 0x00ff00ff)) >> 8) & 0x00ff00ff;
                odd = (odd + ((odd >> 8) & 0x00ff00ff)) & 0xff00ff00;
                target[x] = s + (even | odd);
            }
        }
    }
}

}  // namespace fettle::ui
