#include "ui/charts/ladder_chart.h"

#include <QMouseEvent>
#include <QPainter>
#include <algorithm>
#include <cmath>

#include "ui/models/advisor_ladder_model.h"

namespace fettle::ui {
namespace {

constexpr double kReach = 14;  ///< pixels from a mark at which it counts as pointed at
constexpr double kLeastRadius = 4;
constexpr double kMostRadius = 11;

double metricOf(const AdvisorRung& rung, const char* id) {
    const auto found = rung.metrics.find(id);
    return found == rung.metrics.end() ? std::nan("") : found->second.value;
}

}  // namespace

LadderChart::LadderChart(QWidget* parent) : PlainChart(parent) {
    setAccessibleName(tr("Ladder chart"));
    setAccessibleDescription(
        tr("Every rung by what it gains and what it costs in accuracy; the targets' region is "
           "shaded. The table below holds the same numbers."));
}

void LadderChart::setReport(const AdvisorReport& report, const AdvisorTargets& targets) {
    m_report = report;
    m_targets = targets;
    collect();
}

void LadderChart::setXAxis(XAxis axis) {
    m_axis = axis;
    collect();
}

void LadderChart::collect() {
    m_points.clear();
    double longest = 0;
    for (const AdvisorRung& rung : m_report.rungs) {
        longest = std::max(longest, rung.seconds);
    }
    for (std::size_t i = 0; i < m_report.rungs.size(); ++i) {
        const AdvisorRung& rung = m_report.rungs[i];
        Point point;
        point.x =
            m_axis == XAxis::Speed ? rungSpeedup(m_report, rung) : metricOf(rung, "weight_bytes");
        point.y = rungIncrease(rung) * 100;
        if (rung.state != AdvisorRung::State::Finished || !std::isfinite(point.x) ||
            !std::isfinite(point.y)) {
            continue;
        }
        point.low = point.high = point.y;
        if (const auto ratio = rung.metrics.find("ppl_ratio"); ratio != rung.metrics.end()) {
            point.low = (ratio->second.low.value_or(ratio->second.value) - 1) * 100;
            point.high = (ratio->second.high.value_or(ratio->second.value) - 1) * 100;
        }
        const double share = longest > 0 ? std::sqrt(rung.seconds / longest) : 0;
        point.radius = kLeastRadius + share * (kMostRadius - kLeastRadius);
        if (!rung.trial.recipe.steps.empty()) {
            point.technique = QString::fromStdString(rung.trial.recipe.steps.back().technique);
            if (rung.trial.stage == "prune") {
                point.technique = QStringLiteral("prune");
            }
        }
        point.inFull = rung.trial.inFull();
        point.recommended = m_report.recommended == i;
        point.experiment = rung.experiment;
        QString text =
            QStringLiteral("<b>%1</b>").arg(QString::fromStdString(rung.title).toHtmlEscaped());
        for (const TargetCheck& check : rung.checks) {
            text += QStringLiteral("<br>%1 %2")
                        .arg(check.met ? QStringLiteral("✓") : QStringLiteral("✗"),
                             QString::fromStdString(check.text).toHtmlEscaped());
        }
        text += QStringLiteral("<br>") +
                tr("cost: %1, %2, %3")
                    .arg(QString::fromStdString(formatDuration(rung.seconds)),
                         QString::fromStdString(formatMetric("training_tokens", rung.tokens)),
                         QString::fromStdString(formatBytes(rung.peakBytes)));
        if (!point.inFull) {
            text += QStringLiteral("<br>") + tr("on a part of the evaluation");
        }
        point.text = text;
        m_points.push_back(point);
    }
    // Trials first, so that what was measured in full lies on top.
    std::stable_sort(m_points.begin(), m_points.end(),
                     [](const Point& a, const Point& b) { return a.inFull < b.inFull; });
    update();
}

PlainChart::Frame LadderChart::frame() const {
    double x0 = 1e300, x1 = -1e300, y0 = 0, y1 = 0;
    for (const Point& point : m_points) {
        x0 = std::min(x0, point.x);
        x1 = std::max(x1, point.x);
        y0 = std::min(y0, point.low);
        y1 = std::max(y1, point.high);
    }
    const std::optional<double> xTarget =
        m_axis == XAxis::Speed ? m_targets.minSpeedup : m_targets.maxMemoryBytes;
    if (xTarget) {
        x0 = std::min(x0, *xTarget);
        x1 = std::max(x1, *xTarget);
    }
    if (m_targets.maxPerplexityIncrease) {
        y1 = std::max(y1, *m_targets.maxPerplexityIncrease * 130);
    }
    Frame made;
    made.x = m_axis == XAxis::Speed ? AxisScale(QStringLiteral("speedup"), false, x1)
                                    : AxisScale(QStringLiteral("weight_bytes"), false, x1);
    made.y = AxisScale(QString(), false, 1);
    made.x0 = made.x.toAxis(x0);
    made.x1 = made.x.toAxis(x1);
    const double xMargin =
        made.x1 > made.x0 ? (made.x1 - made.x0) * 0.08 : std::max(std::abs(made.x0) * 0.1, 0.1);
    made.x0 -= xMargin;
    made.x1 += xMargin;
    const double yMargin = y1 > y0 ? (y1 - y0) * 0.1 : 0.1;
    made.y0 = y0 - yMargin;
    made.y1 = y1 + yMargin;
    return made;
}

void LadderChart::paintRegion(QPainter& painter, const Frame& frame) const {
    const std::optional<double> xTarget =
        m_axis == XAxis::Speed ? m_targets.minSpeedup : m_targets.maxMemoryBytes;
    if (!xTarget && !m_targets.maxPerplexityIncrease) {
        return;
    }
    QRectF region = frame.plot;
    if (xTarget) {
        const double x = frame.toPixel(*xTarget, 0).x();
        m_axis == XAxis::Speed ? region.setLeft(x) : region.setRight(x);
    }
    if (m_targets.maxPerplexityIncrease) {
        region.setTop(frame.plot.bottom() - (*m_targets.maxPerplexityIncrease * 100 - frame.y0) /
                                                (frame.y1 - frame.y0) * frame.plot.height());
    }
    QColor fill = theme().good;
    fill.setAlphaF(0.12F);
    painter.fillRect(region, fill);
    QColor edge = theme().good;
    edge.setAlphaF(0.7F);
    painter.setPen(QPen(edge, 1, Qt::DashLine));
    painter.setBrush(Qt::NoBrush);
    painter.drawRect(region);
    painter.setPen(theme().good);
    const QFontMetricsF metrics(font());
    if (region.width() > metrics.horizontalAdvance(tr("targets hold")) + 12 &&
        region.height() > metrics.height() + 8) {
        painter.drawText(region.adjusted(6, 4, -6, -4), Qt::AlignRight | Qt::AlignBottom,
                         tr("targets hold"));
    }
}

void LadderChart::paintFront(QPainter& painter, const Frame& frame) const {
    QPolygonF line;
    for (const Point& point : m_points) {
        const bool onFront = std::any_of(
            m_report.front.begin(), m_report.front.end(),
            [&](std::size_t i) { return m_report.rungs[i].experiment == point.experiment; });
        if (onFront && point.inFull) {
            line << QPointF(point.x, point.y);
        }
    }
    std::sort(line.begin(), line.end(),
              [](const QPointF& a, const QPointF& b) { return a.x() < b.x(); });
    QPolygonF drawn;
    for (const QPointF& point : line) {
        drawn << frame.toPixel(point.x(), point.y());
    }
    QColor color = theme().accent;
    color.setAlphaF(0.6F);
    painter.setPen(QPen(color, 1.5));
    painter.drawPolyline(drawn);
}

void LadderChart::paintPoint(QPainter& painter, const Frame& frame, const Point& point) const {
    const QPointF at = frame.toPixel(point.x, point.y);
    QColor color = theme().techniqueColor(point.technique);
    if (point.high > point.low) {
        QColor bar = color;
        bar.setAlphaF(point.inFull ? 0.6F : 0.25F);
        painter.setPen(QPen(bar, 1.2));
        painter.drawLine(frame.toPixel(point.x, point.low), frame.toPixel(point.x, point.high));
    }
    painter.save();
    painter.translate(at);
    if (point.recommended) {
        painter.setPen(QPen(theme().accent, 2));
        painter.setBrush(Qt::NoBrush);
        painter.drawEllipse(QPointF(0, 0), point.radius + 5, point.radius + 5);
    }
    painter.scale(point.radius, point.radius);
    QColor fill = color;
    fill.setAlphaF(point.inFull ? 0.9F : 0.15F);
    painter.setBrush(fill);
    QPen pen(color, point.inFull ? 0 : 1.2);
    pen.setCosmetic(true);
    painter.setPen(point.inFull ? QPen(Qt::NoPen) : pen);
    painter.drawPath(markerPath(ChartTheme::techniqueMarker(point.technique)));
    painter.restore();
}

void LadderChart::paintContent(QPainter& painter, const Frame& frame) {
    paintRegion(painter, frame);
    paintFront(painter, frame);
    for (const Point& point : m_points) {
        paintPoint(painter, frame, point);
    }
}

const LadderChart::Point* LadderChart::nearest(const QPointF& at, const Frame& frame) const {
    const Point* best = nullptr;
    double least = kReach;
    for (const Point& point : m_points) {
        const double distance = QLineF(at, frame.toPixel(point.x, point.y)).length();
        if (distance <= least) {
            least = distance;
            best = &point;
        }
    }
    return best;
}

QPointF LadderChart::placeOf(qint64 experiment) const {
    const Frame made = laidOut();
    for (const Point& point : m_points) {
        if (point.experiment == experiment) {
            return made.toPixel(point.x, point.y);
        }
    }
    return {-1, -1};
}

QString LadderChart::describe(const QPointF& at, const Frame& frame) const {
    const Point* point = nearest(at, frame);
    return point ? point->text : QString();
}

void LadderChart::mousePressEvent(QMouseEvent* event) {
    if (const Point* point = nearest(event->position(), laidOut());
        point && event->button() == Qt::LeftButton) {
        emit experimentClicked(point->experiment);
    }
}

QString LadderChart::emptyText() const {
    return m_points.empty() ? tr("Rungs appear here as they are measured.") : QString();
}

QString LadderChart::xTitle() const {
    return m_axis == XAxis::Speed ? tr("Decode speed against the model as it is")
                                  : laidOut().x.title();
}

QString LadderChart::yTitle() const {
    return tr("Perplexity change (%)");
}

}  // namespace fettle::ui
