// Part of the Compare page: what bytes and operations allow each model on its device, beside what
// was measured. GUI thread only.
#pragma once

#include <QWidget>
#include <map>
#include <string>

#include "ui/models/compared_experiments.h"
#include "ui/models/roofline.h"

class QLabel;
class QTableWidget;

namespace fettle::ui {

class JobController;
class RooflineChart;

class CompareRoofline : public QWidget {
    Q_OBJECT

public:
    explicit CompareRoofline(JobController* jobs, QWidget* parent = nullptr);
    void setExperiments(const ComparedExperiments& experiments);
    RooflineChart* chart() const { return m_chart; }
    QTableWidget* table() const { return m_table; }
    QLabel* note() const { return m_note; }

protected:
    void showEvent(QShowEvent* event) override;

private:
    void load();
    void ask(const std::string& path);
    void showPoints();
    /// What a model of its experiment costs, where its file could be read.
    const TokenCost* costOf(const ExperimentRecord& record) const;

    JobController* m_jobs;
    ComparedExperiments m_experiments;
    std::map<std::string, TokenCost> m_costs;  ///< by path
    std::map<std::string, QString> m_problems;
    RooflineChart* m_chart;
    QTableWidget* m_table;
    QLabel* m_note;
    bool m_pending = false;
};

}  // namespace fettle::ui
