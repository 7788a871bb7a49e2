#include "ui/charts/line_raster.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace fettle::ui {
namespace {

constexpr int kDash = 5;  ///< steps drawn, and left out, of a dashed line

inline void blendPixel(QRgb& target, QRgb source, unsigned keep) {
    // Source over, two channels at a time: d = s + d * (255 - a) / 255.
    unsigned even = (target & 0x00ff00ff) * keep + 0x00800080;
    unsigned odd = ((target >> 8) & 0x00ff00ff) * keep + 0x00800080;
    even = ((even + ((even >> 8) & 0x00ff00ff)) >> 8) & 0x00ff00ff;
    odd = (odd + ((odd >> 8) & 0x00ff00ff)) & 0xff00ff00;
    target = source + (even | odd);
}

/// A premultiplied colour of which only `share` of 256 covers the pixel.
inline QRgb covered(QRgb color, unsigned share) {
    const unsigned even = (((color & 0x00ff00ff) * share) >> 8) & 0x00ff00ff;
    const unsigned odd = ((color >> 8) & 0x00ff00ff) * share & 0xff00ff00;
    return even | odd;
}

inline bool inDash(int step, int phase) {
    return phase < 0 || (step + phase) / kDash % 2 == 0;
}

}  // namespace

void LineRaster::begin(const QImage& ground, int gaps, int thinning, double width) {
    if (m_image.size() != ground.size()) {
        m_image = QImage(ground.size(), QImage::Format_ARGB32_Premultiplied);
    }
    m_image.setDevicePixelRatio(ground.devicePixelRatio());
    std::memcpy(m_image.bits(), ground.constBits(), static_cast<std::size_t>(ground.sizeInBytes()));
    m_pixels = reinterpret_cast<QRgb*>(m_image.bits());
    m_stride = static_cast<int>(m_image.bytesPerLine() / 4);
    m_ratio = ground.devicePixelRatio();
    m_cell = std::max(thinning, 0);
    m_rows = m_cell > 0 ? ground.height() / m_cell + 1 : 0;
    m_width = width;
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
    if (m_looks.size() == 64) {
        return 63;
    }
    m_looks.push_back({value, dashed});
    return static_cast<int>(m_looks.size()) - 1;
}

bool LineRaster::add(int gap, double x0, double y0, double x1, double y1, int look) {
    x0 *= m_ratio;
    y0 *= m_ratio;
    x1 *= m_ratio;
    y1 *= m_ratio;
    if (m_cell > 0) {
        const auto cellOf = [this](double y) {
            return static_cast<std::size_t>(
                std::clamp(static_cast<int>(y) / m_cell, 0, m_rows - 1));
        };
        const auto rows = static_cast<std::size_t>(m_rows);
        quint64& taken =
            m_taken[(static_cast<std::size_t>(gap) * rows + cellOf(y0)) * rows + cellOf(y1)];
        const quint64 mark = quint64{1} << look;
        if (taken & mark) {
            return false;
        }
        taken |= mark;
    }
    const Look& used = m_looks[static_cast<std::size_t>(look)];
    const Path path = pathOf(x0, y0, x1, y1, used.dashed);
    m_width > 0 ? drawSmooth(path, used.color) : drawQuick(path, used.color);
    return true;
}

LineRaster::Path LineRaster::pathOf(double x0, double y0, double x1, double y1, bool dashed) const {
    Path path;
    const double dx = x1 - x0;
    const double dy = y1 - y0;
    path.flat = std::abs(dx) >= std::abs(dy);
    const double low = path.flat ? x0 : std::min(y0, y1);
    const double high = path.flat ? x1 : std::max(y0, y1);
    path.slope = path.flat ? (dx != 0 ? dy / dx : 0) : dx / dy;
    path.from = std::max(static_cast<int>(std::ceil(low - 0.5)), 0);
    path.to = std::min(static_cast<int>(std::ceil(high - 0.5)),
                       path.flat ? m_image.width() : m_image.height());
    path.start = (path.flat ? y0 : x0) + (path.from + 0.5 - (path.flat ? x0 : y0)) * path.slope;
    // Each line begins its dashes elsewhere: in step, a bundle of lines would look like a fence.
    path.phase = dashed ? static_cast<int>(y0 * 7 + y1 * 13) & 0x3ff : -1;
    return path;
}

void LineRaster::drawQuick(const Path& path, QRgb color) {
    const unsigned keep = 255 - static_cast<unsigned>(qAlpha(color));
    const int limit = path.flat ? m_image.height() : m_image.width();
    const std::ptrdiff_t along = path.flat ? 1 : m_stride;
    const std::ptrdiff_t aside = path.flat ? m_stride : 1;
    // Places across with 16 bits behind the point: one addition a step.
    auto across = static_cast<qint64>(path.start * 65536);
    const auto step = static_cast<qint64>(path.slope * 65536);
    const qint64 end = across + step * std::max(path.to - path.from - 1, 0);
    if (std::min(across, end) < 0 || std::max(across, end) >> 16 >= limit) {
        return;  // axes lie inside the image: only a value that is no place gets here
    }
    QRgb* row = m_pixels + path.from * along;
    if (path.phase < 0) {
        for (int at = path.from; at < path.to; ++at, across += step, row += along) {
            blendPixel(row[(across >> 16) * aside], color, keep);
        }
        return;
    }
    for (int at = path.from; at < path.to; ++at, across += step, row += along) {
        if (inDash(at, path.phase)) {
            blendPixel(row[(across >> 16) * aside], color, keep);
        }
    }
}

void LineRaster::drawSmooth(const Path& path, QRgb color) {
    const int limit = path.flat ? m_image.height() : m_image.width();
    const std::ptrdiff_t along = path.flat ? 1 : m_stride;
    const std::ptrdiff_t aside = path.flat ? m_stride : 1;
    // The width is measured across the line; along one column or row it is more.
    const double half = m_width / 2 * std::sqrt(1 + path.slope * path.slope);
    double across = path.start;
    for (int at = path.from; at < path.to; ++at, across += path.slope) {
        if (!inDash(at, path.phase)) {
            continue;
        }
        const double low = across - half;
        const double high = across + half;
        const int last = std::min(static_cast<int>(std::floor(high)), limit - 1);
        for (int place = std::max(static_cast<int>(std::floor(low)), 0); place <= last; ++place) {
            const double share = std::min(high, place + 1.0) - std::max(low, double(place));
            const QRgb part =
                covered(color, static_cast<unsigned>(std::clamp(share, 0.0, 1.0) * 256));
            blendPixel(m_pixels[at * along + place * aside], part,
                       255 - static_cast<unsigned>(qAlpha(part)));
        }
    }
}

}  // namespace fettle::ui
