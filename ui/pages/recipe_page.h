// The Recipe page: steps on the left; model, data, measuring and what it will cost on the right.
// Queues runs through the JobController. GUI thread only.
#pragma once

#include <QTimer>
#include <QWidget>
#include <vector>

#include "engine/experiment/job_values.h"

class QLineEdit;
class QMenu;
class QPushButton;
class QSpinBox;

namespace fettle::ui {

class EstimatePanel;
class JobController;
class RecipeEditor;
class RecipeModel;
class RunSetupPanel;

class RecipePage : public QWidget {
    Q_OBJECT

public:
    static constexpr int kValidateMs =
        250;  ///< quiet time before the engine is asked what a recipe costs

    explicit RecipePage(JobController* jobs, QWidget* parent = nullptr);

    RecipeModel* model() const { return m_model; }
    RecipeEditor* editor() const { return m_editor; }
    RunSetupPanel* setup() const { return m_setup; }
    EstimatePanel* estimate() const { return m_estimate; }
    QPushButton* runButton() const { return m_run; }

    void reloadLibrary();
    void useModel(const QString& path);
    /// Queues the recipe, and the baseline first where this model has none under the same protocol.
    void run();
    void runBaseline();
    /// Queues one experiment for each recipe; returns the experiments' ids without the baseline's.
    std::vector<qint64> queueRecipes(const std::vector<Recipe>& recipes);
    void sweep(int row = -1, const std::string& parameter = {});
    void openRecipe();
    void saveRecipe();
    bool loadRecipeFile(const QString& path);
    /// Presets that the techniques at hand can run.
    const std::vector<std::pair<Recipe, QString>>& presets();

signals:
    void errorOccurred(const QString& title, const QString& message);
    void runsQueued(int count);
    void fileChosen(const QString& path);  ///< a file outside the library was chosen for a run

private:
    QWidget* buildBar();
    QWidget* buildSide();
    void fillPresets(QMenu* menu);
    void fillTechniques(QMenu* menu);
    void changed();
    void updateNeeds();
    void askEstimate();
    QString problem() const;

    JobController* m_jobs;
    RecipeModel* m_model;
    RecipeEditor* m_editor;
    RunSetupPanel* m_setup;
    EstimatePanel* m_estimate;
    QLineEdit* m_name;
    QSpinBox* m_seed;
    QPushButton* m_run;
    QPushButton* m_sweep;
    QTimer m_quiet;
    JobId m_estimateJob = 0;
    std::vector<std::pair<Recipe, QString>> m_presets;
    bool m_presetsRead = false;
};

}  // namespace fettle::ui
