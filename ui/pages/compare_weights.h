// Part of the Compare page: how the values of one tensor are spread in the original (bars) and in
// each compared model (line). Asks the engine for one tensor at a time. GUI thread only.
#pragma once

#include <QWidget>
#include <vector>

#include "engine/experiment/job_values.h"
#include "ui/models/compared_experiments.h"

class QCheckBox;
class QGridLayout;
class QLabel;
class QLineEdit;
class QListWidget;

namespace fettle::ui {

class HistogramChart;
class JobController;

class CompareWeights : public QWidget {
    Q_OBJECT

public:
    explicit CompareWeights(JobController* jobs, QWidget* parent = nullptr);
    void setExperiments(const ComparedExperiments& experiments);
    void showTensor(const QString& tensor);
    QListWidget* list() const { return m_list; }
    const std::vector<HistogramChart*>& charts() const { return m_charts; }

protected:
    void showEvent(QShowEvent* event) override;

private:
    void load();
    void fillList();
    void askNames();
    void askHistograms();
    void ask(std::size_t experiment, const std::string& path, bool after);

    JobController* m_jobs;
    ComparedExperiments m_experiments;
    QLineEdit* m_filter;
    QListWidget* m_list;
    QCheckBox* m_logarithmic;
    QLabel* m_note;
    QGridLayout* m_grid;
    std::vector<HistogramChart*> m_charts;
    std::vector<QLabel*> m_titles;
    std::vector<JobId> m_asked;
    QStringList m_tensors;
    int m_generation = 0;  ///< answers of an earlier one are not shown
    bool m_pending = false;
};

}  // namespace fettle::ui
