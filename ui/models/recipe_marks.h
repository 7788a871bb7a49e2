// What a recipe does to single weights, in a word each: pinned to a scheme, left alone, taken out.
// Plain values; any thread.
#pragma once

#include <QHash>
#include <QString>

#include "engine/experiment/model_report.h"
#include "engine/experiment/recipe.h"

namespace fettle::ui {

/// By canonical name of the weight. Entries of recipes are names, globs, regular expressions after
/// "re:", or units of weights that share an input.
QHash<QString, QString> recipeMarks(const Recipe& recipe, const ModelReport& report);

/// Whether a recipe takes this layer out.
bool dropsLayer(const Recipe& recipe, int layer);

}  // namespace fettle::ui
