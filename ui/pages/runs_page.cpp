#include "ui/pages/runs_page.h"

#include <QDateTime>
#include <QHBoxLayout>
#include <QHeaderView>
#include <QLabel>
#include <QPlainTextEdit>
#include <QSplitter>
#include <QStackedWidget>
#include <QTabWidget>
#include <QTableView>
#include <QToolButton>
#include <QTreeWidget>
#include <QVBoxLayout>

#include "ui/bridge/engine_text.h"
#include "ui/bridge/job_controller.h"
#include "ui/models/run_queue_model.h"
#include "ui/widgets/empty_state.h"
#include "ui/widgets/icons.h"
#include "ui/widgets/item_delegates.h"
#include "ui/widgets/theme.h"
#include "ui/widgets/training_panel.h"

namespace fettle::ui {

using State = RunEntry::State;

RunsPage::RunsPage(RunQueueModel* model, JobController* jobs, QWidget* parent)
    : QWidget(parent), m_model(model), m_jobs(jobs), m_stack(new QStackedWidget(this)) {
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(8, 0, 8, 8);
    column->addWidget(m_stack);
    m_stack->addWidget(new EmptyState(
        QStringLiteral("runs"), tr("Nothing runs"),
        tr("Runs appear here with their progress, log and numbers. Choose a preset on the "
           "Recipe page and press Run (Ctrl+R)."),
        this));
    auto* split = new QSplitter(Qt::Horizontal, this);
    split->setChildrenCollapsible(false);
    split->addWidget(buildQueue());
    split->addWidget(buildDetails());
    split->setStretchFactor(0, 3);
    split->setStretchFactor(1, 2);
    split->setSizes({680, 400});
    m_stack->addWidget(split);

    m_refresh.setSingleShot(true);
    m_refresh.setInterval(100);
    connect(&m_refresh, &QTimer::timeout, this, &RunsPage::showMetrics);
    const auto refreshIf = [this](int row) {
        if (row == currentRow() && !m_refresh.isActive()) {
            m_refresh.start();
        }
    };
    connect(model, &RunQueueModel::metricsChanged, this, refreshIf);
    connect(model, &RunQueueModel::seriesAppended, this, refreshIf);
    connect(model, &RunQueueModel::logAppended, this, [this](int row, const LogLine& line) {
        if (row == currentRow() && row == m_shownRow) {
            appendLine(line);
        }
    });
    connect(model, &RunQueueModel::stateChanged, this, [this](int row) {
        const RunEntry& entry = m_model->entry(row);
        if (entry.state == State::Running &&
            (currentRow() < 0 || m_model->entry(currentRow()).ended())) {
            select(row);  // follow the work, unless the user looks at another active run
        }
        updateButtons();
    });
    const auto counted = [this] {
        m_stack->setCurrentIndex(m_model->rowCount() > 0 ? 1 : 0);
        if (currentRow() < 0 && m_model->rowCount() > 0) {
            select(0);
        }
        updateButtons();
    };
    connect(model, &QAbstractItemModel::rowsInserted, this, counted);
    connect(model, &QAbstractItemModel::rowsRemoved, this, counted);
    connect(m_view->selectionModel(), &QItemSelectionModel::currentRowChanged, this,
            &RunsPage::showDetails);
    counted();
}

QToolButton* RunsPage::addButton(const char* icon, const QString& text, const QString& tip) {
    auto* button = new QToolButton(this);
    button->setIcon(themedIcon(QLatin1String(icon)));
    button->setText(text);
    button->setToolButtonStyle(Qt::ToolButtonTextBesideIcon);
    button->setToolTip(tip);
    button->setAccessibleName(tip);
    return button;
}

QWidget* RunsPage::buildQueue() {
    auto* panel = new QWidget(this);
    auto* column = new QVBoxLayout(panel);
    column->setContentsMargins(0, 0, 4, 0);
    column->setSpacing(4);
    auto* bar = new QHBoxLayout;
    bar->setSpacing(2);
    m_pause = addButton("pause", tr("Pause"), tr("Pause this run"));
    m_keep = addButton("save", tr("Stop early"),
                       tr("Stop the training early and keep what it has learnt"));
    m_cancel = addButton("stop", tr("Cancel"), tr("Cancel this run"));
    m_open = addButton("explore", tr("Show"), tr("Show this experiment on the Explore page"));
    m_remove = addButton("trash", tr("Remove"), tr("Remove this row from the list"));
    m_clear = addButton("check", tr("Clear finished"), tr("Remove all rows that have ended"));
    for (QToolButton* button : {m_pause, m_keep, m_cancel, m_open, m_remove}) {
        bar->addWidget(button);
    }
    bar->addStretch();
    bar->addWidget(m_clear);
    column->addLayout(bar);

    m_view = new QTableView(panel);
    m_view->setModel(m_model);
    m_view->setItemDelegateForColumn(RunQueueModel::Status, new StateDelegate(m_view));
    m_view->setItemDelegateForColumn(RunQueueModel::Progress, new ProgressDelegate(m_view));
    m_view->setSelectionBehavior(QAbstractItemView::SelectRows);
    m_view->setSelectionMode(QAbstractItemView::SingleSelection);
    m_view->setShowGrid(false);
    m_view->setTabKeyNavigation(false);
    m_view->setWordWrap(false);
    m_view->verticalHeader()->hide();
    m_view->verticalHeader()->setDefaultSectionSize(fontMetrics().height() + 12);
    QHeaderView* header = m_view->horizontalHeader();
    header->setHighlightSections(false);
    header->setMinimumSectionSize(60);
    header->setSectionResizeMode(RunQueueModel::Progress, QHeaderView::Stretch);
    m_view->setColumnWidth(RunQueueModel::Title, 176);
    m_view->setColumnWidth(RunQueueModel::Status, 98);
    m_view->setColumnWidth(RunQueueModel::Speed, 96);
    m_view->setColumnWidth(RunQueueModel::TimeLeft, 88);
    m_view->setAccessibleName(tr("Runs"));
    column->addWidget(m_view, 1);

    connect(m_pause, &QToolButton::clicked, this, &RunsPage::togglePause);
    connect(m_keep, &QToolButton::clicked, this, &RunsPage::keepCurrent);
    connect(m_cancel, &QToolButton::clicked, this, &RunsPage::cancelCurrent);
    connect(m_remove, &QToolButton::clicked, this, &RunsPage::removeCurrent);
    connect(m_clear, &QToolButton::clicked, m_model, &RunQueueModel::removeEnded);
    const auto open = [this] {
        const int row = currentRow();
        if (row >= 0 && m_model->entry(row).experiment != 0) {
            emit experimentRequested(m_model->entry(row).experiment);
        }
    };
    connect(m_open, &QToolButton::clicked, this, open);
    connect(m_view, &QTableView::activated, this, open);
    return panel;
}

QWidget* RunsPage::buildDetails() {
    m_tabs = new QTabWidget(this);
    m_tabs->setDocumentMode(true);
    m_metrics = new QTreeWidget(m_tabs);
    m_metrics->setColumnCount(3);
    m_metrics->setHeaderLabels({tr("Measurement"), tr("Value"), tr("95 % interval")});
    m_metrics->setRootIsDecorated(false);
    m_metrics->headerItem()->setTextAlignment(1, Qt::AlignRight | Qt::AlignVCenter);
    m_metrics->headerItem()->setTextAlignment(2, Qt::AlignRight | Qt::AlignVCenter);
    m_metrics->header()->setStretchLastSection(false);
    m_metrics->setAccessibleName(tr("Measurements of the chosen run"));
    m_metrics->header()->setSectionResizeMode(0, QHeaderView::Stretch);
    m_metrics->header()->setSectionResizeMode(1, QHeaderView::ResizeToContents);
    m_metrics->header()->setSectionResizeMode(2, QHeaderView::ResizeToContents);
    setStyleClass(m_metrics, "bare");
    m_log = new QPlainTextEdit(m_tabs);
    m_log->setReadOnly(true);
    m_log->setMaximumBlockCount(static_cast<int>(RunQueueModel::kMaxLogLines));
    m_log->setLineWrapMode(QPlainTextEdit::NoWrap);
    m_log->setTabChangesFocus(true);
    m_log->setAccessibleName(tr("Log of the chosen run"));
    m_training = new TrainingPanel(m_tabs);
    m_tabs->addTab(m_metrics, tr("Numbers"));
    m_tabs->addTab(m_log, tr("Log"));
    m_tabs->addTab(m_training, tr("Curves"));
    m_tabs->setTabVisible(2, false);
    return m_tabs;
}

int RunsPage::currentRow() const {
    return m_view->currentIndex().row();
}

void RunsPage::select(int row) {
    m_view->setCurrentIndex(m_model->index(row, 0));
    m_view->scrollTo(m_model->index(row, 0));
}

void RunsPage::updateButtons() {
    const int row = currentRow();
    const RunEntry* entry = row >= 0 && row < m_model->rowCount() ? &m_model->entry(row) : nullptr;
    const bool active = entry && !entry->ended();
    // What can be taken up again: a paused run of now, an interrupted, failed or cancelled run of
    // before.
    const bool resumable =
        entry && (entry->state == State::Paused ||
                  (entry->experiment != 0 &&
                   (entry->state == State::Interrupted || entry->state == State::Failed ||
                    entry->state == State::Cancelled)));
    const bool again = resumable && entry->state != State::Paused;
    m_pause->setEnabled(active || resumable);
    m_pause->setText(again && entry->state != State::Interrupted ? tr("Run again")
                     : resumable                                 ? tr("Resume")
                                                                 : tr("Pause"));
    m_pause->setIcon(themedIcon(resumable ? QStringLiteral("play") : QStringLiteral("pause")));
    m_pause->setToolTip(again       ? tr("Run this experiment again")
                        : resumable ? tr("Resume this run")
                                    : tr("Pause this run"));
    m_pause->setAccessibleName(m_pause->toolTip());
    m_keep->setEnabled(active && entry->finishable);
    m_cancel->setEnabled(active);
    m_remove->setEnabled(entry && entry->ended());
    m_open->setEnabled(entry && entry->experiment != 0);
    m_clear->setEnabled(m_model->activeCount() < m_model->rowCount());
}

void RunsPage::togglePause() {
    const int row = currentRow();
    if (row < 0) {
        return;
    }
    const RunEntry& entry = m_model->entry(row);
    if (entry.state == State::Paused) {
        m_jobs->engine()->resume(entry.job);
    } else if (!entry.ended()) {
        m_jobs->engine()->pause(entry.job);
    } else if (entry.experiment != 0 && entry.state != State::Finished) {
        m_jobs->rerun(entry.experiment);
    }
}

void RunsPage::keepCurrent() {
    const int row = currentRow();
    if (row >= 0 && m_model->entry(row).finishable) {
        m_jobs->engine()->finishEarly(m_model->entry(row).job);
    }
}

void RunsPage::cancelCurrent() {
    const int row = currentRow();
    if (row >= 0 && !m_model->entry(row).ended()) {
        m_jobs->engine()->cancel(m_model->entry(row).job);
    }
}

void RunsPage::cancelAll() {
    for (int row = m_model->rowCount() - 1; row >= 0; --row) {
        if (!m_model->entry(row).ended()) {
            m_jobs->engine()->cancel(m_model->entry(row).job);
        }
    }
}

void RunsPage::removeCurrent() {
    const int row = currentRow();
    if (row < 0) {
        return;
    }
    const RunEntry& entry = m_model->entry(row);
    if (entry.state ==
        State::Interrupted) {  // removing it from the list removes it from the database
        m_jobs->experiments()->remove({entry.experiment});
    }
    m_model->removeRow(row);
}

static QString logText(const LogLine& line) {
    const QString time =
        QDateTime::fromMSecsSinceEpoch(line.timeMs).toString(QStringLiteral("HH:mm:ss"));
    const QString level = line.level == "info"
                              ? QString()
                              : QStringLiteral("[%1] ").arg(QString::fromStdString(line.level));
    return QStringLiteral("%1  %2%3").arg(time, level, QString::fromStdString(line.text));
}

void RunsPage::appendLine(const LogLine& line) {
    m_log->appendPlainText(logText(line));
}

void RunsPage::showDetails() {
    updateButtons();
    const int row = currentRow();
    m_shownRow = row;
    m_log->clear();
    if (row >= 0 && row < m_model->rowCount()) {
        QStringList lines;
        for (const LogLine& line : m_model->entry(row).log) {
            lines << logText(line);
        }
        m_log->setPlainText(lines.join(QLatin1Char('\n')));
        m_log->moveCursor(QTextCursor::End);
    }
    showMetrics();
}

void RunsPage::showMetrics() {
    const int row = currentRow();
    const bool some = row >= 0 && row < m_model->rowCount();
    const std::vector<Measurement> metrics =
        some ? m_model->entry(row).metrics : std::vector<Measurement>{};
    const auto setRow = [&](int at, const Measurement& metric) {
        QTreeWidgetItem* item = m_metrics->topLevelItem(at);
        if (!item) {
            item = new QTreeWidgetItem(m_metrics);
        }
        const MetricInfo* info = findMetric(metric.name);
        item->setText(0, engineText(info ? info->title : metric.name));
        item->setToolTip(0, engineText(info ? info->help : std::string()));
        item->setText(1, QString::fromStdString(formatMetric(metric.name, metric.value)) +
                             (metric.native ? QString() : tr(" (not native)")));
        item->setTextAlignment(1, Qt::AlignRight | Qt::AlignVCenter);
        item->setTextAlignment(2, Qt::AlignRight | Qt::AlignVCenter);
        item->setText(2, metric.low && metric.high
                             ? QStringLiteral("%1 … %2").arg(
                                   QString::fromStdString(formatMetric(metric.name, *metric.low)),
                                   QString::fromStdString(formatMetric(metric.name, *metric.high)))
                             : QString());
    };
    for (std::size_t i = 0; i < metrics.size(); ++i) {
        setRow(static_cast<int>(i), metrics[i]);
    }
    while (m_metrics->topLevelItemCount() > static_cast<int>(metrics.size())) {
        delete m_metrics->topLevelItem(m_metrics->topLevelItemCount() - 1);
    }
    const bool curve = some && m_model->entry(row).series.size() > 1;
    m_tabs->setTabVisible(2, curve);
    if (curve) {
        const RunEntry& entry = m_model->entry(row);
        m_training->showRun(entry.job != 0 ? static_cast<qint64>(entry.job) : -entry.experiment,
                            entry.series);
    }
}

}  // namespace fettle::ui
