#include "ui/models/recipe_model.h"

#include <QUndoCommand>
#include <algorithm>
#include <utility>

#include "ui/bridge/engine_text.h"

namespace fettle::ui {

class InsertStepCommand : public QUndoCommand {
public:
    InsertStepCommand(RecipeModel* model, int row, RecipeStep step, const QString& text)
        : QUndoCommand(text), m_model(model), m_row(row), m_step(std::move(step)) {}
    void redo() override { m_model->doInsert(m_row, m_step); }
    void undo() override { m_model->doRemove(m_row); }

private:
    RecipeModel* m_model;
    int m_row;
    RecipeStep m_step;
};

class RemoveStepCommand : public QUndoCommand {
public:
    RemoveStepCommand(RecipeModel* model, int row, const QString& text)
        : QUndoCommand(text), m_model(model), m_row(row) {}
    void redo() override { m_step = m_model->doRemove(m_row); }
    void undo() override { m_model->doInsert(m_row, m_step); }

private:
    RecipeModel* m_model;
    int m_row;
    RecipeStep m_step;
};

class MoveStepCommand : public QUndoCommand {
public:
    MoveStepCommand(RecipeModel* model, int from, int to, const QString& text)
        : QUndoCommand(text), m_model(model), m_from(from), m_to(to) {}
    void redo() override { m_model->doMove(m_from, m_to); }
    void undo() override { m_model->doMove(m_to, m_from); }

private:
    RecipeModel* m_model;
    int m_from;
    int m_to;
};

class SetParamsCommand : public QUndoCommand {
public:
    SetParamsCommand(RecipeModel* model, int row, std::string name, nlohmann::json params,
                     const QString& text)
        : QUndoCommand(text),
          m_model(model),
          m_row(row),
          m_name(std::move(name)),
          m_before(model->recipe().steps[static_cast<std::size_t>(row)].params),
          m_after(std::move(params)) {}
    void redo() override { m_model->doSetParams(m_row, m_after); }
    void undo() override { m_model->doSetParams(m_row, m_before); }
    int id() const override { return 1; }
    bool mergeWith(const QUndoCommand* other) override {
        const auto* next = static_cast<const SetParamsCommand*>(other);
        if (next->m_row != m_row || next->m_name != m_name) {
            return false;
        }
        m_after = next->m_after;
        setObsolete(m_after == m_before);
        return true;
    }

private:
    RecipeModel* m_model;
    int m_row;
    std::string m_name;
    nlohmann::json m_before;
    nlohmann::json m_after;
};

class SetRecipeCommand : public QUndoCommand {
public:
    SetRecipeCommand(RecipeModel* model, Recipe recipe, const QString& text)
        : QUndoCommand(text),
          m_model(model),
          m_before(model->recipe()),
          m_after(std::move(recipe)) {}
    void redo() override { m_model->doSetRecipe(m_after); }
    void undo() override { m_model->doSetRecipe(m_before); }

private:
    RecipeModel* m_model;
    Recipe m_before;
    Recipe m_after;
};

class SetHeaderCommand : public QUndoCommand {
public:
    SetHeaderCommand(RecipeModel* model, std::string name, std::uint64_t seed, const QString& text)
        : QUndoCommand(text),
          m_model(model),
          m_nameBefore(model->recipe().name),
          m_seedBefore(model->recipe().seed),
          m_name(std::move(name)),
          m_seed(seed) {}
    void redo() override { m_model->doSetHeader(m_name, m_seed); }
    void undo() override { m_model->doSetHeader(m_nameBefore, m_seedBefore); }
    int id() const override { return 2; }
    bool mergeWith(const QUndoCommand* other) override {
        const auto* next = static_cast<const SetHeaderCommand*>(other);
        m_name = next->m_name;
        m_seed = next->m_seed;
        return true;
    }

private:
    RecipeModel* m_model;
    std::string m_nameBefore;
    std::uint64_t m_seedBefore;
    std::string m_name;
    std::uint64_t m_seed;
};

bool isParameterVisible(const ParameterSchema& parameter, const nlohmann::json& effectiveParams) {
    if (!parameter.visibleWhen) {
        return true;
    }
    const auto found = effectiveParams.find(parameter.visibleWhen->param);
    if (found == effectiveParams.end()) {
        return false;
    }
    const std::string value = found->is_string() ? found->get<std::string>() : found->dump();
    const auto& wanted = parameter.visibleWhen->values;
    return std::find(wanted.begin(), wanted.end(), value) != wanted.end();
}

RecipeModel::RecipeModel(std::vector<TechniqueDescriptor> techniques, QObject* parent)
    : QAbstractListModel(parent), m_techniques(std::move(techniques)) {}

const TechniqueDescriptor* RecipeModel::descriptor(const std::string& technique) const {
    const auto found =
        std::find_if(m_techniques.begin(), m_techniques.end(),
                     [&](const TechniqueDescriptor& d) { return d.id == technique; });
    return found == m_techniques.end() ? nullptr : &*found;
}

const TechniqueDescriptor* RecipeModel::descriptorAt(int row) const {
    return descriptor(m_recipe.steps[static_cast<std::size_t>(row)].technique);
}

void RecipeModel::setRecipe(const Recipe& recipe, const QString& what) {
    m_undo.push(new SetRecipeCommand(this, recipe, what));
}

void RecipeModel::addStep(const std::string& technique, int row) {
    const int at = row < 0 ? rowCount() : row;
    m_undo.push(
        new InsertStepCommand(this, at, {technique, nlohmann::json::object()}, tr("add step")));
}

bool RecipeModel::hasStep(int row) const {
    return row >= 0 && row < rowCount();
}

void RecipeModel::duplicateStep(int row) {
    if (!hasStep(row)) {
        return;
    }
    m_undo.push(new InsertStepCommand(this, row + 1, m_recipe.steps[static_cast<std::size_t>(row)],
                                      tr("duplicate step")));
}

void RecipeModel::removeStep(int row) {
    if (!hasStep(row)) {
        return;
    }
    m_undo.push(new RemoveStepCommand(this, row, tr("remove step")));
}

void RecipeModel::moveStep(int from, int to) {
    if (from != to && hasStep(from) && hasStep(to)) {
        m_undo.push(new MoveStepCommand(this, from, to, tr("move step")));
    }
}

void RecipeModel::setParam(int row, const std::string& name, const nlohmann::json& value) {
    if (!hasStep(row)) {
        return;
    }
    nlohmann::json params = m_recipe.steps[static_cast<std::size_t>(row)].params;
    if (params.contains(name) && params[name] == value) {
        return;
    }
    params[name] = value;
    m_undo.push(new SetParamsCommand(this, row, name, std::move(params),
                                     tr("change %1").arg(QString::fromStdString(name))));
}

void RecipeModel::resetParam(int row, const std::string& name) {
    if (!hasStep(row)) {
        return;
    }
    nlohmann::json params = m_recipe.steps[static_cast<std::size_t>(row)].params;
    if (params.erase(name) > 0) {
        m_undo.push(new SetParamsCommand(this, row, name, std::move(params),
                                         tr("reset %1").arg(QString::fromStdString(name))));
    }
}

void RecipeModel::setHeader(const QString& name, quint64 seed) {
    if (name.toStdString() != m_recipe.name || seed != m_recipe.seed) {
        m_undo.push(new SetHeaderCommand(this, name.toStdString(), seed, tr("rename recipe")));
    }
}

int RecipeModel::excludeTensors(const QStringList& tensors) {
    for (int row = 0; row < rowCount(); ++row) {
        nlohmann::json params = effectiveParams(row);
        const auto found = params.find("exclude");
        if (found == params.end() || !found->is_array()) {
            continue;
        }
        nlohmann::json exclude = *found;
        for (const QString& tensor : tensors) {
            const nlohmann::json name = tensor.toStdString();
            if (std::find(exclude.begin(), exclude.end(), name) == exclude.end()) {
                exclude.push_back(name);
            }
        }
        if (exclude != *found) {
            setParam(row, "exclude", exclude);
        }
        return row;
    }
    return -1;
}

bool RecipeModel::takes(const std::string& technique, const char* parameter) const {
    const TechniqueDescriptor* found = descriptor(technique);
    return found && std::any_of(found->parameters.begin(), found->parameters.end(),
                                [&](const ParameterSchema& p) { return p.name == parameter; });
}

int RecipeModel::pinScheme(const QStringList& weights, const QString& scheme) {
    int row = 0;
    while (row < rowCount() && !effectiveParams(row).contains("schemes")) {
        ++row;
    }
    const bool isNew = row == rowCount();
    if (isNew && (scheme.isEmpty() || !takes("ptq", "schemes"))) {
        return -1;
    }
    m_undo.beginMacro(tr("Pin a scheme"));
    if (isNew) {
        addStep("ptq");
    }
    nlohmann::json schemes = nlohmann::json::array();
    const nlohmann::json before = effectiveParams(row).at("schemes");
    for (const auto& entry : before) {
        const QString text = QString::fromStdString(entry.get<std::string>());
        if (!weights.contains(text.left(text.lastIndexOf(u'=')))) {
            schemes.push_back(entry);
        }
    }
    if (!scheme.isEmpty()) {
        // In front: the first entry that fits a weight counts, and patterns may stand there.
        nlohmann::json pinned = nlohmann::json::array();
        for (const QString& weight : weights) {
            pinned.push_back((weight + u'=' + scheme).toStdString());
        }
        pinned.insert(pinned.end(), schemes.begin(), schemes.end());
        schemes = std::move(pinned);
    }
    setParam(row, "schemes", schemes);
    m_undo.endMacro();
    return row;
}

int RecipeModel::dropLayer(int layer, bool drop) {
    int row = 0;
    for (; row < rowCount(); ++row) {
        const nlohmann::json params = effectiveParams(row);
        if (params.contains("drop") && params.value("method", "") == "layers") {
            break;
        }
    }
    const bool isNew = row == rowCount();
    if (isNew && (!drop || !takes("prune", "drop"))) {
        return -1;
    }
    m_undo.beginMacro(drop ? tr("Take a layer out") : tr("Put a layer back"));
    if (isNew) {
        row = 0;  // what is taken out needs no other step before
        addStep("prune", row);
        setParam(row, "method", "layers");
    }
    nlohmann::json layers = nlohmann::json::array();
    const std::string number = std::to_string(layer);
    const nlohmann::json before = effectiveParams(row).at("drop");
    for (const auto& entry : before) {
        if (entry != number) {
            layers.push_back(entry);
        }
    }
    if (drop) {
        layers.push_back(number);
    }
    setParam(row, "drop", layers);
    m_undo.endMacro();
    return row;
}

nlohmann::json RecipeModel::effectiveParams(int row) const {
    nlohmann::json params = nlohmann::json::object();
    if (const TechniqueDescriptor* technique = descriptorAt(row)) {
        for (const ParameterSchema& parameter : technique->parameters) {
            params[parameter.name] = parameter.defaultValue;
        }
    }
    params.update(m_recipe.steps[static_cast<std::size_t>(row)].params);
    return params;
}

bool RecipeModel::isChanged(int row, const ParameterSchema& parameter) const {
    const nlohmann::json& params = m_recipe.steps[static_cast<std::size_t>(row)].params;
    const auto found = params.find(parameter.name);
    return found != params.end() && *found != parameter.defaultValue;
}

QStringList RecipeModel::problems(int row) const {
    const RecipeStep& step = m_recipe.steps[static_cast<std::size_t>(row)];
    const TechniqueDescriptor* technique = descriptor(step.technique);
    if (!technique) {
        return {tr("This version does not know the technique \"%1\".")
                    .arg(QString::fromStdString(step.technique))};
    }
    QStringList problems;
    for (const std::string& problem : validateParams(*technique, step.params).problems) {
        problems << QString::fromStdString(problem);
    }
    return problems;
}

QStringList RecipeModel::allProblems() const {
    QStringList all;
    for (int row = 0; row < rowCount(); ++row) {
        for (const QString& problem : problems(row)) {
            all << tr("Step %1: %2").arg(row + 1).arg(problem);
        }
    }
    return all;
}

int RecipeModel::rowCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : static_cast<int>(m_recipe.steps.size());
}

QVariant RecipeModel::data(const QModelIndex& index, int role) const {
    if (!index.isValid() || role != Qt::DisplayRole) {
        return {};
    }
    const TechniqueDescriptor* technique = descriptorAt(index.row());
    return technique ? engineText(technique->title)
                     : QString::fromStdString(
                           m_recipe.steps[static_cast<std::size_t>(index.row())].technique);
}

void RecipeModel::doInsert(int row, const RecipeStep& step) {
    beginInsertRows({}, row, row);
    m_recipe.steps.insert(m_recipe.steps.begin() + row, step);
    endInsertRows();
    emit recipeChanged();
}

RecipeStep RecipeModel::doRemove(int row) {
    RecipeStep step = m_recipe.steps[static_cast<std::size_t>(row)];
    beginRemoveRows({}, row, row);
    m_recipe.steps.erase(m_recipe.steps.begin() + row);
    endRemoveRows();
    emit recipeChanged();
    return step;
}

void RecipeModel::doMove(int from, int to) {
    beginMoveRows({}, from, from, {}, to > from ? to + 1 : to);
    const RecipeStep step = m_recipe.steps[static_cast<std::size_t>(from)];
    m_recipe.steps.erase(m_recipe.steps.begin() + from);
    m_recipe.steps.insert(m_recipe.steps.begin() + to, step);
    endMoveRows();
    emit recipeChanged();
}

void RecipeModel::doSetParams(int row, const nlohmann::json& params) {
    m_recipe.steps[static_cast<std::size_t>(row)].params = params;
    emit dataChanged(index(row), index(row));
    emit recipeChanged();
}

void RecipeModel::doSetRecipe(const Recipe& recipe) {
    beginResetModel();
    m_recipe = recipe;
    endResetModel();
    emit headerChanged();
    emit recipeChanged();
}

void RecipeModel::doSetHeader(const std::string& name, std::uint64_t seed) {
    m_recipe.name = name;
    m_recipe.seed = seed;
    emit headerChanged();
    emit recipeChanged();
}

}  // namespace fettle::ui
