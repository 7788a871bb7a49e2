#include "ui/charts/parallel_chart.h"

#include <QEvent>
#include <QPainter>
#include <algorithm>
#include <cmath>

#include "ui/charts/hover_card.h"
#include "ui/charts/tradeoff_painter.h"

namespace fettle::ui {
namespace {

constexpr std::size_t kSmoothLines = 300;  ///< above this, lines have hard edges on the screen
constexpr std::size_t kMarkedLines = 200;  ///< above this, selected lines get no pen of their own
constexpr double kRangeWidth = 14;
constexpr int kCompactHeight = 210;
constexpr double kSwatch = 26;
constexpr double kScaleWidth = 90;

/// At most two lines of words; what is left over is elided.
QStringList wrapped(const QString& text, const QFontMetricsF& metrics, double width) {
    QString first;
    const QStringList words = text.split(QLatin1Char(' '));
    qsizetype used = 0;
    for (; used < words.size(); ++used) {
        const QString longer =
            first.isEmpty() ? words[used] : first + QLatin1Char(' ') + words[used];
        if (!first.isEmpty() && metrics.horizontalAdvance(longer) > width) {
            break;
        }
        first = longer;
    }
    QStringList lines{metrics.elidedText(first, Qt::ElideRight, width)};
    if (used < words.size()) {
        lines << metrics.elidedText(words.mid(used).join(QLatin1Char(' ')), Qt::ElideRight, width);
    }
    return lines;
}

}  // namespace

struct ParallelChart::LegendEntry {
    QString words;
    QPen pen;
    QString low, high;  ///< ends of a colour scale; empty: a line and its words

    bool isScale() const { return !high.isEmpty(); }
    double width(const QFontMetricsF& metrics) const {
        const double text = metrics.horizontalAdvance(words);
        return isScale() ? text + metrics.horizontalAdvance(low) + metrics.horizontalAdvance(high) +
                               kScaleWidth + 24
                         : kSwatch + text;
    }
};

ParallelChart::ParallelChart(QWidget* parent)
    : QWidget(parent), m_theme(ChartTheme::fromPalette(palette())), m_card(new HoverCard(this)) {
    setAccessibleName(tr("Parallel coordinates chart"));
    setAccessibleDescription(
        tr("Experiments as lines over several metrics. Left and Right choose an axis, Up and Down "
           "walk through the lines along it, Enter opens one, R turns the axis over, Delete clears "
           "its range."));
    setFocusPolicy(Qt::StrongFocus);
    setMouseTracking(true);
    setMinimumSize(260, 200);
    m_card->setTheme(m_theme);
}

void ParallelChart::setTheme(const ChartTheme& theme) {
    m_theme = theme;
    m_ownTheme = true;
    m_card->setTheme(theme);
    updateColors();
    invalidate();
}

void ParallelChart::setEmptyText(const QString& text) {
    m_emptyText = text;
    update();
}

QString ParallelChart::hoverText() const {
    return m_card->isHidden() ? QString() : m_card->text();
}

void ParallelChart::setData(ParallelData data) {
    m_card->hide();
    m_hovered = -1;
    m_drag = Drag::None;
    m_data = std::move(data);
    m_axis = std::clamp(m_axis, 0, std::max(axisCount() - 1, 0));
    m_scales.clear();
    for (const ParallelAxis& axis : m_data.axes) {
        m_scales.emplace_back(axis.metric, false,
                              std::max(std::abs(axis.low), std::abs(axis.high)));
    }
    updateActive();
    updateColors();
    relayout();
}

void ParallelChart::setRanges(const QMap<QString, MetricRange>& ranges) {
    if (ranges != m_ranges) {
        m_ranges = ranges;
        updateActive();
        m_linesStale = true;
        update();
    }
}

void ParallelChart::setReversed(const QSet<QString>& metrics) {
    if (metrics != m_reversed) {
        m_reversed = metrics;
        relayout();
    }
}

void ParallelChart::setSelection(const std::vector<qint64>& ids) {
    const QSet<qint64> selection(ids.begin(), ids.end());
    if (selection != m_selection) {
        // One selected line lies over the others; several make the others step back.
        m_linesStale = m_linesStale || selection.size() > 1 || m_selection.size() > 1;
        m_selection = selection;
        update();
    }
    if (ids.size() == 1) {
        m_currentId = ids.front();
    }
}

void ParallelChart::setHighlighted(qint64 id) {
    if (id != m_highlighted) {
        m_highlighted = id;
        update();
    }
}

void ParallelChart::updateActive() {
    const std::size_t axes = m_data.axes.size();
    m_active.assign(m_data.lines.size(), 1);
    for (std::size_t axis = 0; axis < axes; ++axis) {
        const auto range = m_ranges.constFind(m_data.axes[axis].metric);
        if (range == m_ranges.constEnd()) {
            continue;
        }
        for (std::size_t line = 0; line < m_active.size(); ++line) {
            // Comparisons with NaN are false: a line without the value is outside.
            const double value = m_data.values[line * axes + axis];
            const bool inside = !std::isnan(value) && (!range->low || value >= *range->low) &&
                                (!range->high || value <= *range->high);
            m_active[line] = static_cast<char>(m_active[line] && inside);
        }
    }
}

std::vector<std::size_t> ParallelChart::activeLines() const {
    std::vector<std::size_t> lines;
    for (std::size_t line = 0; line < m_active.size(); ++line) {
        if (m_active[line]) {
            lines.push_back(line);
        }
    }
    return lines;
}

bool ParallelChart::hasInactive() const {
    return std::find(m_active.begin(), m_active.end(), char(0)) != m_active.end();
}

void ParallelChart::invalidate() {
    m_blankStale = m_groundStale = m_linesStale = true;
    update();
}

double ParallelChart::axisX(int axis) const {
    return axisCount() < 2 ? m_plot.center().x()
                           : m_plot.left() + m_plot.width() * axis / (axisCount() - 1);
}

bool ParallelChart::upwards(int axis) const {
    const ParallelAxis& one = m_data.axes[static_cast<std::size_t>(axis)];
    return (one.better != BetterWhen::Lower) != m_reversed.contains(one.metric);
}

double ParallelChart::toY(int axis, double value) const {
    const ParallelAxis& one = m_data.axes[static_cast<std::size_t>(axis)];
    const double part = (value - one.low) / (one.high - one.low);
    return upwards(axis) ? m_plot.bottom() - part * m_plot.height()
                         : m_plot.top() + part * m_plot.height();
}

double ParallelChart::toValue(int axis, double y) const {
    const ParallelAxis& one = m_data.axes[static_cast<std::size_t>(axis)];
    const double part = (upwards(axis) ? m_plot.bottom() - y : y - m_plot.top()) / m_plot.height();
    return one.low + part * (one.high - one.low);
}

void ParallelChart::relayout() {
    const QFontMetricsF metrics(font());
    const double line = metrics.height();
    // A low chart keeps its room for the lines.
    m_compact = height() < kCompactHeight;
    double legend = 4;
    if (!m_compact) {
        placeLegend(legendEntries(), legend);
    }
    // Titles of the outer axes are centred on them; half of one, or of a tick label, must fit.
    const double side = std::clamp(width() / 14.0, 46.0, 76.0);
    m_titles = QRectF(0, legend, width(), (m_compact ? 1 : 3) * line + 8);
    m_plot = QRectF(side, m_titles.bottom() + 6, std::max(width() - 2 * side, 40.0),
                    std::max(height() - m_titles.bottom() - 22, 40.0));
    m_y.resize(m_data.values.size());
    const std::size_t axes = m_data.axes.size();
    for (std::size_t axis = 0; axis < axes; ++axis) {
        const double at0 = toY(static_cast<int>(axis), 0);
        const double slope = toY(static_cast<int>(axis), 1) - at0;
        for (std::size_t i = axis; i < m_data.values.size(); i += axes) {
            m_y[i] = static_cast<float>(at0 + m_data.values[i] * slope);
        }
    }
    invalidate();
}

std::optional<QPointF> ParallelChart::crossing(qint64 id, int axis) const {
    for (std::size_t line = 0; line < m_data.lines.size(); ++line) {
        if (m_data.lines[line].id == id && !std::isnan(lineY(line, axis))) {
            return QPointF(axisX(axis), lineY(line, axis));
        }
    }
    return std::nullopt;
}

QPointF ParallelChart::titlePosition(int axis) const {
    return {axisX(axis), m_titles.center().y()};
}

QColor ParallelChart::lineColor(const ParallelLine& line) const {
    if (m_data.query.color.isEmpty()) {
        return m_theme.techniqueColor(line.technique);
    }
    return line.color < 0 ? m_theme.muted : m_theme.scaleColor(std::round(line.color * 11) / 11);
}

void ParallelChart::updateColors() {
    m_colors.clear();
    m_colors.reserve(m_data.lines.size());
    for (const ParallelLine& line : m_data.lines) {
        m_colors.push_back(lineColor(line));
    }
}

double ParallelChart::lineOpacity() const {
    const auto count = std::count(m_active.begin(), m_active.end(), char(1));
    return count <= 60 ? 0.85 : count <= 300 ? 0.6 : count <= 2000 ? 0.42 : 0.3;
}

bool ParallelChart::isDashed(std::size_t line, int axis) const {
    const auto at = static_cast<std::size_t>(axis);
    return m_data.kind(line, at) != PointKind::Native ||
           m_data.kind(line, at + 1) != PointKind::Native;
}

void ParallelChart::fillLayers(qreal ratio, bool fine) {
    if (ratio != m_ratio || fine != m_fine) {
        m_blankStale = m_groundStale = m_linesStale = true;
        m_ratio = ratio;
        m_fine = fine;
    }
    if (m_blankStale) {
        const QSize pixels = (QSizeF(size()) * ratio).toSize().expandedTo(QSize(1, 1));
        m_blank = QImage(pixels, QImage::Format_ARGB32_Premultiplied);
        m_blank.setDevicePixelRatio(ratio);
        m_blank.fill(m_theme.background);
        m_blankStale = false;
    }
    // All lines are in the ground, so that a range that moves leaves it as it is.
    if (m_groundStale && hasInactive()) {
        fillLayer(m_ground, m_blank, Layer::Ground, m_theme.dark ? 0.5 : 0.75);
        m_groundStale = false;
    }
    if (m_linesStale) {
        fillLayer(m_lines, hasInactive() ? m_ground.image() : m_blank, Layer::Lines, lineOpacity());
        m_linesStale = false;
    }
}

void ParallelChart::fillLayer(LineRaster& raster, const QImage& ground, Layer layer,
                              double opacity) {
    const std::size_t count = m_data.lines.size();
    const int gaps = std::max(axisCount() - 1, 0);
    // A coarser mesh the more there is to draw: what is left out lies a pixel or two beside what is
    // there.
    const int cell = count > 20000 ? 6 : count > 4000 ? 5 : count > 1000 ? 2 : 0;
    const bool smooth = m_fine || count <= kSmoothLines;
    raster.begin(ground, gaps, static_cast<int>(std::lround(cell * m_ratio)),
                 smooth ? (count <= kSmoothLines ? 1.3 : 1.0) * m_ratio : 0);
    struct Laid {
        std::size_t line = 0;
        int plain = 0, dashed = 0;  ///< looks
    };
    std::vector<Laid> order;
    order.reserve(count);
    const auto lay = [&](std::size_t line, double alpha) {
        QColor color = layer == Layer::Ground ? m_theme.grid : m_colors[line];
        color.setAlphaF(static_cast<float>(alpha));
        order.push_back({line, raster.look(color, false), raster.look(color, true)});
    };
    const bool several = layer == Layer::Lines && m_selection.size() > 1;
    std::vector<std::size_t> chosen;
    for (std::size_t line = 0; line < count; ++line) {
        if (layer == Layer::Lines && !m_active[line]) {
            continue;
        }
        if (several && m_selection.contains(m_data.lines[line].id)) {
            chosen.push_back(line);  // over the others
        } else {
            lay(line, several ? opacity * 0.25 : opacity);
        }
    }
    for (const std::size_t line : chosen) {
        lay(line, std::min(opacity * 2, 0.9));
    }
    // Gap by gap: the part of the image that is written to stays in the processor's cache.
    int drawn = 0;
    for (int gap = 0; gap < gaps; ++gap) {
        const double x0 = axisX(gap);
        const double x1 = axisX(gap + 1);
        for (const Laid& laid : order) {
            const float y0 = lineY(laid.line, gap);
            const float y1 = lineY(laid.line, gap + 1);
            if (!std::isnan(y0) && !std::isnan(y1)) {
                drawn += raster.add(gap, x0, y0, x1, y1,
                                    isDashed(laid.line, gap) ? laid.dashed : laid.plain);
            }
        }
    }
    if (layer == Layer::Lines) {
        m_drawnPieces = drawn;
    }
}

void ParallelChart::paintLine(QPainter& painter, std::size_t line, const QPen& pen) const {
    for (int gap = 0; gap + 1 < axisCount(); ++gap) {
        const QPointF from(axisX(gap), lineY(line, gap));
        const QPointF to(axisX(gap + 1), lineY(line, gap + 1));
        if (!std::isnan(from.y()) && !std::isnan(to.y())) {
            QPen used = pen;
            if (isDashed(line, gap)) {
                used.setDashPattern({4, 3});
                used.setCapStyle(Qt::FlatCap);
            }
            painter.setPen(used);
            painter.drawLine(from, to);
        }
    }
}

void ParallelChart::paintVectorLines(QPainter& painter, Layer layer) {
    const bool several = m_selection.size() > 1;
    const double opacity = lineOpacity();
    for (std::size_t line = 0; line < m_data.lines.size(); ++line) {
        if (bool(m_active[line]) != (layer == Layer::Lines)) {
            continue;
        }
        const ParallelLine& one = m_data.lines[line];
        QColor color = layer == Layer::Ground ? m_theme.grid : lineColor(one);
        const bool quiet = several && !m_selection.contains(one.id);
        color.setAlphaF(static_cast<float>(layer == Layer::Ground ? 0.9
                                           : quiet                ? opacity * 0.25
                                                                  : opacity));
        paintLine(painter, line, QPen(color, 1.3, Qt::SolidLine, Qt::RoundCap));
    }
}

void ParallelChart::paintMarkedLines(QPainter& painter, bool hovered) {
    const int count = static_cast<int>(m_data.lines.size());
    const bool few = static_cast<std::size_t>(m_selection.size()) <= kMarkedLines;
    for (int i = 0; i < count; ++i) {
        const auto line = static_cast<std::size_t>(i);
        const ParallelLine& one = m_data.lines[line];
        if (!m_active[line]) {
            continue;
        }
        const bool under = hovered && (i == m_hovered || one.id == m_highlighted);
        const bool selected = few && m_selection.contains(one.id);
        if (!under && !selected && !one.baseline) {
            continue;
        }
        // A seam in the ground's colour lifts the line off the others.
        if (under || selected) {
            paintLine(painter, line, QPen(m_theme.plot, 5.5, Qt::SolidLine, Qt::RoundCap));
        }
        const QColor color = under && !selected ? m_theme.text : lineColor(one);
        paintLine(painter, line,
                  QPen(color, under || selected ? 2.6 : 1.8, Qt::SolidLine, Qt::RoundCap));
        if (under || selected) {
            for (int axis = 0; axis < axisCount(); ++axis) {
                if (!std::isnan(lineY(line, axis))) {
                    MarkerLook look;
                    look.color = lineColor(one);
                    look.marker = ChartTheme::techniqueMarker(one.technique);
                    look.kind = m_data.kind(line, static_cast<std::size_t>(axis));
                    look.ground = m_theme.plot;
                    look.radius = 4.6;
                    paintMarker(painter, QPointF(axisX(axis), lineY(line, axis)), look);
                }
            }
        }
    }
}

void ParallelChart::paintChart(QPainter& painter, bool vector, bool marks) {
    painter.setFont(font());
    if (m_data.lines.empty() || axisCount() < 2) {
        painter.fillRect(rect(), m_theme.background);
        painter.setPen(m_theme.muted);
        painter.drawText(rect().adjusted(16, 16, -16, -16), Qt::AlignCenter | Qt::TextWordWrap,
                         axisCount() < 2 ? tr("Choose two or more axes.") : m_emptyText);
        return;
    }
    painter.save();
    if (vector) {
        painter.fillRect(rect(), m_theme.background);
        painter.setRenderHint(QPainter::Antialiasing);
        paintVectorLines(painter, Layer::Ground);
        paintVectorLines(painter, Layer::Lines);
        m_drawnPieces = static_cast<int>(m_data.lines.size()) * (axisCount() - 1);
    } else {
        fillLayers(painter.device()->devicePixelRatioF(), !marks);
        painter.setCompositionMode(QPainter::CompositionMode_Source);
        painter.drawImage(QPointF(0, 0), m_lines.image());
        painter.setCompositionMode(QPainter::CompositionMode_SourceOver);
        painter.setRenderHint(QPainter::Antialiasing);
    }
    paintRanges(painter);
    paintAxes(painter, marks);
    paintMarkedLines(painter, marks);
    paintLegend(painter);
    painter.restore();
}

std::optional<QRectF> ParallelChart::rangeRect(int axis) const {
    const auto range = m_ranges.constFind(m_data.axes[static_cast<std::size_t>(axis)].metric);
    if (range == m_ranges.constEnd()) {
        return std::nullopt;
    }
    const ParallelAxis& one = m_data.axes[static_cast<std::size_t>(axis)];
    const double low = std::clamp(range->low.value_or(one.low), one.low, one.high);
    const double high = std::clamp(range->high.value_or(one.high), one.low, one.high);
    const double y0 = toY(axis, low);
    const double y1 = toY(axis, high);
    return QRectF(axisX(axis) - kRangeWidth / 2, std::min(y0, y1) - 1, kRangeWidth,
                  std::abs(y1 - y0) + 2);
}

void ParallelChart::paintRanges(QPainter& painter) const {
    for (int axis = 0; axis < axisCount(); ++axis) {
        if (const auto rect = rangeRect(axis)) {
            QColor fill = m_theme.accent;
            fill.setAlphaF(m_theme.dark ? 0.30F : 0.22F);
            painter.setBrush(fill);
            painter.setPen(QPen(m_theme.accent, 1.4));
            painter.drawRoundedRect(*rect, 3, 3);
        }
    }
}

void ParallelChart::paintAxes(QPainter& painter, bool marks) const {
    const QFontMetricsF metrics(font());
    const double room = axisCount() > 1 ? m_plot.width() / (axisCount() - 1) : m_plot.width();
    for (int axis = 0; axis < axisCount(); ++axis) {
        const ParallelAxis& one = m_data.axes[static_cast<std::size_t>(axis)];
        const AxisScale& scale = m_scales[static_cast<std::size_t>(axis)];
        const double x = axisX(axis);
        const bool moving = m_drag == Drag::Title && m_dragAxis == axis;
        painter.setPen(QPen(moving ? m_theme.accent : m_theme.frame, 1.2));
        painter.drawLine(QPointF(x, m_plot.top()), QPointF(x, m_plot.bottom()));
        const bool last = axis + 1 == axisCount();
        for (const AxisTick& tick :
             scale.ticks(scale.toAxis(one.low), scale.toAxis(one.high),
                         std::clamp(static_cast<int>(m_plot.height() / 60), 2, 6))) {
            const double y = toY(axis, scale.fromAxis(tick.position));
            const double side = last ? -1 : 1;
            painter.setPen(QPen(m_theme.frame, 1.2));
            painter.drawLine(QPointF(x, y), QPointF(x + 4 * side, y));
            const double textWidth = metrics.horizontalAdvance(tick.label);
            const QPointF at(last ? x - 8 - textWidth : x + 8,
                             y + (metrics.ascent() - metrics.descent()) / 2);
            // A plate of the ground's colour keeps the label readable over lines.
            QColor ground = m_theme.plot;
            ground.setAlphaF(0.72F);
            painter.fillRect(
                QRectF(at.x() - 2, at.y() - metrics.ascent(), textWidth + 4, metrics.height()),
                ground);
            painter.setPen(m_theme.muted);
            painter.drawText(at, tick.label);
        }
        paintTitle(painter, axis);
        if (marks && hasFocus() && axis == m_axis) {
            const double reach = std::min({room - 6, 2 * x, 2 * (width() - x)});
            painter.setBrush(Qt::NoBrush);
            painter.setPen(QPen(m_theme.accent, 1.6));
            painter.drawRoundedRect(
                QRectF(x - reach / 2, m_titles.top() - 2, reach, m_titles.height()), 5, 5);
        }
    }
}

void ParallelChart::paintTitle(QPainter& painter, int axis) const {
    const QFontMetricsF metrics(font());
    const double room = axisCount() > 1 ? m_plot.width() / (axisCount() - 1) : m_plot.width();
    const ParallelAxis& one = m_data.axes[static_cast<std::size_t>(axis)];
    const bool moving = m_drag == Drag::Title && m_dragAxis == axis;
    const double middle = std::clamp(moving ? m_dragged.x() : axisX(axis), 0.0, double(width()));
    const double reach = std::min({room - 8, 2 * middle, 2 * (width() - middle)});
    // The better end of an axis is a matter of the metric, the upper one of the reader.
    const bool betterUp = (one.better == BetterWhen::Higher) == upwards(axis);
    const bool up = one.better == BetterWhen::Neither ? upwards(axis) : betterUp;
    const QString arrow = up ? QStringLiteral("↑") : QStringLiteral("↓");
    const QColor ink = one.better == BetterWhen::Neither ? m_theme.muted
                       : betterUp                        ? m_theme.good
                                                         : m_theme.bad;
    const QString title = m_scales[static_cast<std::size_t>(axis)].title();
    QRectF line(middle - reach / 2, m_titles.top(), reach, metrics.height());
    if (m_compact) {
        const double arrowWidth = metrics.horizontalAdvance(arrow) + 3;
        const QString words = metrics.elidedText(title, Qt::ElideRight, reach - arrowWidth);
        const double wide = metrics.horizontalAdvance(words);
        painter.setPen(moving ? m_theme.accent : m_theme.text);
        line.setLeft(middle - (wide + arrowWidth) / 2);
        painter.drawText(line, Qt::AlignLeft, words);
        painter.setPen(ink);
        painter.drawText(line.translated(wide + 3, 0), Qt::AlignLeft, arrow);
        return;
    }
    QString direction =
        (one.better == BetterWhen::Neither ? tr("more") : tr("better")) + u' ' + arrow;
    if (metrics.horizontalAdvance(direction) > reach) {
        direction = arrow;
    }
    const QStringList lines = wrapped(title, metrics, reach);
    if (lines.size() == 1) {
        line.translate(0, metrics.height());  // beside titles of two lines, near its own direction
    }
    painter.setPen(moving ? m_theme.accent : m_theme.text);
    for (const QString& words : lines) {
        painter.drawText(line, Qt::AlignHCenter | Qt::AlignTop, words);
        line.translate(0, metrics.height());
    }
    painter.setPen(ink);
    painter.drawText(line, Qt::AlignHCenter | Qt::AlignTop, direction);
}

std::vector<ParallelChart::LegendEntry> ParallelChart::legendEntries() const {
    std::vector<LegendEntry> entries;
    if (m_data.query.color.isEmpty()) {
        for (const QString& technique : m_data.techniques) {
            entries.push_back(
                {techniqueTitle(technique),
                 QPen(m_theme.techniqueColor(technique), 2.4, Qt::SolidLine, Qt::FlatCap),
                 {},
                 {}});
        }
    } else if (m_data.colorLow <= m_data.colorHigh) {
        const std::string id = m_data.query.color.toStdString();
        entries.push_back({metricTitle(m_data.query.color),
                           {},
                           QString::fromStdString(formatMetric(id, m_data.colorLow)),
                           QString::fromStdString(formatMetric(id, m_data.colorHigh))});
    }
    if (std::any_of(m_data.kinds.begin(), m_data.kinds.end(),
                    [](PointKind kind) { return kind != PointKind::Native; })) {
        QPen dashed(m_theme.muted, 2, Qt::SolidLine, Qt::FlatCap);
        dashed.setDashPattern({3, 2});
        entries.push_back({tr("dashed: not native or estimated"), dashed, {}, {}});
    }
    // Has its place also while all lines are inside, so that a range that is drawn moves nothing.
    entries.push_back({tr("outside the ranges"), QPen(m_theme.frame, 1.4), {}, {}});
    return entries;
}

std::vector<QPointF> ParallelChart::placeLegend(const std::vector<LegendEntry>& entries,
                                                double& height) const {
    const QFontMetricsF metrics(font());
    const double row = metrics.height() + 4;
    std::vector<QPointF> places;
    QPointF at(12, 6);
    for (const LegendEntry& entry : entries) {
        const double wide = entry.width(metrics);
        if (at.x() > 12 && at.x() + wide > width() - 8) {
            at = {12, at.y() + row};
        }
        places.push_back(at);
        at.rx() += wide + 18;
    }
    height = at.y() + row + 4;
    return places;
}

void ParallelChart::paintLegend(QPainter& painter) const {
    if (m_compact) {
        return;
    }
    const QFontMetricsF metrics(font());
    const std::vector<LegendEntry> entries = legendEntries();
    double rows = 0;
    const std::vector<QPointF> places = placeLegend(entries, rows);
    const std::size_t shown = entries.size() - (hasInactive() ? 0 : 1);
    for (std::size_t i = 0; i < shown; ++i) {
        const LegendEntry& entry = entries[i];
        double x = places[i].x();
        const double middle = places[i].y() + metrics.height() / 2;
        const double text = middle + (metrics.ascent() - metrics.descent()) / 2;
        const auto words = [&](const QString& written, const QColor& color) {
            painter.setPen(color);
            painter.drawText(QPointF(x, text), written);
            x += metrics.horizontalAdvance(written) + 8;
        };
        if (!entry.isScale()) {
            painter.setPen(entry.pen);
            painter.drawLine(QPointF(x, middle), QPointF(x + 20, middle));
            x += kSwatch;
            words(entry.words, m_theme.text);
            continue;
        }
        words(entry.words, m_theme.text);
        words(entry.low, m_theme.muted);
        QLinearGradient gradient(x, 0, x + kScaleWidth, 0);
        for (int step = 0; step <= 8; ++step) {
            gradient.setColorAt(step / 8.0, m_theme.scaleColor(step / 8.0));
        }
        painter.fillRect(QRectF(x, middle - 5, kScaleWidth, 10), gradient);
        x += kScaleWidth + 8;
        words(entry.high, m_theme.muted);
    }
}

void ParallelChart::renderTo(QPainter& painter, bool vector) {
    paintChart(painter, vector, false);
}

void ParallelChart::paintEvent(QPaintEvent*) {
    QPainter painter(this);
    paintChart(painter, false, true);
}

void ParallelChart::resizeEvent(QResizeEvent* event) {
    QWidget::resizeEvent(event);
    relayout();
}

void ParallelChart::changeEvent(QEvent* event) {
    QWidget::changeEvent(event);
    if (event->type() == QEvent::PaletteChange && !m_ownTheme) {
        m_theme = ChartTheme::fromPalette(palette());
        m_card->setTheme(m_theme);
        updateColors();
        invalidate();
    } else if (event->type() == QEvent::FontChange) {
        relayout();
    }
}

}  // namespace fettle::ui
