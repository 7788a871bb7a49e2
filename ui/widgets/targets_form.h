// The advisor's wishes: one row per target, empty for "no such wish", and the budget. GUI thread
// only.
#pragma once

#include <QFrame>
#include <vector>

#include "engine/experiment/advisor_values.h"

class QGridLayout;
class QLineEdit;
class QSpinBox;

namespace fettle::ui {

class TargetsForm : public QFrame {
    Q_OBJECT

public:
    explicit TargetsForm(QWidget* parent = nullptr);

    /// The targets as far as they can be read.
    AdvisorTargets targets() const;
    double minutes() const;
    QString draft() const;
    /// What keeps the form from being used; empty when nothing does.
    QString problem() const;
    /// The field of a target, by its name on the command line: "min-speedup".
    QLineEdit* field(const QString& name) const;
    QSpinBox* budget() const { return m_minutes; }
    void saveSettings() const;

signals:
    void changed();

private:
    struct Row {
        QString name;
        QString title;
        std::optional<double> AdvisorTargets::*target = nullptr;
        QLineEdit* edit = nullptr;
    };
    void addRow(QGridLayout* grid, const QString& name, const QString& title,
                const QString& example, const QString& help,
                std::optional<double> AdvisorTargets::*target);
    void restoreSettings();
    void markFields();

    std::vector<Row> m_rows;
    QSpinBox* m_minutes;
    QLineEdit* m_draft;
};

}  // namespace fettle::ui
