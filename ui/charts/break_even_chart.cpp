#include "ui/charts/break_even_chart.h"

#include <QMouseEvent>
#include <QPainter>
#include <QPainterPath>
#include <algorithm>
#include <array>
#include <cmath>

#include "ui/models/draft_trials_model.h"

namespace fettle::ui {
namespace {

constexpr double kReach = 14;  ///< pixels from a mark at which it counts as pointed at
constexpr double kRadius = 6;
constexpr std::array kSpeedups{1.0, 1.5, 2.0, 3.0};
constexpr int kSteps = 160;

}  // namespace

BreakEvenChart::BreakEvenChart(QWidget* parent) : PlainChart(parent) {
    setAccessibleName(tr("Break-even chart"));
    setAccessibleDescription(
        tr("The acceptance a draft needs at its cost with the best number of tokens, and every "
           "draft that was tried. The table "
           "holds the same numbers."));
}

void BreakEvenChart::setReport(const DraftTrialReport& report) {
    m_report = report;
    m_current = report.best();
    update();
}

void BreakEvenChart::setCurrent(int trial) {
    m_current = trial;
    update();
}

int BreakEvenChart::pointCount() const {
    return static_cast<int>(
        std::count_if(m_report.trials.begin(), m_report.trials.end(), hasPoint));
}

PlainChart::Frame BreakEvenChart::frame() const {
    double most = 0.3;
    for (const DraftTrial& trial : m_report.trials) {
        if (hasPoint(trial)) {
            most = std::max(most, trial.draftCost * 1.15);
        }
    }
    Frame made;
    made.x = AxisScale(QString(), false, 100 * most);
    made.y = AxisScale(QString(), false, 100);
    // A little room left of nothing, where lookups stand.
    made.x0 = -2 * most;
    made.x1 = 100 * most;
    made.y0 = 0;
    made.y1 = 103;
    return made;
}

void BreakEvenChart::paintLine(QPainter& painter, const Frame& frame, double speedup,
                               int index) const {
    QPolygonF line;
    for (int i = 0; i <= kSteps; ++i) {
        const double cost = std::max(0.0, frame.x1 * i / kSteps);
        const double needed = neededAcceptance(speedup, cost / 100, m_report.verifyCost);
        if (needed > 1) {
            break;
        }
        line << frame.toPixel(cost, 100 * needed);
    }
    if (line.size() < 2) {
        return;
    }
    const bool breakEven = index == 0;
    if (breakEven) {
        QPolygonF below = line;
        below << QPointF(frame.plot.right(), line.last().y())
              << QPointF(frame.plot.right(), frame.plot.bottom())
              << QPointF(line.first().x(), frame.plot.bottom());
        QColor fill = theme().bad;
        fill.setAlphaF(0.07F);
        painter.setPen(Qt::NoPen);
        painter.setBrush(fill);
        painter.drawPolygon(below);
    }
    QColor color = breakEven ? theme().text : theme().muted;
    painter.setBrush(Qt::NoBrush);
    painter.setPen(QPen(color, breakEven ? 2 : 1.2, breakEven ? Qt::SolidLine : Qt::DashLine));
    painter.drawPolyline(line);
    const QString name =
        breakEven ? tr("breaks even") : QStringLiteral("%1×").arg(speedup, 0, 'g', 2);
    const QFontMetricsF metrics(font());
    const QPointF end = line[line.size() * 2 / 3];
    // Above a dashed line; below the one that breaks even, where drafting costs more than it
    // brings.
    const double y = breakEven ? end.y() + metrics.height() + 6 : end.y() - 5;
    painter.setPen(color);
    painter.drawText(
        QPointF(std::min(end.x(), frame.plot.right() - metrics.horizontalAdvance(name)),
                std::clamp(y, frame.plot.top() + metrics.ascent(),
                           frame.plot.bottom() - metrics.descent())),
        name);
}

void BreakEvenChart::paintContent(QPainter& painter, const Frame& frame) {
    if (m_report.verifyCost.size() < 2) {
        return;
    }
    for (std::size_t i = 0; i < kSpeedups.size(); ++i) {
        paintLine(painter, frame, kSpeedups[i], static_cast<int>(i));
    }
    for (std::size_t i = 0; i < m_report.trials.size(); ++i) {
        const DraftTrial& trial = m_report.trials[i];
        if (!hasPoint(trial)) {
            continue;
        }
        const QPointF at = frame.toPixel(100 * trial.draftCost, 100 * trial.acceptance);
        const bool pays = trial.speedup > 1;
        painter.save();
        painter.translate(at);
        if (static_cast<int>(i) == m_current) {
            painter.setPen(QPen(theme().accent, 2));
            painter.setBrush(Qt::NoBrush);
            painter.drawEllipse(QPointF(0, 0), kRadius + 5, kRadius + 5);
        }
        painter.scale(kRadius, kRadius);
        painter.setPen(QPen(theme().background, 0.2));
        painter.setBrush(pays ? theme().good : theme().bad);
        painter.drawPath(markerPath(pays ? Marker::Circle : Marker::TriangleDown));
        painter.restore();
    }
}

QPointF BreakEvenChart::placeOf(int trial) const {
    if (trial < 0 || trial >= static_cast<int>(m_report.trials.size()) ||
        !hasPoint(m_report.trials[static_cast<std::size_t>(trial)])) {
        return {-1, -1};
    }
    const DraftTrial& found = m_report.trials[static_cast<std::size_t>(trial)];
    return laidOut().toPixel(100 * found.draftCost, 100 * found.acceptance);
}

int BreakEvenChart::nearest(const QPointF& at, const Frame& frame) const {
    int best = -1;
    double reach = kReach;
    for (std::size_t i = 0; i < m_report.trials.size(); ++i) {
        const DraftTrial& trial = m_report.trials[i];
        if (!hasPoint(trial)) {
            continue;
        }
        const QPointF off = frame.toPixel(100 * trial.draftCost, 100 * trial.acceptance) - at;
        const double distance = std::hypot(off.x(), off.y());
        if (distance < reach) {
            reach = distance;
            best = static_cast<int>(i);
        }
    }
    return best;
}

QString BreakEvenChart::describe(const QPointF& at, const Frame& frame) const {
    const int index = nearest(at, frame);
    if (index < 0) {
        return {};
    }
    const DraftTrial& trial = m_report.trials[static_cast<std::size_t>(index)];
    return QStringLiteral("<b>%1</b><br>%2<br>%3")
        .arg(trialTitle(trial).toHtmlEscaped(),
             QString::fromStdString(trial.verdict).toHtmlEscaped(),
             tr("promised %1, measured %2")
                 .arg(QString::fromStdString(formatMetric("speedup", trial.expected)),
                      QString::fromStdString(formatMetric("speedup", trial.speedup))));
}

QString BreakEvenChart::emptyText() const {
    return m_report.verifyCost.size() < 2 ? tr("Nothing was tried yet") : QString();
}

QString BreakEvenChart::xTitle() const {
    return tr("Cost of a drafted token (% of a step)");
}

QString BreakEvenChart::yTitle() const {
    return tr("Accepted (%)");
}

void BreakEvenChart::mousePressEvent(QMouseEvent* event) {
    const int index = nearest(event->position(), laidOut());
    if (index >= 0) {
        emit trialClicked(index);
    }
    PlainChart::mousePressEvent(event);
}

}  // namespace fettle::ui
