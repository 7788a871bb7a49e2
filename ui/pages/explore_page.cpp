#include "ui/pages/explore_page.h"

#include <QAction>
#include <QEvent>
#include <QFrame>
#include <QHeaderView>
#include <QKeyEvent>
#include <QLabel>
#include <QMenu>
#include <QPushButton>
#include <QSplitter>
#include <QStackedWidget>
#include <QTableView>
#include <QToolButton>
#include <QUndoStack>
#include <QVBoxLayout>
#include <algorithm>

#include "ui/bridge/experiment_service.h"
#include "ui/charts/axis_scale.h"
#include "ui/charts/parallel_chart.h"
#include "ui/charts/tradeoff_chart.h"
#include "ui/models/experiment_table_filter.h"
#include "ui/models/experiment_table_model.h"
#include "ui/pages/explore_axis_bar.h"
#include "ui/pages/explore_cell_delegate.h"
#include "ui/pages/explore_commands.h"
#include "ui/pages/explore_detail_panel.h"
#include "ui/pages/explore_filter_bar.h"
#include "ui/widgets/empty_state.h"
#include "ui/widgets/icons.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

constexpr int kUndoShownMs = 12000;
constexpr int kRefreshMs = 40;

const QStringList& defaultColumns() {
    static const QStringList columns{"perplexity",          "kl_mean", "top1_agreement",
                                     "decode_tokens_per_s", "ttft_ms", "weight_bytes"};
    return columns;
}

}  // namespace

ExplorePage::ExplorePage(ExperimentService* service, QWidget* parent)
    : QWidget(parent),
      m_service(service),
      m_model(new ExperimentTableModel(this)),
      m_filter(new ExperimentTableFilter(m_model, this)),
      m_filterBar(new ExploreFilterBar(this)),
      m_axisBar(new ExploreAxisBar(this)),
      m_chart(new TradeoffChart),
      m_parallel(new ParallelChart),
      m_charts(new QSplitter(Qt::Horizontal)),
      m_table(new QTableView),
      m_delegate(new ExploreCellDelegate(this)),
      m_panel(new ExploreDetailPanel),
      m_undo(new QUndoStack(this)),
      m_wantedColumns(defaultColumns()) {
    buildLayout();
    buildActions();
    connectParts();
    connectCharts();
    connectPanel();
    restoreState();
    updateTheme();
    reload();
}

ExplorePage::~ExplorePage() {
    saveState();
    hide();  // hands out a note that is still being written, while everything is there to take it
}

void ExplorePage::buildLayout() {
    m_stack = new QStackedWidget(this);
    auto* outer = new QVBoxLayout(this);
    outer->setContentsMargins(0, 0, 0, 0);
    outer->setSpacing(0);
    outer->addWidget(m_stack, 1);

    m_stack->addWidget(new EmptyState(
        QStringLiteral("explore"), tr("No experiments yet"),
        tr("Pick a model in the library, put a recipe together on the Recipe page and run it. "
           "Measure the "
           "model as it is, too: that baseline is what every recipe is held against.")));
    auto* content = new QWidget;
    m_stack->addWidget(content);
    auto* column = new QVBoxLayout(content);
    column->setContentsMargins(kGapWide, 12, kGapWide, 12);
    column->setSpacing(10);
    column->addWidget(m_filterBar);
    column->addWidget(m_axisBar);

    m_chartStack = new QStackedWidget;
    m_charts->addWidget(m_chart);
    m_charts->addWidget(m_parallel);
    m_charts->setHandleWidth(9);
    m_charts->setChildrenCollapsible(false);
    m_chartStack->addWidget(m_charts);
    m_filteredOut =
        new EmptyState(QStringLiteral("explore"), tr("All experiments are filtered out"), {});
    m_chartStack->addWidget(m_filteredOut);
    connect(m_filteredOut->addAction(tr("Clear filters")), &QPushButton::clicked, this,
            [this] { m_filterBar->setFilter({}); });
    auto* frame = new QFrame;
    setStyleClass(frame, "card");
    auto* inFrame = new QVBoxLayout(frame);
    inFrame->setContentsMargins(3, 3, 3, 3);
    inFrame->addWidget(m_chartStack);

    m_rows = new QSplitter(Qt::Vertical);
    m_rows->setObjectName(QStringLiteral("rowSplitter"));
    m_rows->addWidget(frame);
    m_rows->addWidget(buildTable());
    m_rows->setStretchFactor(0, 3);
    m_rows->setStretchFactor(1, 2);
    m_rows->setSizes({560, 400});
    m_rows->setHandleWidth(9);
    auto* panelCard = new QFrame;
    setStyleClass(panelCard, "card");
    auto* inCard = new QVBoxLayout(panelCard);
    inCard->setContentsMargins(1, 1, 1, 1);
    inCard->addWidget(m_panel);
    m_side = new QSplitter(Qt::Horizontal);
    m_side->addWidget(m_rows);
    m_side->addWidget(panelCard);
    m_side->setStretchFactor(0, 1);
    m_side->setStretchFactor(1, 0);
    m_side->setHandleWidth(9);
    m_side->setSizes({1000, 330});
    for (QSplitter* splitter : {m_rows, m_side}) {
        splitter->setChildrenCollapsible(false);
    }
    column->addWidget(m_side, 1);

    m_undoBar = new QFrame(this);
    setStyleClass(m_undoBar, "message-info");
    m_undoText = new QLabel(m_undoBar);
    auto* undo = new QPushButton(tr("Undo"), m_undoBar);
    undo->setObjectName(QStringLiteral("undoButton"));
    auto* bar = new QHBoxLayout(m_undoBar);
    bar->setContentsMargins(12, 5, 6, 5);
    bar->addWidget(m_undoText, 1);
    bar->addWidget(undo);
    column->addWidget(m_undoBar);
    m_undoBar->hide();
    connect(undo, &QPushButton::clicked, m_undo, &QUndoStack::undo);
    // The bar speaks of the last thing done, and of nothing else.
    connect(m_undo, &QUndoStack::indexChanged, m_undoBar, &QWidget::hide);
}

void ExplorePage::buildActions() {
    const auto add = [this](QWidget* owner, const QString& text, const QKeySequence& keys,
                            Qt::ShortcutContext context, auto slot) {
        auto* action = new QAction(text, this);
        action->setShortcut(keys);
        action->setShortcutContext(context);
        connect(action, &QAction::triggered, this, slot);
        owner->addAction(action);
        if (owner != m_table) {
            m_table->addAction(action);
        }
        return action;
    };
    const auto anywhere = Qt::WidgetWithChildrenShortcut;
    m_starAction = add(this, tr("Favourite"), QKeySequence(tr("Ctrl+D")), anywhere,
                       &ExplorePage::toggleFavourite);
    m_starAction->setIcon(themedIcon(QStringLiteral("star")));
    add(this, tr("Add tag…"), QKeySequence(tr("Ctrl+T")), anywhere,
        [this] { m_panel->startTag(); });
    add(this, tr("Edit note"), QKeySequence(tr("Ctrl+Shift+N")), anywhere,
        [this] { m_panel->startNote(); });
    add(m_table, tr("Rename"), QKeySequence(Qt::Key_F2), Qt::WidgetShortcut,
        [this] { m_panel->startRename(); });
    add(m_table, tr("Remove"), QKeySequence::Delete, Qt::WidgetShortcut,
        &ExplorePage::removeSelected)
        ->setIcon(themedIcon(QStringLiteral("trash")));
    m_table->setContextMenuPolicy(Qt::ActionsContextMenu);

    auto* copy = new QAction(tr("Copy chart as image"), this);
    connect(copy, &QAction::triggered, this, &ExplorePage::copyImage);
    auto* save = new QAction(tr("Save chart…"), this);
    save->setShortcut(QKeySequence(tr("Ctrl+Shift+S")));
    save->setShortcutContext(anywhere);
    connect(save, &QAction::triggered, this, &ExplorePage::saveImage);
    auto* turn = new QAction(tr("Next kind of chart"), this);
    turn->setShortcut(QKeySequence(tr("Ctrl+Shift+G")));
    turn->setShortcutContext(anywhere);
    connect(turn, &QAction::triggered, this, [this] {
        m_axisBar->setView(
            static_cast<ExploreAxisBar::View>((static_cast<int>(m_axisBar->view()) + 1) % 3));
    });
    addActions({copy, save, turn});
    for (QWidget* chart : std::initializer_list<QWidget*>{m_chart, m_parallel}) {
        chart->addActions({copy, save, turn});
        chart->setContextMenuPolicy(Qt::ActionsContextMenu);
    }
}

void ExplorePage::push(QUndoCommand* command) {
    if (command && !m_service->readOnly()) {
        m_undo->push(command);
    } else {
        delete command;
    }
}

void ExplorePage::toggleFavourite() {
    bool all = true;
    for (const qint64 id : m_selected) {
        const ExperimentRecord* record = m_model->record(id);
        all = all && record && record->annotations.favourite;
    }
    push(favouriteCommand(m_service, m_selected, !all));
}

QWidget* ExplorePage::buildTable() {
    m_table->setObjectName(QStringLiteral("experimentTable"));
    m_table->setAccessibleName(tr("Experiments"));
    m_table->setModel(m_filter);
    m_table->setItemDelegate(m_delegate);
    m_table->setSelectionBehavior(QAbstractItemView::SelectRows);
    m_table->setSelectionMode(QAbstractItemView::ExtendedSelection);
    m_table->setSortingEnabled(true);
    m_table->sortByColumn(-1, Qt::AscendingOrder);
    m_table->setShowGrid(false);
    m_table->setWordWrap(false);
    m_table->setEditTriggers(QAbstractItemView::NoEditTriggers);
    m_table->setVerticalScrollMode(QAbstractItemView::ScrollPerPixel);
    m_table->setHorizontalScrollMode(QAbstractItemView::ScrollPerPixel);
    m_table->setTabKeyNavigation(false);
    m_table->verticalHeader()->hide();
    m_table->verticalHeader()->setSectionResizeMode(QHeaderView::Fixed);
    m_table->verticalHeader()->setDefaultSectionSize(m_table->fontMetrics().height() + 12);
    m_table->horizontalHeader()->setHighlightSections(false);
    m_table->horizontalHeader()->setSectionsMovable(false);
    m_table->horizontalHeader()->setTextElideMode(Qt::ElideRight);
    m_table->setCornerWidget(new QWidget);
    m_table->installEventFilter(this);

    m_columns = new QToolButton;
    m_columns->setText(tr("Columns"));
    m_columns->setObjectName(QStringLiteral("columnsButton"));
    m_columns->setPopupMode(QToolButton::InstantPopup);
    setStyleClass(m_columns, "with-menu");
    m_columns->setMenu(new QMenu(m_columns));
    connect(m_columns->menu(), &QMenu::aboutToShow, this, &ExplorePage::chooseColumns);
    m_tableNote = makeLabel({}, TextRole::Caption);
    auto* box = new QWidget;
    auto* column = new QVBoxLayout(box);
    column->setContentsMargins(0, 0, 0, 0);
    column->setSpacing(4);
    auto* head = new QHBoxLayout;
    head->addWidget(m_tableNote, 1);
    head->addWidget(m_columns);
    column->addLayout(head);
    column->addWidget(m_table, 1);
    return box;
}

void ExplorePage::connectParts() {
    m_refreshTimer.setSingleShot(true);
    m_refreshTimer.setInterval(kRefreshMs);
    connect(&m_refreshTimer, &QTimer::timeout, this, [this] {
        refreshChoices();
        refreshChart();
    });
    m_undoTimer.setSingleShot(true);
    m_undoTimer.setInterval(kUndoShownMs);
    connect(&m_undoTimer, &QTimer::timeout, m_undoBar, &QWidget::hide);

    connect(m_service, &ExperimentService::experimentsReset, this, &ExplorePage::reload);
    connect(m_service, &ExperimentService::experimentChanged, this, [this](qint64 id) {
        if (auto record = m_service->experiment(id)) {
            m_model->upsert(std::move(*record));
            m_refreshTimer.start();
        }
    });
    connect(m_service, &ExperimentService::experimentsRemoved, this,
            [this](const std::vector<qint64>& ids) {
                m_model->remove(ids);
                refreshChoices();
                refreshChart();
            });

    connect(m_filterBar, &ExploreFilterBar::filterChanged, this, [this] {
        m_filter->setFilter(m_filterBar->filter());
        refreshChart();
    });
    connect(m_axisBar, &ExploreAxisBar::queryChanged, this, &ExplorePage::refreshChart);
    connect(m_axisBar, &ExploreAxisBar::logChanged, this,
            [this] { m_chart->setLogarithmic(m_axisBar->logX(), m_axisBar->logY()); });
    connect(m_axisBar, &ExploreAxisBar::resetRequested, m_chart, &TradeoffChart::resetView);
    connect(m_axisBar, &ExploreAxisBar::selectModeChanged, this, [this](bool brush) {
        m_chart->setDragMode(brush ? TradeoffChart::DragMode::Select
                                   : TradeoffChart::DragMode::Pan);
    });
    connect(m_table->selectionModel(), &QItemSelectionModel::selectionChanged, this,
            &ExplorePage::adoptTableSelection);
    connect(m_table, &QTableView::doubleClicked, this, [this](const QModelIndex& index) {
        if (index.column() == ExperimentTableModel::Favourite) {
            return;  // two quick clicks on a star open nothing
        }
        emit experimentActivated(index.data(ExperimentTableModel::IdRole).toLongLong());
    });
    connect(m_table, &QTableView::clicked, this, [this](const QModelIndex& index) {
        if (index.column() == ExperimentTableModel::Favourite) {
            push(favouriteCommand(m_service,
                                  {index.data(ExperimentTableModel::IdRole).toLongLong()},
                                  !index.data(ExperimentTableModel::FavouriteRole).toBool()));
        }
    });
}

void ExplorePage::connectCharts() {
    connect(m_axisBar, &ExploreAxisBar::viewChanged, this, &ExplorePage::showCharts);
    connect(m_axisBar, &ExploreAxisBar::parallelAxesChanged, this, &ExplorePage::refreshParallel);
    connect(m_chart, &TradeoffChart::viewChanged, m_axisBar, &ExploreAxisBar::setZoomed);
    connect(m_chart, &TradeoffChart::activated, this, &ExplorePage::experimentActivated);
    connect(m_chart, &TradeoffChart::selectionChanged, this, &ExplorePage::select);
    connect(m_chart, &TradeoffChart::hovered, this, &ExplorePage::highlight);
    connect(m_parallel, &ParallelChart::activated, this, &ExplorePage::experimentActivated);
    connect(m_parallel, &ParallelChart::selectionChanged, this, &ExplorePage::select);
    connect(m_parallel, &ParallelChart::hovered, this, &ExplorePage::highlight);
    connect(m_parallel, &ParallelChart::axesMoved, m_axisBar, [this](const QStringList& metrics) {
        // Axes that nothing was measured on are not drawn, and keep to the right.
        QStringList axes = metrics;
        for (const QString& metric : m_axisBar->parallelAxes()) {
            if (!axes.contains(metric)) {
                axes << metric;
            }
        }
        m_axisBar->setParallelAxes(axes);
    });
    connect(m_parallel, &ParallelChart::brushed, this,
            [this](const QString& metric, const MetricRange& range) {
                m_filterBar->setRange(metric, range);
            });
    m_table->setMouseTracking(true);
    m_table->viewport()->installEventFilter(this);
    connect(m_table, &QTableView::entered, this, [this](const QModelIndex& index) {
        highlight(index.data(ExperimentTableModel::IdRole).toLongLong());
    });
    const auto tell = [this](qint64 id) {
        const ExperimentRecord* record = m_model->record(id);
        return record ? hoverHtml(*record, m_model->baselineOf(*record),
                                  ChartTheme::fromPalette(palette()).muted.name())
                      : QString();
    };
    m_chart->setHoverSource(tell);
    m_parallel->setHoverSource(tell);
}

void ExplorePage::highlight(qint64 id) {
    m_chart->setHighlighted(id);
    m_parallel->setHighlighted(id);
    if (m_delegate->highlighted() != id) {
        m_delegate->setHighlighted(id);
        m_table->viewport()->update();
    }
}

void ExplorePage::connectPanel() {
    const auto forOne = [this](auto signal) {
        return [this, signal] {
            if (m_selected.size() == 1) {
                emit(this->*signal)(m_selected.front());
            }
        };
    };
    connect(m_panel, &ExploreDetailPanel::openRequested, this,
            forOne(&ExplorePage::experimentActivated));
    connect(m_panel, &ExploreDetailPanel::exportRequested, this,
            forOne(&ExplorePage::exportRequested));
    connect(m_panel, &ExploreDetailPanel::rerunRequested, this,
            forOne(&ExplorePage::rerunRequested));
    connect(m_panel, &ExploreDetailPanel::allocationRequested, this,
            forOne(&ExplorePage::allocationRequested));
    connect(m_panel, &ExploreDetailPanel::compareRequested, this,
            [this] { emit compareRequested(m_selected); });
    connect(m_panel, &ExploreDetailPanel::removeRequested, this, &ExplorePage::removeSelected);
    connect(m_panel, &ExploreDetailPanel::copyCsvRequested, this, &ExplorePage::copyCsv);
    connect(m_panel, &ExploreDetailPanel::copyImageRequested, this, &ExplorePage::copyImage);
    connect(m_panel, &ExploreDetailPanel::copySvgRequested, this, &ExplorePage::copySvg);
    connect(m_panel, &ExploreDetailPanel::saveImageRequested, this, &ExplorePage::saveImage);
    connect(m_panel, &ExploreDetailPanel::renamed, this, [this](const QString& name) {
        if (m_selected.size() == 1) {
            push(renameCommand(m_service, m_selected.front(), name));
        }
    });
    connect(m_panel, &ExploreDetailPanel::favouriteRequested, this, &ExplorePage::toggleFavourite);
    connect(m_panel, &ExploreDetailPanel::tagRequested, this, [this](const QString& tag, bool on) {
        push(tagCommand(m_service, m_selected, tag, on));
    });
    connect(m_panel, &ExploreDetailPanel::noteRequested, this,
            [this](qint64 id, const QString& note) { push(noteCommand(m_service, id, note)); });
}

void ExplorePage::reload() {
    const std::vector<qint64> kept = m_selected;
    m_syncing = true;  // the reset clears the table's selection, which is not the user's doing
    m_model->setRecords(m_service->experiments());
    m_syncing = false;
    m_panel->setReadOnly(m_service->readOnly());
    m_selected = kept;
    refreshChoices();
    refreshChart();
}

void ExplorePage::refreshChoices() {
    const QStringList metrics = m_model->availableMetrics();
    const QStringList tags = m_model->availableTags();
    m_filterBar->setChoices(m_model->records(), metrics, tags);
    m_panel->setKnownTags(tags);
    m_table->setColumnHidden(ExperimentTableModel::Tags, tags.isEmpty());
    m_axisBar->setMetrics(metrics);
    QStringList columns;
    for (const QString& metric : m_wantedColumns) {
        if (metrics.contains(metric)) {
            columns << metric;
        }
    }
    setColumns(columns);
}

void ExplorePage::refreshChart() {
    std::vector<const ExperimentRecord*> accepted;
    const ExperimentFilter& filter = m_filter->filter();
    accepted.reserve(m_model->records().size());
    for (const ExperimentRecord& record : m_model->records()) {
        if (filter.accepts(record)) {
            accepted.push_back(&record);
        }
    }
    TradeoffData data =
        buildTradeoff(std::span<const ExperimentRecord* const>(accepted), m_axisBar->query());
    m_axisBar->setProtocols(data);
    highlight(-1);
    m_chart->setData(std::move(data));
    refreshParallel();
    m_filterBar->setCounts(static_cast<int>(accepted.size()),
                           static_cast<int>(m_model->records().size()));
    showEmptiness(accepted.size());
    // Only what is still listed stays selected.
    std::erase_if(m_selected, [&](qint64 id) {
        const ExperimentRecord* record = m_model->record(id);
        return !record || !filter.accepts(*record);
    });
    selectRows();
    m_chart->setSelection(m_selected);
    m_parallel->setSelection(m_selected);
    m_axisBar->setZoomed(m_chart->isZoomed());
    showSelection();
}

void ExplorePage::refreshParallel() {
    if (m_axisBar->view() == ExploreAxisBar::View::Scatter) {
        return;
    }
    ParallelQuery query;
    const QStringList available = m_model->availableMetrics();
    for (const QString& metric : m_axisBar->parallelAxes()) {
        if (available.contains(metric)) {
            query.metrics << metric;
        }
    }
    query.color = m_axisBar->query().color;
    query.protocols = m_axisBar->query().protocols;
    // Ranges of its own axes are the chart's to draw, with what they leave out as a quiet ground.
    ExperimentFilter filter = m_filter->filter();
    QMap<QString, MetricRange> ranges;
    for (const QString& metric : query.metrics) {
        if (const auto range = filter.ranges.constFind(metric); range != filter.ranges.constEnd()) {
            ranges[metric] = *range;
            filter.ranges.remove(metric);
        }
    }
    std::vector<const ExperimentRecord*> candidates;
    for (const ExperimentRecord& record : m_model->records()) {
        if (filter.accepts(record)) {
            candidates.push_back(&record);
        }
    }
    m_parallel->setRanges(ranges);
    m_parallel->setData(buildParallel(std::span<const ExperimentRecord* const>(candidates), query));
    m_parallel->setSelection(m_selected);
    m_parallel->setEmptyText(
        m_parallel->data().incomplete > 0
            ? tr("No finished experiment shown here has two of these metrics. Choose other axes.")
            : tr("Nothing is finished yet. Lines appear as soon as a run ends."));
}

void ExplorePage::showCharts() {
    const ExploreAxisBar::View view = m_axisBar->view();
    m_chart->setVisible(view != ExploreAxisBar::View::Parallel);
    m_parallel->setVisible(view != ExploreAxisBar::View::Scatter);
    refreshParallel();
    showEmptiness(static_cast<std::size_t>(m_filter->rowCount()));
}

void ExplorePage::showEmptiness(std::size_t accepted) {
    const std::size_t total = m_model->records().size();
    m_stack->setCurrentIndex(total == 0 ? 0 : 1);
    // The parallel chart shows what its ranges leave out, and how to widen them.
    const bool chartHelps =
        m_axisBar->view() != ExploreAxisBar::View::Scatter && !m_parallel->data().lines.empty();
    m_chartStack->setCurrentIndex(total > 0 && accepted == 0 && !chartHelps ? 1 : 0);
    m_filteredOut->setText(tr("None of the %1 experiments passes the filters above.").arg(total));
    const TradeoffData& data = m_chart->data();
    m_chart->setEmptyText(
        data.missingMetric > 0
            ? tr("No finished experiment shown here has both <b>%1</b> and <b>%2</b>.<br>Choose "
                 "other axes, or measure again with both.")
                  .arg(metricTitle(data.query.x).toHtmlEscaped(),
                       metricTitle(data.query.y).toHtmlEscaped())
            : tr("Nothing is finished yet. Points appear as soon as a run ends."));
    QStringList notes;
    if (data.unfinished > 0) {
        notes << tr("%1 not finished: listed, not drawn").arg(data.unfinished);
    }
    if (data.missingMetric > 0 && !data.points.empty()) {
        notes << tr("%1 without these metrics").arg(data.missingMetric);
    }
    if (m_chart->offScale() > 0) {
        notes << tr("%1 at or below 0, not on a logarithmic axis").arg(m_chart->offScale());
    }
    m_tableNote->setText(notes.join(QStringLiteral(" · ")));
}

void ExplorePage::select(const std::vector<qint64>& ids) {
    m_selected = ids;
    std::erase_if(m_selected, [&](qint64 id) {
        const ExperimentRecord* record = m_model->record(id);
        return !record || !m_filter->filter().accepts(*record);
    });
    selectRows();
    m_chart->setSelection(m_selected);
    m_parallel->setSelection(m_selected);
    showSelection();
}

void ExplorePage::adoptTableSelection() {
    if (m_syncing) {
        return;
    }
    m_selected.clear();
    for (const QItemSelectionRange& range : m_table->selectionModel()->selection()) {
        for (int row = range.top(); row <= range.bottom(); ++row) {
            m_selected.push_back(
                m_filter->index(row, 0).data(ExperimentTableModel::IdRole).toLongLong());
        }
    }
    m_chart->setSelection(m_selected);
    m_parallel->setSelection(m_selected);
    showSelection();
}

void ExplorePage::selectRows() {
    m_syncing = true;
    std::vector<int> rows;
    for (const qint64 id : m_selected) {
        const QModelIndex row = m_filter->mapFromSource(m_model->index(m_model->rowOf(id), 0));
        if (row.isValid()) {
            rows.push_back(row.row());
        }
    }
    std::sort(rows.begin(), rows.end());
    QItemSelection selection;
    for (std::size_t i = 0; i < rows.size();) {
        std::size_t end = i + 1;
        while (end < rows.size() && rows[end] == rows[end - 1] + 1) {
            ++end;
        }
        // Appended rather than select()ed: the latter compares with every range so far.
        selection.append(
            QItemSelectionRange(m_filter->index(rows[i], 0),
                                m_filter->index(rows[end - 1], m_filter->columnCount() - 1)));
        i = end;
    }
    m_table->selectionModel()->select(selection, QItemSelectionModel::ClearAndSelect);
    if (!rows.empty()) {
        const QModelIndex first = m_filter->index(rows.front(), 0);
        m_table->selectionModel()->setCurrentIndex(first, QItemSelectionModel::NoUpdate);
        m_table->scrollTo(first);
    }
    m_syncing = false;
}

void ExplorePage::showSelection() {
    std::vector<SelectedExperiment> selected;
    for (const qint64 id : m_selected) {
        if (const ExperimentRecord* record = m_model->record(id)) {
            selected.push_back({record, m_model->baselineOf(*record)});
        }
    }
    m_panel->setSelection(selected);
}

void ExplorePage::removeSelected() {
    if (m_selected.empty() || m_service->readOnly()) {
        return;
    }
    const std::vector<qint64> ids = m_selected;
    const ExperimentRecord* first = m_model->record(ids.front());
    const QString name = first ? QString::fromStdString(first->name) : QString();
    push(removeCommand(m_service, ids));
    m_undoText->setText(ids.size() == 1 ? tr("Removed “%1”.").arg(name)
                                        : tr("Removed %1 experiments.").arg(ids.size()));
    m_undoBar->show();
    m_undoTimer.start();
}

void ExplorePage::keyPressEvent(QKeyEvent* event) {
    // Inside the main window its Undo and Redo take these keys first.
    if (event->matches(QKeySequence::Undo)) {
        m_undo->undo();
    } else if (event->matches(QKeySequence::Redo)) {
        m_undo->redo();
    } else {
        QWidget::keyPressEvent(event);
    }
}

bool ExplorePage::eventFilter(QObject* watched, QEvent* event) {
    if (watched == m_table->viewport() && event->type() == QEvent::Leave) {
        highlight(-1);
    }
    if (watched == m_table->viewport() && event->type() == QEvent::Resize) {
        fillTable();
    }
    if (watched == m_table && event->type() == QEvent::KeyPress) {
        const int key = static_cast<QKeyEvent*>(event)->key();
        const QModelIndex current = m_table->currentIndex();
        if ((key == Qt::Key_Return || key == Qt::Key_Enter) && current.isValid()) {
            emit experimentActivated(current.data(ExperimentTableModel::IdRole).toLongLong());
            return true;
        }
    }
    return QWidget::eventFilter(watched, event);
}

void ExplorePage::changeEvent(QEvent* event) {
    QWidget::changeEvent(event);
    if (event->type() == QEvent::PaletteChange) {
        updateTheme();
    }
}

void ExplorePage::updateTheme() {
    const ChartTheme theme = ChartTheme::fromPalette(palette());
    m_delegate->setTheme(theme);
    m_panel->setTheme(theme);
    m_table->viewport()->update();
    showSelection();
}

}  // namespace fettle::ui
