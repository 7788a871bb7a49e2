// The recipe being edited: a list of steps whose every change goes through an undo stack. GUI
// thread only.
#pragma once

#include <QAbstractListModel>
#include <QStringList>
#include <QUndoStack>
#include <vector>

#include "engine/experiment/recipe.h"
#include "engine/experiment/technique_schema.h"

namespace fettle::ui {

class RecipeModel : public QAbstractListModel {
    Q_OBJECT

public:
    explicit RecipeModel(std::vector<TechniqueDescriptor> techniques, QObject* parent = nullptr);

    const Recipe& recipe() const { return m_recipe; }
    QUndoStack* undoStack() { return &m_undo; }
    const std::vector<TechniqueDescriptor>& techniques() const { return m_techniques; }
    const TechniqueDescriptor* descriptor(const std::string& technique) const;
    const TechniqueDescriptor* descriptorAt(int row) const;

    // Every one of these is one undo step; edits of one parameter in a row melt into one.
    void setRecipe(const Recipe& recipe, const QString& what);
    void addStep(const std::string& technique, int row = -1);
    void duplicateStep(int row);
    void removeStep(int row);
    /// Moves a step so that it ends up at `to`.
    void moveStep(int from, int to);
    void setParam(int row, const std::string& name, const nlohmann::json& value);
    /// Back to the default.
    void resetParam(int row, const std::string& name);
    void setHeader(const QString& name, quint64 seed);
    /// Adds tensors to "exclude" of the first step that has such a parameter; -1 when none has,
    /// else its row. One undo step.
    int excludeTensors(const QStringList& tensors);
    /// Gives weights a scheme of their own in the first step that takes one ("schemes"), or takes
    /// it away again where `scheme` is empty; adds a step "ptq" where there is none. Row of the
    /// step, -1 where no technique takes schemes. One undo step.
    int pinScheme(const QStringList& weights, const QString& scheme);
    /// Takes a layer out in the first step that prunes layers, or puts it back; adds such a step in
    /// front where there is none. Row of the step, -1 where no technique can. One undo step.
    int dropLayer(int layer, bool drop);

    /// Parameters of a step with defaults filled in.
    nlohmann::json effectiveParams(int row) const;
    /// Whether a parameter is set to something other than its default.
    bool isChanged(int row, const ParameterSchema& parameter) const;
    /// Why the step cannot run as it stands; also what does not fit its neighbours.
    QStringList problems(int row) const;
    /// "1. ptq: ..." for every step; empty when the recipe is sound.
    QStringList allProblems() const;

    int rowCount(const QModelIndex& parent = {}) const override;
    QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;

signals:
    void headerChanged();
    /// Anything at all changed.
    void recipeChanged();

private:
    friend class InsertStepCommand;
    friend class RemoveStepCommand;
    friend class MoveStepCommand;
    friend class SetParamsCommand;
    friend class SetRecipeCommand;
    friend class SetHeaderCommand;

    bool takes(const std::string& technique, const char* parameter) const;
    bool hasStep(int row) const;
    void doInsert(int row, const RecipeStep& step);
    RecipeStep doRemove(int row);
    void doMove(int from, int to);
    void doSetParams(int row, const nlohmann::json& params);
    void doSetRecipe(const Recipe& recipe);
    void doSetHeader(const std::string& name, std::uint64_t seed);

    std::vector<TechniqueDescriptor> m_techniques;
    Recipe m_recipe;
    QUndoStack m_undo;
};

/// The parameters that show, given the values of the others.
bool isParameterVisible(const ParameterSchema& parameter, const nlohmann::json& effectiveParams);

}  // namespace fettle::ui
