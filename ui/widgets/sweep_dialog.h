// Asks which parameters of a recipe to sweep over which values, and says how many experiments that
// makes. GUI thread only.
#pragma once

#include <QDialog>
#include <vector>

#include "engine/experiment/recipe.h"
#include "engine/experiment/technique_schema.h"

class QCheckBox;
class QLabel;
class QLineEdit;
class QPushButton;
class QVBoxLayout;

namespace fettle::ui {

class RecipeModel;

class SweepDialog : public QDialog {
    Q_OBJECT

public:
    /// Opens with `parameter` of step `row` chosen; row -1 chooses none.
    SweepDialog(const RecipeModel& model, int row, const std::string& parameter,
                QWidget* parent = nullptr);

    std::vector<SweepAxis> axes() const;
    std::vector<Recipe> recipes() const;

private:
    struct Axis {
        std::size_t step = 0;
        ParameterSchema schema;
        QCheckBox* use = nullptr;
        QWidget* values = nullptr;
        std::vector<std::pair<nlohmann::json, QCheckBox*>> boxes;  ///< choices and switches
        QLineEdit* line = nullptr;  ///< numbers and texts, separated by commas
    };

    void addAxis(QVBoxLayout* column, std::size_t step, const QString& stepTitle,
                 const ParameterSchema& schema, const nlohmann::json& current, bool chosen);
    void refresh();
    std::vector<nlohmann::json> valuesOf(const Axis& axis, QString* problem) const;

    Recipe m_base;
    std::vector<Axis> m_axes;
    QLabel* m_count;
    QPushButton* m_run = nullptr;
};

/// The values of a comma-separated line as the parameter's type; a range may be written
/// "0.1:0.5:0.1" (from, to, step). On a mistake the list is empty and `problem` says why.
std::vector<nlohmann::json> parseSweepValues(const ParameterSchema& schema, const QString& text,
                                             QString* problem);

}  // namespace fettle::ui
