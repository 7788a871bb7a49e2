#include "ui/charts/allocation_chart.h"

#include <QMouseEvent>
#include <QPainter>
#include <algorithm>
#include <cmath>
#include <utility>

namespace fettle::ui {
namespace {

constexpr double kMark = 6;
constexpr double kNear = 12;        ///< pixels from a mark at which it counts as pointed at
constexpr double kMostDecades = 4;  ///< a line that goes to zero would fill the chart with nothing

}  // namespace

AllocationChart::AllocationChart(QWidget* parent) : PlainChart(parent) {
    setAccessibleName(tr("Bits against predicted loss"));
    setAccessibleDescription(
        tr("The best allocation of every budget as a line, the chosen one as a disc, runs as "
           "diamonds. The numbers stand beside it and in the table below."));
}

void AllocationChart::setFront(std::vector<QPointF> front) {
    m_front = std::move(front);
    double most = 0;
    m_least = 0;
    for (const QPointF& point : m_front) {
        most = std::max(most, point.y());
        if (point.y() > 0) {
            m_least = m_least > 0 ? std::min(m_least, point.y()) : point.y();
        }
    }
    m_least = std::max(m_least, most * std::pow(10, -kMostDecades));
    update();
}

void AllocationChart::setCurrent(const QPointF& point) {
    m_current = point;
    update();
}

void AllocationChart::setRuns(std::vector<Run> runs) {
    m_runs = std::move(runs);
    update();
}

void AllocationChart::setDivergence(bool divergence) {
    m_divergence = divergence;
    update();
}

double AllocationChart::shownLoss(double loss) const {
    return std::max(loss, m_least);
}

QPointF AllocationChart::currentPlace() const {
    return laidOut().toPixel(m_current.x(), shownLoss(m_current.y()));
}

PlainChart::Frame AllocationChart::frame() const {
    double high = m_least * 10;
    for (const QPointF& point : m_front) {
        high = std::max(high, point.y());
    }
    double low = m_least;
    for (const Run& run : m_runs) {
        for (const double loss : {run.predicted, run.measured}) {
            if (std::isfinite(loss) && loss > 0) {
                high = std::max(high, loss);
                low = std::min(low, std::max(loss, m_least / 10));
            }
        }
    }
    Frame made;
    made.x = AxisScale(QString(), false, 1);
    made.y = AxisScale(QString(), true, 1);
    made.x0 = m_front.empty() ? 0 : m_front.front().x();
    made.x1 = m_front.empty() ? 1 : m_front.back().x();
    const double margin = std::max((made.x1 - made.x0) * 0.04, 0.05);
    made.x0 -= margin;
    made.x1 += margin;
    made.y0 = made.y.toAxis(low) - 0.1;
    made.y1 = made.y.toAxis(high) + 0.15;
    return made;
}

void AllocationChart::paintContent(QPainter& painter, const Frame& made) {
    QPolygonF line;
    for (const QPointF& point : m_front) {
        line << made.toPixel(point.x(), shownLoss(point.y()));
    }
    QColor color = theme().accent;
    color.setAlphaF(0.7F);
    painter.setPen(QPen(color, 1.6));
    painter.drawPolyline(line);
    for (const Run& run : m_runs) {
        const QPointF predicted = made.toPixel(run.bits, shownLoss(run.predicted));
        const bool measured = std::isfinite(run.measured);
        const QPointF real = made.toPixel(run.bits, shownLoss(run.measured));
        painter.setPen(QPen(theme().text, 1, Qt::DotLine));
        if (measured && std::isfinite(run.predicted)) {
            painter.drawLine(predicted, real);
        }
        painter.save();
        painter.translate(measured ? real : predicted);
        painter.scale(kMark, kMark);
        QPen pen(theme().text, 1.2);
        pen.setCosmetic(true);
        painter.setPen(pen);
        painter.setBrush(measured ? QBrush(theme().techniqueColor(QStringLiteral("qat")))
                                  : QBrush(Qt::NoBrush));
        painter.drawPath(markerPath(Marker::Diamond));
        painter.restore();
    }
    const QPointF at = made.toPixel(m_current.x(), shownLoss(m_current.y()));
    QColor guide = theme().accent;
    guide.setAlphaF(0.4F);
    painter.setPen(QPen(guide, 1, Qt::DashLine));
    painter.drawLine(QPointF(at.x(), made.plot.top()), QPointF(at.x(), made.plot.bottom()));
    painter.setPen(QPen(theme().background, 1.5));
    painter.setBrush(theme().accent);
    painter.drawEllipse(at, kMark + 1, kMark + 1);
}

QString AllocationChart::describe(const QPointF& at, const Frame& made) const {
    const auto near = [&](double bits, double loss) {
        return std::isfinite(loss) &&
               QLineF(at, made.toPixel(bits, shownLoss(loss))).length() <= kNear;
    };
    const auto number = [](double value) {
        return std::isfinite(value) ? shortNumber(value, 3) : QStringLiteral("–");
    };
    for (const Run& run : m_runs) {
        if (near(run.bits, run.measured) || near(run.bits, run.predicted)) {
            return QStringLiteral("<b>%1</b><br>%2")
                .arg(run.title.toHtmlEscaped(),
                     tr("%1 bits: predicted %2, measured %3")
                         .arg(shortNumber(run.bits, 3), number(run.predicted),
                              number(run.measured)));
        }
    }
    if (near(m_current.x(), m_current.y())) {
        return tr("<b>Chosen</b><br>%1 bits, predicted %2")
            .arg(shortNumber(m_current.x(), 4), number(m_current.y()));
    }
    return {};
}

void AllocationChart::choose(const QPointF& at) {
    const Frame made = laidOut();
    if (!m_front.empty() && made.plot.contains(at)) {
        emit bitsChosen(made.x.fromAxis(made.x0 + (at.x() - made.plot.left()) / made.plot.width() *
                                                      (made.x1 - made.x0)));
    }
}

void AllocationChart::mousePressEvent(QMouseEvent* event) {
    if (event->button() == Qt::LeftButton) {
        choose(event->position());
    }
}

void AllocationChart::mouseMoveEvent(QMouseEvent* event) {
    if (event->buttons() & Qt::LeftButton) {
        choose(event->position());
    }
    PlainChart::mouseMoveEvent(event);
}

QString AllocationChart::emptyText() const {
    return m_front.empty() ? tr("The best allocations appear here.") : QString();
}

QString AllocationChart::xTitle() const {
    return tr("Bits per weight");
}

QString AllocationChart::yTitle() const {
    return m_divergence ? tr("KL (nats)") : tr("Score");
}

}  // namespace fettle::ui
