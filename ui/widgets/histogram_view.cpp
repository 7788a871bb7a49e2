#include "ui/widgets/histogram_view.h"

#include <QAreaSeries>
#include <QChart>
#include <QChartView>
#include <QHBoxLayout>
#include <QLabel>
#include <QLineSeries>
#include <QStackedLayout>
#include <QVBoxLayout>
#include <QValueAxis>
#include <algorithm>

#include "ui/widgets/theme.h"

namespace fettle::ui {

HistogramView::HistogramView(QWidget* parent)
    : QWidget(parent),
      m_chart(new QChart),
      m_view(new QChartView(m_chart)),
      m_area(new QAreaSeries),
      m_x(new QValueAxis),
      m_y(new QValueAxis),
      m_title(makeLabel({}, TextRole::Heading)),
      m_message(makeLabel({}, TextRole::Caption)),
      m_stack(new QStackedLayout(this)) {
    m_area->setUpperSeries(new QLineSeries(m_area));
    m_area->setLowerSeries(new QLineSeries(m_area));
    m_chart->addSeries(m_area);
    m_chart->addAxis(m_x, Qt::AlignBottom);
    m_chart->addAxis(m_y, Qt::AlignLeft);
    m_area->attachAxis(m_x);
    m_area->attachAxis(m_y);
    m_chart->legend()->hide();
    m_chart->setMargins(QMargins(0, 4, 8, 0));
    m_chart->setBackgroundRoundness(0);
    m_x->setTickCount(5);
    m_x->setLabelFormat(QStringLiteral("%.3g"));
    m_y->setTickCount(4);
    m_y->setLabelFormat(QStringLiteral("%.0f"));
    m_y->setTitleText(tr("values"));
    m_view->setRenderHint(QPainter::Antialiasing);
    m_view->setFrameShape(QFrame::NoFrame);
    m_view->setMinimumHeight(150);
    m_view->setAccessibleName(tr("Histogram of the tensor's values"));

    auto* page = new QWidget(this);
    auto* column = new QVBoxLayout(page);
    column->setContentsMargins(0, 0, 0, 0);
    column->setSpacing(kGap);
    m_title->setTextInteractionFlags(Qt::TextSelectableByMouse);
    m_title->setMinimumWidth(40);
    column->addWidget(m_title);
    auto* tiles = new QHBoxLayout;
    tiles->setSpacing(kGap);
    tiles->addWidget(addTile(tr("Mean"), &m_mean));
    tiles->addWidget(addTile(tr("Deviation"), &m_deviation));
    tiles->addWidget(addTile(tr("Range"), &m_range));
    tiles->addWidget(addTile(tr("Exact zeros"), &m_zeros));
    column->addLayout(tiles);
    column->addWidget(m_view, 1);
    m_message->setAlignment(Qt::AlignCenter);
    m_message->setWordWrap(true);
    m_stack->addWidget(m_message);
    m_stack->addWidget(page);
    connect(Theme::instance(), &Theme::changed, this, &HistogramView::applyTheme);
    applyTheme();
}

QWidget* HistogramView::addTile(const QString& title, QLabel** value) {
    auto* tile = new QFrame(this);
    setStyleClass(tile, "tile");
    auto* column = new QVBoxLayout(tile);
    column->setContentsMargins(10, 6, 10, 6);
    column->setSpacing(0);
    column->addWidget(makeLabel(title, TextRole::Caption, tile));
    *value = makeLabel({}, TextRole::Body, tile);
    (*value)->setTextInteractionFlags(Qt::TextSelectableByMouse);
    column->addWidget(*value);
    return tile;
}

void HistogramView::applyTheme() {
    const ThemeColors& c = themeColors();
    m_chart->setBackgroundBrush(c.surface);
    m_view->setBackgroundBrush(c.surface);
    QColor fill = c.accent;
    fill.setAlpha(c.dark ? 110 : 80);
    m_area->setBrush(fill);
    m_area->setPen(QPen(c.accent, 1.4));
    for (QValueAxis* axis : {m_x, m_y}) {
        axis->setLabelsColor(c.muted);
        axis->setTitleBrush(c.muted);
        axis->setLinePen(QPen(c.border));
        axis->setGridLinePen(QPen(c.border, 1));
        axis->setTitleFont(font());
    }
}

void HistogramView::setMessage(const QString& text) {
    m_shown = false;
    m_message->setText(text);
    m_stack->setCurrentIndex(0);
}

void HistogramView::setHistogram(const TensorHistogram& histogram) {
    QList<QPointF> upper;
    QList<QPointF> lower;
    double top = 1;
    const double span =
        histogram.maximum > histogram.minimum ? histogram.maximum - histogram.minimum : 1;
    const double width =
        histogram.bins.empty() ? span : span / static_cast<double>(histogram.bins.size());
    for (std::size_t i = 0; i < histogram.bins.size(); ++i) {
        const double left = histogram.minimum + width * static_cast<double>(i);
        const auto count = static_cast<double>(histogram.bins[i]);
        top = std::max(top, count);
        upper << QPointF(left, count) << QPointF(left + width, count);
    }
    lower << QPointF(histogram.minimum, 0) << QPointF(histogram.minimum + span, 0);
    m_area->upperSeries()->replace(upper);
    m_area->lowerSeries()->replace(lower);
    m_x->setRange(histogram.minimum, histogram.minimum + span);
    m_x->setTickCount(5);
    m_x->applyNiceNumbers();
    m_y->setRange(0, top);
    m_y->applyNiceNumbers();
    m_title->setText(QString::fromStdString(histogram.tensor));
    m_title->setToolTip(m_title->text());
    m_mean->setText(QString::number(histogram.mean, 'g', 4));
    m_deviation->setText(QString::number(histogram.standardDeviation, 'g', 4));
    m_range->setText(
        tr("%1 … %2").arg(histogram.minimum, 0, 'g', 3).arg(histogram.maximum, 0, 'g', 3));
    m_zeros->setText(QStringLiteral("%1 %").arg(histogram.zeros * 100, 0, 'f', 2));
    m_stack->setCurrentIndex(1);
    m_shown = true;
}

}  // namespace fettle::ui
