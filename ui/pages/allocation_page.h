// The Precision page: bits where they are needed. A slider over a budget, the scheme that every
// weight gets under it, what that is predicted to cost, and what it cost when it was run. GUI
// thread only.
#pragma once

#include <QTimer>
#include <QWidget>

#include "engine/experiment/job_values.h"

class QComboBox;
class QDoubleSpinBox;
class QLabel;
class QMenu;
class QPushButton;
class QSlider;
class QSpinBox;
class QStackedWidget;
class QTableView;

namespace fettle::ui {

class AllocationChart;
class AllocationModel;
class AllocationRunsModel;
class BitMap;
class JobController;
class ParameterForm;
class RunSetupPanel;

class AllocationPage : public QWidget {
    Q_OBJECT

public:
    explicit AllocationPage(JobController* jobs, QWidget* parent = nullptr);

    /// Shows the scores that an experiment holds, if it holds any.
    void chooseExperiment(qint64 id);
    void useModel(const QString& path);
    void reloadLibrary();

    AllocationModel* model() const { return m_model; }
    AllocationRunsModel* runs() const { return m_runs; }
    BitMap* map() const { return m_map; }
    AllocationChart* chart() const { return m_chart; }
    RunSetupPanel* setup() const { return m_setup; }
    QComboBox* sources() const { return m_sources; }
    QComboBox* targets() const { return m_target; }
    QSlider* slider() const { return m_slider; }
    QDoubleSpinBox* valueBox() const { return m_value; }
    QSpinBox* contextBox() const { return m_context; }
    QPushButton* runButton() const { return m_run; }
    QPushButton* measureButton() const { return m_measure; }
    QPushButton* unpinButton() const { return m_unpin; }
    QTableView* table() const { return m_table; }
    QStackedWidget* stack() const { return m_stack; }
    /// The menu of a cell while it is open.
    QMenu* menu() const { return m_menu; }
    QString factsText() const;

signals:
    void errorOccurred(const QString& title, const QString& message);
    void experimentRequested(qint64 id);
    void fileChosen(const QString& path);

private:
    QWidget* buildSide();
    QWidget* buildTarget();
    QWidget* buildLower();
    void reload();
    void load(qint64 id);
    void refreshSpeeds();
    void showScores();
    void showRange();
    void showAllocation();
    void showRuns();
    void showTargets();
    void showUnitMenu(int unit, const QPoint& at);
    void askEstimate();
    Recipe measuringRecipe() const;
    void measure();
    void runChosen();
    double unitOfValue() const;
    qint64 shownExperiment() const;

    JobController* m_jobs;
    AllocationModel* m_model;
    AllocationRunsModel* m_runs;
    BitMap* m_map;
    AllocationChart* m_chart;
    RunSetupPanel* m_setup;
    ParameterForm* m_form = nullptr;
    QComboBox* m_sources = nullptr;
    QLabel* m_sourceNote = nullptr;
    QLabel* m_estimate = nullptr;
    QPushButton* m_measure = nullptr;
    QComboBox* m_target = nullptr;
    QDoubleSpinBox* m_value = nullptr;
    QLabel* m_contextLabel = nullptr;
    QSpinBox* m_context = nullptr;
    QSlider* m_slider = nullptr;
    QLabel* m_rangeLow = nullptr;
    QLabel* m_rangeHigh = nullptr;
    QLabel* m_facts = nullptr;
    QLabel* m_warning = nullptr;
    QPushButton* m_unpin = nullptr;
    QPushButton* m_run = nullptr;
    QTableView* m_table = nullptr;
    QStackedWidget* m_stack = nullptr;
    QMenu* m_menu = nullptr;
    QTimer m_quiet;
    QTimer m_reload;
    JobId m_estimateJob = 0;
    qint64 m_awaited = 0;  ///< the run whose scores are to be shown as soon as it is done
    nlohmann::json m_params = nlohmann::json::object();
};

}  // namespace fettle::ui
