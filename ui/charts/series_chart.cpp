#include "ui/charts/series_chart.h"

#include <QCoreApplication>
#include <QPainter>
#include <algorithm>
#include <cmath>
#include <limits>

namespace fettle::ui {
namespace {

constexpr std::size_t kNoisyPoints = 200;  ///< above this a curve is drawn pale, its mean over it

constexpr int kLongestTitle = 28;  ///< of a curve in the legend, in characters

struct SeriesName {
    const char* id;
    const char* title;
};

constexpr SeriesName kNames[] = {
    {"train_loss", QT_TRANSLATE_NOOP("SeriesChart", "Training loss")},
    {"validation_loss", QT_TRANSLATE_NOOP("SeriesChart", "Validation loss")},
    {"validation_perplexity", QT_TRANSLATE_NOOP("SeriesChart", "Validation perplexity")},
    {"validation_kl", QT_TRANSLATE_NOOP("SeriesChart", "KL to the teacher")},
    {"learning_rate", QT_TRANSLATE_NOOP("SeriesChart", "Learning rate")},
    {"gradient_norm", QT_TRANSLATE_NOOP("SeriesChart", "Gradient norm")},
    {"tokens_per_second", QT_TRANSLATE_NOOP("SeriesChart", "Tokens per second")},
    {"recovery", QT_TRANSLATE_NOOP("SeriesChart", "Accuracy recovered")},
};

}  // namespace

QString seriesTitle(const QString& name) {
    for (const SeriesName& known : kNames) {
        if (name == QLatin1String(known.id)) {
            return QCoreApplication::translate("SeriesChart", known.title);
        }
    }
    return QString(name).replace(u'_', u' ');
}

SeriesChart::SeriesChart(QWidget* parent) : PlainChart(parent) {
    setAccessibleName(tr("Training curves"));
    m_redraw.setSingleShot(true);
    m_redraw.setInterval(33);
    connect(&m_redraw, &QTimer::timeout, this, qOverload<>(&QWidget::update));
}

void SeriesChart::add(const SeriesPoint& point) {
    if (!std::isfinite(point.step) || !std::isfinite(point.value)) {
        return;  // a diverged loss is said by the log; a line has no place for it
    }
    const QString name = QString::fromStdString(point.name);
    auto line =
        std::find_if(m_lines.begin(), m_lines.end(), [&](const Line& l) { return l.name == name; });
    if (line == m_lines.end()) {
        m_lines.push_back({name, {}});
        line = m_lines.end() - 1;
    }
    const QPointF at(point.step, point.value);
    if (line->points.empty() || line->points.back().x() <= at.x()) {
        line->points.push_back(at);
        return;
    }
    // A resumed run repeats steps: its points take the place of those it had before the stop.
    const auto place = std::lower_bound(line->points.begin(), line->points.end(), at.x(),
                                        [](const QPointF& p, double step) { return p.x() < step; });
    if (place->x() == at.x()) {
        *place = at;
    } else {
        line->points.insert(place, at);
    }
}

void SeriesChart::append(const SeriesPoint& point) {
    add(point);
    if (!m_redraw.isActive()) {
        m_redraw.start();
    }
}

void SeriesChart::setPoints(const std::vector<SeriesPoint>& points) {
    m_lines.clear();
    for (const SeriesPoint& point : points) {
        add(point);
    }
    update();
}

void SeriesChart::clear() {
    m_lines.clear();
    update();
}

void SeriesChart::setLevels(std::vector<Level> levels) {
    std::erase_if(levels, [](const Level& level) { return !std::isfinite(level.value); });
    m_levels = std::move(levels);
    update();
}

void SeriesChart::setYTitle(const QString& title) {
    m_yTitle = title;
    update();
}

void SeriesChart::setEmptyText(const QString& text) {
    m_emptyText = text;
    update();
}

void SeriesChart::setLogarithmic(bool logarithmic) {
    m_logarithmic = logarithmic;
    update();
}

std::size_t SeriesChart::count() const {
    std::size_t total = 0;
    for (const Line& line : m_lines) {
        total += line.points.size();
    }
    return total;
}

PlainChart::Frame SeriesChart::frame() const {
    double low[2] = {std::numeric_limits<double>::max(), std::numeric_limits<double>::max()};
    double high[2] = {std::numeric_limits<double>::lowest(), std::numeric_limits<double>::lowest()};
    bool positive = true;
    for (const Line& line : m_lines) {
        for (const QPointF& point : line.points) {
            low[0] = std::min(low[0], point.x());
            high[0] = std::max(high[0], point.x());
            low[1] = std::min(low[1], point.y());
            high[1] = std::max(high[1], point.y());
            positive = positive && point.y() > 0;
        }
    }
    for (const Level& level : m_levels) {
        low[1] = std::min(low[1], level.value);
        high[1] = std::max(high[1], level.value);
        positive = positive && level.value > 0;
    }
    Frame made;
    made.x = AxisScale(QString(), false, 1);
    made.y = AxisScale(QString(), m_logarithmic && positive, 1);
    made.x0 = low[0];
    made.x1 = high[0] > low[0] ? high[0] : low[0] + 1;
    made.y0 = made.y.toAxis(low[1]);
    made.y1 = made.y.toAxis(high[1]);
    const double margin =
        made.y1 > made.y0 ? (made.y1 - made.y0) * 0.08 : std::max(std::abs(made.y0) * 0.1, 0.1);
    made.y0 -= margin;
    made.y1 += margin;
    return made;
}

void SeriesChart::paintContent(QPainter& painter, const Frame& frame) {
    paintLevels(painter, frame);
    // Noisy curves first and pale, their means and the short curves over them.
    for (std::size_t i = 0; i < m_lines.size(); ++i) {
        if (m_lines[i].points.size() > kNoisyPoints) {
            QColor pale = theme().seriesColor(static_cast<int>(i));
            pale.setAlphaF(0.3F);
            painter.setPen(QPen(pale, 1));
            paintLine(painter, frame, m_lines[i]);
        }
    }
    for (std::size_t i = 0; i < m_lines.size(); ++i) {
        painter.setPen(QPen(theme().seriesColor(static_cast<int>(i)), 1.8, Qt::SolidLine,
                            Qt::RoundCap, Qt::RoundJoin));
        paintLine(painter, frame,
                  m_lines[i].points.size() > kNoisyPoints ? smoothed(m_lines[i]) : m_lines[i]);
    }
    paintLegend(painter, frame);
}

void SeriesChart::paintLevels(QPainter& painter, const Frame& frame) const {
    const QFontMetricsF metrics(font());
    for (const Level& level : m_levels) {
        const double y = frame.toPixel(frame.x0, level.value).y();
        painter.setPen(QPen(theme().muted, 1.2, Qt::DashLine));
        painter.drawLine(QPointF(frame.plot.left(), y), QPointF(frame.plot.right(), y));
        const QString text = QStringLiteral("%1  %2").arg(level.title, shortNumber(level.value));
        const bool above = y - metrics.height() > frame.plot.top();
        painter.setPen(theme().muted);
        painter.drawText(QPointF(frame.plot.left() + 6,
                                 above ? y - metrics.descent() - 1 : y + metrics.ascent() + 1),
                         text);
    }
}

void SeriesChart::paintLegend(QPainter& painter, const Frame& frame) const {
    const QFontMetricsF metrics(font());
    double x = frame.plot.right() - 8;
    double y = frame.plot.top() + 4;
    for (std::size_t i = m_lines.size(); i-- > 0;) {
        QString title = seriesTitle(m_lines[i].name);
        if (title.size() > kLongestTitle) {
            title = title.left(kLongestTitle - 1) + QStringLiteral("…");
        }
        const double width = metrics.horizontalAdvance(title);
        if (x - width - 32 < frame.plot.left() && x < frame.plot.right() - 8) {
            x = frame.plot.right() - 8;
            y += metrics.height() + 2;
        }
        x -= width;
        painter.setPen(theme().text);
        painter.drawText(QPointF(x, y + metrics.ascent()), title);
        painter.fillRect(QRectF(x - 16, y + metrics.height() / 2 - 2, 11, 3),
                         theme().seriesColor(static_cast<int>(i)));
        x -= 32;
    }
}

SeriesChart::Line SeriesChart::smoothed(const Line& line) {
    // Mean over a centred window of a fiftieth of the curve, by running sum.
    const std::size_t count = line.points.size();
    const std::size_t reach = std::max<std::size_t>(count / 100, 2);
    std::vector<double> sums(count + 1, 0);
    for (std::size_t i = 0; i < count; ++i) {
        sums[i + 1] = sums[i] + line.points[i].y();
    }
    Line result{line.name, line.points};
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t near = std::min({reach, i, count - 1 - i});
        result.points[i].setY((sums[i + near + 1] - sums[i - near]) /
                              static_cast<double>(2 * near + 1));
    }
    return result;
}

void SeriesChart::paintLine(QPainter& painter, const Frame& frame, const Line& line) const {
    // More points than pixels: per column the lowest and the highest, so that no spike is lost.
    QPolygonF drawn;
    const std::size_t columns = static_cast<std::size_t>(std::max(frame.plot.width(), 1.0));
    if (line.points.size() <= 2 * columns) {
        for (const QPointF& point : line.points) {
            drawn << frame.toPixel(point.x(), point.y());
        }
    } else {
        double column = -1;
        QPointF low;
        QPointF high;
        for (const QPointF& point : line.points) {
            const QPointF at = frame.toPixel(point.x(), point.y());
            if (std::floor(at.x()) != column) {
                if (column >= 0) {
                    low.x() <= high.x() ? drawn << low << high : drawn << high << low;
                }
                column = std::floor(at.x());
                low = high = at;
            }
            low = at.y() < low.y() ? at : low;
            high = at.y() > high.y() ? at : high;
        }
        drawn << low << high;
    }
    if (drawn.size() == 1) {
        painter.drawEllipse(drawn.front(), 2, 2);
    } else {
        painter.drawPolyline(drawn);
    }
}

QString SeriesChart::describe(const QPointF& at, const Frame& frame) const {
    const double step =
        frame.x0 + (at.x() - frame.plot.left()) / frame.plot.width() * (frame.x1 - frame.x0);
    QString text;
    double shown = step;
    for (const Line& line : m_lines) {
        auto next = std::lower_bound(line.points.begin(), line.points.end(), step,
                                     [](const QPointF& p, double s) { return p.x() < s; });
        if (next == line.points.end() ||
            (next != line.points.begin() && step - (next - 1)->x() < next->x() - step)) {
            --next;
        }
        shown = next->x();
        text += "<br>" + seriesTitle(line.name).toHtmlEscaped() + " <b>" + shortNumber(next->y()) +
                "</b>";
    }
    return tr("Step %1").arg(shortNumber(shown, 7)) + text;
}

QString SeriesChart::emptyText() const {
    return !m_lines.empty()        ? QString()
           : m_emptyText.isEmpty() ? tr("No curve yet. Training draws one as it goes.")
                                   : m_emptyText;
}

QString SeriesChart::xTitle() const {
    return tr("Step");
}

QString SeriesChart::yTitle() const {
    if (!m_yTitle.isEmpty()) {
        return m_yTitle;
    }
    const bool loss = std::all_of(m_lines.begin(), m_lines.end(),
                                  [](const Line& l) { return l.name.contains("loss"); });
    return loss ? tr("Loss") : tr("Value");
}

}  // namespace fettle::ui
