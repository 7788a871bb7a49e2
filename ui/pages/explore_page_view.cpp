// ExplorePage: columns of the table, copies and images, and the state that survives a restart.
#include <QApplication>
#include <QClipboard>
#include <QFileDialog>
#include <QHeaderView>
#include <QImage>
#include <QMenu>
#include <QMessageBox>
#include <QMimeData>
#include <QPainter>
#include <QSettings>
#include <QSplitter>
#include <QTableView>
#include <QToolButton>
#include <algorithm>

#include "ui/charts/axis_scale.h"
#include "ui/charts/chart_export.h"
#include "ui/charts/parallel_chart.h"
#include "ui/charts/tradeoff_chart.h"
#include "ui/models/experiment_table_filter.h"
#include "ui/models/experiment_table_model.h"
#include "ui/pages/explore_axis_bar.h"
#include "ui/pages/explore_cell_delegate.h"
#include "ui/pages/explore_page.h"

namespace fettle::ui {
namespace {

const QStringList& defaultParallelAxes() {
    static const QStringList axes{"weight_bytes", "decode_tokens_per_s", "ttft_ms", "perplexity",
                                  "kl_mean",      "top1_agreement"};
    return axes;
}

}  // namespace

void ExplorePage::chooseColumns() {
    QMenu* menu = m_columns->menu();
    menu->clear();
    for (const QString& metric : m_model->availableMetrics()) {
        QAction* action = menu->addAction(metricTitle(metric));
        action->setCheckable(true);
        action->setChecked(m_model->metricColumns().contains(metric));
        connect(action, &QAction::toggled, this, [this, metric](bool shown) {
            // In the catalogue's order, so that a column comes back where it was.
            QStringList wanted;
            for (const QString& id : m_model->availableMetrics()) {
                if (id == metric ? shown : m_model->metricColumns().contains(id)) {
                    wanted << id;
                }
            }
            m_wantedColumns = wanted;
            setColumns(wanted);
            selectRows();
        });
    }
}

void ExplorePage::setColumns(const QStringList& metrics) {
    if (metrics == m_model->metricColumns()) {
        return;
    }
    const int sorted = m_filter->sortColumn();
    const QString sortedMetric =
        sorted >= ExperimentTableModel::FirstMetric && sorted < m_model->columnCount()
            ? m_model->metricColumns()[sorted - ExperimentTableModel::FirstMetric]
            : QString();
    m_syncing = true;
    m_model->setMetricColumns(metrics);
    m_syncing = false;
    if (!sortedMetric.isEmpty()) {
        const auto at = metrics.indexOf(sortedMetric);
        m_table->sortByColumn(
            at < 0 ? -1 : ExperimentTableModel::FirstMetric + static_cast<int>(at),
            m_filter->sortOrder());
    }
    sizeColumns();
}

void ExplorePage::sizeColumns() {
    const QFontMetrics metrics = m_table->fontMetrics();
    const int em = metrics.horizontalAdvance(u'n');
    m_table->setColumnWidth(ExperimentTableModel::Favourite, 34);
    m_table->setColumnWidth(ExperimentTableModel::Tags, 22 * em);
    m_table->setColumnHidden(ExperimentTableModel::Tags, m_model->availableTags().isEmpty());
    m_table->setColumnWidth(ExperimentTableModel::Name, 24 * em);
    m_table->setColumnWidth(ExperimentTableModel::Technique, 26 * em);
    m_table->setColumnWidth(ExperimentTableModel::Status, 13 * em);
    for (int column = ExperimentTableModel::FirstMetric; column < m_model->columnCount();
         ++column) {
        const QString title =
            m_model->headerData(column, Qt::Horizontal, Qt::DisplayRole).toString();
        const int number = metrics.horizontalAdvance(QStringLiteral("* 888.8 tokens/s")) +
                           ExploreCellDelegate::deltaWidth(metrics) + 16;
        m_table->setColumnWidth(
            column, std::max(number, std::min(metrics.horizontalAdvance(title) + 34, number + 40)));
    }
    fillTable();
}

// Room that the columns leave goes to the names, which are what is cut first.
void ExplorePage::fillTable() {
    const int room = m_table->viewport()->width() - m_table->horizontalHeader()->length();
    const int name = m_table->columnWidth(ExperimentTableModel::Name);
    const int least = 24 * m_table->fontMetrics().horizontalAdvance(u'n');
    const int wanted = std::max(std::min(name, least), name + room);
    if (room != 0 && wanted != name) {
        m_table->setColumnWidth(ExperimentTableModel::Name, wanted);
    }
}

void ExplorePage::copyCsv() {
    std::vector<const ExperimentRecord*> records;
    for (const qint64 id : m_selected) {
        if (const ExperimentRecord* record = m_model->record(id)) {
            records.push_back(record);
        }
    }
    QApplication::clipboard()->setText(toCsv(records));
}

void ExplorePage::copyImage() {
    const bool parallel = m_axisBar->view() == ExploreAxisBar::View::Parallel;
    constexpr qreal ratio = 2;
    QImage image((parallel ? m_parallel->size() : m_chart->size()) * ratio, QImage::Format_RGB32);
    image.setDevicePixelRatio(ratio);
    image.fill(ChartTheme::fromPalette(palette()).background);
    QPainter painter(&image);
    parallel ? m_parallel->renderTo(painter, false) : m_chart->renderTo(painter, false);
    painter.end();
    QApplication::clipboard()->setImage(image);
}

void ExplorePage::copySvg() {
    const bool parallel = m_axisBar->view() == ExploreAxisBar::View::Parallel;
    const QByteArray svg = parallel ? chartSvg(*m_parallel) : chartSvg(*m_chart);
    auto* data = new QMimeData;
    data->setData(QStringLiteral("image/svg+xml"), svg);
    data->setText(QString::fromUtf8(svg));  // for editors that take text alone
    QApplication::clipboard()->setMimeData(data);
}

void ExplorePage::saveImage() {
    const bool parallel = m_axisBar->view() == ExploreAxisBar::View::Parallel;
    const QString kinds = tr("PNG image (*.png);;SVG drawing (*.svg);;Table of numbers (*.csv)");
    const QString path = QFileDialog::getSaveFileName(
        this, tr("Save chart"),
        parallel ? QStringLiteral("parallel.png") : QStringLiteral("tradeoff.png"), kinds);
    if (!path.isEmpty() && !(parallel ? saveChart(*m_parallel, path) : saveChart(*m_chart, path))) {
        QMessageBox::warning(this, tr("Save chart"),
                             tr("The chart could not be written to %1.").arg(path));
    }
}

void ExplorePage::restoreState() {
    const QSettings settings;
    TradeoffQuery query;
    query.x = settings.value("explore/x", query.x).toString();
    query.y = settings.value("explore/y", query.y).toString();
    query.color = settings.value("explore/color").toString();
    query.size = settings.value("explore/size").toString();
    query.third = settings.value("explore/third").toString();
    m_axisBar->setQuery(query);
    m_axisBar->setLog(settings.value("explore/logX", false).toBool(),
                      settings.value("explore/logY", false).toBool());
    if (settings.contains("explore/columns")) {
        m_wantedColumns = settings.value("explore/columns").toStringList();
    }
    m_axisBar->setParallelAxes(
        settings.value("explore/parallelAxes", defaultParallelAxes()).toStringList());
    const QStringList reversed = settings.value("explore/parallelReversed").toStringList();
    m_parallel->setReversed({reversed.begin(), reversed.end()});
    m_axisBar->setView(static_cast<ExploreAxisBar::View>(
        std::clamp(settings.value("explore/view", 0).toInt(), 0, 2)));
    showCharts();
    m_charts->restoreState(settings.value("explore/charts").toByteArray());
    m_side->restoreState(settings.value("explore/side").toByteArray());
    m_rows->restoreState(settings.value("explore/rows").toByteArray());
}

void ExplorePage::saveState() const {
    QSettings settings;
    const TradeoffQuery& query = m_axisBar->wish();
    settings.setValue("explore/x", query.x);
    settings.setValue("explore/y", query.y);
    settings.setValue("explore/color", query.color);
    settings.setValue("explore/size", query.size);
    settings.setValue("explore/third", query.third);
    settings.setValue("explore/logX", m_axisBar->logX());
    settings.setValue("explore/logY", m_axisBar->logY());
    settings.setValue("explore/columns", m_wantedColumns);
    settings.setValue("explore/view", static_cast<int>(m_axisBar->view()));
    settings.setValue("explore/parallelAxes", m_axisBar->parallelAxes());
    settings.setValue("explore/parallelReversed",
                      QStringList(m_parallel->reversed().begin(), m_parallel->reversed().end()));
    settings.setValue("explore/charts", m_charts->saveState());
    settings.setValue("explore/side", m_side->saveState());
    settings.setValue("explore/rows", m_rows->saveState());
}

}  // namespace fettle::ui
