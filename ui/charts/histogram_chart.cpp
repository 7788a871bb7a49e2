#include "ui/charts/histogram_chart.h"

#include <QPainter>
#include <algorithm>
#include <cmath>

namespace fettle::ui {
namespace {

double binWidth(const TensorHistogram& histogram) {
    return (histogram.maximum - histogram.minimum) / static_cast<double>(histogram.bins.size());
}

std::uint64_t highest(const TensorHistogram& histogram) {
    return *std::max_element(histogram.bins.begin(), histogram.bins.end());
}

bool drawable(const std::optional<TensorHistogram>& histogram) {
    return histogram && !histogram->bins.empty() && histogram->maximum >= histogram->minimum;
}

}  // namespace

void HistogramChart::setHistogram(const TensorHistogram& histogram) {
    m_histogram = histogram;
    setAccessibleName(tr("Distribution of %1").arg(QString::fromStdString(histogram.tensor)));
    update();
}

void HistogramChart::setOverlay(const TensorHistogram& histogram) {
    m_overlay = histogram;
    update();
}

void HistogramChart::clear() {
    m_histogram.reset();
    m_overlay.reset();
    update();
}

void HistogramChart::setLogarithmicCount(bool logarithmic) {
    m_logarithmic = logarithmic;
    update();
}

PlainChart::Frame HistogramChart::frame() const {
    Frame made;
    double low = m_histogram->minimum;
    double high = m_histogram->maximum;
    double top = static_cast<double>(highest(*m_histogram));
    if (drawable(m_overlay)) {
        low = std::min(low, m_overlay->minimum);
        high = std::max(high, m_overlay->maximum);
        top = std::max(top, static_cast<double>(highest(*m_overlay)));
    }
    if (!(high > low)) {  // a constant tensor
        low -= 0.5;
        high += 0.5;
    }
    made.x = AxisScale(QString(), false, std::max(std::abs(low), std::abs(high)));
    made.y = AxisScale(QString(), m_logarithmic, m_logarithmic ? 1 : top);
    made.x0 = made.x.toAxis(low);
    made.x1 = made.x.toAxis(high);
    made.y0 = m_logarithmic ? made.y.toAxis(0.7) : 0;
    made.y1 = m_logarithmic ? made.y.toAxis(std::max(top, 1.0)) + 0.15
                            : made.y.toAxis(std::max(top, 1.0)) * 1.06;
    return made;
}

void HistogramChart::paintContent(QPainter& painter, const Frame& frame) {
    const double width = binWidth(*m_histogram);
    painter.setRenderHint(QPainter::Antialiasing, false);
    QColor fill = theme().seriesColor(0);
    fill.setAlphaF(0.75F);
    for (std::size_t i = 0; i < m_histogram->bins.size(); ++i) {
        if (m_histogram->bins[i] == 0) {
            continue;
        }
        const double low = m_histogram->minimum + width * static_cast<double>(i);
        const QPointF corner = frame.toPixel(low, static_cast<double>(m_histogram->bins[i]));
        const double right = width > 0 ? frame.toPixel(low + width, 1).x() : corner.x() + 2;
        painter.fillRect(
            QRectF(corner, QPointF(std::max(right, corner.x() + 1), frame.plot.bottom())), fill);
    }
    if (!drawable(m_overlay)) {
        return;
    }
    painter.setRenderHint(QPainter::Antialiasing, true);
    QPolygonF line;
    const double step = binWidth(*m_overlay);
    for (std::size_t i = 0; i < m_overlay->bins.size(); ++i) {
        const double middle = m_overlay->minimum + step * (static_cast<double>(i) + 0.5);
        const double count = static_cast<double>(m_overlay->bins[i]);
        line << frame.toPixel(middle, m_logarithmic ? std::max(count, 0.7) : count);
    }
    painter.setPen(QPen(theme().seriesColor(2), 1.6));
    painter.drawPolyline(line);
}

QString HistogramChart::describe(const QPointF& at, const Frame& frame) const {
    const double value = frame.x.fromAxis(
        frame.x0 + (at.x() - frame.plot.left()) / frame.plot.width() * (frame.x1 - frame.x0));
    const double width = binWidth(*m_histogram);
    const double place = width > 0 ? (value - m_histogram->minimum) / width : 0;
    if (place < 0 || place >= static_cast<double>(m_histogram->bins.size())) {
        return {};
    }
    const auto bin = static_cast<std::size_t>(place);
    const double low = m_histogram->minimum + width * static_cast<double>(bin);
    const double share = m_histogram->count > 0
                             ? 100.0 * static_cast<double>(m_histogram->bins[bin]) /
                                   static_cast<double>(m_histogram->count)
                             : 0;
    return tr("%1 to %2<br><b>%3</b> values (%4%)")
        .arg(shortNumber(low), shortNumber(low + width))
        .arg(m_histogram->bins[bin])
        .arg(share, 0, 'g', 3);
}

QString HistogramChart::emptyText() const {
    return drawable(m_histogram) ? QString()
                                 : tr("Select a tensor to see how its values are spread.");
}

QString HistogramChart::xTitle() const {
    return tr("Value");
}

QString HistogramChart::yTitle() const {
    return frame().y.title().trimmed().isEmpty() ? tr("Count")
                                                 : tr("Count") + " " + frame().y.title().trimmed();
}

}  // namespace fettle::ui
