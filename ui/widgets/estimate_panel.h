// What a recipe will cost, shown before it runs; and after a run how far that was off. GUI thread
// only.
#pragma once

#include <QFrame>
#include <QStringList>

#include "engine/experiment/run_values.h"

class QLabel;

namespace fettle::ui {

class EstimatePanel : public QFrame {
    Q_OBJECT

public:
    explicit EstimatePanel(QWidget* parent = nullptr);

    void setEstimate(const RecipeEstimate& estimate);
    /// Shows that numbers are being worked out; the old ones stay, greyed.
    void setPending();
    void setUnavailable(const QString& why);
    void setProblems(const QStringList& problems);
    /// Promise against measurement of a finished run.
    void setOutcome(const QString& runName, const RunResult& result);
    QString problemsText() const;
    QString outcomeText() const;

private:
    enum Line { Memory, Size, Bits, Time, LineCount };

    QLabel* m_promise[LineCount];
    QLabel* m_problems;
    QLabel* m_notes;
    QLabel* m_outcome;
};

}  // namespace fettle::ui
