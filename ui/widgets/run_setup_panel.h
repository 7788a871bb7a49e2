// What a run reads and how its result is measured: model, texts, tasks, measuring protocol. GUI
// thread only.
#pragma once

#include <QFrame>
#include <vector>

#include "engine/experiment/job_values.h"
#include "ui/bridge/experiment_service.h"

class QCheckBox;
class QComboBox;
class QGridLayout;
class QLabel;
class QSpinBox;

namespace fettle::ui {

class LibraryChoice;

class RunSetupPanel : public QFrame {
    Q_OBJECT

public:
    explicit RunSetupPanel(QWidget* parent = nullptr);

    void setLibrary(const std::vector<LibraryItem>& items);
    /// Which inputs the recipe reads; the others are not shown.
    void setNeeds(bool calibration, bool training, bool teacher);
    QString modelPath() const;
    QString modelName() const;
    void setModelPath(const QString& path);
    void setTasksPath(const QString& path);
    RunInputs inputs() const;
    MeasureOptions measure() const;
    void setMeasure(const MeasureOptions& options);
    /// A request for the current choices, without recipe.
    RunRequest request() const;
    /// What is missing before a run may begin; empty when nothing is.
    QString problem() const;

signals:
    void changed();
    void modelChanged(const QString& path);
    void fileChosen(const QString& path);

private:
    LibraryChoice* addChoice(QGridLayout* grid, int row, LibraryItem::Kind kind,
                             const QString& title, const QString& emptyText, const QString& help);
    QSpinBox* addNumber(QGridLayout* grid, int row, const QString& title, int low, int high,
                        int value, const QString& help);
    void buildMeasuring(QGridLayout* grid);
    void showRow(QWidget* editor, bool visible);
    void applyModelDefaults();

    LibraryChoice* m_model;
    LibraryChoice* m_evaluate;
    LibraryChoice* m_tasks;
    LibraryChoice* m_calibration;
    LibraryChoice* m_train;
    LibraryChoice* m_teacher;
    QComboBox* m_protocol;
    QSpinBox* m_context;
    QSpinBox* m_maxTokens;
    QCheckBox* m_speed;
    QSpinBox* m_promptTokens;
    QSpinBox* m_newTokens;
    QSpinBox* m_repeats;
    std::vector<LibraryItem> m_items;
};

}  // namespace fettle::ui
