// The Drafts page: which draft makes a model faster, and why. Tries drafts with several lengths and
// trees, draws them on the curve from which on drafting pays, says why a pair is refused, and makes
// new drafts, after a short probe that shows what to expect. GUI thread only.
#pragma once

#include <QWidget>

#include "engine/experiment/job_values.h"

class QCheckBox;
class QComboBox;
class QDoubleSpinBox;
class QLabel;
class QLineEdit;
class QListWidget;
class QProgressBar;
class QPushButton;
class QSpinBox;
class QStackedWidget;
class QTableView;
class QVBoxLayout;

namespace fettle::ui {

class BreakEvenChart;
class DraftTrialsModel;
class JobController;
class RunSetupPanel;

class DraftLabPage : public QWidget {
    Q_OBJECT

public:
    explicit DraftLabPage(JobController* jobs, QWidget* parent = nullptr);

    void reloadLibrary();
    void useModel(const QString& path);
    /// Tries the drafts that are ticked.
    void tryDrafts();
    /// Makes a draft with few tokens and tries it.
    void probe();
    /// Queues the training of a draft, as an experiment.
    void make();
    void stop();
    bool isRunning() const { return m_job != 0; }

    RunSetupPanel* setup() const { return m_setup; }
    QListWidget* drafts() const { return m_drafts; }
    QLineEdit* moreDrafts() const { return m_more; }
    DraftTrialsModel* trials() const { return m_trials; }
    BreakEvenChart* chart() const { return m_chart; }
    QTableView* table() const { return m_table; }
    QComboBox* kind() const { return m_kind; }
    QSpinBox* tokens() const { return m_tokens; }
    QPushButton* tryButton() const { return m_try; }
    QPushButton* probeButton() const { return m_probe; }
    QPushButton* makeButton() const { return m_make; }
    QPushButton* stopButton() const { return m_stop; }
    QString verdictText() const;

signals:
    void errorOccurred(const QString& title, const QString& message);
    void fileChosen(const QString& path);

private:
    QWidget* buildForm();
    QWidget* buildDrafts();
    QWidget* buildMaking();
    QWidget* buildBar();
    QWidget* buildResult();
    void addBox(QVBoxLayout* column, const QString& title, std::vector<QCheckBox*>& boxes,
                const std::vector<std::pair<QString, QString>>& choices);
    DraftTrialRequest request() const;
    DraftMaking making() const;
    void start(DraftTrialRequest request, const QString& title);
    void follow(const JobEvent& event);
    void showReport(const DraftTrialReport& report);
    void showCurrent(int trial);
    void updateButtons();
    QString problem() const;

    JobController* m_jobs;
    RunSetupPanel* m_setup;
    DraftTrialsModel* m_trials;
    BreakEvenChart* m_chart;
    JobId m_job = 0;
    bool m_probing = false;
    QListWidget* m_drafts = nullptr;
    QLineEdit* m_more = nullptr;
    std::vector<QCheckBox*> m_lengths, m_trees;
    QComboBox* m_kind = nullptr;
    QDoubleSpinBox* m_layers = nullptr;
    QDoubleSpinBox* m_width = nullptr;
    QSpinBox* m_tokens = nullptr;
    QLabel* m_problem = nullptr;
    QLabel* m_probed = nullptr;
    QLabel* m_status = nullptr;
    QLabel* m_title = nullptr;
    QLabel* m_verdict = nullptr;
    QProgressBar* m_progress = nullptr;
    QPushButton* m_try = nullptr;
    QPushButton* m_probe = nullptr;
    QPushButton* m_make = nullptr;
    QPushButton* m_stop = nullptr;
    QTableView* m_table = nullptr;
    QStackedWidget* m_stack = nullptr;
};

}  // namespace fettle::ui
