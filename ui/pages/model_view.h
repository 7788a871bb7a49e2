// The Inspect tab: facts of one model, its tensors as a table, and the values of the chosen tensor.
// GUI thread only.
#pragma once

#include <QWidget>

#include "engine/experiment/job_values.h"

class QGridLayout;
class QLabel;
class QLineEdit;
class QStackedWidget;
class QTableView;

namespace fettle::ui {

class EmptyState;
class HistogramView;
class JobController;
class TensorFilterModel;
class TensorTableModel;

class ModelView : public QWidget {
    Q_OBJECT

public:
    explicit ModelView(JobController* jobs, QWidget* parent = nullptr);

    /// Reads the model at `path` and shows it.
    void inspect(const QString& path);
    QString path() const { return m_path; }
    QTableView* table() const { return m_table; }
    HistogramView* histogram() const { return m_histogram; }

signals:
    void errorOccurred(const QString& title, const QString& message);

private:
    void showReport(const ModelReport& report);
    void askHistogram();
    void updateCount();

    JobController* m_jobs;
    TensorTableModel* m_tensors;
    TensorFilterModel* m_filtered;
    QStackedWidget* m_stack;
    EmptyState* m_empty;
    QLabel* m_title;
    QLabel* m_subtitle;
    QLabel* m_warnings;
    QLabel* m_count;
    QGridLayout* m_facts;
    QLineEdit* m_filter;
    QTableView* m_table;
    HistogramView* m_histogram;
    QString m_path;
    JobId m_histogramJob = 0;
};

}  // namespace fettle::ui
