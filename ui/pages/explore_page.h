// The Explore page: every experiment as a point and as a row, linked both ways, with the details of
// the selection. Talks to the store through ExperimentService only; what starts work elsewhere
// leaves as a signal. GUI thread.
#pragma once

#include <QTimer>
#include <QWidget>
#include <vector>

#include "ui/charts/chart_theme.h"

class QAction;
class QFrame;
class QLabel;
class QMenu;
class QSplitter;
class QStackedWidget;
class QTableView;
class QToolButton;
class QUndoCommand;
class QUndoStack;

namespace fettle::ui {

class EmptyState;
class ExperimentService;
class ExperimentTableFilter;
class ExperimentTableModel;
class ExploreAxisBar;
class ExploreCellDelegate;
class ExploreDetailPanel;
class ExploreFilterBar;
class ParallelChart;
class TradeoffChart;

class ExplorePage : public QWidget {
    Q_OBJECT

public:
    /// `service` must outlive the page.
    explicit ExplorePage(ExperimentService* service, QWidget* parent = nullptr);
    ~ExplorePage() override;

    std::vector<qint64> selection() const { return m_selected; }
    /// Selects in chart, table and panel at once; ids that are filtered out or unknown are left
    /// out.
    void select(const std::vector<qint64>& ids);
    /// Stars, tags, notes, names and removals made here, for the window's Undo and Redo.
    QUndoStack* undoStack() const { return m_undo; }

signals:
    void experimentActivated(qint64 id);
    void exportRequested(qint64 id);
    void rerunRequested(qint64 id);
    /// The bits of an experiment's weights are to be allocated anew from its scores.
    void allocationRequested(qint64 id);
    void compareRequested(const std::vector<qint64>& ids);

protected:
    void changeEvent(QEvent* event) override;
    void keyPressEvent(QKeyEvent* event) override;
    bool eventFilter(QObject* watched, QEvent* event) override;

private:
    void buildLayout();
    QWidget* buildTable();
    void connectParts();
    void connectPanel();
    void reload();
    void refreshChoices();
    void refreshChart();
    void refreshParallel();
    void showCharts();
    void connectCharts();
    void highlight(qint64 id);
    void showEmptiness(std::size_t accepted);
    void chooseColumns();
    void setColumns(const QStringList& metrics);
    void sizeColumns();
    void fillTable();
    void adoptTableSelection();
    void selectRows();
    void showSelection();
    void removeSelected();
    void buildActions();
    void push(QUndoCommand* command);
    void toggleFavourite();
    void copyCsv();
    void copyImage();
    void copySvg();
    void saveImage();
    void updateTheme();
    void restoreState();
    void saveState() const;

    ExperimentService* m_service;
    ExperimentTableModel* m_model;
    ExperimentTableFilter* m_filter;
    ExploreFilterBar* m_filterBar;
    ExploreAxisBar* m_axisBar;
    TradeoffChart* m_chart;
    ParallelChart* m_parallel;
    QSplitter* m_charts;
    QTableView* m_table;
    ExploreCellDelegate* m_delegate;
    ExploreDetailPanel* m_panel;
    QToolButton* m_columns;
    QLabel* m_tableNote;
    QStackedWidget* m_stack;
    QStackedWidget* m_chartStack;
    EmptyState* m_filteredOut;
    QSplitter* m_side;
    QSplitter* m_rows;
    QUndoStack* m_undo;
    QAction* m_starAction = nullptr;
    QFrame* m_undoBar;
    QLabel* m_undoText;
    QTimer m_undoTimer;
    QTimer m_refreshTimer;  ///< gathers the changes of a busy run into one redraw
    std::vector<qint64> m_selected;
    QStringList m_wantedColumns;
    bool m_syncing = false;
};

}  // namespace fettle::ui
