#include "app/gui/demo_start.h"

#include <vector>

#include "app/gui/application.h"
#include "app/gui/database_experiment_service.h"
#include "ui/models/recipe_model.h"
#include "ui/pages/main_window.h"
#include "ui/pages/recipe_page.h"

namespace fettle::app {

namespace {

constexpr int kTasteTokens = 100000;  // a minute or so: a first look, not what training can do

/// Whether the recipe trains; then for that many tokens only.
bool shortenTraining(const ui::RecipeModel& model, Recipe& recipe) {
    bool trains = false;
    for (RecipeStep& step : recipe.steps) {
        const TechniqueDescriptor* technique = model.descriptor(step.technique);
        if (technique && technique->needsTrainingText) {
            step.params["tokens"] = kTasteTokens;
            trains = true;
        }
    }
    return trains;
}

}  // namespace

void startDemoWhenEmpty(GuiApplication& application) {
    QObject::connect(&application, &GuiApplication::ready, &application, [&application] {
        if (!application.experiments()->experiments().empty() ||
            application.experiments()->readOnly()) {
            return;
        }
        ui::RecipePage* page = application.window()->recipe();
        page->useModel(QStringLiteral("demo"));
        std::vector<Recipe> recipes, training;
        for (const auto& [preset, help] : page->presets()) {
            Recipe recipe = preset;
            (shortenTraining(*page->model(), recipe) ? training : recipes).push_back(recipe);
        }
        Recipe drafted;
        drafted.name = "Speculative decoding, bundled draft";
        drafted.steps = {{"speculative", {{"draft", "demo-draft"}}}};
        recipes.push_back(drafted);
        recipes.insert(recipes.end(), training.begin(), training.end());
        page->queueRecipes(recipes);
        application.window()->showPage(ui::MainWindow::Page::Explore);
    });
}

}  // namespace fettle::app
