// The Advisor page: targets and a budget in, a ladder of techniques that is climbed until they
// hold. Shows every rung with its cost, every decision with its numbers, and the model it
// recommends. GUI thread only.
#pragma once

#include <QWidget>

#include "engine/experiment/advisor_values.h"

class QAbstractButton;
class QComboBox;
class QLabel;
class QProgressBar;
class QPushButton;
class QStackedWidget;
class QTableView;
class QTextBrowser;

namespace fettle::ui {

class AdvisorController;
class AdvisorLadderModel;
class JobController;
class LadderChart;
class RunSetupPanel;
class TargetsForm;

class AdvisorPage : public QWidget {
    Q_OBJECT

public:
    explicit AdvisorPage(JobController* jobs, QWidget* parent = nullptr);
    ~AdvisorPage() override;

    void reloadLibrary();
    void useModel(const QString& path);
    void start();
    void stop();

    AdvisorController* controller() const { return m_controller; }
    AdvisorLadderModel* ladder() const { return m_ladder; }
    LadderChart* chart() const { return m_chart; }
    TargetsForm* form() const { return m_form; }
    RunSetupPanel* setup() const { return m_setup; }
    QTableView* table() const { return m_table; }
    QPushButton* startButton() const { return m_start; }
    QPushButton* stopButton() const { return m_stop; }
    QPushButton* openButton() const { return m_open; }
    QPushButton* exportButton() const { return m_export; }
    QString decisionsText() const;
    QString resultText() const;

signals:
    void errorOccurred(const QString& title, const QString& message);
    void experimentRequested(qint64 id);
    void exportRequested(qint64 id);
    void fileChosen(const QString& path);

private:
    QWidget* buildForm();
    QWidget* buildResult();
    QWidget* buildBar();
    void buildTable();
    void showReport();
    void showProgress();
    void showEnd(const QString& problem);
    void showResult();
    void updateButtons();
    qint64 recommended() const;

    JobController* m_jobs;
    AdvisorController* m_controller;
    AdvisorLadderModel* m_ladder;
    TargetsForm* m_form;
    RunSetupPanel* m_setup;
    LadderChart* m_chart;
    QTableView* m_table = nullptr;
    QComboBox* m_axis = nullptr;
    QTextBrowser* m_decisions = nullptr;
    QStackedWidget* m_stack = nullptr;
    QLabel* m_status = nullptr;
    QProgressBar* m_progress = nullptr;
    QPushButton* m_start = nullptr;
    QPushButton* m_stop = nullptr;
    QLabel* m_problem = nullptr;
    QLabel* m_verdictTitle = nullptr;
    QLabel* m_verdict = nullptr;
    QPushButton* m_open = nullptr;
    QPushButton* m_export = nullptr;
    std::size_t m_told = 0;
};

}  // namespace fettle::ui
