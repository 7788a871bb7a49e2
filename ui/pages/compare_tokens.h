// Part of the Compare page: the evaluation text tinted by how far predictions moved, and the tokens
// that suffered most. GUI thread only.
#pragma once

#include <QWidget>

#include "ui/models/compared_experiments.h"

class QComboBox;
class QLabel;
class QSortFilterProxyModel;
class QTableView;

namespace fettle::ui {

class TokenStrip;
class WorstTokensModel;

class CompareTokens : public QWidget {
    Q_OBJECT

public:
    explicit CompareTokens(QWidget* parent = nullptr);
    void setExperiments(const ComparedExperiments& experiments);
    TokenStrip* strip() const { return m_strip; }
    QLabel* note() const { return m_note; }
    QTableView* worst() const { return m_table; }
    QComboBox* experimentChoice() const { return m_experiment; }
    QComboBox* valueChoice() const { return m_value; }

private:
    enum Value { Divergence, LossAgainstFirst, Loss };
    void showExperiment();
    void showValues();
    void showWorst(int row);
    double valueOf(const EvaluationTrace& trace, std::size_t token) const;
    QString describe(int token) const;

    ComparedExperiments m_experiments;
    QComboBox* m_experiment;
    QComboBox* m_value;
    QLabel* m_note;
    TokenStrip* m_strip;
    WorstTokensModel* m_worst;
    QSortFilterProxyModel* m_sorted;
    QTableView* m_table;
};

}  // namespace fettle::ui
