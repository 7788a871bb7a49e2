// The Runs dock: the queue with progress, and for the chosen run its measurements, log and curves.
// GUI thread only.
#pragma once

#include <QTimer>
#include <QWidget>

#include "engine/experiment/experiment_record.h"

class QLabel;
class QPlainTextEdit;
class QStackedWidget;
class QTabWidget;
class QTableView;
class QToolButton;
class QTreeWidget;

namespace fettle::ui {

class JobController;
class RunQueueModel;
class TrainingPanel;

class RunsPage : public QWidget {
    Q_OBJECT

public:
    RunsPage(RunQueueModel* model, JobController* jobs, QWidget* parent = nullptr);

    void select(int row);
    int currentRow() const;
    void togglePause();
    /// Ends the training of the chosen run; what it has learnt is kept and measured.
    void keepCurrent();
    void cancelCurrent();
    void cancelAll();
    void removeCurrent();
    QTableView* view() const { return m_view; }
    QPlainTextEdit* log() const { return m_log; }
    QTreeWidget* metrics() const { return m_metrics; }
    QToolButton* pauseButton() const { return m_pause; }
    QToolButton* cancelButton() const { return m_cancel; }
    QToolButton* keepButton() const { return m_keep; }
    QTabWidget* detailTabs() const { return m_tabs; }
    TrainingPanel* training() const { return m_training; }

signals:
    void experimentRequested(qint64 id);

private:
    QWidget* buildQueue();
    QWidget* buildDetails();
    QToolButton* addButton(const char* icon, const QString& text, const QString& tip);
    void updateButtons();
    void showDetails();
    void showMetrics();
    void appendLine(const LogLine& line);

    RunQueueModel* m_model;
    JobController* m_jobs;
    QStackedWidget* m_stack;
    QTableView* m_view;
    QToolButton* m_pause;
    QToolButton* m_keep;
    QToolButton* m_cancel;
    QToolButton* m_remove;
    QToolButton* m_clear;
    QToolButton* m_open;
    QTabWidget* m_tabs;
    QLabel* m_title;
    QTreeWidget* m_metrics;
    QPlainTextEdit* m_log;
    TrainingPanel* m_training;
    QTimer m_refresh;  ///< gathers bursts of metrics and curve points into one repaint
    int m_shownRow = -1;
};

}  // namespace fettle::ui
