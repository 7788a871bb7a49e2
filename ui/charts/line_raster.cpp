#include "ui/charts/line_raster.h"

#include <algorithm>
#include <cmath>

namespace fettle::ui {
namespace {

constexpr int kDash = 5;  ///< pixels drawn, and left out, of a dashed line

inline void blendPixel(QRgb& target, QRgb source, unsigned keep) {
    // Source over, two channels at a time: d = s + d * (255 - a) / 255.
    unsigned even = (target & 0x00ff00ff) * keep + 0x00800080;
    unsigned odd = ((target >> 8) & 0x00ff00ff) * keep + 0x00800080;
    even = ((even + ((even >> 8) & 0x00ff00ff)) >> 8) & 0x00ff00ff;
    odd = (odd + ((odd >> 8) & 0x00ff00ff)) & 0xff00ff00;
    target = source + (even | odd);
}

}  // namespace

void LineRaster::begin(QSize size, qreal pixelRatio, int gaps, int thinning) {
    const QSize pixels = (QSizeF(size) * pixelRatio).toSize().expandedTo(QSize(1, 1));
    if (m_image.size() != pixels) {
        m_image = QImage(pixels, QImage::Format_ARGB32_Premultiplied);
    }
    m_image.setDevicePixelRatio(pixelRatio);
    m_image.fill(Qt::transparent);
    m_pixels = reinterpret_cast<QRgb*>(m_image.bits());
    m_stride = static_cast<int>(m_image.bytesPerLine() / 4);
    m_ratio = pixelRatio;
    m_cell = std::max(thinning, 1);
    m_rows = pixels.height() / m_cell + 1;
    m_taken.assign(static_cast<std::size_t>(std::max(gaps, 0)) * static_cast<std::size_t>(m_rows) *
                       static_cast<std::size_t>(m_rows),
                   0);
    m_looks.clear();
}

int LineRaster::look(const QColor& color, bool dashed) {
    const QRgb value = qPremultiply(color.rgba());
    for (std::size_t i = 0; i < m_looks.size(); ++i) {
        if (m_looks[i].color == value && m_looks[i].dashed == dashed) {
            return static_cast<int>(i);
        }
    }
    if (m_looks.size() == 32) {
        return 31;
    }
    m_looks.push_back({value, dashed});
    return static_cast<int>(m_looks.size()) - 1;
}

bool LineRaster::add(int gap, double x0, double y0, double x1, double y1, int look) {
    x0 *= m_ratio;
    y0 *= m_ratio;
    x1 *= m_ratio;
    y1 *= m_ratio;
    const auto cellOf = [this](double y) {
        return std::clamp(static_cast<int>(y) / m_cell, 0, m_rows - 1);
    };
    quint32& taken = m_taken[(static_cast<std::size_t>(gap) * static_cast<std::size_t>(m_rows) +
                              static_cast<std::size_t>(cellOf(y0))) *
                                 static_cast<std::size_t>(m_rows) +
                             static_cast<std::size_t>(cellOf(y1))];
    const quint32 mark = 1U << look;
    if (taken & mark) {
        return false;
    }
    taken |= mark;
    draw(x0, y0, x1, y1, m_looks[static_cast<std::size_t>(look)]);
    return true;
}

void LineRaster::draw(double x0, double y0, double x1, double y1, const Look& look) {
    const int width = m_image.width();
    const int height = m_image.height();
    const double dx = x1 - x0;
    const double dy = y1 - y0;
    const unsigned keep = 255 - qAlpha(look.color);
    // Positions with 16 bits behind the point: one addition a step.
    const bool flat = std::abs(dx) >= std::abs(dy);
    const double along0 = flat ? x0 : std::min(y0, y1);
    const double along1 = flat ? x1 : std::max(y0, y1);
    const int from = std::max(static_cast<int>(std::ceil(along0 - 0.5)), 0);
    const int to = std::min(static_cast<int>(std::ceil(along1 - 0.5)), flat ? width : height);
    const double slope = flat ? (dx != 0 ? dy / dx : 0) : dx / dy;
    const double start = (flat ? y0 : x0) + (from + 0.5 - (flat ? x0 : y0)) * slope;
    qint64 across = static_cast<qint64>(start * 65536);
    const auto step = static_cast<qint64>(slope * 65536);
    const int limit = flat ? height : width;
    for (int at = from; at < to; ++at, across += step) {
        const auto cross = static_cast<int>(across >> 16);
        if (cross < 0 || cross >= limit || (look.dashed && at / kDash % 2 != 0)) {
            continue;
        }
        blendPixel(flat ? m_pixels[cross * m_stride + at] : m_pixels[at * m_stride + cross],
                   look.color, keep);
    }
}

}  // namespace fettle::ui
