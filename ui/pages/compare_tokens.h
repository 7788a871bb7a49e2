// Part of the Compare page: the evaluation text, or any text of the user's, tinted by how far
// predictions moved, and the tokens that suffered most. GUI thread only.
#pragma once

#include <QWidget>
#include <optional>

#include "ui/models/compared_experiments.h"

class QComboBox;
class QLabel;
class QSortFilterProxyModel;
class QTableView;

namespace fettle::ui {

class CompareOwnText;
class JobController;
class TokenStrip;
class WorstTokensModel;

class CompareTokens : public QWidget {
    Q_OBJECT

public:
    explicit CompareTokens(JobController* jobs, QWidget* parent = nullptr);
    void setExperiments(const ComparedExperiments& experiments);
    TokenStrip* strip() const { return m_strip; }
    QLabel* note() const { return m_note; }
    QTableView* worst() const { return m_table; }
    QComboBox* experimentChoice() const { return m_experiment; }
    QComboBox* valueChoice() const { return m_value; }
    QComboBox* sourceChoice() const { return m_source; }
    CompareOwnText* ownText() const { return m_own; }

private:
    enum Value { Divergence, LossAgainstFirst, Loss };
    bool ownChosen() const;
    /// What is shown: values of the evaluation text, or of the user's own.
    const std::optional<EvaluationTrace>& trace() const;
    void showSource();
    void chooseModels();
    void showExperiment();
    void showValues();
    void showWorst(int row);
    double valueOf(const EvaluationTrace& trace, std::size_t token) const;
    QString describe(int token) const;

    ComparedExperiments m_experiments;
    std::vector<std::optional<EvaluationTrace>> m_ownTraces;  ///< of the own text, by experiment
    QComboBox* m_source;
    CompareOwnText* m_own;
    QComboBox* m_experiment;
    QComboBox* m_value;
    QLabel* m_note;
    TokenStrip* m_strip;
    WorstTokensModel* m_worst;
    QSortFilterProxyModel* m_sorted;
    QTableView* m_table;
};

}  // namespace fettle::ui
