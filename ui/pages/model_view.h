// The Inspect tab: facts of one model, its tensors as a table, by layer and by memory, and the
// values of the chosen tensor. GUI thread only.
#pragma once

#include <QWidget>

#include "engine/experiment/job_values.h"
#include "engine/experiment/recipe.h"

class QGridLayout;
class QLabel;
class QLineEdit;
class QMenu;
class QPushButton;
class QSplitter;
class QStackedWidget;
class QTabWidget;
class QTableView;

namespace fettle::ui {

class EmptyState;
class HistogramView;
class JobController;
class ModelLayers;
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
    ModelLayers* layers() const { return m_layers; }
    /// The recipe being edited, to mark what it does to single weights.
    void setRecipe(const Recipe& recipe);
    /// The menu of a node of the graph while it is open.
    QMenu* menu() const { return m_menu; }
    QTabWidget* views() const { return m_views; }
    QPushButton* excludeButton() const { return m_exclude; }
    /// Selects a tensor by its name in the file.
    void chooseTensor(const QString& tensor);

signals:
    void errorOccurred(const QString& title, const QString& message);
    /// The recipe is to leave these weights alone (canonical names).
    void excludeRequested(const QStringList& weights);
    /// The recipe is to give these weights a scheme; an empty one takes the pin away.
    void pinRequested(const QStringList& weights, const QString& scheme);
    /// The recipe is to take a layer out, or to put it back.
    void dropRequested(int layer, bool drop);

private:
    QWidget* buildTable(QWidget* parent);
    QWidget* buildTensor(QWidget* parent);
    void showReport(const ModelReport& report);
    void askHistogram();
    void updateCount();
    void updateExclude();
    void showNodeMenu(std::size_t node, const QPoint& at);

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
    QTabWidget* m_views = nullptr;
    ModelLayers* m_layers;
    QPushButton* m_exclude = nullptr;
    QString m_path;
    JobId m_histogramJob = 0;
    Recipe m_recipe;
    QMenu* m_menu = nullptr;
};

}  // namespace fettle::ui
